"""Hair and beard drawn over a picture, shell by shell from the innermost."""

import numpy as np
from numpy.typing import NDArray

from voiceface.rendering import get_normals, interpolate
from voiceface.synthetic.head.beard import SHELLS, Beard, beard_region
from voiceface.synthetic.head.drawn_head import load_drawn_head
from voiceface.synthetic.head.hair import Hair
from voiceface.synthetic.head.hair_hull import TRIANGLES as HAIR_TRIANGLES
from voiceface.synthetic.head.shading import Light, normalised, sample_texture, shade_hair
from voiceface.synthetic.head.view import View, faces_camera, rasterize_before

__all__ = ["draw_beard", "draw_hair"]

Floats = NDArray[np.float32]

_INNER_TOLERANCE_MM = 1.5  # the innermost hair may lie so far below the skin


def draw_beard(
    canvas: Floats, depth: Floats, beard: Beard, points: Floats, normals: Floats, view: View, light: Light
) -> None:
    """Draw the shells of a beard over the canvas, from the innermost, and its depths, in place."""
    head, coarse = load_drawn_head(), view.is_coarse
    triangles, weight = beard_region(coarse)
    mesh, flat = head.coarse if coarse else head.fine, canvas.reshape(-1, 3)
    down = view.to_camera(np.array([[0.0, -0.85, 0.53]], np.float32))
    tangents = normalised(down - normals * (normals @ down.T))
    texels = mesh.texels[: len(points)] - np.array(beard.origin, np.float32)
    values = np.concatenate([normals, tangents, texels], axis=1)
    for number, height in enumerate(SHELLS):
        lifted = points + (normals + 0.5 * down) * (np.float32(height * beard.length) * weight)[:, None]
        screen = view.to_canvas(lifted)
        seen = triangles[faces_camera(screen, triangles)]
        if not len(seen):
            return
        pixels, found = rasterize_before(screen, seen, depth)
        at = interpolate(found, seen, values, threads=1)[0]
        cover = sample_texture(beard.cover[number], at[:, 6], at[:, 7])[:, 0]
        paint = sample_texture(beard.texture, at[:, 6], at[:, 7])
        axes = normalised(at[:, :3]), normalised(at[:, 3:6])
        strands = shade_hair(paint[:, :3], paint[:, 3], *axes, height, light)
        flat[pixels] += (strands - flat[pixels]) * cover[:, None]
        opaque = np.flatnonzero(cover > 0.5)
        depth.ravel()[pixels.take(opaque)] = found.depth[0].take(opaque)


def draw_hair(canvas: Floats, depth: Floats, hair: Hair, view: View, light: Light) -> None:
    """Draw the shells of the hair over the canvas, from the innermost, in place."""
    texels, flat = load_drawn_head().hull.texels, canvas.reshape(-1, 3)
    normals = get_normals(view.to_camera(hair.points[-1]), HAIR_TRIANGLES)
    values = np.concatenate([normals, view.to_camera(hair.tangents), texels], axis=1)
    nearest = depth - np.float32(_INNER_TOLERANCE_MM)
    coarse = view.is_coarse
    shells = sorted({0, len(hair.points) - 1}) if coarse else range(len(hair.points))
    for number in shells:
        triangles = hair.triangles[number]
        screen = view.to_canvas(view.to_camera(hair.points[number]))
        seen = triangles.take(np.flatnonzero(faces_camera(screen, triangles)), axis=0)
        if not len(seen):
            continue
        pixels, found = rasterize_before(screen, seen, nearest)
        at = interpolate(found, seen, values, threads=1)[0]
        cover = sample_texture(hair.cover[number], at[:, 6], at[:, 7])[:, 0]
        visible = np.flatnonzero(cover > 0.02)
        pixels, at, cover = pixels.take(visible), at.take(visible, axis=0), cover.take(visible)
        before = found.depth[0].take(visible)
        paint = sample_texture(hair.texture, at[:, 6], at[:, 7])
        strands = shade_hair(
            paint[:, :3],
            paint[:, 3],
            normalised(at[:, :3]),
            normalised(at[:, 3:6]),
            float(hair.layers[number]),
            light,
        )
        below = flat.take(pixels, axis=0)
        flat[pixels] = below + (strands - below) * cover[:, None]
        nearest = np.maximum(nearest, depth) if number == 0 else nearest
        opaque = np.flatnonzero(cover > 0.5)
        place = pixels.take(opaque)
        nearest.ravel()[place] = np.maximum(nearest.ravel()[place], before.take(opaque))
