"""Resize and crop face images to one square size, with random changes in training.

All transforms take uint8 images (H, W, 3), keep the channel order and never modify their input;
networks trained with the published code expect BGR (`to_bgr`).
"""

import logging
import math
from functools import cache
from typing import Literal, NamedTuple, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from voiceface.images.loading import MAX_PIXELS, ImageArray, ImageError

__all__ = [
    "PADDING_VALUE",
    "AugmentationParams",
    "ResizeMode",
    "Rotation",
    "apply_augmentation",
    "apply_colour_jitter",
    "crop_or_pad",
    "evaluation_transform",
    "flip",
    "jitter_colour",
    "published_canvas_size",
    "resize",
    "resize_by_stretching",
    "resize_longer_side",
    "rotate",
    "sample_augmentation",
    "to_bgr",
    "training_transform",
]

_log = logging.getLogger(__name__)

ResizeMode = Literal["letterbox", "stretch"]  # of images that are not square

Rotation = Literal["expand_centred", "published"]

ROTATION_DEGREES = (-15, 15)  # whole degrees in training, upper end excluded

PADDING_VALUE = 127  # padding

PUBLISHED_PADDING_VALUE = (127, 0, 0)  # published: one number where OpenCV takes one per channel

PUBLISHED_PI = 3.141592653  # as published: decides the rounding of some canvas corners


class AugmentationParams(NamedTuple):
    """Random parameters of a training view; the rotation is None for none, the crop position in [0, 1]."""

    flipped: bool
    rotation_degrees: int | None
    crop_position: float


def to_bgr(image: ImageArray) -> ImageArray:
    """Reverse the channel order, RGB to BGR or back; shape (H, W, 3), contiguous copy."""
    _check_image(image)
    return cv2.cvtColor(image, cv2.COLOR_RGB2BGR)


def resize_longer_side(image: ImageArray, side: int) -> ImageArray:
    """Resize bilinearly (OpenCV, no antialiasing) to a longer side of `side`, keeping the aspect ratio.

    The shorter side is rounded down, to at least 1. An image that has the size already is returned unchanged.
    """
    _check_image(image)
    if side < 1:
        raise ValueError(f"side must be at least 1, found {side}")
    height, width = image.shape[:2]
    if side / height <= side / width:
        size = (max(1, int(side * width / height)), side)
    else:
        size = (side, max(1, int(side * height / width)))
    return image if size == (width, height) else cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def resize_by_stretching(image: ImageArray, side: int) -> ImageArray:
    """Resize the shorter side to `side`, then stretch to a square of `side`.

    Both steps are bilinear (OpenCV, no antialiasing) and round to uint8, as published for archetype_agnostic
    (docs/archetype_agnostic.md); the aspect ratio is lost. In between the longer side is rounded down. If the
    first step would exceed `MAX_PIXELS`, only the second one is applied. An image that has the size already
    is returned unchanged.
    """
    _check_image(image)
    if side < 1:
        raise ValueError(f"side must be at least 1, found {side}")
    height, width = image.shape[:2]
    between = (int(side * width / height), side) if height <= width else (side, int(side * height / width))
    if between[0] * between[1] > MAX_PIXELS:
        between = (width, height)
    for size in (between, (side, side)):
        if size != image.shape[1::-1]:
            image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return image


def resize(image: ImageArray, side: int, mode: ResizeMode) -> ImageArray:
    """Resize by `resize_longer_side` ("letterbox") or `resize_by_stretching` ("stretch").

    A second application changes nothing, so images can be cached in this form.
    """
    if mode not in get_args(ResizeMode):
        raise ValueError(f'resize_mode must be "letterbox" or "stretch", found {mode!r}')
    return resize_longer_side(image, side) if mode == "letterbox" else resize_by_stretching(image, side)


def flip(image: ImageArray) -> ImageArray:
    """Flip horizontally."""
    _check_image(image)
    return cv2.flip(image, 1)


def rotate(image: ImageArray, degrees: float, *, expand_centred: bool = True) -> ImageArray:
    """Rotate an image on a canvas that is large enough for it.

    Args:
        image: shape (H, W, 3), uint8.
        degrees: counter-clockwise positive.
        expand_centred: True: rotated about the centre, which is the centre of the new canvas; uncovered parts
            are 127 in every channel; 0 degrees change nothing. False, as published: the canvas is up to two
            pixels smaller, the centre of the image stays at (W/2, H/2), so that the canvas grows to the
            bottom and right only, and uncovered parts are (127, 0, 0).

    Returns:
        Shape (H', W', 3), uint8, bilinear.
    """
    _check_image(image)
    height, width = image.shape[:2]
    if not expand_centred:
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
        size = published_canvas_size(height, width, degrees)[::-1]
        return cv2.warpAffine(
            image,
            matrix,
            size,
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=PUBLISHED_PADDING_VALUE,
        )
    middle = ((width - 1) / 2, (height - 1) / 2)
    angle = math.radians(degrees)
    cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
    wide = math.ceil((width - 1) * cos + (height - 1) * sin - 1e-9) + 1
    high = math.ceil((width - 1) * sin + (height - 1) * cos - 1e-9) + 1
    matrix = cv2.getRotationMatrix2D(middle, degrees, 1.0)
    matrix[:, 2] += (wide - 1) / 2 - middle[0], (high - 1) / 2 - middle[1]
    return cv2.warpAffine(
        image,
        matrix,
        (wide, high),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(PADDING_VALUE,) * 3,
    )


