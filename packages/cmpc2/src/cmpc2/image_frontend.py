"""Image front end: images resized to a square, values in -1...1 (docs/cmpc2.md)."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from voiceface.images.loading import ImageError, load_image
from voiceface.images.photographs import load_photograph

__all__ = ["ImageArray", "prepare_face", "resize_image", "to_planes", "visual_preprocess"]

ImageArray = NDArray[np.uint8]


def resize_image(image: ImageArray, image_size: int) -> ImageArray:
    """Resize an RGB image (H, W, 3) to a square, ignoring proportions: Pillow's bicubic, antialiased.

    Raises:
        ImageError: no RGB image of bytes.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ImageError(
            f"expected an RGB image of bytes (H, W, 3), found {image.dtype} of shape {image.shape}"
        )
    if image.shape[:2] == (image_size, image_size):
        return image
    return np.asarray(Image.fromarray(image).resize((image_size, image_size), Image.Resampling.BICUBIC))


def to_planes(image: ImageArray) -> NDArray[np.float32]:
    """Convert bytes (H, W, 3) to float32 (3, H, W) in -1...1: (x - 127.5) / 127.5."""
    values = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)
    return (values - np.float32(127.5)) / np.float32(127.5)


def prepare_face(source: Any, image_size: int, *, photograph: bool = False) -> NDArray[np.float32]:
    """Convert an image to network input, (3, S, S) float32 in -1...1.

    Args:
        source: path, Pillow image of any mode, or RGB bytes (H, W, 3). Grey images become RGB.
        image_size: side S of the result in pixels.
        photograph: read a file as a viewer shows it (`voiceface.images.photographs.load_photograph`);
            otherwise as the published program reads data folders.

    Raises:
        FileNotFoundError: no such file.
        voiceface.images.loading.ImageError: no readable image.
    """
    if isinstance(source, str | os.PathLike):
        image = (load_photograph if photograph else load_image)(source)
    elif isinstance(source, Image.Image):
        image = np.asarray(source.convert("RGB"))
    else:
        image = np.asarray(source)
    return to_planes(resize_image(image, image_size))


def visual_preprocess(img_size: int = 224) -> Callable[[Any], Tensor]:
    """Build the function from a path or Pillow image to network input, (3, img_size, img_size) in -1...1.

    As in the published program, faces are not cut out; `FV_Wrapper.load_photograph` does it.
    """

    def preprocess(source: Any) -> Tensor:
        return torch.from_numpy(prepare_face(source, img_size, photograph=True))

    return preprocess
