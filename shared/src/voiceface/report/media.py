"""Images and utterances embedded in a page as data URLs."""

import base64
import io
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike

import numpy as np

from voiceface.report.records import AudioSource, ImageSource, Photograph

__all__ = ["SAMPLE_RATE", "EncodedClip", "MediaEncoder", "encode_clip", "encode_image", "upscale_image"]

log = logging.getLogger(__name__)

SAMPLE_RATE = 16000


@dataclass(frozen=True)
class EncodedClip:
    """Encoded utterance: data URL, duration in seconds, and outline of the waveform in [0, 1]."""

    data_url: str
    seconds: float
    waveform: tuple[float, ...]


def upscale_image(image: np.ndarray, min_height: int = 160) -> np.ndarray:
    """Enlarge an image (H, W, 3) uint8 by the smallest whole factor that reaches `min_height` pixels."""
    from PIL import Image

    factor = max(1, -(-min_height // image.shape[0]))
    size = image.shape[1] * factor, image.shape[0] * factor
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


class MediaEncoder:
    """Encode images and utterances as data URLs until the page's byte budget is spent.

    A file that cannot be read is skipped with a warning: one corrupt file does not prevent the report.

    Args:
        max_bytes: budget for all data URLs, bytes.
        max_image_size: longer side of an image in pixels; smaller images keep their size.
    """

    def __init__(self, max_bytes: int, max_image_size: int = 160) -> None:
        self.bytes_left = max_bytes
        self.max_image_size = max_image_size
        self.num_skipped = 0
        self._image_urls: dict[str, str] = {}
        self._clips: dict[tuple[str, float, float | None], EncodedClip] = {}

    def image_url(self, source: ImageSource | None, max_size: int | None = None) -> str | None:
        """Data URL of an image as JPEG, or None (no image given, unreadable, or no budget left).

        `max_size` is the longer side of a single large image, in place of `max_image_size`.
        """
        if source is None:
            return None
        is_file = isinstance(source, str | PathLike | Photograph)
        key = str(source) if max_size is None and is_file else None
        data_url = self._image_urls.get(key) if key else None
        if data_url is None:
            try:
                data_url = _to_data_url(encode_image(source, max_size or self.max_image_size), "image/jpeg")
            except (OSError, ValueError) as error:
                log.warning("image skipped in the report: %s", error)
                return None
            if key:
                self._image_urls[key] = data_url
        return data_url if self.reserve_bytes(len(data_url)) else None

    def encoded_clip(self, audio: AudioSource | None, max_seconds: float | None = None) -> EncodedClip | None:
        """An utterance as MP3 (WAV if MP3 cannot be written), or None as for `image_url`."""
        if audio is None:
            return None
        key = None
        if isinstance(audio.source, str | PathLike):
            key = str(audio.source), audio.start_seconds, max_seconds
        clip = self._clips.get(key) if key else None
        if clip is None:
            try:
                clip = encode_clip(audio, max_seconds)
            except (OSError, ValueError) as error:
                log.warning("utterance skipped in the report: %s", error)
                return None
            if key:
                self._clips[key] = clip
        return clip if self.reserve_bytes(len(clip.data_url)) else None

    def reserve_bytes(self, size: int) -> bool:
        """Take `size` bytes from the budget; False when it is spent."""
        if size > self.bytes_left:
            self.num_skipped += 1
            return False
        self.bytes_left -= size
        return True


def encode_image(source: ImageSource, max_size: int, quality: int = 84) -> bytes:
    """Encode an image as JPEG whose longer side is at most `max_size` pixels.

    Args:
        source: file of a data folder, encoded bytes, uint8 array (H, W, 3) RGB or (H, W) grey, or photograph.
            Files are read as the networks read them.
        max_size: longer side in pixels.
        quality: JPEG quality.

    Raises:
        ValueError: an array of another type or shape.
        OSError: the file is missing or not an image.
    """
    from PIL import Image

    from voiceface.faces.own_face import read_face
    from voiceface.images.loading import load_image

    if isinstance(source, np.ndarray):
        if (
            source.dtype != np.uint8
            or source.ndim not in (2, 3)
            or (source.ndim == 3 and source.shape[2] != 3)
        ):
            raise ValueError(
                f"expected an image uint8 (H, W, 3) or (H, W); found {source.dtype} {source.shape}"
            )
        image = Image.fromarray(source)
    elif isinstance(source, Photograph):
        if source.face is not None and source.face.time is not None:
            from voiceface.videos.own_videos import read_video_face

            image = Image.fromarray(read_video_face(source.path, source.face))
        else:
            image = Image.fromarray(read_face(source.path, source.face))
    else:
        image = Image.fromarray(load_image(source))
    image = image.convert("RGB")
    image.thumbnail((max_size, max_size), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def encode_clip(audio: AudioSource, max_seconds: float | None = None) -> EncodedClip:
    """Encode an utterance at 16 kHz mono with normalised level.

    Args:
        audio: file or samples.
        max_seconds: maximum duration; None keeps the whole utterance.

    Raises:
        ValueError: no samples, or an array that is not (T,).
        OSError: the file is missing.
    """
    import soundfile

    samples, rate = _load_samples(audio)
    samples = samples[round(audio.start_seconds * rate) :]
    if max_seconds is not None:
        samples = samples[: round(max_seconds * rate)]
    if not len(samples):
        raise ValueError(f"no sound in {_describe_source(audio)} after {audio.start_seconds} s")
    if rate != SAMPLE_RATE:
        import soxr

        samples = soxr.resample(samples, rate, SAMPLE_RATE)
    samples = 0.8 * samples / max(float(np.abs(samples).max()), 1e-4)
    buffer = io.BytesIO()
    if "MP3" in soundfile.available_formats():
        soundfile.write(buffer, samples, SAMPLE_RATE, format="MP3", subtype="MPEG_LAYER_III")
        mime_type = "audio/mpeg"
    else:
        soundfile.write(buffer, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
        mime_type = "audio/wav"
    data_url = _to_data_url(buffer.getvalue(), mime_type)
    return EncodedClip(data_url, len(samples) / SAMPLE_RATE, tuple(_waveform_outline(samples)))


def _load_samples(audio: AudioSource) -> tuple[np.ndarray, int]:
    """Samples (T,) as float32 in [-1, 1], and their rate; of own and long ones what networks hear."""
    if not isinstance(audio.source, np.ndarray):
        from voiceface.audio.loading import load_audio_with_notes
        from voiceface.audio.recordings import is_longer, read_recording
        from voiceface.audio.samples import AudioError
        from voiceface.io.long_recordings import DEFAULT_LONG_RECORDINGS

        with suppress(AudioError):  # without speech, or damaged: as it is
            if audio.is_own or is_longer(audio.source, DEFAULT_LONG_RECORDINGS.seconds):
                heard = read_recording(audio.source, scale="unit", on_corrupt="salvage")
                return heard.waveform, SAMPLE_RATE
        loaded = load_audio_with_notes(
            audio.source,
            scale="unit",
            sample_rate=SAMPLE_RATE,
            resample=True,
            on_corrupt="salvage",
            channel="auto",
        )
        return loaded.waveform, SAMPLE_RATE
    samples = audio.source
    if samples.ndim != 1:
        raise ValueError(f"expected samples of shape (T,); found {samples.shape}")
    scale = 32768.0 if samples.dtype == np.int16 else 1.0
    return np.nan_to_num(samples.astype(np.float32) / scale), audio.sample_rate


def _waveform_outline(samples: np.ndarray, num_bars: int = 56) -> Iterator[float]:
    """Relative loudness of `num_bars` equal parts; the loudest part is 1."""
    parts = [
        float(np.sqrt((part**2).mean())) if len(part) else 0.0 for part in np.array_split(samples, num_bars)
    ]
    loudest = max(max(parts), 1e-6)
    for part in parts:
        yield round((part / loudest) ** 0.7, 3)


def _to_data_url(data: bytes, mime_type: str) -> str:
    return f"data:{mime_type};base64,{base64.b64encode(data).decode()}"


def _describe_source(audio: AudioSource) -> str:
    return "an array" if isinstance(audio.source, np.ndarray) else str(audio.source)
