"""Drawing of pictures with the mesh head: deferred shading of skin, eyes and clothes, then hair.

The first slots of the counters are those of `voiceface.synthetic.camera`; stream "face", item = 1 + video,
slot 18 is the second lamp, 19 whether glasses are worn (uniforms).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from voiceface.rendering import get_normals, interpolate, rasterize_triangles
from voiceface.synthetic.camera import (
    SUPERSAMPLING,
    RenderedImage,
    RenderParams,
    draw_background,
    finish_image,
    light_vector,
)
from voiceface.synthetic.counter_rng import normals, uniforms
from voiceface.synthetic.head.clothes import (
    CLOTHES_TRIANGLES,
    build_clothes,
    clothes_occlusion,
    paint_clothes,
)
from voiceface.synthetic.head.drawn_head import (
    EYE_LEFT,
    EYE_RIGHT,
    SKIN,
    TEETH,
    TONGUE,
    DrawnMesh,
    find_middle,
    load_drawn_head,
)
from voiceface.synthetic.head.eyes import shade_eye
from voiceface.synthetic.head.glasses import FRAME_TRIANGLES
from voiceface.synthetic.head.hair_hull import TRIANGLES as HAIR_TRIANGLES
from voiceface.synthetic.head.prepared import PreparedHead, prepare_head
from voiceface.synthetic.head.shading import (
    Light,
    add_gloss,
    cache_sized_parts,
    compute_irradiance,
    make_light,
    normalised,
    sample_texture,
)
from voiceface.synthetic.head.shells import draw_beard, draw_hair
from voiceface.synthetic.head.unrolling import MAP_SIZE
from voiceface.synthetic.head.view import View, faces_camera, select_fragments
from voiceface.synthetic.head.visibility import evaluate_harmonics
from voiceface.synthetic.identities import Identities

__all__ = ["PreparedHead", "draw_head", "draw_image", "prepare_head"]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

_CLOTH, _HAIR_BEHIND, _FRAME = 5, 6, 7  # materials beyond those of the head
_BACKGROUND_SIDE = 32  # a smooth gradient, enlarged
_TEETH, _TONGUE = np.array([0.62, 0.56, 0.46], np.float32), np.array([0.10, 0.025, 0.022], np.float32)


def draw_image(
    identities: Identities,
    index: int,
    image_index: int,
    params: RenderParams,
    face: PreparedHead,
    *,
    seed: int,
    image_size: int,
    nuisance: float,
) -> RenderedImage:
    """Draw an image; arguments as `voiceface.synthetic.head.render.render_image`, with sampled parameters."""
    import cv2

    k = int(identities.ids[index])
    jitter = normals(seed, k, "image", image_index, 2, start=29)
    video_normals = normals(seed, k, "face", 1 + params.video, 18)
    video_uniforms = uniforms(seed, k, "face", 1 + params.video, 20)
    light = make_light(
        light_vector(video_normals, video_uniforms, jitter, nuisance), float(video_uniforms[18]), nuisance
    )
    glasses = face.traits.glasses
    worn = glasses is not None and video_uniforms[19] * min(nuisance, 1.0) < glasses.worn
    side = image_size * SUPERSAMPLING
    view = View(params.pose, side * params.scale, side * params.offset - 0.5, side, side)
    background = draw_background(video_uniforms, _BACKGROUND_SIDE, nuisance)
    canvas = np.asarray(cv2.resize(background, (side, side)), np.float32)
    draw_head(canvas, face, params.expression, view, light, video_uniforms[14:18], worn, nuisance=nuisance)
    return finish_image(
        canvas, params, identities, index, image_index, seed=seed, image_size=image_size, nuisance=nuisance
    )


def draw_head(
    canvas: Floats,
    face: PreparedHead,
    expression: Array,
    view: View,
    light: Light,
    clothes: Array,
    glasses: bool,
    *,
    nuisance: float = 1.0,
) -> None:
    """Draw a head with clothes, hair and beard over what the canvas shows, in place.

    Args:
        canvas: (H, W, 3) linear light, contiguous.
        face: the person.
        expression: (10,) coefficients.
        view: where it appears.
        light: the lamps.
        clothes: (4,) uniforms: colour and collar.
        glasses: whether it wears its glasses; it must have some.
        nuisance: how much the colours of clothes differ between videos.
    """
    depth, points, outward = _draw_solids(canvas, face, expression, view, light, clothes, nuisance, glasses)
    if face.beard is not None:
        draw_beard(canvas, depth, face.beard, points, outward, view, light)
    draw_hair(canvas, depth, face.hair, view, light)


def _draw_solids(
    canvas: Floats,
    face: PreparedHead,
    expression: Array,
    view: View,
    light: Light,
    clothes: Array,
    nuisance: float,
    glasses: bool,
) -> tuple[Floats, Floats, Floats]:
    """Draw head, clothes, glasses and the inner side of long hair into the canvas.

    Returns:
        Depths in mm; points of the head in camera space and their normals, (V, 3) each.
    """
    head = load_drawn_head()
    mesh, points = (head.coarse, face.vertices) if view.is_coarse else (head.fine, face.fine_vertices)
    for number in np.flatnonzero(expression).tolist():
        points = points + np.float32(expression[number]) * mesh.expressions[number]
    camera, cloth = view.to_camera(points), build_clothes(face.collar, view.rotation, view.pose)
    parts = [
        _Part(
            camera.take(mesh.source, axis=0),
            *_drawn_triangles(view.is_coarse, face.style.length > 0),
            _light_head(mesh, camera, view, light),
        ),
        _Part(cloth, CLOTHES_TRIANGLES, _CLOTH, _light_clothes(cloth, light)),
    ]
    if len(face.hair.behind):
        inner = view.to_camera(face.hair.points[0])
        parts.append(_Part(inner, face.hair.behind[:, ::-1], _HAIR_BEHIND, _light_inner_hair(inner, light)))
    if glasses:
        frame = view.to_camera(face.frame)
        parts.append(_Part(frame, FRAME_TRIANGLES, _FRAME, _light_frame(frame, light)))
    starts = np.cumsum([0, *(len(part.points) for part in parts)])
    corners = np.concatenate([part.triangles + np.int32(start) for part, start in zip(parts, starts)])
    material = np.concatenate([np.broadcast_to(part.material, len(part.triangles)) for part in parts])
    screen = view.to_canvas(np.concatenate([part.points for part in parts]))
    facing = np.flatnonzero(faces_camera(screen, corners))
    corners, material = corners.take(facing, axis=0), material.take(facing)
    found = rasterize_triangles(screen, corners, view.height, view.width, threads=1)
    values = np.concatenate([part.values for part in parts])
    covered = np.flatnonzero(found.triangles.ravel() >= 0)
    seen = select_fragments(found, covered)
    at, material = interpolate(seen, corners, values, threads=1)[0], material.take(seen.triangles[0])
    flat = canvas.reshape(-1, 3)
    for part in cache_sized_parts(len(covered)):
        flat[covered[part]] = _shade_solids(
            at[part], material[part], face, points, view, light, clothes, nuisance
        )
    return found.depth, camera, parts[0].values[: len(camera), 3:6]


@lru_cache(maxsize=4)
def _drawn_triangles(coarse: bool, long_hair: bool) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Triangles of the head and their materials; long hair hides the ears."""
    mesh = load_drawn_head().coarse if coarse else load_drawn_head().fine
    keep = ~mesh.is_ear if long_hair else np.ones(len(mesh.triangles), bool)
    return mesh.triangles[keep], mesh.material[keep]


