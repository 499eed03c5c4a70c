"""Camera, light, background and finish of the population's images.

Slots of the counters
    stream "image", item = image: 0-2 pose, 3-12 expression, 13-22 which expressions (uniforms),
        23 zoom, 24-25 shift, 26 blur (uniform), 27 noise (uniform), 28 JPEG quality (uniform),
        29-30 light jitter, from 64 pixel noise
    stream "face", item = 1 + video: 0-1 direction of the light, 2 ambient light (uniform), 3 gain (uniform),
        4-6 white balance, 7-12 two background colours (uniforms), 13 gradient direction (uniform),
        14-16 colour of the clothes (uniforms), 17 collar (uniform)
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.colours import muted_colour, to_linear_light
from voiceface.synthetic.counter_rng import normals, uniforms
from voiceface.synthetic.head.model import build_head_model
from voiceface.synthetic.head.shape_space import EXPRESSION_SD, shape_coefficients
from voiceface.synthetic.identities import Identities, get_image_video
from voiceface.synthetic.layout import DEFAULT_FACE_GAIN

__all__ = [
    "FOCAL_LENGTH_MM",
    "LANDMARK_BOX_SIZE",
    "POSE_SD",
    "SUPERSAMPLING",
    "RenderParams",
    "RenderedImage",
    "draw_background",
    "finish_image",
    "light_vector",
    "project_points",
    "rotation_matrix",
    "sample_render_params",
]

Array = NDArray[np.float64]
Map = NDArray[np.float32]

FOCAL_LENGTH_MM = 900.0  # distance of the camera to the point between the ears
LANDMARK_BOX_SIZE = 0.57  # of the landmarks' bounding box in image sides
_LANDMARK_BOX_HEIGHT = 0.59  # of its centre
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
    face_gain: float = DEFAULT_FACE_GAIN,
) -> RenderParams:
    """Sample pose, expression and crop of an image without rendering it; arguments as `render_image`.

    The crop imitates a face detector: the landmarks' bounding box takes about 60 % of the side, so the
    absolute size of a head does not show.
    """
    seed = identities.seed if seed is None else seed
    k = int(identities.ids[index])
    n = normals(seed, k, "image", image_index, 26)
    present = uniforms(seed, k, "image", image_index, 10, start=13) < 0.5
    if shape is None:
        shape = shape_coefficients(identities.take([index]))[0]
    pose = nuisance * POSE_SD * np.clip(n[:3], -2.6, 2.6)
    expression = np.minimum(nuisance * np.abs(n[3:13]) * EXPRESSION_SD * present, 1.3)
    landmarks = build_head_model(face_gain).compute_landmarks(shape, expression)
    plane = project_points(landmarks @ rotation_matrix(pose).T)[:, :2]
    low, high = plane.min(axis=0), plane.max(axis=0)
    zoom = LANDMARK_BOX_SIZE * (1.0 + 0.05 * nuisance * n[23]) / (0.5 * (high - low).sum())
    centre = np.array([0.5, _LANDMARK_BOX_HEIGHT]) + 0.02 * nuisance * n[24:26]
    offset = centre - zoom * 0.5 * (low + high)
    video = get_image_video(k, image_index, seed=seed)
    return RenderParams(pose, expression, float(zoom), offset, zoom * plane + offset, video)


def project_points(points: NDArray[Any]) -> Any:
    """Project camera-space points (..., 3) to image-plane x, y (down) in mm and depth."""
    scale = FOCAL_LENGTH_MM / (FOCAL_LENGTH_MM - points[..., 2])
    return np.stack([points[..., 0] * scale, -points[..., 1] * scale, points[..., 2]], axis=-1)


def rotation_matrix(pose: Array) -> Array:
    """Compute the rotation (3, 3) of yaw, then pitch, then roll (in the image plane), in radians."""
    (cy, cp, cr), (sy, sp, sr) = np.cos(pose), np.sin(pose)
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return roll @ pitch @ yaw


def light_vector(video_normals: Array, video_uniforms: Array, image_normals: Array, nuisance: float) -> Map:
    """Compute the light: direction, half vector, ambient and direct light, (8,).

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


def draw_background(video_uniforms: Array, image_size: int, nuisance: float) -> Map:
    """Draw a two-colour gradient, (S, S, 3) linear, from the uniforms of the video."""
    first = to_linear_light(muted_colour(video_uniforms[7:10], 150.0, nuisance)).astype(np.float32)
    second = to_linear_light(muted_colour(video_uniforms[10:13], 122.0, nuisance)).astype(np.float32)
    angle = 2.0 * np.pi * video_uniforms[13]
    axis = np.linspace(-0.5, 0.5, image_size)
    weight = np.clip(0.5 + np.cos(angle) * axis[None, :] + np.sin(angle) * axis[:, None], 0, 1)
    return first + (second - first) * weight.astype(np.float32)[..., None]


def finish_image(
    canvas: Map,
    params: RenderParams,
    identities: Identities,
    index: int,
    image_index: int,
    *,
    seed: int,
    image_size: int,
    nuisance: float,
) -> RenderedImage:
    """Turn a canvas into an image: average over supersamples, exposure, white balance, blur, noise.

    Args:
        canvas: (2 S, 2 S, 3) linear light.
        params: of the image.
        identities: the population.
        index: row.
        image_index: number of the image.
        seed: population seed.
        image_size: S, width and height in pixels.
        nuisance: how much images of one identity differ.
    """
    import cv2

    k = int(identities.ids[index])
    u = uniforms(seed, k, "image", image_index, 3, start=26)
    video_normals = normals(seed, k, "face", 1 + params.video, 7)
    video_uniforms = uniforms(seed, k, "face", 1 + params.video, 4)
    gain = 0.97 + nuisance * (0.25 * video_uniforms[3] - 0.125)
    balance = gain * (1.0 + 0.04 * nuisance * np.clip(video_normals[4:7], -2, 2))
    small = cv2.resize(canvas, (image_size, image_size), interpolation=cv2.INTER_AREA)
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
