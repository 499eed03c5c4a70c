"""People's own pictures, shown as a viewer shows them: upright, in sRGB, transparent parts on white."""

import importlib
import io
import logging
import os
import threading
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from voiceface.images.loading import (
    MAX_PIXELS,
    ImageArray,
    ImageError,
    apply_orientation,
    decode_image,
    to_rgb,
)
from voiceface.io.decoding_worker import runs_in_worker
from voiceface.io.file_kinds import printable
from voiceface.io.foreign_files import first_line, open_regular_file

__all__ = ["MIN_SIDE", "load_photograph", "read_photograph", "remembered_notes"]

MIN_SIDE = 16
"""Shorter side, pixels, below which no face can be recognised in a picture."""

MAX_REMEMBERED = 100_000  # files with notes
MAX_PREVIEWS = 20  # before the picture itself, in a TIFF file

_log = logging.getLogger(__name__)
_collected = threading.local()
_remembered: dict[str, tuple[str, ...]] = {}
_SUBFILE_TYPE = 254  # tag of TIFF; bit 0: a picture of lower resolution
_USUAL_GAMMA, _GAMMA_TOLERANCE = 1 / 2.2, 0.02
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")


@runs_in_worker(ImageError)
def load_photograph(
    source: str | os.PathLike[str] | bytes, *, min_side: int = MIN_SIDE, max_pixels: int = MAX_PIXELS
) -> ImageArray:
    """Decode a picture of a person's own, as a viewer shows it.

    The orientation stored by the camera is applied, colours of another ICC profile are converted to sRGB,
    transparent parts are blended on white. Of an animation or a document of several pages the first picture
    is read that is no preview of another one; of raw data of a camera, its preview, with a note. Published
    data folders are read by `voiceface.images.loading.load_image`, which does none of this, as the published
    programs.

    Args:
        source: path of a file, or its bytes. HEIC needs the extra `heif` (pi-heif).
        min_side: shorter side in pixels that a picture must have.
        max_pixels: larger images are refused by their header (decompression bombs).

    Returns:
        Shape (H, W, 3), uint8 RGB, a new array.

    Raises:
        FileNotFoundError: no such file.
        ImageError: no readable image, too small or too large, or all of one colour.
    """
    name = "image in memory" if isinstance(source, bytes) else printable(source)
    _register_heif(name, source)
    image = _skip_previews(name, decode_image(source, max_pixels=max_pixels), max_pixels)
    profile, gamma = image.info.get("icc_profile"), image.info.get("gamma")
    if profile or "srgb" in image.info or not gamma or abs(gamma - _USUAL_GAMMA) <= _GAMMA_TOLERANCE:
        gamma = None
    image, alpha = _split_alpha(apply_orientation(source, image))
    if profile:
        image = _convert_to_srgb(name, image, profile)
    pixels = to_rgb(source, image)
    if gamma:
        levels = 255 * np.linspace(0, 1, 256) ** (_USUAL_GAMMA / gamma)
        pixels = levels.round().astype(np.uint8)[pixels]
    if alpha is not None:
        white = Image.new("RGB", image.size, "white")
        pixels = to_rgb(source, Image.composite(Image.fromarray(pixels), white, alpha))
    height, width = pixels.shape[:2]
    if min(height, width) < min_side:
        raise ImageError(
            f"{name}: {width} x {height} pixels, expected at least {min_side} x {min_side}; "
            "give a larger picture"
        )
    if (pixels == pixels[0, 0]).all():
        raise ImageError(f"{name}: all pixels have one colour, expected a picture of a face; remove it")
    return pixels


def read_photograph(source: str | os.PathLike[str]) -> tuple[ImageArray, tuple[str, ...]]:
    """Decode a picture as `load_photograph` does, and return its notes instead of logging them.

    Args:
        source: path of a file.

    Returns:
        The pixels, and what was wrong with the file, without its name: "truncated image, ...".

    Raises:
        FileNotFoundError, ImageError: see `load_photograph`.
    """
    notes: list[str] = []
    _collected.notes = notes
    try:
        pixels = load_photograph(source)
    finally:
        _collected.notes = None
    name = printable(source)
    found = tuple(dict.fromkeys(note.removeprefix(f"{name}: ") for note in notes))
    if found and len(_remembered) < MAX_REMEMBERED:
        _remembered[os.fspath(source)] = found
    return pixels, found


