"""Films of a path: an animated picture from the start to the last code."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from voiceface.io.atomic import write_bytes

LEAST_SIDE = 128
HOLD = 1200  # ms that first and last picture stay


def film_bytes(pictures: NDArray[np.uint8], between: int = 2, frame: int = 90) -> bytes:
    """A GIF that goes through pictures and back to the first.

    Args:
        pictures: (K, S, S, 3) uint8.
        between: blended pictures between two.
        frame: ms that each of them stays.
    """
    from PIL import Image

    side = max(LEAST_SIDE, pictures.shape[1])
    shown, times = [], []
    for number, picture in enumerate(pictures):
        if number:
            before = pictures[number - 1].astype(np.float32)
            for part in range(1, between + 1):
                share = part / (between + 1)
                shown.append(((1 - share) * before + share * picture).astype(np.uint8))
                times.append(frame)
        shown.append(picture)
        times.append(HOLD if number in (0, len(pictures) - 1) else frame)
    frames = [Image.fromarray(each).resize((side, side), Image.Resampling.BICUBIC) for each in shown]
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], duration=times, loop=0)
    return stream.getvalue()


def write_film(path: str | Path, pictures: NDArray[np.uint8]) -> None:
    """Write `film_bytes` atomically; a name that ends in .gif."""
    write_bytes(path, film_bytes(pictures))
