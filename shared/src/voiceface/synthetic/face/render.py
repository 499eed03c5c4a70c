"""Rendering of face images: pose, expression, crop, light, background, clothes, blur, noise.

Slots of the counters
    stream "image", item = image: 0-2 pose, 3-12 expression, 13-22 which expressions (uniforms),
        23 zoom, 24-25 shift, 26 blur (uniform), 27 noise (uniform), 28 JPEG quality (uniform),
        29-30 light jitter, from 64 pixel noise
    stream "face", item = 1 + video: 0-1 direction of the light, 2 ambient light (uniform), 3 gain (uniform),
        4-6 white balance, 7-12 two background colours (uniforms), 13 gradient direction (uniform),
        14-16 colour of the clothes (uniforms), 17 collar (uniform)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.counter_rng import normals, uniforms
from voiceface.synthetic.face import head_bases, mean_surface
from voiceface.synthetic.face.appearance import build_appearance, to_linear_light
from voiceface.synthetic.face.head import build_head_model, shape_coefficients
from voiceface.synthetic.face.scene import (
    PreparedFace,
    Surface,
    build_surfaces,
    muted_colour,
    rotation_matrix,
)
from voiceface.synthetic.identities import Identities, get_image_video

__all__ = [
    "FOCAL_LENGTH_MM",
    "IMAGE_VERSION",
    "LANDMARK_BOX_CENTRE_Y",
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

IMAGE_VERSION = 1
FOCAL_LENGTH_MM = 900.0  # distance of the camera to the point between the ears
LANDMARK_BOX_SIZE, LANDMARK_BOX_CENTRE_Y = 0.60, 0.56  # in image sides
POSE_SD = np.radians([14.0, 6.0, 4.0])
SUPERSAMPLING = 2


@dataclass(frozen=True)
class RenderedImage:
    """Rendered image with its ground truth.

    Attributes:
        image: (S, S, 3) uint8, RGB.
        expression: (10,) expression coefficients.
        pose_degrees: (3,) yaw, pitch, roll in degrees.
        landmarks: (68, 2) pixel x, y.
        video: number of the identity's video that the image belongs to.
        jpeg_quality: JPEG quality of its file, 90 to 95.
    """

    image: NDArray[np.uint8]
    expression: Array
    pose_degrees: Array
    landmarks: Array
    video: int
    jpeg_quality: int


def prepare_face(identities: Identities, index: int, *, face_gain: float = 1.0) -> PreparedFace:
    """Compute shape and texture of row `index` of `identities`, once for all its images."""
    alpha = shape_coefficients(identities.take([index]))[0]
    return PreparedFace(
        alpha, build_head_model(face_gain).compute_vertices(alpha), build_appearance(identities, index)
    )


@dataclass(frozen=True)
class RenderParams:
    """Parameters of one image, sampled before rendering.

    Attributes:
        pose: (3,) yaw, pitch, roll in radians.
        expression: (10,) expression coefficients.
        scale: image sides per mm in the image plane.
        offset: (2,) position of the point between the ears in image sides.
        landmarks: (68, 2) x, y in image sides, 0 ... 1 inside the image.
        video: number of the identity's video that the image belongs to.
    """

    pose: Array
    expression: Array
    scale: float
    offset: Array
    landmarks: Array
    video: int


def sample_render_params(
    identities: Identities,
    index: int,
    image_index: int,
    *,
    seed: int | None = None,
    nuisance: float = 1.0,
    shape: Array | None = None,
    face_gain: float = 1.0,
) -> RenderParams:
    """Sample pose, expression and crop of an image without rendering it; arguments as `render_image`.

    The crop imitates a face detector: the landmarks' bounding box takes 60 % of the side, so the absolute
    size of a head does not show.
    """
    seed = identities.seed if seed is None else seed
    k = int(identities.ids[index])
    n = normals(seed, k, "image", image_index, 26)
    present = uniforms(seed, k, "image", image_index, 10, start=13) < 0.5
    if shape is None:
        shape = shape_coefficients(identities.take([index]))[0]
    pose = nuisance * POSE_SD * np.clip(n[:3], -2.6, 2.6)
    expression = np.minimum(nuisance * np.abs(n[3:13]) * head_bases.EXPRESSION_SD * present, 1.3)
    landmarks = build_head_model(face_gain).compute_landmarks(shape, expression)
    plane = project_points(landmarks @ rotation_matrix(pose).T)[:, :2]
    low, high = plane.min(axis=0), plane.max(axis=0)
    zoom = LANDMARK_BOX_SIZE * (1.0 + 0.05 * nuisance * n[23]) / (0.5 * (high - low).sum())
    centre = np.array([0.5, LANDMARK_BOX_CENTRE_Y]) + 0.02 * nuisance * n[24:26]
    offset = centre - zoom * 0.5 * (low + high)
    video = get_image_video(k, image_index, seed=seed)
    return RenderParams(pose, expression, float(zoom), offset, zoom * plane + offset, video)


def render_image(
    identities: Identities,
    index: int,
    image_index: int,
    *,
    seed: int | None = None,
    image_size: int = 128,
    nuisance: float = 1.0,
    face: PreparedFace | None = None,
    face_gain: float = 1.0,
) -> RenderedImage:
    """Render image number `image_index` of row `index` of `identities`.

    Args:
        identities: the population.
        index: row.
        image_index: number of the image, at least 0.
        seed: population seed; default: that of `identities`.
        image_size: width and height in pixels, at least 8.
        nuisance: factor on everything that differs between images of one identity, at least 0.
        face: result of `prepare_face` with the same `face_gain`, which saves time for several images.
        face_gain: factor on all shape and expression bases.

    Raises:
        ValueError: a value out of range.
    """
    import cv2

    if image_size < 8 or nuisance < 0 or image_index < 0:
        raise ValueError(
            "expected image_size >= 8, nuisance >= 0 and image_index >= 0, got "
            f"{image_size}, {nuisance} and {image_index}"
        )
    seed = identities.seed if seed is None else seed
    face = face or prepare_face(identities, index, face_gain=face_gain)
    k = int(identities.ids[index])
    params = sample_render_params(
        identities, index, image_index, seed=seed, nuisance=nuisance, shape=face.shape, face_gain=face_gain
    )
    u = uniforms(seed, k, "image", image_index, 3, start=26)
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
    colour = _background(video_uniforms, raster_size, nuisance)
    depth = np.full((raster_size, raster_size), -1e9, np.float32)
    for surface in build_surfaces(face, grid, params.pose, video_uniforms[14:18], nuisance):
        screen = project_points(surface.points)
        screen[..., :2] = raster_size * (params.scale * screen[..., :2] + params.offset)
        rasterise_surface(surface, screen, light, colour, depth)

    gain = 0.97 + nuisance * (0.25 * video_uniforms[3] - 0.125)
    balance = gain * (1.0 + 0.04 * nuisance * np.clip(video_normals[4:7], -2, 2))
    small = cv2.resize(colour, (image_size, image_size), interpolation=cv2.INTER_AREA)
    image = np.sqrt(np.maximum(small, 0.0)) * (255.0 * balance).astype(np.float32)
    blur = 0.8 * u[0] * nuisance
    if blur > 0.15:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    noise = normals(seed, k, "image", image_index, image_size * image_size, start=64)
    noise = noise.reshape(image_size, image_size, 1)
    image = image + ((1.0 + 4.0 * u[1]) * nuisance * noise).astype(np.float32)
    return RenderedImage(
        image=np.clip(np.rint(image), 0, 255).astype(np.uint8),
        expression=params.expression,
        pose_degrees=np.degrees(params.pose),
        landmarks=image_size * params.landmarks,
        video=params.video,
        jpeg_quality=90 + int(6 * u[2]),
    )


def project_points(points: Array) -> Array:
    """Project camera-space points (..., 3) to image-plane x, y (down) in mm and depth."""
    scale = FOCAL_LENGTH_MM / (FOCAL_LENGTH_MM - points[..., 2])
    return np.stack([points[..., 0] * scale, -points[..., 1] * scale, points[..., 2]], axis=-1)


def light_vector(video_normals: Array, video_uniforms: Array, image_normals: Array, nuisance: float) -> Map:
    """Compute the light of `raster.shade`: direction, half vector, ambient and direct light, (8,).

    Args:
        video_normals: (2,) or more; direction, shared by the images of one video.
        video_uniforms: (3,) or more; the third is the ambient light.
        image_normals: (2,) change of the direction in one image.
        nuisance: how much the light differs from that of a neutral picture.
    """
    azimuth = nuisance * (0.55 * video_normals[0] + 0.08 * image_normals[0]) + 0.18
    height = 0.50 + nuisance * (0.20 * video_normals[1] + 0.05 * image_normals[1])
    azimuth, height = np.clip(azimuth, -1.05, 1.05), np.clip(height, 0.0, 1.1)
    direction = np.array([np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)])
    half = direction + np.array([0.0, 0.0, 1.0])
    ambient = 0.36 + nuisance * 0.16 * (video_uniforms[2] - 0.5)
    light = np.concatenate([direction, half / np.linalg.norm(half), [ambient, 1.12 - ambient]])
    return light.astype(np.float32)


def _background(video_uniforms: Array, image_size: int, nuisance: float) -> Map:
    """Compute a two-colour gradient, (S, S, 3) linear."""
    first = to_linear_light(muted_colour(video_uniforms[7:10], 150.0, nuisance)).astype(np.float32)
    second = to_linear_light(muted_colour(video_uniforms[10:13], 122.0, nuisance)).astype(np.float32)
    angle = 2.0 * np.pi * video_uniforms[13]
    axis = np.linspace(-0.5, 0.5, image_size)
    weight = np.clip(0.5 + np.cos(angle) * axis[None, :] + np.sin(angle) * axis[:, None], 0, 1)
    return first + (second - first) * weight.astype(np.float32)[..., None]


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
