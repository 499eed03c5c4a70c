"""Drawing of pictures with the mesh head: identity set-up, deferred shading of skin and eyes, hair, clothes.

The first slots of the counters are those of generator 1 (`voiceface.synthetic.camera`); stream "face",
item = 1 + video, slot 18 is the second lamp (uniform).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voiceface.rendering import Fragments, get_normals, interpolate, rasterize_triangles
from voiceface.synthetic.camera import (
    SUPERSAMPLING,
    RenderedImage,
    RenderParams,
    draw_background,
    finish_image,
    light_vector,
    project_points,
    rotation_matrix,
)
from voiceface.synthetic.head.clothes import (
    CLOTHES_TRIANGLES,
    Collar,
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
    load_drawn_head,
)
from voiceface.synthetic.head.eyes import paint_eye, shade_eye
from voiceface.synthetic.head.hair import Hair, build_hair
from voiceface.synthetic.head.hair_hull import TRIANGLES as HAIR_TRIANGLES
from voiceface.synthetic.head.hair_styles import HairStyle, choose_hair_style
from voiceface.synthetic.head.shading import (
    Light,
    add_gloss,
    compute_irradiance,
    make_light,
    normalised,
    sample_texture,
    shade_hair,
)
from voiceface.synthetic.head.skin_texture import paint_skin
from voiceface.synthetic.head.traits import Traits, sample_traits
from voiceface.synthetic.head.unrolling import MAP_SIZE
from voiceface.synthetic.head.visibility import evaluate_harmonics
from voiceface.synthetic.identities import Identities

__all__ = ["PreparedHead", "draw_image", "prepare_head"]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

_CLOTH, _HAIR_BEHIND = 5, 6  # materials beyond those of the head
_COARSE_UP_TO = 160  # pixels of the canvas for which the mesh is not subdivided
_INNER_TOLERANCE_MM = 1.5  # the innermost hair may lie so far below the skin
_TEETH, _TONGUE = np.array([0.62, 0.56, 0.46], np.float32), np.array([0.10, 0.025, 0.022], np.float32)


@dataclass(frozen=True)
class PreparedHead:
    """Head of one identity, shared by all its images.

    Attributes:
        shape: (40,) shape coefficients.
        vertices: (V, 3) neutral head in mm.
        traits, style: looks.
        skin: (512, 512, 4) texture.
        eye: texture of an eye ball.
        hair: its shells.
        collar: where the clothes begin.
    """

    shape: Array
    vertices: Floats
    traits: Traits
    style: HairStyle
    skin: Floats
    eye: Floats
    hair: Hair
    collar: Collar


def prepare_head(identities: Identities, index: int, shape: Array, vertices: Array) -> PreparedHead:
    """Compute textures and hair of row `index` of `identities`; shape and vertices are those of its head."""
    head, traits = load_drawn_head(), sample_traits(identities, index)
    style = choose_hair_style(traits)
    skin = paint_skin(head.skin, head.masks, head.brows, head.anchors, traits)
    sides, around = (vertices[which] for which in head.neck)
    collar = Collar(
        half_width=1.03 * float(np.abs(sides[:, 0]).max()),
        front=float(around[:, 2].max()),
        back=float(around[:, 2].min()),
        height=float(around[:, 1].mean()),
        neckline=14.0 + 12.0 * float(traits.clothes[0]),
        slope=10.0 * float(traits.clothes[1]),
    )
    points = vertices.astype(np.float32)
    hair = build_hair(head.hull, points, style, traits)
    return PreparedHead(shape, points, traits, style, skin, paint_eye(traits), hair, collar)


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
        screen = project_points(points)
        screen[:, :2] *= np.float32(self.side * self.scale)
        screen[:, :2] += (self.side * self.offset - 0.5).astype(np.float32)
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
    from voiceface.synthetic.counter_rng import normals, uniforms

    k = int(identities.ids[index])
    jitter = normals(seed, k, "image", image_index, 2, start=29)
    video_normals = normals(seed, k, "face", 1 + params.video, 18)
    video_uniforms = uniforms(seed, k, "face", 1 + params.video, 19)
    light = make_light(
        light_vector(video_normals, video_uniforms, jitter, nuisance), float(video_uniforms[18]), nuisance
    )
    view = _View(rotation_matrix(params.pose), params.scale, params.offset, image_size * SUPERSAMPLING)
    canvas = draw_background(video_uniforms, view.side, nuisance)
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
    mesh = head.coarse if view.side <= _COARSE_UP_TO else head.fine
    points = mesh.refine(face.vertices)
    for number in np.flatnonzero(params.expression).tolist():
        points = points + np.float32(params.expression[number]) * mesh.expressions[number]
    camera = view.to_camera(points)
    drawn = ~mesh.is_ear if face.style.length else slice(None)
    parts = [
        _light_head(mesh, camera, view, light),
        _light_clothes(build_clothes(face.collar, view.rotation, params.pose), light),
    ]
    positions = [camera[mesh.source], build_clothes(face.collar, view.rotation, params.pose)]
    triangles = [mesh.triangles[drawn], CLOTHES_TRIANGLES]
    materials = [mesh.material[drawn], np.full(len(CLOTHES_TRIANGLES), _CLOTH, np.uint8)]
    if len(face.hair.behind):
        inner = view.to_camera(face.hair.points[0])
        parts.append(_light_inner_hair(inner, light))
        positions.append(inner)
        triangles.append(face.hair.behind)
        materials.append(np.full(len(face.hair.behind), _HAIR_BEHIND, np.uint8))
    starts = np.cumsum([0, *(len(each) for each in positions)])
    corners = np.concatenate([each + np.int32(start) for each, start in zip(triangles, starts)])
    screen = view.to_canvas(np.concatenate(positions))
    found = rasterize_triangles(screen, corners, view.side, view.side, threads=1)
    values = interpolate(found, corners, np.concatenate(parts), threads=1)
    covered = np.flatnonzero(found.triangles.ravel() >= 0)
    material = np.concatenate(materials)[found.triangles.ravel()[covered]]
    pixels = values.reshape(-1, values.shape[-1])[covered]
    canvas.reshape(-1, 3)[covered] = _shade_solids(
        pixels, material, face, points, params, view, light, clothes, nuisance
    )
    return found.depth


def _light_head(mesh: DrawnMesh, camera: Floats, view: _View, light: Light) -> Floats:
    """Values at the corners of the head, (C, 9): diffuse light, normal, visibility of the lamp, texel."""
    normals = get_normals(camera, mesh.surface)
    harmonics = evaluate_harmonics(light.direction.astype(float) @ view.rotation)
    visibility = np.clip(1.6 * (mesh.transfer @ harmonics.astype(np.float32)) - 0.42, 0.0, 1.0)
    diffuse = compute_irradiance(normals, mesh.occlusion, visibility, light)
    values = np.concatenate([diffuse, normals, visibility[:, None]], axis=1)[mesh.source]
    return np.concatenate([values, mesh.texels], axis=1)


def _light_clothes(points: Floats, light: Light) -> Floats:
    normals = get_normals(points, CLOTHES_TRIANGLES)
    normals = np.where(normals[:, 2:] < -0.3, -normals, normals)  # the inside of the collar
    occlusion, place = clothes_occlusion()
    open_sky = np.ones(len(points), np.float32)
    diffuse = compute_irradiance(normals, occlusion, open_sky, light)
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
    which = {number: np.flatnonzero(material == number) for number in np.unique(material).tolist()}
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
    for ball, number in zip(load_drawn_head().eyes, (EYE_LEFT, EYE_RIGHT)):
        if number in which:
            at = which[number]
            neutral = face.vertices[ball.vertices]
            middle = 0.5 * (neutral.min(axis=0) + neutral.max(axis=0))
            rim = (points[ball.rim, :2] - middle[:2]).astype(float) / ball.radius
            upper, lower = (np.polyfit(rim[lid, 0], rim[lid, 1], 2) for lid in (ball.upper, ball.lower))
            colour[at] = shade_eye(
                face.eye,
                place[at],
                diffuse[at],
                normals[at],
                (upper, lower),
                view.rotation,
                params.pose,
                light,
            )
    return colour


def _draw_hair(canvas: Floats, depth: Floats, hair: Hair, view: _View, light: Light) -> None:
    """Draw the shells of the hair over the canvas, from the innermost, in place."""
    head, flat = load_drawn_head(), canvas.reshape(-1, 3)
    tangents = view.to_camera(hair.tangents)
    nearest = depth
    for number, triangles in enumerate(hair.triangles):
        if not len(triangles):
            continue
        points = view.to_camera(hair.points[number])
        values = np.concatenate([get_normals(points, HAIR_TRIANGLES), tangents, head.hull.texels], axis=1)
        start = nearest - np.float32(_INNER_TOLERANCE_MM) if number == 0 else nearest.copy()
        screen = view.to_canvas(points)
        found = rasterize_triangles(screen, triangles, view.side, view.side, depth=start, threads=1)
        pixels = np.flatnonzero(found.triangles.ravel() >= 0)
        if not len(pixels):
            continue
        part = Fragments(
            found.depth.reshape(1, -1)[:, pixels],
            found.triangles.reshape(1, -1)[:, pixels],
            found.weights.reshape(1, -1, 3)[:, pixels],
        )
        at = interpolate(part, triangles, values, threads=1)[0]
        paint = sample_texture(hair.texture, at[:, 6], at[:, 7])
        cover = sample_texture(hair.cover[number], at[:, 6], at[:, 7])[:, 0]
        layer = np.full(len(pixels), hair.layers[number], np.float32)
        strands = shade_hair(
            paint[:, :3], paint[:, 3], normalised(at[:, :3]), normalised(at[:, 3:6]), layer, light
        )
        flat[pixels] += (strands - flat[pixels]) * cover[:, None]
        opaque = pixels[cover > 0.5]
        nearest = nearest.copy()
        nearest.ravel()[opaque] = np.maximum(nearest.ravel()[opaque], found.depth.ravel()[opaque])
