"""Decoding of images to uint8, shape (H, W, 3), R G B."""

import io
import logging
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

__all__ = ["MAX_PIXELS", "ImageArray", "ImageError", "load_image"]

ImageArray = NDArray[Any]  # uint8, shape (H, W, 3), every function checks it

MAX_PIXELS = 50_000_000  # larger pictures are refused before they are decoded

_log = logging.getLogger(__name__)

_truncated_lock = threading.Lock()  # Pillow's switch for truncated files is one for the whole process


class ImageError(ValueError):
    """A picture that cannot be used; the message names file, finding, expectation and remedy."""


def load_image(
    source: str | os.PathLike[str] | bytes,
    *,
    strict: bool = False,
    exif_orientation: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> ImageArray:
    """Decode a picture of any mode to R G B.

    Grey and palette pictures become three channels, CMYK is converted (inverted Adobe files included), alpha
    is dropped and not blended, 16-bit grey is scaled to 8 bit. Of an animation the first picture counts.

    Args:
        source: path of a file, or its bytes.
        strict: refuse truncated files; else what is missing stays grey or black (as published) and is logged.
        exif_orientation: turn the picture upright as its EXIF data say; the published code ignores them.
        max_pixels: larger pictures are refused by their header (decompression bombs).

    Returns:
        Shape (H, W, 3), uint8, the caller's own copy.

    Raises:
        FileNotFoundError: no such file.
        ImageError: a folder, an empty file, not a picture, too large, or damaged.
    """
    name, data = (
        ("picture in memory", source) if isinstance(source, bytes) else (str(source), _read_bytes(source))
    )
    if not data:
        raise ImageError(f"{name}: empty file (0 bytes), expected a picture; remove it or fetch it again")
    try:
        if strict:
            with _truncated_lock:
                image = _open_header(name, data, max_pixels)
                image.load()
        else:
            image = _open_header(name, data, max_pixels)
            try:
                image.load()
            except (OSError, SyntaxError, ValueError, EOFError) as error:
                _log.warning("%s: truncated picture, its missing part stays empty (%s)", name, error)
                image = _load_truncated(name, data, max_pixels)
    except ImageError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, IndexError) as error:
        advice = "copy it again or remove it" + (", or read it with strict=False" if strict else "")
        raise ImageError(f"{name}: damaged picture ({error}), expected a whole one; {advice}") from None
    if exif_orientation:
        image = ImageOps.exif_transpose(image)
    return _to_rgb(name, image)


def _read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such picture; check the data folder") from None
    except IsADirectoryError:
        raise ImageError(f"{path}: is a folder, expected a picture") from None


def _open_header(name: str, data: bytes, max_pixels: int) -> Image.Image:
    """Read the header and refuse what is no picture or too large."""
    try:
        image = Image.open(io.BytesIO(data))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{name}: too large ({error}), expected at most {max_pixels} pixels; reduce the picture"
        ) from None
    except (OSError, SyntaxError, ValueError, IndexError, EOFError):
        raise ImageError(
            f"{name}: not a picture (begins with {data[:8]!r}), expected jpg, png or another common format; "
            "remove it"
        ) from None
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            f"{name}: too large ({width} x {height} pixels), expected at most {max_pixels} pixels; "
            "reduce the picture"
        )
    return image


def _load_truncated(name: str, data: bytes, max_pixels: int) -> Image.Image:
    """Decode as much as there is."""
    with _truncated_lock:
        before = ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            image = _open_header(name, data, max_pixels)
            image.load()
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before
    return image


def _to_rgb(name: str, image: Image.Image) -> ImageArray:
    """Any Pillow mode to (H, W, 3) uint8."""
    if image.mode == "F":
        raise ImageError(f"{name}: float picture of unknown range, expected 8-bit or 16-bit; convert it")
    if image.mode.startswith("I"):  # 16-bit grey; Pillow itself would cut at 255
        grey = np.clip(np.asarray(image, dtype=np.int64), 0, 65535)
        return np.repeat(((grey + 128) // 257).astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode == "P" and "transparency" in image.info:
        del image.info["transparency"]  # dropped anyway; Pillow would warn
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))
