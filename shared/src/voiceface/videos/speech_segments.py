"""Speech in the sound of a video: voice activity, pauses joined, long speech split."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from voiceface.audio.recordings import MIN_SPEECH_SECONDS, measure_quality
from voiceface.audio.samples import check_waveform
from voiceface.audio.vad import VoiceActivityDetector
from voiceface.videos.mouth_motion import GRID_RATE, compute_band_levels

__all__ = ["SpeechLengths", "SpeechSegment", "find_speech_segments"]

SAMPLE_RATE = 16000
VAD_SAMPLES, VAD_AVERAGE, VAD_AGGRESSIVENESS = 480, 8, 3
VAD_BLOCK = 2000  # frames at a time: one minute
LOUD_PERCENTILE, LOUD_LEVEL, MAX_GAIN = 95, 0.1, 31.6  # quiet sound is raised, which the detector needs


@dataclass(frozen=True)
class SpeechSegment:
    """Speech from `start` to `end`, s from the beginning of the file."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.end - self.start


@dataclass(frozen=True)
class SpeechLengths:
    """Lengths of segments of speech.

    Attributes:
        min_seconds: shorter segments are left out.
        max_seconds: longer ones are split at their quietest place.
        max_pause: s between speech that are joined.
    """

    min_seconds: float = 1.0
    max_seconds: float = 10.0
    max_pause: float = 0.5


def find_speech_segments(
    waveform: npt.ArrayLike, lengths: SpeechLengths = SpeechLengths()
) -> list[SpeechSegment]:
    """Find speech by voice activity detection, WebRTC's at its strictest.

    Quiet sound is raised by up to 30 dB. Decisions of 30 ms are averaged over 8. Pauses of at most
    `max_pause` seconds are joined, longer segments than `max_seconds` are split at their quietest place.
    Segments that are shorter than `min_seconds` or hold less than 0.3 s of voiced sound (noise) are left out.

    Args:
        waveform: (T,), 16 kHz, -1...1.
        lengths: see there.

    Returns:
        In order, without overlap.

    Raises:
        ValueError: a waveform of another shape.
    """
    wave = check_waveform(waveform)
    spans = _join(_voiced_spans(wave), lengths.max_pause)
    levels = compute_band_levels(wave)
    found = [part for span in spans for part in _split_long(*span, levels, lengths)]
    return [
        SpeechSegment(*span)
        for span in found
        if span[1] - span[0] >= lengths.min_seconds and _is_voiced(wave, *span)
    ]


def _voiced_spans(wave: NDArray[np.float32]) -> list[tuple[float, float]]:
    """Spans of speech in s, of smoothed decisions."""
    from scipy.ndimage import uniform_filter1d

    count = len(wave) // VAD_SAMPLES
    frames = wave[: count * VAD_SAMPLES].reshape(count, VAD_SAMPLES)
    levels = np.sqrt(np.einsum("ij,ij->i", frames, frames) / VAD_SAMPLES)
    loud = float(np.percentile(levels, LOUD_PERCENTILE)) if count else 0.0
    gain = min(max(1.0, LOUD_LEVEL / loud), MAX_GAIN) if loud > 0 else 1.0
    detector = VoiceActivityDetector(VAD_AGGRESSIVENESS, SAMPLE_RATE)
    voiced = np.zeros(count)
    for first in range(0, count, VAD_BLOCK):
        pcm = np.clip(np.round(frames[first : first + VAD_BLOCK] * (gain * 32767)), -32768, 32767)
        for index, frame in enumerate(pcm.astype(np.int16), first):
            voiced[index] = detector(frame.tobytes())
    speech = uniform_filter1d(voiced, VAD_AVERAGE, mode="constant") > 0.5 if count else voiced > 0
    edges = np.flatnonzero(np.diff(np.concatenate([[0], speech.astype(int), [0]])))
    return [tuple(pair) for pair in (edges.reshape(-1, 2) * (VAD_SAMPLES / SAMPLE_RATE)).tolist()]


def _is_voiced(wave: NDArray[np.float32], start: float, end: float) -> bool:
    quality = measure_quality(wave[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)])
    return quality.speech_seconds >= MIN_SPEECH_SECONDS


def _join(spans: Sequence[tuple[float, float]], max_pause: float) -> list[tuple[float, float]]:
    """Join spans with pauses of at most `max_pause` s between them."""
    joined: list[tuple[float, float]] = []
    for start, end in spans:
        if joined and start - joined[-1][1] <= max_pause:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((start, end))
    return joined


def _split_long(
    start: float, end: float, levels: NDArray[np.float64], lengths: SpeechLengths
) -> Iterator[tuple[float, float]]:
    """Split a span at its quietest places into parts of at most `max_seconds`."""
    while end - start > lengths.max_seconds:
        low = round((start + lengths.min_seconds) * GRID_RATE)
        high = round((start + lengths.max_seconds) * GRID_RATE)
        quiet = (low + int(levels[low:high].argmin())) / GRID_RATE if low < high else end
        yield start, quiet
        start = quiet
    yield start, end
