"""Face pictures as the networks of SF2F see them: normalised, back to bytes, cut to the face, halved.

Sources: specification, sections 2.4, 7.2, 7.3 and 9.3. A normalised picture is R G B, float, (..., 3, H, W):
values 0...1 with the mean of its statistics taken off and divided by the deviation.
"""

from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Statistics = Literal["imagenet", "standard"]
"""Per channel: those of ImageNet, or 0.5 and 0.5."""
MEANS: dict[str, tuple[float, float, float]] = {
    "imagenet": (0.485, 0.456, 0.406),
    "standard": (0.5, 0.5, 0.5),
}
STDS: dict[str, tuple[float, float, float]] = {
    "imagenet": (0.229, 0.224, 0.225),
    "standard": (0.5, 0.5, 0.5),
}
FACE_BOX = (0.235, 0.195, 0.765, 0.915)
"""Left, top, right, bottom of the face in a picture of HQ-VoxCeleb, as shares of width and height."""
Box = tuple[float, float, float, float]


def normalise(images: Tensor, statistics: Statistics = "imagenet") -> Tensor:
    """Pictures (..., 3, H, W) of 0...1 to normalised ones."""
    mean, deviation = _mean_and_std(images, statistics)
    return (images - mean) / deviation


def denormalise(images: Tensor, statistics: Statistics = "imagenet") -> Tensor:
    """Normalised pictures (..., 3, H, W) back to 0...1; made ones may lie beyond, nothing is cut off."""
    mean, deviation = _mean_and_std(images, statistics)
    return torch.addcmul(mean, images, deviation)


def to_uint8(images: Tensor, statistics: Statistics = "imagenet", rounded: bool = False) -> Tensor:
    """Normalised pictures (..., 3, H, W) to uint8.

    Args:
        images: finite or not; what is not a number becomes 0.
        statistics: that they were normalised with. The published evaluation always takes those of ImageNet.
        rounded: to the nearest byte; else what lies behind the point is cut off, as published, which makes
            about a tenth of the bytes of an unchanged picture one lower.
    """
    values = (denormalise(images, statistics) * 255).nan_to_num(0.0, 255.0, 0.0)
    return (values.round() if rounded else values).clamp(0, 255).to(torch.uint8)


def from_uint8(images: Tensor, statistics: Statistics = "imagenet") -> Tensor:
    """uint8 pictures (..., 3, H, W) to normalised ones, float32."""
    if images.dtype != torch.uint8:
        raise ValueError(f"pictures must be uint8, found {images.dtype}")
    return normalise(images.float() / 255, statistics)


def preprocess_face(
    image: NDArray[np.uint8], size: tuple[int, int], statistics: Statistics = "imagenet"
) -> Tensor:
    """A decoded picture as the data set gives it: resized in 8 bits with antialias, normalised.

    Args:
        image: (H, W, 3) uint8, R G B.
        size: rows and columns of the result.
        statistics: to normalise with.

    Returns:
        (3, rows, columns), float32.
    """
    small = torch.from_numpy(resize_image(image, size)).permute(2, 0, 1)
    return from_uint8(small.contiguous(), statistics)


def resize_image(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture (H, W, 3) uint8 at another size (rows, columns): Pillow's bilinear filter with antialias."""
    from PIL import Image

    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"a picture must be uint8 (H, W, 3), found {image.dtype} {image.shape}")
    if min(size) < 1:
        raise ValueError(f"rows and columns must be at least 1, found {size}")
    if image.shape[:2] == tuple(size):
        return image.copy()
    shrunk = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.array(shrunk)


def average_with_mirror(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mean of a picture (H, W, 3) uint8 and its mirror image, cut to bytes (an option of the data set)."""
    return ((image.astype(np.uint16) + image[:, ::-1]) // 2).astype(np.uint8)


def face_crop_slices(height: int, width: int, face_box: Box = FACE_BOX) -> tuple[slice, slice]:
    """The part of a picture that a box covers: corners cut to whole pixels, both included.

    At 64 pixels 47 rows and 34 columns, at 128 pixels 94 and 68.

    Raises:
        ValueError: the corners of the box are in the wrong order or outside 0...1.
    """
    left, top, right, bottom = face_box
    if not (0 <= left <= right <= 1 and 0 <= top <= bottom <= 1):
        raise ValueError(f"a box is left, top, right, bottom within 0...1, found {face_box}")
    rows = slice(int(top * height), min(int(bottom * height) + 1, height))
    return rows, slice(int(left * width), min(int(right * width) + 1, width))


def crop_face(images: Tensor, face_box: Box = FACE_BOX) -> Tensor:
    """The face in pictures (..., H, W), a view."""
    rows, columns = face_crop_slices(images.shape[-2], images.shape[-1], face_box)
    return images[..., rows, columns]


def downsample_by_halving(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures (..., H, W) halved, taking every second pixel, until they have a size.

    So the real picture is brought to the resolution of a smaller output (nearest neighbour, as published).

    Raises:
        ValueError: no number of halvings leads there.
    """
    small = images
    while small.shape[-2] > size[0] and small.shape[-1] > size[1]:
        height, width = small.shape[-2] // 2, small.shape[-1] // 2
        small = small[..., : 2 * height : 2, : 2 * width : 2]
    if tuple(small.shape[-2:]) != tuple(size):
        raise ValueError(f"{tuple(images.shape[-2:])} pixels cannot be halved to {tuple(size)}")
    return small


def _mean_and_std(images: Tensor, statistics: str) -> tuple[Tensor, Tensor]:
    """Mean and deviation, (3, 1, 1)."""
    if statistics not in MEANS:
        raise ValueError(f"statistics must be one of {get_args(Statistics)}, found {statistics!r}")
    if images.ndim < 3 or images.shape[-3] != 3 or not images.is_floating_point():
        found = f"{images.dtype} {tuple(images.shape)}"
        raise ValueError(f"pictures must be float (..., 3, H, W), found {found}")
    mean, deviation = (images.new_tensor(table[statistics]) for table in (MEANS, STDS))
    return mean[:, None, None], deviation[:, None, None]
