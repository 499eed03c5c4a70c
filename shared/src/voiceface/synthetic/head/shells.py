"""Hair and beard drawn over a picture, shell by shell from the innermost."""

import numpy as np
from numpy.typing import NDArray

from voiceface.rendering import get_normals, interpolate
from voiceface.synthetic.head.beard import SHELLS, Beard, beard_region
from voiceface.synthetic.head.drawn_head import load_drawn_head
from voiceface.synthetic.head.hair import Hair
from voiceface.synthetic.head.hair_hull import TRIANGLES as HAIR_TRIANGLES
from voiceface.synthetic.head.shading import (
    Light,
    cache_sized_parts,
    normalised,
    sample_texture,
    shade_hair,
)
from voiceface.synthetic.head.view import View, faces_camera, rasterize_before

__all__ = ["draw_beard", "draw_hair"]

Floats = NDArray[np.float32]

_INNER_TOLERANCE_MM = 1.5  # the innermost hair may lie so far below the skin
_FAINT, _OPAQUE = 0.02, 0.5  # cover below which hair is not drawn, and above which it hides what is behind


def draw_beard(
    canvas: Floats, depth: Floats, beard: Beard, points: Floats, normals: Floats, view: View, light: Light
) -> None:
    """Draw the shells of a beard over the canvas, from the innermost, and its depths, in place."""
    head, coarse = load_drawn_head(), view.is_coarse
    triangles, weight = beard_region(coarse)
    mesh = head.coarse if coarse else head.fine
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
        cover = _blend_strands(canvas, pixels, at, beard.cover[number], beard.texture, height, light)
        opaque = np.flatnonzero(cover > _OPAQUE)
        depth.ravel()[pixels.take(opaque)] = found.depth[0].take(opaque)


def draw_hair(canvas: Floats, depth: Floats, hair: Hair, view: View, light: Light) -> None:
    """Draw the shells of the hair over the canvas, from the innermost, in place."""
    texels = load_drawn_head().hull.texels
    normals = get_normals(view.to_camera(hair.points[-1]), HAIR_TRIANGLES)
    values = np.concatenate([normals, view.to_camera(hair.tangents), texels], axis=1)
    nearest = depth - np.float32(_INNER_TOLERANCE_MM)
    shells = sorted({0, len(hair.points) - 1}) if view.is_coarse else range(len(hair.points))
    for number in shells:
        triangles, layer = hair.triangles[number], float(hair.layers[number])
        screen = view.to_canvas(view.to_camera(hair.points[number]))
        seen = triangles.take(np.flatnonzero(faces_camera(screen, triangles)), axis=0)
        if not len(seen):
            continue
        pixels, found = rasterize_before(screen, seen, nearest)
        at = interpolate(found, seen, values, threads=1)[0]
        cover = _blend_strands(canvas, pixels, at, hair.cover[number], hair.texture, layer, light, _FAINT)
        nearest = np.maximum(nearest, depth) if number == 0 else nearest
        opaque = np.flatnonzero(cover > _OPAQUE)
        place = pixels.take(opaque)
        nearest.ravel()[place] = np.maximum(nearest.ravel()[place], found.depth[0].take(opaque))


def _blend_strands(
    canvas: Floats,
    pixels: NDArray[np.intp],
    at: Floats,
    mask: Floats,
    texture: Floats,
    layer: float,
    light: Light,
    least: float = -1.0,
) -> Floats:
    """Blend one shell into the canvas, in place.

    Args:
        canvas: (H, W, 3) linear light.
        pixels: (N,) covered pixels.
        at: (N, 8) normal, tangent and texel of each.
        mask: opacity by texel.
        texture: colour and jitter of the strands by texel.
        layer: depth in the hair, 0 inner to 1 outer.
        light: the lamps.
        least: pixels up to this opacity are left as they are.

    Returns:
        Opacity of the pixels, (N,).
    """
    flat, cover = canvas.reshape(-1, 3), np.empty(len(pixels), np.float32)
    for part in cache_sized_parts(len(pixels)):
        values, place = at[part], pixels[part]
        opacity = sample_texture(mask, values[:, 6], values[:, 7])[:, 0]
        cover[part] = opacity
        if least >= 0:
            drawn = np.flatnonzero(opacity > least)
            values, place, opacity = values.take(drawn, axis=0), place.take(drawn), opacity.take(drawn)
        paint = sample_texture(texture, values[:, 6], values[:, 7])
        axes = normalised(values[:, :3]), normalised(values[:, 3:6])
        strands = shade_hair(paint[:, :3], paint[:, 3], *axes, layer, light)
        below = flat.take(place, axis=0)
        flat[place] = below + (strands - below) * opacity[:, None]
    return cover