@dataclass(frozen=True)
class _Part:
    """Points in camera space, triangles, their material or materials, and values (P, 9) of a drawn part."""

    points: Floats
    triangles: NDArray[np.int32]
    material: NDArray[np.uint8] | int
    values: Floats


def _light_head(mesh: DrawnMesh, camera: Floats, view: View, light: Light) -> Floats:
    """Values at the corners of the head, (C, 9): diffuse light, normal, visibility of the lamp, texel."""
    normals = get_normals(camera, mesh.surface)
    harmonics = evaluate_harmonics(light.direction.astype(float) @ view.rotation)
    visibility = np.clip(1.6 * (mesh.transfer @ harmonics.astype(np.float32)) - 0.42, 0.0, 1.0)
    diffuse = compute_irradiance(normals, mesh.sky, visibility, light)
    values = np.empty((len(mesh.source), 9), np.float32)
    count = len(camera)
    values[:count, :3], values[:count, 3:6], values[:count, 6] = diffuse, normals, visibility
    values[count:, :7] = values[mesh.source[count:], :7]
    values[:, 7:] = mesh.texels
    return values


def _light_clothes(points: Floats, light: Light) -> Floats:
    normals = get_normals(points, CLOTHES_TRIANGLES)
    normals = np.where(normals[:, 2:] < -0.3, -normals, normals)  # the inside of the collar
    sky, place = clothes_occlusion()
    open_sky = np.ones(len(points), np.float32)
    diffuse = compute_irradiance(normals, sky, open_sky, light)
    return np.concatenate([diffuse, normals, open_sky[:, None], place], axis=1)


