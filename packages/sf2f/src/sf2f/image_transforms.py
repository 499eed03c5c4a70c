"""Preprocessing of face images: normalisation, conversion to bytes, face crop, downsampling.

A normalised image is RGB, float, (..., 3, H, W): values 0...1 minus the mean of its statistics, divided by
their standard deviation.
"""

from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sf2f.network_config import FACE_BOX, Statistics

__all__ = [
    "MEANS",
    "STDS",
    "Box",
    "average_with_mirror",
    "crop_face",
    "denormalise",
    "downsample_by_halving",
    "face_crop_slices",
    "from_uint8",
    "normalise",
    "preprocess_face",
    "resize_image",
    "to_uint8",
]

MEANS: dict[str, tuple[float, float, float]] = {
    "imagenet": (0.485, 0.456, 0.406),
    "standard": (0.5, 0.5, 0.5),
}
STDS: dict[str, tuple[float, float, float]] = {
    "imagenet": (0.229, 0.224, 0.225),
    "standard": (0.5, 0.5, 0.5),
}
Box = tuple[float, float, float, float]


def normalise(images: Tensor, statistics: Statistics = "imagenet") -> Tensor:
    """Normalise images (..., 3, H, W) in 0...1."""
    mean, std = _mean_and_std(images, statistics)
    return (images - mean) / std


def denormalise(images: Tensor, statistics: Statistics = "imagenet") -> Tensor:
    """Map normalised images (..., 3, H, W) back to 0...1; values outside (generated images) are kept."""
    mean, std = _mean_and_std(images, statistics)
    return torch.addcmul(mean, images, std)


def to_uint8(images: Tensor, statistics: Statistics = "imagenet", rounded: bool = False) -> Tensor:
    """Convert normalised images (..., 3, H, W) to uint8.

    Args:
        images: may hold values that are not finite; NaN becomes 0.
        statistics: used for the normalisation. The published evaluation always assumes those of ImageNet.
        rounded: round to the nearest byte; else truncate as published, which lowers about a tenth of the
            bytes of an unchanged image by one.
    """
    values = (denormalise(images, statistics) * 255).nan_to_num(0.0, 255.0, 0.0)
    return (values.round() if rounded else values).clamp(0, 255).to(torch.uint8)


def from_uint8(images: Tensor, statistics: Statistics = "imagenet") -> Tensor:
    """Normalise uint8 images (..., 3, H, W), float32."""
    if images.dtype != torch.uint8:
        raise ValueError(f"images must be uint8, found {images.dtype}")
    return normalise(images.float() / 255, statistics)


def preprocess_face(
    image: NDArray[np.uint8], size: tuple[int, int], statistics: Statistics = "imagenet"
) -> Tensor:
    """Preprocess a decoded image as the data set does: 8-bit resize with antialiasing, normalisation.

    Args:
        image: (H, W, 3) uint8 RGB.
        size: rows and columns of the result.
        statistics: for the normalisation.

    Returns:
        (3, rows, columns), float32.
    """
    small = torch.from_numpy(resize_image(image, size)).permute(2, 0, 1)
    return from_uint8(small.contiguous(), statistics)


def resize_image(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize an image (H, W, 3) uint8 to (rows, columns) by Pillow's antialiased bilinear filter."""
    from PIL import Image

    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"an image must be uint8 (H, W, 3), found {image.dtype} {image.shape}")
    if min(size) < 1:
        raise ValueError(f"rows and columns must be at least 1, found {size}")
    if image.shape[:2] == tuple(size):
        return image.copy()
    resized = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.array(resized)


def average_with_mirror(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average an image (H, W, 3) uint8 with its mirror image, truncated to bytes (a data set option)."""
    return ((image.astype(np.uint16) + image[:, ::-1]) // 2).astype(np.uint8)


def face_crop_slices(height: int, width: int, face_box: Box = FACE_BOX) -> tuple[slice, slice]:
    """Rows and columns covered by a face box: corners truncated to whole pixels, both included.

    47 rows and 34 columns at 64 pixels, 94 and 68 at 128 pixels.

    Raises:
        ValueError: the corners of the box are in the wrong order or outside 0...1.
    """
    left, top, right, bottom = face_box
    if not (0 <= left <= right <= 1 and 0 <= top <= bottom <= 1):
        raise ValueError(f"face_box must be left, top, right, bottom within 0...1, found {face_box}")
    rows = slice(int(top * height), min(int(bottom * height) + 1, height))
    return rows, slice(int(left * width), min(int(right * width) + 1, width))


def crop_face(images: Tensor, face_box: Box = FACE_BOX) -> Tensor:
    """Crop the face from images (..., H, W); returns a view."""
    rows, columns = face_crop_slices(images.shape[-2], images.shape[-1], face_box)
    return images[..., rows, columns]


def downsample_by_halving(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Halve images (..., H, W), taking every second pixel, until they have the given size.

    This brings real images to the resolution of a smaller output (nearest neighbour, as published).

    Raises:
        ValueError: no number of halvings gives that size.
    """
    small = images
    while small.shape[-2] > size[0] and small.shape[-1] > size[1]:
        height, width = small.shape[-2] // 2, small.shape[-1] // 2
        small = small[..., : 2 * height : 2, : 2 * width : 2]
    if tuple(small.shape[-2:]) != tuple(size):
        raise ValueError(f"{tuple(images.shape[-2:])} pixels cannot be halved to {tuple(size)}")
    return small


def _mean_and_std(images: Tensor, statistics: str) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the statistics, each (3, 1, 1)."""
    if statistics not in MEANS:
        raise ValueError(f"statistics must be one of {get_args(Statistics)}, found {statistics!r}")
    if images.ndim < 3 or images.shape[-3] != 3 or not images.is_floating_point():
        found = f"{images.dtype} {tuple(images.shape)}"
        raise ValueError(f"images must be float (..., 3, H, W), found {found}")
    mean, std = (images.new_tensor(table[statistics]) for table in (MEANS, STDS))
    return mean[:, None, None], std[:, None, None]
