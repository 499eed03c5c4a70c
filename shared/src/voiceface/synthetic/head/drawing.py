"""Drawing of pictures with the mesh head: deferred shading of skin, eyes and clothes, then hair.

The first slots of the counters are those of generator 1 (`voiceface.synthetic.camera`); stream "face",
item = 1 + video, slot 18 is the second lamp (uniform).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voiceface.rendering import Fragments, get_normals, interpolate, rasterize_triangles
from voiceface.synthetic.camera import (
    FOCAL_LENGTH_MM,
    SUPERSAMPLING,
    RenderedImage,
    RenderParams,
    draw_background,
    finish_image,
    light_vector,
    rotation_matrix,
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
from voiceface.synthetic.head.hair import Hair
from voiceface.synthetic.head.hair_hull import TRIANGLES as HAIR_TRIANGLES
from voiceface.synthetic.head.prepared import PreparedHead, prepare_head
from voiceface.synthetic.head.shading import (
    Light,
    add_gloss,
    compute_irradiance,
    make_light,
    normalised,
    sample_texture,
    shade_hair,
)
from voiceface.synthetic.head.unrolling import MAP_SIZE
from voiceface.synthetic.head.visibility import evaluate_harmonics
from voiceface.synthetic.identities import Identities

__all__ = ["PreparedHead", "draw_image", "prepare_head"]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

_CLOTH, _HAIR_BEHIND = 5, 6  # materials beyond those of the head
_COARSE_UP_TO = 160  # pixels of the canvas for which the mesh is not subdivided and hair has two shells
_BACKGROUND_SIDE = 32  # a smooth gradient, enlarged
_INNER_TOLERANCE_MM = 1.5  # the innermost hair may lie so far below the skin
_TEETH, _TONGUE = np.array([0.62, 0.56, 0.46], np.float32), np.array([0.10, 0.025, 0.022], np.float32)


@dataclass(frozen=True)
class _View:
    """Camera of an image: head to canvas."""

    rotation: Array
    scale: float
    offset: Array
    side: int

    def to_camera(self, points: Floats) -> Floats:
        return points @ self.rotation.T.astype(np.float32)

    def to_canvas(self, points: Floats) -> Floats:
        """Pixels x, y (integers are centres) and depth in mm of points in camera space."""
        screen = points.copy()
        size = np.float32(self.side * self.scale * FOCAL_LENGTH_MM) / (
            np.float32(FOCAL_LENGTH_MM) - points[:, 2]
        )
        middle = (self.side * self.offset - 0.5).astype(np.float32)
        np.multiply(points[:, 0], size, out=screen[:, 0])
        screen[:, 0] += middle[0]
        np.multiply(points[:, 1], -size, out=screen[:, 1])
        screen[:, 1] += middle[1]
        return screen


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
    """Draw an image; arguments as `voiceface.synthetic.face.render.render_image`, with sampled parameters."""
    import cv2

    k = int(identities.ids[index])
    jitter = normals(seed, k, "image", image_index, 2, start=29)
    video_normals = normals(seed, k, "face", 1 + params.video, 18)
    video_uniforms = uniforms(seed, k, "face", 1 + params.video, 19)
    light = make_light(
        light_vector(video_normals, video_uniforms, jitter, nuisance), float(video_uniforms[18]), nuisance
    )
    view = _View(rotation_matrix(params.pose), params.scale, params.offset, image_size * SUPERSAMPLING)
    background = draw_background(video_uniforms, _BACKGROUND_SIDE, nuisance)
    canvas = np.asarray(cv2.resize(background, (view.side, view.side)), np.float32)
    depth = _draw_solids(canvas, face, params, view, light, video_uniforms[14:18], nuisance)
    _draw_hair(canvas, depth, face.hair, view, light)
    return finish_image(
        canvas, params, identities, index, image_index, seed=seed, image_size=image_size, nuisance=nuisance
    )


def _draw_solids(
    canvas: Floats,
    face: PreparedHead,
    params: RenderParams,
    view: _View,
    light: Light,
    clothes: Array,
    nuisance: float,
) -> Floats:
    """Draw head, clothes and the inner side of long hair into the canvas; returns the depths in mm."""
    head = load_drawn_head()
    coarse = view.side <= _COARSE_UP_TO
    mesh, points = (head.coarse, face.vertices) if coarse else (head.fine, face.fine_vertices)
    for number in np.flatnonzero(params.expression).tolist():
        points = points + np.float32(params.expression[number]) * mesh.expressions[number]
    camera, cloth = view.to_camera(points), build_clothes(face.collar, view.rotation, params.pose)
    parts = [
        _Part(
            camera[mesh.source],
            mesh.triangles[~mesh.is_ear] if face.style.length else mesh.triangles,
            mesh.material[~mesh.is_ear] if face.style.length else mesh.material,
            _light_head(mesh, camera, view, light),
        ),
        _Part(cloth, CLOTHES_TRIANGLES, _CLOTH, _light_clothes(cloth, light)),
    ]
    if len(face.hair.behind):
        inner = view.to_camera(face.hair.points[0])
        parts.append(_Part(inner, face.hair.behind[:, ::-1], _HAIR_BEHIND, _light_inner_hair(inner, light)))
    starts = np.cumsum([0, *(len(part.points) for part in parts)])
    corners = np.concatenate([part.triangles + np.int32(start) for part, start in zip(parts, starts)])
    material = np.concatenate([np.broadcast_to(part.material, len(part.triangles)) for part in parts])
    screen = view.to_canvas(np.concatenate([part.points for part in parts]))
    facing = _faces_camera(screen, corners)
    corners, material = corners[facing], material[facing]
    found = rasterize_triangles(screen, corners, view.side, view.side, threads=1)
    values = np.concatenate([part.values for part in parts])
    covered = np.flatnonzero(found.triangles.ravel() >= 0)
    at = interpolate(_select(found, covered), corners, values, threads=1)[0]
    canvas.reshape(-1, 3)[covered] = _shade_solids(
        at, material[found.triangles.ravel()[covered]], face, points, params, view, light, clothes, nuisance
    )
    return found.depth


@dataclass(frozen=True)
class _Part:
    """Points in camera space, triangles, their material or materials, and values (P, 9) of a drawn part."""

    points: Floats
    triangles: NDArray[np.int32]
    material: NDArray[np.uint8] | int
    values: Floats


def _faces_camera(screen: Floats, triangles: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Triangles whose front is seen, (T,); y points down."""
    x, y = screen[:, 0][triangles.T], screen[:, 1][triangles.T]
    return np.asarray((x[1] - x[0]) * (y[2] - y[0]) < (y[1] - y[0]) * (x[2] - x[0]))


