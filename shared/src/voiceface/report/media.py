"""Pictures and voices small enough to live inside a page, as data addresses."""

import base64
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike

import numpy as np

from voiceface.report.records import PictureSource, Sound

log = logging.getLogger(__name__)

RATE = 16000


@dataclass(frozen=True)
class Clip:
    """A voice in the page: its data address, seconds, and the outline of its waveform in [0, 1]."""

    address: str
    seconds: float
    outline: tuple[float, ...]


def enlarged(picture: np.ndarray, least: int = 160) -> np.ndarray:
    """A picture (H, W, 3) uint8 at a multiple of its size that is `least` pixels high or more."""
    from PIL import Image

    factor = max(1, -(-least // picture.shape[0]))
    size = picture.shape[1] * factor, picture.shape[0] * factor
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


class Media:
    """Turns pictures and voices into data addresses until the page's allowance is spent.

    A picture or a voice that cannot be read is left out with a warning: one bad file must not cost the
    report.

    Args:
        max_bytes: how many bytes of data addresses may be handed out.
        picture_side: longer side of a picture in pixels; smaller pictures keep their size.
        seconds: longest part of a voice that is kept.
    """

    def __init__(self, max_bytes: int, picture_side: int = 160, seconds: float = 4.0) -> None:
        self.left = max_bytes
        self.picture_side = picture_side
        self.seconds = seconds
        self.left_out = 0
        self._pictures: dict[str, str] = {}
        self._clips: dict[tuple[str, float], Clip] = {}

    def picture(self, source: PictureSource | None, side: int | None = None) -> str | None:
        """Data address of a picture as JPEG, or None (nothing given, unreadable, or no allowance left).

        `side` is the longer side of one that stands alone, in place of `picture_side`.
        """
        if source is None:
            return None
        key = str(source) if side is None and isinstance(source, str | PathLike) else None
        address = self._pictures.get(key) if key else None
        if address is None:
            try:
                address = _data_address(encode_picture(source, side or self.picture_side), "image/jpeg")
            except (OSError, ValueError) as error:
                log.warning("picture left out of the report: %s", error)
                return None
            if key:
                self._pictures[key] = address
        return address if self.spend(len(address)) else None

    def clip(self, sound: Sound | None) -> Clip | None:
        """A voice as MP3 (WAV where MP3 cannot be written), or None as for `picture`."""
        if sound is None:
            return None
        key = (str(sound.source), sound.start) if isinstance(sound.source, str | PathLike) else None
        clip = self._clips.get(key) if key else None
        if clip is None:
            try:
                clip = encode_clip(sound, self.seconds)
            except (OSError, ValueError) as error:
                log.warning("voice left out of the report: %s", error)
                return None
            if key:
                self._clips[key] = clip
        return clip if self.spend(len(clip.address)) else None

    def spend(self, size: int) -> bool:
        """Take `size` bytes from the allowance, or say that it is spent."""
        if size > self.left:
            self.left_out += 1
            return False
        self.left -= size
        return True


def encode_picture(source: PictureSource, side: int, quality: int = 84) -> bytes:
    """JPEG of a picture whose longer side is at most `side` pixels.

    Args:
        source: file, encoded bytes, or uint8 array (H, W, 3) RGB or (H, W) grey.
        side: longer side in pixels.
        quality: JPEG quality.

    Raises:
        ValueError: an array of another type or shape.
        OSError: a file that is missing or is no picture.
    """
    from PIL import Image, ImageOps

    if isinstance(source, np.ndarray):
        if (
            source.dtype != np.uint8
            or source.ndim not in (2, 3)
            or (source.ndim == 3 and source.shape[2] != 3)
        ):
            raise ValueError(f"a picture is uint8 (H, W, 3) or (H, W); found {source.dtype} {source.shape}")
        image = Image.fromarray(source)
    else:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as opened:
            opened.draft("RGB", (side, side))
            image = ImageOps.exif_transpose(opened)
            image.load()
    image = image.convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    memory = io.BytesIO()
    image.save(memory, "JPEG", quality=quality, optimize=True)
    return memory.getvalue()


def encode_clip(sound: Sound, seconds: float) -> Clip:
    """The first seconds of a voice, evened in level, at 16 kHz mono.

    Args:
        sound: file or samples.
        seconds: longest part kept.

    Raises:
        ValueError: no samples, or an array that is not (T,).
        OSError: a file that is missing.
    """
    import soundfile

    samples, rate = _samples(sound)
    samples = samples[round(sound.start * rate) :][: round(seconds * rate)]
    if not len(samples):
        raise ValueError(f"no sound in {_name(sound)} after {sound.start} s")
    if rate != RATE:
        import soxr

        samples = soxr.resample(samples, rate, RATE)
    samples = 0.8 * samples / max(float(np.abs(samples).max()), 1e-4)
    memory = io.BytesIO()
    if "MP3" in soundfile.available_formats():
        soundfile.write(memory, samples, RATE, format="MP3", subtype="MPEG_LAYER_III")
        kind = "audio/mpeg"
    else:
        soundfile.write(memory, samples, RATE, format="WAV", subtype="PCM_16")
        kind = "audio/wav"
    return Clip(_data_address(memory.getvalue(), kind), len(samples) / RATE, tuple(_outline(samples)))


def _samples(sound: Sound) -> tuple[np.ndarray, int]:
    """Samples (T,) as float32 in [-1, 1] and their rate."""
    if not isinstance(sound.source, np.ndarray):
        from voiceface.audio.loading import load

        return load(sound.source, scale="unit", rate=RATE, resample=True, policy="tolerant"), RATE
    samples = sound.source
    if samples.ndim != 1:
        raise ValueError(f"a voice has the shape (T,); found {samples.shape}")
    scale = 32768.0 if samples.dtype == np.int16 else 1.0
    return np.nan_to_num(samples.astype(np.float32) / scale), sound.rate


def _outline(samples: np.ndarray, bars: int = 56) -> Iterator[float]:
    """Loudness of `bars` equal parts, the loudest 1."""
    parts = [float(np.sqrt((part**2).mean())) if len(part) else 0.0 for part in np.array_split(samples, bars)]
    top = max(max(parts), 1e-6)
    for part in parts:
        yield round((part / top) ** 0.7, 3)


def _data_address(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _name(sound: Sound) -> str:
    return "an array" if isinstance(sound.source, np.ndarray) else str(sound.source)