def _light_inner_hair(points: Floats, light: Light) -> Floats:
    normals = -get_normals(points, HAIR_TRIANGLES)
    lit = 0.85 * light.ambient + light.lamp * np.clip(normals @ light.direction, 0.0, 1.0)
    diffuse = np.repeat(0.35 * lit[:, None], 3, axis=1)
    none = np.zeros((len(points), 1), np.float32)
    return np.concatenate([diffuse, normals, none, load_drawn_head().hull.texels], axis=1).astype(np.float32)


def _light_frame(points: Floats, light: Light) -> Floats:
    values = np.zeros((len(points), 9), np.float32)
    values[:, :3] = light.ambient + 0.7 * light.lamp
    values[:, 5] = values[:, 6] = 1.0
    return values


def _shade_solids(
    pixels: Floats,
    material: NDArray[np.uint8],
    face: PreparedHead,
    points: Floats,
    view: View,
    light: Light,
    clothes: Array,
    nuisance: float,
) -> Floats:
    """Linear colours (N, 3) of pixels with interpolated values (N, 9) and materials (N,)."""
    diffuse, normals, place = pixels[:, :3], normalised(pixels[:, 3:6]), pixels[:, 7:]
    albedo, gloss = np.empty((len(pixels), 3), np.float32), np.zeros(len(pixels), np.float32)
    which = {number: np.flatnonzero(material == number) for number in range(_FRAME + 1)}
    which = {number: at for number, at in which.items() if len(at)}
    if SKIN in which:
        at = which[SKIN]
        texel = place.take(at, axis=0)
        skin = sample_texture(face.skin, texel[:, 0] % MAP_SIZE, texel[:, 1])
        albedo[at], gloss[at] = skin[:, :3], skin[:, 3]
    if _CLOTH in which:
        at = which[_CLOTH]
        albedo[at], gloss[at] = paint_clothes(place[at], clothes, nuisance), 0.06
    if _HAIR_BEHIND in which:
        at = which[_HAIR_BEHIND]
        albedo[at] = sample_texture(face.hair.texture, place[at, 0], place[at, 1])[:, :3]
    if _FRAME in which and face.traits.glasses is not None:
        at = which[_FRAME]
        albedo[at], gloss[at] = face.traits.glasses.colour, face.traits.glasses.gloss
    for number, colour in ((TEETH, _TEETH), (TONGUE, _TONGUE)):
        if number in which:
            albedo[which[number]] = colour
    for number in (EYE_LEFT, EYE_RIGHT):
        if number in which:
            albedo[which[number]] = 0.0
    colour = albedo * diffuse
    add_gloss(colour, normals, gloss, pixels[:, 6], light)
    for ball, maps, number in zip(load_drawn_head().eyes, face.lids, (EYE_LEFT, EYE_RIGHT)):
        if number in which:
            at = which[number]
            height = (points[ball.rim, 1] - find_middle(face.vertices[ball.vertices])[1]).astype(
                float
            ) / ball.radius
            lids = maps[0] @ height[ball.upper], maps[1] @ height[ball.lower]
            colour[at] = shade_eye(
                face.eye, place[at], diffuse[at], normals[at], lids, view.rotation, view.pose, light
            )
    return colour