def _select(found: Fragments, pixels: NDArray[np.intp]) -> Fragments:
    """Fragments of some pixels in one row."""
    row = (1, len(pixels))
    return Fragments(
        found.depth.ravel()[pixels].reshape(row),
        found.triangles.ravel()[pixels].reshape(row),
        found.weights.reshape(-1, 3)[pixels].reshape(*row, 3),
    )


def _light_head(mesh: DrawnMesh, camera: Floats, view: _View, light: Light) -> Floats:
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


def _shade_solids(
    pixels: Floats,
    material: NDArray[np.uint8],
    face: PreparedHead,
    points: Floats,
    params: RenderParams,
    view: _View,
    light: Light,
    clothes: Array,
    nuisance: float,
) -> Floats:
    """Linear colours (N, 3) of pixels with interpolated values (N, 9) and materials (N,)."""
    diffuse, normals, place = pixels[:, :3], normalised(pixels[:, 3:6]), pixels[:, 7:]
    albedo, gloss = np.empty((len(pixels), 3), np.float32), np.zeros(len(pixels), np.float32)
    which = {number: np.flatnonzero(material == number) for number in range(_HAIR_BEHIND + 1)}
    which = {number: at for number, at in which.items() if len(at)}
    if SKIN in which:
        at = which[SKIN]
        skin = sample_texture(face.skin, place[at, 0] % MAP_SIZE, place[at, 1])
        albedo[at], gloss[at] = skin[:, :3], skin[:, 3]
    if _CLOTH in which:
        at = which[_CLOTH]
        albedo[at], gloss[at] = paint_clothes(place[at], clothes, nuisance), 0.06
    if _HAIR_BEHIND in which:
        at = which[_HAIR_BEHIND]
        albedo[at] = sample_texture(face.hair.texture, place[at, 0], place[at, 1])[:, :3]
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
                face.eye, place[at], diffuse[at], normals[at], lids, view.rotation, params.pose, light
            )
    return colour


def _draw_hair(canvas: Floats, depth: Floats, hair: Hair, view: _View, light: Light) -> None:
    """Draw the shells of the hair over the canvas, from the innermost, in place."""
    texels, flat = load_drawn_head().hull.texels, canvas.reshape(-1, 3)
    normals = get_normals(view.to_camera(hair.points[-1]), HAIR_TRIANGLES)
    values = np.concatenate([normals, view.to_camera(hair.tangents), texels], axis=1)
    nearest = depth - np.float32(_INNER_TOLERANCE_MM)
    coarse = view.side <= _COARSE_UP_TO
    shells = sorted({0, len(hair.points) - 1}) if coarse else range(len(hair.points))
    for number in shells:
        triangles = hair.triangles[number]
        screen = view.to_canvas(view.to_camera(hair.points[number]))
        seen = triangles[_faces_camera(screen, triangles)]
        if not len(seen):
            continue
        found = rasterize_triangles(screen, seen, view.side, view.side, depth=nearest.copy(), threads=1)
        pixels = np.flatnonzero(found.triangles.ravel() >= 0)
        at = interpolate(_select(found, pixels), seen, values, threads=1)[0]
        cover = sample_texture(hair.cover[number], at[:, 6], at[:, 7])[:, 0]
        visible = np.flatnonzero(cover > 0.02)
        pixels, at, cover = pixels[visible], at[visible], cover[visible]
        paint = sample_texture(hair.texture, at[:, 6], at[:, 7])
        strands = shade_hair(
            paint[:, :3],
            paint[:, 3],
            normalised(at[:, :3]),
            normalised(at[:, 3:6]),
            float(hair.layers[number]),
            light,
        )
        flat[pixels] += (strands - flat[pixels]) * cover[:, None]
        nearest = np.maximum(nearest, depth) if number == 0 else nearest
        opaque = pixels[cover > 0.5]
        nearest.ravel()[opaque] = np.maximum(nearest.ravel()[opaque], found.depth.ravel()[opaque])
