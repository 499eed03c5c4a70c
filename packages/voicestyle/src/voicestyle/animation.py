"""Films of a path: an animated picture from the start to the last code."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from voiceface.io.atomic import write_bytes

MIN_SIDE = 128
HOLD_MS = 1200  # ms that first and last picture stay


def encode_animation(images: NDArray[np.uint8], num_blended: int = 2, frame_ms: int = 90) -> bytes:
    """A GIF that goes through pictures and back to the first.

    Args:
        images: (K, S, S, 3) uint8.
        num_blended: blended pictures between two.
        frame_ms: ms that each of them stays.
    """
    from PIL import Image

    side = max(MIN_SIDE, images.shape[1])
    shown, times = [], []
    for number, picture in enumerate(images):
        if number:
            before = images[number - 1].astype(np.float32)
            for part in range(1, num_blended + 1):
                share = part / (num_blended + 1)
                shown.append(((1 - share) * before + share * picture).astype(np.uint8))
                times.append(frame_ms)
        shown.append(picture)
        times.append(HOLD_MS if number in (0, len(images) - 1) else frame_ms)
    frames = [Image.fromarray(each).resize((side, side), Image.Resampling.BICUBIC) for each in shown]
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], duration=times, loop=0)
    return stream.getvalue()


def write_animation(path: str | Path, images: NDArray[np.uint8]) -> None:
    """Write `encode_animation` atomically; a name that ends in .gif."""
    write_bytes(path, encode_animation(images))
