"""Face pictures to network input: both sides resized to the target, values in -1...1 (specification, 5)."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from voiceface.images import loading as images

Picture = NDArray[np.uint8]


def resize_image(picture: Picture, side: int) -> Picture:
    """An RGB picture (H, W, 3) resized to a square, proportions ignored: Pillow's bicubic, antialiased."""
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or not picture.size:
        raise images.ImageError(
            f"expected an RGB picture of bytes (H, W, 3), found {picture.dtype} of shape {picture.shape}"
        )
    if picture.shape[:2] == (side, side):
        return picture
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))


def to_planes(picture: Picture) -> NDArray[np.float32]:
    """Bytes (H, W, 3) to (3, H, W) in -1...1: (x - 127.5) / 127.5."""
    values = np.ascontiguousarray(picture.transpose(2, 0, 1), np.float32)
    return (values - np.float32(127.5)) / np.float32(127.5)


def prepare_face(source: Any, side: int) -> NDArray[np.float32]:
    """One picture as the network takes it, (3, side, side) float32 in -1...1.

    Args:
        source: path, Pillow image of any mode, or RGB bytes (H, W, 3). Grey pictures become three channels.
        side: of the result in pixels.

    Raises:
        FileNotFoundError: no such file.
        voiceface.images.loading.ImageError: no readable picture.
    """
    if isinstance(source, str | os.PathLike):
        picture = images.decode(source)
    elif isinstance(source, Image.Image):
        picture = np.asarray(source.convert("RGB"))
    else:
        picture = np.asarray(source)
    return to_planes(resize_image(picture, side))


def visual_preprocess(img_size: int = 224) -> Callable[[Any], Tensor]:
    """A function from a path or Pillow image to network input, (3, img_size, img_size) in -1...1."""

    def preprocess(source: Any) -> Tensor:
        return torch.from_numpy(prepare_face(source, img_size))

    return preprocess
