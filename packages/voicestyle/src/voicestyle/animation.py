"""Animations of a trajectory, from the initial to the final image."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from voiceface.io.atomic import write_bytes

__all__ = [
    "encode_animation",
    "write_animation",
]

MIN_SIDE = 128
HOLD_MS = 1200  # duration of the first and the last image


def encode_animation(images: NDArray[np.uint8], num_blended: int = 2, frame_ms: int = 90) -> bytes:
    """Encode a GIF that blends from image to image and ends at the last one.

    Args:
        images: (K, S, S, 3) uint8.
        num_blended: blended frames between two images.
        frame_ms: duration of each of them, milliseconds.
    """
    from PIL import Image

    side = max(MIN_SIDE, images.shape[1])
    frames, durations = [], []
    for number, image in enumerate(images):
        if number:
            previous = images[number - 1].astype(np.float32)
            for part in range(1, num_blended + 1):
                fraction = part / (num_blended + 1)
                frames.append(((1 - fraction) * previous + fraction * image).astype(np.uint8))
                durations.append(frame_ms)
        frames.append(image)
        durations.append(HOLD_MS if number in (0, len(images) - 1) else frame_ms)
    resized = [Image.fromarray(each).resize((side, side), Image.Resampling.BICUBIC) for each in frames]
    stream = io.BytesIO()
    resized[0].save(stream, "GIF", save_all=True, append_images=resized[1:], duration=durations, loop=0)
    return stream.getvalue()


def write_animation(path: str | Path, images: NDArray[np.uint8]) -> None:
    """Write `encode_animation` to a .gif file, atomically."""
    write_bytes(path, encode_animation(images))
