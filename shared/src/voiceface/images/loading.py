"""Decode images to RGB, uint8, shape (H, W, 3)."""

import io
import logging
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from voiceface.io.decoding_worker import runs_in_worker
from voiceface.io.file_kinds import HEAD_SIZE, printable, recognise
from voiceface.io.foreign_files import first_line, read_file_bytes

__all__ = [
    "MAX_PIXELS",
    "ImageArray",
    "ImageError",
    "apply_orientation",
    "decode_image",
    "load_image",
    "to_rgb",
]

ImageArray = NDArray[Any]  # uint8, shape (H, W, 3), every function checks it

MAX_PIXELS = 50_000_000  # larger images are refused before they are decoded
MAX_BYTES = 1 << 30  # larger files are refused before they are read

PROGRAM_FORMATS = ("EPS", "WMF", "EMF", "GRIB", "BUFR", "HDF5", "MPEG")

_log = logging.getLogger(__name__)

_truncated_lock = threading.Lock()  # Pillow's option for truncated files is global


class ImageError(ValueError):
    """An image that cannot be used; the message names file, problem, expectation and remedy."""


@runs_in_worker(ImageError)
def load_image(
    source: str | os.PathLike[str] | bytes,
    *,
    strict: bool = False,
    exif_orientation: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> ImageArray:
    """Decode an image of any mode to RGB.

    Grey and palette images get three channels, CMYK is converted (inverted Adobe files included), alpha is
    dropped and not blended, 16-bit grey is scaled to 8 bit. Of an animation the first frame is read.

    Args:
        source: path of a file, or its bytes.
        strict: refuse truncated files; else their missing part stays grey or black (as published) and is
            logged.
        exif_orientation: apply the orientation in the EXIF data, if they can be read; the published code
            ignores it.
        max_pixels: larger images are refused by their header (decompression bombs).

    Returns:
        Shape (H, W, 3), uint8, a new array.

    Raises:
        FileNotFoundError: no such file.
        ImageError: a folder, an empty file, not an image, too large, or corrupt.
    """
    image = decode_image(source, strict=strict, max_pixels=max_pixels)
    if exif_orientation:
        image = apply_orientation(source, image)
    return to_rgb(source, image)


def apply_orientation(source: str | os.PathLike[str] | bytes, image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF data say; where they cannot be read it stays as it is, which is logged.

    Viewers do the same with damaged EXIF data.

    Args:
        source: origin of the image, for messages.
        image: from `decode_image`.
    """
    try:
        return ImageOps.exif_transpose(image)
    except Exception as error:  # Pillow's reader of EXIF data raises errors of many types
        _log.warning(
            "%s: EXIF data cannot be read: shown as stored (%s)", _describe(source), first_line(error)
        )
        return image


def decode_image(
    source: str | os.PathLike[str] | bytes, *, strict: bool = False, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Decode an image as it is stored, in any mode of Pillow; of an animation the first frame.

    Args and errors as `load_image`.
    """
    name, data = _describe(source), source if isinstance(source, bytes) else _read_bytes(source)
    if not data:
        raise ImageError(f"{name}: empty file (0 bytes), expected an image; remove it or fetch it again")
    try:
        if strict:
            with _truncated_lock:
                image = _open_header(name, data, max_pixels)
                image.load()
        else:
            image = _open_header(name, data, max_pixels)
            try:
                image.load()
            except Exception as error:
                _log.warning(
                    "%s: truncated image: its missing part stays empty (%s)", name, first_line(error)
                )
                image = _load_truncated(name, data, max_pixels)
    except ImageError:
        raise
    except Exception as error:  # decoders of forty formats raise what they like
        advice = "copy it again or remove it" + (", or read it with strict=False" if strict else "")
        raise ImageError(
            f"{name}: corrupt image ({first_line(error)}), expected a complete one; {advice}"
        ) from None
    return image


def _describe(source: str | os.PathLike[str] | bytes) -> str:
    """Name of a source for messages."""
    return "image in memory" if isinstance(source, bytes) else printable(source)


def _read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read the bytes of a regular file."""
    try:
        return read_file_bytes(path, ImageError, "an image", max_bytes=MAX_BYTES)
    except FileNotFoundError:
        if Path(path).is_dir():
            raise ImageError(f"{printable(path)}: is a folder, expected an image") from None
        raise FileNotFoundError(f"{printable(path)}: no such image; check the data folder") from None


def _open_header(name: str, data: bytes, max_pixels: int) -> Image.Image:
    """Read the header; refuse other files and images that are too large."""
    try:
        image = Image.open(io.BytesIO(data))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{name}: too large ({error}), expected at most {max_pixels} pixels; reduce the image"
        ) from None
    except Exception:
        kind = recognise(data[:HEAD_SIZE])
        found = f"it is {kind.title}" if kind and kind.key != "image" else f"begins with {data[:8]!r}"
        raise ImageError(
            f"{name}: not an image ({found}), expected jpg, png or another common format; remove it"
        ) from None
    if image.format in PROGRAM_FORMATS:  # Pillow would start another program, or has no decoder
        raise ImageError(
            f"{name}: a drawing or data in the format {image.format}, expected jpg, png or another common "
            "picture; export it as png"
        )
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            f"{name}: too large ({width} x {height} pixels), expected at most {max_pixels} pixels; "
            "reduce the image"
        )
    return image


def _load_truncated(name: str, data: bytes, max_pixels: int) -> Image.Image:
    """Decode the part that a truncated file has."""
    with _truncated_lock:
        before = ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            image = _open_header(name, data, max_pixels)
            image.load()
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before
    return image


def to_rgb(source: str | os.PathLike[str] | bytes, image: Image.Image) -> ImageArray:
    """Convert an image of any mode to RGB, shape (H, W, 3), uint8; alpha is dropped and not blended.

    Args:
        source: origin of the image, for messages.
        image: from `decode_image`.

    Raises:
        ImageError: a float image, whose range is unknown.
    """
    if image.mode == "F":
        name = _describe(source)
        raise ImageError(f"{name}: float image of unknown range, expected 8-bit or 16-bit; convert it")
    if image.mode.startswith("I"):  # 16-bit grey; Pillow itself would clip at 255
        grey = np.clip(np.asarray(image, dtype=np.int64), 0, 65535)
        return np.repeat(((grey + 128) // 257).astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode == "P" and "transparency" in image.info:
        del image.info["transparency"]  # dropped anyway; Pillow would warn
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))