def published_canvas_size(height: int, width: int, degrees: float) -> tuple[int, int]:
    """Height and width of the published canvas: the rotated corners, truncated towards zero."""
    angle = degrees * PUBLISHED_PI / 180
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = (width - 1) / 2, (height - 1) / 2
    corners = [(-x, -y), (x, -y), (x, y), (-x, y)]
    across = [int(a * cos + b * sin + 0.5) for a, b in corners]
    down = [int(-a * sin + b * cos + 0.5) for a, b in corners]
    falling, rising = abs(down[2] - down[0]), abs(down[3] - down[1])
    if falling > rising:
        return max(1, falling), max(1, abs(across[3] - across[1]))
    return max(1, rising), max(1, abs(across[2] - across[0]))


def crop_or_pad(image: ImageArray, side: int, position: float, fill_value: int = PADDING_VALUE) -> ImageArray:
    """Crop or pad each axis to `side`.

    Args:
        image: shape (H, W, 3), uint8.
        side: of the square.
        position: of the crop, in [0, 1], the same for both axes: start = int(position * excess).
        fill_value: value of the padding around an image, which starts at missing // 2.

    Returns:
        Shape (side, side, 3), uint8; a view of `image` where nothing had to be padded.
    """
    _check_image(image)
    if not 0 <= position <= 1:
        raise ValueError(f"position must be in [0, 1], found {position}")
    top, left = (int(position * max(0, length - side)) for length in image.shape[:2])
    image = image[top : top + side, left : left + side]
    height, width = image.shape[:2]
    if (height, width) == (side, side):
        return image
    framed = np.full((side, side, 3), fill_value, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    framed[top : top + height, left : left + width] = image
    return framed


def training_transform(
    image_bgr: ImageArray,
    side: int,
    rng: np.random.Generator,
    *,
    rotation: Rotation = "expand_centred",
    resize_mode: ResizeMode = "letterbox",
) -> NDArray[np.float32]:
    """Random view of a face for training: resize, flip (1/2), rotate (1/2, -15...14 degrees), crop.

    Args:
        image_bgr: shape (H, W, 3), uint8.
        side: of the result.
        rng: random generator, see `sample_augmentation`.
        rotation: see `rotate`; "published" reproduces the off-centre canvas of the published code.
        resize_mode: see `resize`.

    Returns:
        Shape (3, side, side), float32, whole numbers 0...255 in the channel order of the input.
    """
    return apply_augmentation(
        image_bgr, side, sample_augmentation(rng), rotation=rotation, resize_mode=resize_mode
    )


def sample_augmentation(rng: np.random.Generator) -> AugmentationParams:
    """Draw the parameters of `training_transform`: always four numbers, so that generators stay in step."""
    mirrored, turned = rng.random() < 0.5, rng.random() < 0.5
    degrees, fraction = int(rng.integers(*ROTATION_DEGREES)), float(rng.random())
    return AugmentationParams(mirrored, degrees if turned else None, fraction)


def apply_augmentation(
    image_bgr: ImageArray,
    side: int,
    params: AugmentationParams,
    *,
    rotation: Rotation = "expand_centred",
    resize_mode: ResizeMode = "letterbox",
) -> NDArray[np.float32]:
    """Apply `training_transform` with given parameters, so that several images can share a view."""
    if rotation not in get_args(Rotation):
        raise ValueError(f'rotation must be "expand_centred" or "published", found {rotation!r}')
    image = resize(image_bgr, side, resize_mode)
    if params.flipped:
        image = flip(image)
    if params.rotation_degrees is not None:
        image = rotate(image, params.rotation_degrees, expand_centred=rotation == "expand_centred")
    return _to_chw(crop_or_pad(image, side, params.crop_position))


def jitter_colour(
    face: NDArray[np.float32], strength: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Random contrast and colour cast, against learning the illumination of single images.

    Contrast is multiplied by 1 + strength x normal about the mid-grey, and strength x normal of half the
    range is added to each channel. Not in the published code. On the synthetic population a strength of 0.1
    gained between .007 and .03 of accuracy within the sex, one run each.

    Args:
        face: shape (3, side, side), 0...255; the result, float32, is not clipped to it.
        strength: standard deviation of both, at least 0.
        rng: source of four draws.
    """
    return apply_colour_jitter(face, rng.normal(0, strength, 4))


def apply_colour_jitter(face: NDArray[np.float32], noise: NDArray[np.float64]) -> NDArray[np.float32]:
    """Apply `jitter_colour` with four given numbers: contrast, then one per channel."""
    contrast, *cast = noise
    middle = 127.5
    offset = middle * (np.array(cast) - contrast)
    return face * np.float32(1 + contrast) + offset.astype(np.float32)[:, None, None]


def evaluation_transform(
    image_bgr: ImageArray, side: int, *, resize_mode: ResizeMode = "letterbox"
) -> NDArray[np.float32]:
    """Deterministic view of a face for validation and evaluation: resize, then pad to a square ("letterbox").

    The code published for seeking_shape does not pad, and its network then fails; the first padded image is
    logged. For `resize_mode` see `resize`.

    Returns:
        Shape (3, side, side), float32, whole numbers 0...255 in the channel order of the input.
    """
    image = resize(image_bgr, side, resize_mode)
    if image.shape[:2] != (side, side):
        _log_padding_once()
    return _to_chw(crop_or_pad(image, side, 0.0))


@cache
def _log_padding_once() -> None:
    """Log once per process that images are padded."""
    _log.info("some images are not square: padded with grey %d to a square", PADDING_VALUE)


def _to_chw(image: ImageArray) -> NDArray[np.float32]:
    """Convert (H, W, 3) uint8 to contiguous (3, H, W) float32."""
    return np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)


def _check_image(image: ImageArray) -> None:
    """Raise ImageError unless the image is a non-empty uint8 array with three channels."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ImageError(
            f"expected a uint8 image of shape (H, W, 3), found {image.dtype} of shape {image.shape}; "
            "decode files with voiceface.images.loading.load_image"
        )
