"""Conversion of images between tensors and bytes, and image grids."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from voiceface.io.atomic import write_bytes

__all__ = [
    "from_uint8",
    "image_grid",
    "to_uint8",
    "write_png",
]


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """Convert images (N, 3, H, W) in -1...1 to (N, H, W, 3) uint8: clamp, (x + 1) / 2 * 255, truncate."""
    scaled = (images.detach().float().clamp(-1, 1) + 1) / 2 * 255
    return scaled.permute(0, 2, 3, 1).cpu().numpy().astype(np.uint8)


def from_uint8(images: NDArray[np.uint8]) -> Tensor:
    """Convert images (N, H, W, 3) uint8 to (N, 3, H, W) float32 in -1...1: (x - 127.5) / 127.5."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def image_grid(images: NDArray[np.uint8], columns: int | None = None) -> NDArray[np.uint8]:
    """Arrange images (N, H, W, 3) in a grid, row by row; empty cells are black.

    Args:
        images: images of one size.
        columns: images per row; None for about as many as rows.
    """
    count, height, width, _ = images.shape
    columns = columns or max(1, round(count**0.5))
    rows = -(-count // columns)
    sheet = np.zeros((rows * columns, height, width, 3), np.uint8)
    sheet[:count] = images
    return (
        sheet.reshape(rows, columns, height, width, 3)
        .swapaxes(1, 2)
        .reshape(rows * height, columns * width, 3)
    )


def write_png(path: str | Path, image: NDArray[np.uint8]) -> None:
    """Write one image (H, W, 3) RGB as PNG, atomically."""
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    write_bytes(path, stream.getvalue())
