"""Images of synthetic identities: pose, expression, crop, light, background, clothes, blur, noise.

Slots of the counters
    stream "image", clip = image: 0-2 pose, 3-12 expression, 13-22 which expressions (uniforms),
        23 zoom, 24-25 shift, 26 blur (uniform), 27 noise (uniform), 28 file quality (uniform),
        29-30 light jitter, from 64 on noise of the pixels
    stream "face", clip = 1 + video: 0-1 direction of the light, 2 ambient share (uniform), 3 gain (uniform),
        4-6 white balance, 7-12 two background colours (uniforms), 13 gradient direction (uniform),
        14-16 colour of the clothes (uniforms), 17 collar (uniform)
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.counter_rng import normals, uniforms
from voiceface.synthetic.face import head_bases
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

Array = NDArray[np.float64]
Map = NDArray[np.float32]

IMAGE_VERSION = 1
FOCAL_LENGTH_MM = 900.0  # mm from the camera to the point between the ears
LANDMARK_BOX_SIZE, LANDMARK_BOX_CENTRE_Y = 0.60, 0.56
POSE_SD = np.radians([14.0, 6.0, 4.0])
SUPERSAMPLING = 2


@dataclass(frozen=True)
class RenderedImage:
    """One rendered image and the truth behind it.

    Attributes:
        image: (side, side, 3) uint8, RGB.
        expression: (10,) expression coefficients.
        pose_degrees: (3,) yaw, pitch, roll in degrees.
        landmarks: (68, 2) pixel x, y.
        video: which of the identity's videos the image comes from.
        jpeg_quality: JPEG quality for the file, 90 to 95.
    """

    image: NDArray[np.uint8]
    expression: Array
    pose_degrees: Array
    landmarks: Array
    video: int
    jpeg_quality: int


def prepare_face(identities: Identities, index: int, *, face_gain: float = 1.0) -> PreparedFace:
    """Shape and painted map of row `index` of `identities`: the work done once per identity."""
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
        scale: pixels per mm in the image plane, for an image of 1 pixel.
        offset: (2,) pixel position of the point between the ears, for an image of 1 pixel.
        landmarks: (68, 2) x, y as shares of the image's side.
        video: which of the identity's videos the image comes from.
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
    """Pose, expression and crop of an image without drawing it; arguments as `render_image`.

    The crop is made as a face detector would: the landmarks' box takes 60 % of the side, so absolute size
    does not show.
    """
    seed = identities.seed if seed is None else seed
    who = int(identities.ids[index])
    n = normals(seed, who, "image", image_index, 26)
    present = uniforms(seed, who, "image", image_index, 10, start=13) < 0.5
    if shape is None:
        shape = shape_coefficients(identities.take([index]))[0]
    pose = nuisance * POSE_SD * np.clip(n[:3], -2.6, 2.6)
    expression = np.minimum(nuisance * np.abs(n[3:13]) * head_bases.EXPRESSION_SD * present, 1.3)
    marks = build_head_model(face_gain).compute_landmarks(shape, expression)
    plane = _project(marks @ rotation_matrix(pose).T)[:, :2]
    low, high = plane.min(axis=0), plane.max(axis=0)
    zoom = LANDMARK_BOX_SIZE * (1.0 + 0.05 * nuisance * n[23]) / (0.5 * (high - low).sum())
    centre = np.array([0.5, LANDMARK_BOX_CENTRE_Y]) + 0.02 * nuisance * n[24:26]
    offset = centre - zoom * 0.5 * (low + high)
    video = get_image_video(who, image_index, seed=seed)
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
    compiled: bool = True,
) -> RenderedImage:
    """Draw image number `image_index` of row `index` of `identities`.

    Args:
        identities: the population.
        index: row.
        image_index: number of the image, at least 0.
        seed: population seed; that of `identities` by default.
        image_size: width and height in pixels.
        nuisance: factor on everything that differs between images of one identity.
        face: result of `prepare_face`, to save time over many images.
        face_gain: factor on all shape and expression bases; the one `face` was made with.
        compiled: use the compiled z-buffer; otherwise the slow NumPy reference (see splat.py).

    Returns:
        The image with its expression, pose and landmarks.

    Raises:
        ValueError: side below 8, or a negative nuisance or image number.
    """
    import cv2

    if image_size < 8 or nuisance < 0 or image_index < 0:
        raise ValueError(f"side >= 8, nuisance >= 0, image >= 0: got {image_size}, {nuisance}, {image_index}")
    seed = identities.seed if seed is None else seed
    face = face or prepare_face(identities, index, face_gain=face_gain)
    who = int(identities.ids[index])
    view = sample_render_params(
        identities, index, image_index, seed=seed, nuisance=nuisance, shape=face.shape, face_gain=face_gain
    )
    u = uniforms(seed, who, "image", image_index, 3, start=26)
    jitter = normals(seed, who, "image", image_index, 2, start=29)
    vn = normals(seed, who, "face", 1 + view.video, 18)
    vu = uniforms(seed, who, "face", 1 + view.video, 18)

    model = build_head_model(face_gain)
    moved = model.gain * np.tensordot(view.expression, model.expression_basis, 1)
    skin = (face.neutral_vertices + moved).reshape(head_bases.GRID_ROWS, head_bases.GRID_COLUMNS, 3)
    big = image_size * SUPERSAMPLING
    light = _light_vector(vn, vu, jitter, nuisance)
    colour = _background(vu, big, nuisance)
    depth = np.full((big, big), -1e9, np.float32)
    for surface in build_surfaces(face, skin, view.pose, vu[14:18], nuisance):
        screen = _project(surface.points)
        screen[..., :2] = big * (view.scale * screen[..., :2] + view.offset)
        _rasterise(surface, screen, light, colour, depth, compiled)

    gain = 0.97 + nuisance * (0.25 * vu[3] - 0.125)
    balance = gain * (1.0 + 0.04 * nuisance * np.clip(vn[4:7], -2, 2))
    small = cv2.resize(colour, (image_size, image_size), interpolation=cv2.INTER_AREA)
    image = np.sqrt(np.maximum(small, 0.0)) * (255.0 * balance).astype(np.float32)
    blur = 0.8 * u[0] * nuisance
    if blur > 0.15:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    grain = normals(seed, who, "image", image_index, image_size * image_size, start=64).reshape(
        image_size, image_size, 1
    )
    image = image + ((1.0 + 4.0 * u[1]) * nuisance * grain).astype(np.float32)
    return RenderedImage(
        image=np.clip(np.rint(image), 0, 255).astype(np.uint8),
        expression=view.expression,
        pose_degrees=np.degrees(view.pose),
        landmarks=image_size * view.landmarks,
        video=view.video,
        jpeg_quality=90 + int(6 * u[2]),
    )


def _project(points: Array) -> Array:
    """Camera-space points (..., 3) to image-plane x, y (down) in mm and depth."""
    scale = FOCAL_LENGTH_MM / (FOCAL_LENGTH_MM - points[..., 2])
    return np.stack([points[..., 0] * scale, -points[..., 1] * scale, points[..., 2]], axis=-1)


def _light_vector(video_normals: Array, video_uniforms: Array, image_normals: Array, nuisance: float) -> Map:
    """Direction, half vector, ambient share and direct strength, (8,)."""
    azimuth = nuisance * (0.55 * video_normals[0] + 0.08 * image_normals[0]) + 0.18
    height = 0.50 + nuisance * (0.20 * video_normals[1] + 0.05 * image_normals[1])
    azimuth, height = np.clip(azimuth, -1.05, 1.05), np.clip(height, 0.0, 1.1)
    towards = np.array([np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)])
    half = towards + np.array([0.0, 0.0, 1.0])
    ambient = 0.36 + nuisance * 0.16 * (video_uniforms[2] - 0.5)
    return np.concatenate([towards, half / np.linalg.norm(half), [ambient, 1.12 - ambient]]).astype(
        np.float32
    )


def _background(video_uniforms: Array, image_size: int, nuisance: float) -> Map:
    """Two-colour gradient, (side, side, 3) linear."""
    first = to_linear_light(muted_colour(video_uniforms[7:10], 150.0, nuisance)).astype(np.float32)
    second = to_linear_light(muted_colour(video_uniforms[10:13], 122.0, nuisance)).astype(np.float32)
    angle = 2.0 * np.pi * video_uniforms[13]
    at = np.linspace(-0.5, 0.5, image_size)
    share = np.clip(0.5 + np.cos(angle) * at[None, :] + np.sin(angle) * at[:, None], 0, 1).astype(np.float32)
    return first + (second - first) * share[..., None]


def _rasterise(
    surface: Surface, screen_points: Array, light: Map, colour: Map, depth: Map, compiled: bool
) -> None:
    """Draw one surface, compiled or by the reference."""
    from voiceface.synthetic.face.raster import compute_grid_normals, rasterise_grid

    outward = compute_grid_normals(np.ascontiguousarray(surface.points, np.float32), surface.closed)
    draw: Any = rasterise_grid
    if not compiled:
        from voiceface.synthetic.face.raster_reference import rasterise_grid_reference as draw
    flat = np.ascontiguousarray(screen_points, np.float32)
    draw(flat, outward, surface.texture, light, surface.two_sided, colour, depth)
