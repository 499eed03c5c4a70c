"""Rendering of face images: the identity once, then any number of its images, by either generator.

Generator 1 draws the grid head of this folder, generator 2 the mesh head of `voiceface.synthetic.head`.
Camera, light and counters are those of `voiceface.synthetic.camera`.
"""

from typing import TYPE_CHECKING, Union, overload

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.camera import (
    FOCAL_LENGTH_MM,
    LANDMARK_BOX_SIZE,
    POSE_SD,
    SUPERSAMPLING,
    RenderedImage,
    RenderParams,
    draw_background,
    finish_image,
    get_head_model,
    light_vector,
    project_points,
    sample_render_params,
)
from voiceface.synthetic.counter_rng import normals, uniforms
from voiceface.synthetic.face import mean_surface
from voiceface.synthetic.face.appearance import build_appearance
from voiceface.synthetic.face.head import build_head_model, shape_coefficients
from voiceface.synthetic.face.scene import PreparedFace, Surface, build_surfaces
from voiceface.synthetic.identities import Identities
from voiceface.synthetic.layout import DEFAULT_GENERATOR, choose_face_gain

if TYPE_CHECKING:
    from voiceface.synthetic.head.prepared import PreparedHead

__all__ = [
    "FOCAL_LENGTH_MM",
    "LANDMARK_BOX_SIZE",
    "POSE_SD",
    "SUPERSAMPLING",
    "RenderParams",
    "RenderedImage",
    "light_vector",
    "prepare_face",
    "project_points",
    "rasterise_surface",
    "render_image",
    "sample_render_params",
]

Array = NDArray[np.float64]
Map = NDArray[np.float32]


@overload
def prepare_face(identities: Identities, index: int, *, face_gain: float | None = None) -> PreparedFace: ...


@overload
def prepare_face(
    identities: Identities, index: int, *, face_gain: float | None = None, generator: int
) -> Union[PreparedFace, "PreparedHead"]: ...


def prepare_face(
    identities: Identities,
    index: int,
    *,
    face_gain: float | None = None,
    generator: int = DEFAULT_GENERATOR,
) -> Union[PreparedFace, "PreparedHead"]:
    """Compute shape and texture of row `index` of `identities`, once for all its images.

    Args:
        identities: the population.
        index: row.
        face_gain: factor on all shape and expression bases; None: that of the presets.
        generator: 1 or 2, see the module.

    Raises:
        ValueError: another generator.
    """
    alpha = shape_coefficients(identities.take([index]))[0]
    vertices = get_head_model(choose_face_gain(face_gain, generator), generator).compute_vertices(alpha)
    if generator == 2:
        from voiceface.synthetic.head.prepared import prepare_head

        return prepare_head(identities, index, alpha, vertices)
    return PreparedFace(alpha, vertices, build_appearance(identities, index))


def render_image(
    identities: Identities,
    index: int,
    image_index: int,
    *,
    seed: int | None = None,
    image_size: int = 128,
    nuisance: float = 1.0,
    face: Union[PreparedFace, "PreparedHead", None] = None,
    face_gain: float | None = None,
    generator: int = DEFAULT_GENERATOR,
) -> RenderedImage:
    """Render image number `image_index` of row `index` of `identities`.

    Args:
        identities: the population.
        index: row.
        image_index: number of the image, at least 0.
        seed: population seed; default: that of `identities`.
        image_size: width and height in pixels, at least 8.
        nuisance: factor on everything that differs between images of one identity, at least 0.
        face: result of `prepare_face` with the same `face_gain` and `generator`, which saves time for several
            images.
        face_gain: factor on all shape and expression bases; None: that of the presets.
        generator: 1 or 2, see the module.

    Raises:
        ValueError: a value out of range.
    """
    if image_size < 8 or nuisance < 0 or image_index < 0:
        raise ValueError(
            "expected image_size >= 8, nuisance >= 0 and image_index >= 0, got "
            f"{image_size}, {nuisance} and {image_index}"
        )
    seed = identities.seed if seed is None else seed
    face_gain = choose_face_gain(face_gain, generator)
    if face is None:
        face = prepare_face(identities, index, face_gain=face_gain, generator=generator)
    params = sample_render_params(
        identities,
        index,
        image_index,
        seed=seed,
        nuisance=nuisance,
        shape=face.shape,
        face_gain=face_gain,
        generator=generator,
    )
    if not isinstance(face, PreparedFace):
        from voiceface.synthetic.head.drawing import draw_image

        return draw_image(
            identities, index, image_index, params, face, seed=seed, image_size=image_size, nuisance=nuisance
        )
    canvas = _draw_grid_head(
        identities, index, image_index, params, face, seed, image_size, nuisance, face_gain
    )
    return finish_image(
        canvas, params, identities, index, image_index, seed=seed, image_size=image_size, nuisance=nuisance
    )


def _draw_grid_head(
    identities: Identities,
    index: int,
    image_index: int,
    params: RenderParams,
    face: PreparedFace,
    seed: int,
    image_size: int,
    nuisance: float,
    face_gain: float,
) -> Map:
    """Draw generator 1's head before its background, supersampled linear light."""
    k = int(identities.ids[index])
    jitter = normals(seed, k, "image", image_index, 2, start=29)
    video_normals = normals(seed, k, "face", 1 + params.video, 18)
    video_uniforms = uniforms(seed, k, "face", 1 + params.video, 18)
    model = build_head_model(face_gain)
    displacement = model.gain * np.tensordot(params.expression, model.expression_basis, 1)
    grid = (face.neutral_vertices + displacement).reshape(
        mean_surface.GRID_ROWS, mean_surface.GRID_COLUMNS, 3
    )
    raster_size = image_size * SUPERSAMPLING
    light = light_vector(video_normals, video_uniforms, jitter, nuisance)
    colour = draw_background(video_uniforms, raster_size, nuisance)
    depth = np.full((raster_size, raster_size), -1e9, np.float32)
    for surface in build_surfaces(face, grid, params.pose, video_uniforms[14:18], nuisance):
        screen = project_points(surface.points)
        screen[..., :2] = raster_size * (params.scale * screen[..., :2] + params.offset)
        rasterise_surface(surface, screen, light, colour, depth)
    return colour


def rasterise_surface(surface: Surface, screen_points: Array, light: Map, colour: Map, depth: Map) -> None:
    """Rasterise one surface into `colour` and `depth`, in place.

    Args:
        surface: in camera space.
        screen_points: (R, C, 3) pixel x, pixel y (down) and depth of its points.
        light: (8,) from `light_vector`.
        colour: (H, W, 3) linear light.
        depth: (H, W), larger is nearer.
    """
    from voiceface.synthetic.face.raster import compute_grid_normals, rasterise_grid

    outward = compute_grid_normals(np.ascontiguousarray(surface.points, np.float32), surface.closed)
    screen = np.ascontiguousarray(screen_points, np.float32)
    rasterise_grid(screen, outward, surface.texture, light, surface.two_sided, colour, depth)
