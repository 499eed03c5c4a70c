"""Recordings of visitors: measured as all commands measure them, and drawn."""

import base64
import io
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from voiceface.studio.schemas import Clip
from voiceface.studio.settings import Limits

__all__ = [
    "HeardVoice",
    "draw_spectrogram",
    "encode_voice",
    "hear_voice",
    "outline",
    "require_short",
    "wav_clip",
]

SAMPLE_RATE = 16000
SHOWN_SECONDS, COUNTED_SECONDS = 60, 10
FRAME, RANGE_DB = 512, 70.0
COLUMNS, ROWS, BARS = 900, 160, 120
PALETTE = np.array(
    [(9, 9, 28), (46, 24, 92), (110, 33, 118), (176, 54, 106), (229, 92, 76), (251, 155, 84), (253, 228, 166)]
)


class HeardVoice(NamedTuple):
    """What is known about a recording.

    Attributes:
        seconds: of the file.
        kept: parts that the networks hear, seconds.
        shown_seconds: that outline and spectrogram cover.
        outline: relative loudness of equal parts.
        notes, measures: as of `voiceface.audio.recordings.Recording`.
        spectrogram: PNG.
    """

    seconds: float
    kept: list[tuple[float, float]]
    shown_seconds: float
    outline: list[float]
    notes: list[str]
    measures: dict[str, float]
    spectrogram: bytes


def hear_voice(path: Path, limits: Limits) -> HeardVoice:
    """Read a recording as the networks hear it.

    Raises:
        AudioError: unreadable, silent, noise, or too little speech.
        ValueError: longer than `limits.sound_seconds`, or more samples than `limits.sound_samples`.
    """
    from voiceface.audio.loading import load_audio_with_notes
    from voiceface.real.recordings import read_own_recording

    require_short(path, limits)
    recording = read_own_recording(path, scale="unit", on_corrupt="salvage")
    options: dict = {"resample": True, "on_corrupt": "salvage", "channel": "auto"}
    whole = load_audio_with_notes(path, scale="unit", **options).waveform[: SHOWN_SECONDS * SAMPLE_RATE]
    measures = recording.describe(path).measures
    return HeardVoice(
        recording.seconds,
        [(float(begin), float(end)) for begin, end in recording.stretches],
        len(whole) / SAMPLE_RATE,
        outline(whole),
        list(recording.notes),
        {name: float(value) for name, value in measures.items() if np.isfinite(value)},
        draw_spectrogram(whole),
    )


def require_short(path: Path, limits: Limits) -> None:
    """Refuse a long recording before it is held in memory.

    The samples are counted while they are decoded, block by block: a header may state anything, and silence
    of hours in many channels is a small file.

    Raises:
        AudioError: unreadable.
        ValueError: longer than `limits.sound_seconds`, or more samples than `limits.sound_samples`.
    """
    from voiceface.audio.decoding import decode_blocks

    seconds, samples = 0.0, 0
    blocks = decode_blocks(path, scale="unit", on_corrupt="salvage", block_seconds=COUNTED_SECONDS)
    with closing(blocks):
        for block in blocks:
            seconds += block.samples.shape[1] / block.sample_rate
            samples += block.samples.size
            if seconds > limits.sound_seconds + 0.01:
                raise ValueError(
                    f"the recording is longer than {limits.sound_seconds:g} s, the most that the studio "
                    "takes: cut it, or use `voiceface report`"
                )
            if samples > limits.sound_samples:
                raise ValueError(
                    f"the recording has more than {limits.sound_samples / 1e6:.0f} million samples in all "
                    "channels, the most that the studio takes: export it with one channel at 48 kHz or less"
                )


def outline(samples: NDArray[np.floating], bars: int = BARS) -> list[float]:
    """Relative loudness of equal parts, 0...1; the loudest is 1."""
    parts = np.array_split(np.asarray(samples, np.float64), bars)
    levels = np.array([np.sqrt(np.mean(np.square(part))) if len(part) else 0.0 for part in parts])
    return np.round((levels / max(levels.max(), 1e-6)) ** 0.7, 3).tolist()


def draw_spectrogram(samples: NDArray[np.floating]) -> bytes:
    """Draw the spectrogram up to 8 kHz, 70 dB from the loudest place down, as a PNG.

    Args:
        samples: (T,) at 16 kHz.
    """
    from PIL import Image

    wave = np.pad(np.asarray(samples, np.float32), (0, max(0, FRAME - len(samples))))
    hop = max(80, -(-len(wave) // COLUMNS))
    frames = np.lib.stride_tricks.sliding_window_view(wave, FRAME)[::hop]
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(FRAME).astype(np.float32), axis=1)))
    level = 10 * np.log10(np.maximum(power, np.float32(1e-10) * max(float(power.max()), 1e-12)))
    share = np.clip((level - level.max()) / RANGE_DB + 1, 0, 1).T[::-1]
    image = Image.fromarray(np.rint(255 * share).astype(np.uint8))
    image = image.resize((image.width, ROWS), Image.Resampling.BILINEAR)
    image.putpalette(_palette())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def _palette() -> bytes:
    """256 colours between those of `PALETTE`."""
    places = np.linspace(0, len(PALETTE) - 1, 256)
    channels = [np.interp(places, np.arange(len(PALETTE)), channel) for channel in PALETTE.T]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8).tobytes()


def encode_voice(path: Path, *, is_own: bool = True, max_seconds: float | None = 30.0) -> Clip:
    """A recording to listen to, as the networks hear it; errors as of `report.media.encode_clip`."""
    from voiceface.report.media import encode_clip
    from voiceface.report.records import AudioSource

    clip = encode_clip(AudioSource(str(path), is_own=is_own), max_seconds)
    return Clip(seconds=clip.seconds, outline=list(clip.waveform), audio=clip.data_url)


def wav_clip(samples: NDArray[np.int16]) -> Clip:
    """Samples (T,) at 16 kHz to listen to."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    audio = f"data:audio/wav;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return Clip(seconds=len(samples) / SAMPLE_RATE, outline=outline(samples / 32768, 56), audio=audio)