def remembered_notes(source: str | os.PathLike[str]) -> tuple[str, ...]:
    """Notes that `read_photograph` returned for a file in this process."""
    return _remembered.get(os.fspath(source), ())


class _Collector(logging.Filter):
    """Keeps what the readers of images log while `read_photograph` runs in the same thread."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is logged."""
        notes = getattr(_collected, "notes", None)
        if notes is None:
            return True
        notes.append(record.getMessage())
        return False


for _name in (__name__, decode_image.__module__):
    logging.getLogger(_name).addFilter(_Collector())


def _register_heif(name: str, source: str | os.PathLike[str] | bytes) -> None:
    """Teach Pillow HEIC (and AVIF where its build lacks it) when a file of it comes.

    Raises:
        ImageError: such a file, and the library is not installed.
    """
    try:
        head = source[:12] if isinstance(source, bytes) else _read_head(source)
    except OSError:
        return  # reported by the decoder
    brand = head[8:12] if head[4:8] == b"ftyp" else b""
    Image.init()
    needed = brand in _HEIF_BRANDS or (brand in _AVIF_BRANDS and "AVIF" not in Image.OPEN)
    if not needed or "HEIF" in Image.OPEN:
        return
    for library in ("pi_heif", "pillow_heif"):  # the same reader; wheels of pi-heif hold no GPL encoder
        try:
            importlib.import_module(library).register_heif_opener()
        except ImportError:
            continue
        return
    raise ImageError(
        f"{name}: an HEIC or AVIF picture, for which pi-heif is needed; install it "
        '(pip install pi-heif, or "voiceface-shared[heif]"), or save the picture as JPEG'
    )


def _read_head(path: str | os.PathLike[str]) -> bytes:
    """First bytes of a regular file; nothing of other kinds of file."""
    try:
        with open_regular_file(path, ImageError, "a picture") as file:
            return file.read(12)
    except (FileNotFoundError, ImageError):  # reported by the decoder
        return b""


def _skip_previews(name: str, image: Image.Image, max_pixels: int) -> Image.Image:
    """Of a TIFF file that begins with a preview, the first picture that is none.

    Raises:
        ImageError: that picture is too large or cannot be decoded.
    """
    tags = getattr(image, "tag_v2", None)
    if tags is None or not _is_preview(tags):
        return image
    size = image.size
    try:
        for number in range(1, min(getattr(image, "n_frames", 1), MAX_PREVIEWS)):
            image.seek(number)
            if _is_preview(image.tag_v2):  # type: ignore[attr-defined]
                continue
            if image.width * image.height > max_pixels:
                raise ImageError(
                    f"{name}: too large ({image.width} x {image.height} pixels), expected at most "
                    f"{max_pixels} pixels; reduce the image"
                )
            image.load()
            return image
        image.seek(0)
        image.load()
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(
            f"{name}: corrupt image ({first_line(error)}), expected a complete one; copy it again"
        ) from None
    _log.warning(
        "%s: preview: %d x %d pixels beside raw data of a camera, which are not read; export it as JPEG",
        name,
        *size,
    )
    return image


def _is_preview(tags: Any) -> bool:
    kind = tags.get(_SUBFILE_TYPE, 0)
    return isinstance(kind, int) and bool(kind & 1)


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Separate colours and opacity; None: the image is opaque."""
    if image.mode == "RGBa":  # premultiplied
        image = image.convert("RGBA")
    if image.mode in ("P", "RGB", "L", "1", "I", "I;16") and "transparency" in image.info:
        if image.mode.startswith("I"):  # a transparent grey level: no viewer of faces needs it
            return image, None
        image = image.convert("RGBA")
    if image.mode in ("PA", "La"):
        image = image.convert("RGBA" if image.mode == "PA" else "LA")
    if image.mode not in ("RGBA", "LA"):
        return image, None
    alpha = image.getchannel("A")
    return image.convert("RGB" if image.mode == "RGBA" else "L"), alpha


def _convert_to_srgb(name: str, image: Image.Image, profile: bytes) -> Image.Image:
    """Convert colours by the ICC profile of a file; a profile that does not fit is ignored, as by viewers."""
    if image.mode == "P":
        image = image.convert("RGB")
    if image.mode not in ("RGB", "L", "CMYK", "LAB"):
        return image
    try:
        stored = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, stored, target, outputMode="RGB")
    except Exception as error:
        _log.warning("%s: colour profile cannot be used: colours as stored (%s)", name, first_line(error))
        return image
    return image if converted is None else converted
