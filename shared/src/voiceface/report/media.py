"""Pictures and voices small enough to live inside a page, as data addresses."""

import base64
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike

import numpy as np

from voiceface.report.records import AudioSource, ImageSource

log = logging.getLogger(__name__)

SAMPLE_RATE = 16000


@dataclass(frozen=True)
class EncodedClip:
    """A voice in the page: its data address, seconds, and the outline of its waveform in [0, 1]."""

    data_url: str
    seconds: float
    waveform: tuple[float, ...]


def upscale_image(image: np.ndarray, min_height: int = 160) -> np.ndarray:
    """A picture (H, W, 3) uint8 at a multiple of its size that is `min_height` pixels high or more."""
    from PIL import Image

    factor = max(1, -(-min_height // image.shape[0]))
    size = image.shape[1] * factor, image.shape[0] * factor
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


class MediaEncoder:
    """Turns pictures and voices into data addresses until the page's allowance is spent.

    A picture or a voice that cannot be read is left out with a warning: one bad file must not cost the
    report.

    Args:
        max_bytes: how many bytes of data addresses may be handed out.
        max_image_size: longer side of a picture in pixels; smaller pictures keep their size.
        max_seconds: longest part of a voice that is kept.
    """

    def __init__(self, max_bytes: int, max_image_size: int = 160, max_seconds: float = 4.0) -> None:
        self.bytes_left = max_bytes
        self.max_image_size = max_image_size
        self.max_seconds = max_seconds
        self.num_skipped = 0
        self._image_urls: dict[str, str] = {}
        self._clips: dict[tuple[str, float], EncodedClip] = {}

    def image_url(self, source: ImageSource | None, max_size: int | None = None) -> str | None:
        """Data address of a picture as JPEG, or None (nothing given, unreadable, or no allowance left).

        `max_size` is the longer side of one that stands alone, in place of `max_image_size`.
        """
        if source is None:
            return None
        key = str(source) if max_size is None and isinstance(source, str | PathLike) else None
        address = self._image_urls.get(key) if key else None
        if address is None:
            try:
                address = _to_data_url(encode_image(source, max_size or self.max_image_size), "image/jpeg")
            except (OSError, ValueError) as error:
                log.warning("picture left out of the report: %s", error)
                return None
            if key:
                self._image_urls[key] = address
        return address if self.reserve_bytes(len(address)) else None

    def encoded_clip(self, audio: AudioSource | None) -> EncodedClip | None:
        """A voice as MP3 (WAV where MP3 cannot be written), or None as for `picture`."""
        if audio is None:
            return None
        key = (str(audio.source), audio.start_seconds) if isinstance(audio.source, str | PathLike) else None
        clip = self._clips.get(key) if key else None
        if clip is None:
            try:
                clip = encode_clip(audio, self.max_seconds)
            except (OSError, ValueError) as error:
                log.warning("voice left out of the report: %s", error)
                return None
            if key:
                self._clips[key] = clip
        return clip if self.reserve_bytes(len(clip.data_url)) else None

    def reserve_bytes(self, size: int) -> bool:
        """Take `size` bytes from the allowance, or say that it is spent."""
        if size > self.bytes_left:
            self.num_skipped += 1
            return False
        self.bytes_left -= size
        return True


def encode_image(source: ImageSource, max_size: int, quality: int = 84) -> bytes:
    """JPEG of a picture whose longer side is at most `max_size` pixels.

    Args:
        source: file, encoded bytes, or uint8 array (H, W, 3) RGB or (H, W) grey.
        max_size: longer side in pixels.
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
            opened.draft("RGB", (max_size, max_size))
            image = ImageOps.exif_transpose(opened)
            image.load()
    image = image.convert("RGB")
    image.thumbnail((max_size, max_size), Image.Resampling.LANCZOS)
    memory = io.BytesIO()
    image.save(memory, "JPEG", quality=quality, optimize=True)
    return memory.getvalue()


def encode_clip(audio: AudioSource, max_seconds: float) -> EncodedClip:
    """The first seconds of a voice, evened in level, at 16 kHz mono.

    Args:
        audio: file or samples.
        max_seconds: longest part kept.

    Raises:
        ValueError: no samples, or an array that is not (T,).
        OSError: a file that is missing.
    """
    import soundfile

    samples, rate = _load_samples(audio)
    samples = samples[round(audio.start_seconds * rate) :][: round(max_seconds * rate)]
    if not len(samples):
        raise ValueError(f"no sound in {_describe_source(audio)} after {audio.start_seconds} s")
    if rate != SAMPLE_RATE:
        import soxr

        samples = soxr.resample(samples, rate, SAMPLE_RATE)
    samples = 0.8 * samples / max(float(np.abs(samples).max()), 1e-4)
    memory = io.BytesIO()
    if "MP3" in soundfile.available_formats():
        soundfile.write(memory, samples, SAMPLE_RATE, format="MP3", subtype="MPEG_LAYER_III")
        kind = "audio/mpeg"
    else:
        soundfile.write(memory, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
        kind = "audio/wav"
    return EncodedClip(
        _to_data_url(memory.getvalue(), kind), len(samples) / SAMPLE_RATE, tuple(_waveform_outline(samples))
    )


def _load_samples(audio: AudioSource) -> tuple[np.ndarray, int]:
    """Samples (T,) as float32 in [-1, 1] and their rate."""
    if not isinstance(audio.source, np.ndarray):
        from voiceface.audio.loading import load

        return load(
            audio.source, scale="unit", sample_rate=SAMPLE_RATE, resample=True, on_corrupt="salvage"
        ), SAMPLE_RATE
    samples = audio.source
    if samples.ndim != 1:
        raise ValueError(f"a voice has the shape (T,); found {samples.shape}")
    scale = 32768.0 if samples.dtype == np.int16 else 1.0
    return np.nan_to_num(samples.astype(np.float32) / scale), audio.sample_rate


def _waveform_outline(samples: np.ndarray, num_bars: int = 56) -> Iterator[float]:
    """Loudness of `num_bars` equal parts, the loudest 1."""
    parts = [
        float(np.sqrt((part**2).mean())) if len(part) else 0.0 for part in np.array_split(samples, num_bars)
    ]
    top = max(max(parts), 1e-6)
    for part in parts:
        yield round((part / top) ** 0.7, 3)


def _to_data_url(data: bytes, mime_type: str) -> str:
    return f"data:{mime_type};base64,{base64.b64encode(data).decode()}"


def _describe_source(audio: AudioSource) -> str:
    return "an array" if isinstance(audio.source, np.ndarray) else str(audio.source)
