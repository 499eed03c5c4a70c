"""Acoustic analysis of recordings with librosa: pitch, bandwidth, level, clipping (`check --acoustics`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from voiceface.runtime.process_pool import map_unordered

if TYPE_CHECKING:
    from voiceface.datasets.validation.report import DatasetReport

__all__ = [
    "NARROW_BAND",
    "Acoustics",
    "add_acoustics",
    "analyse_recording",
    "analyse_recordings",
    "analyse_waveform",
]

MAX_SECONDS = 20.0  # of a recording that are analysed
PITCH_RANGE = (60.0, 450.0)  # Hz
PITCH_GATE = 0.1  # frames of less than this fraction of the highest level have no pitch
FRAME_LENGTH, HOP_LENGTH = 1024, 256  # samples at 16 kHz
BANDWIDTH_FLOOR_DB = 60.0  # below the peak of the mean spectrum
NARROW_BAND = 4400.0
"""Bandwidth in Hz up to which a recording of a higher rate counts as up-sampled from 8 kHz."""
QUIET_DB = -45.0  # r.m.s. level, full scale 0
CLIPPED_FRACTION = 1e-3  # of the samples at full scale
FULL_SCALE = 0.9995
HISTOGRAMS = {  # title, attribute, unit, edges
    "pitch": ("pitch", "Hz", (60, 90, 120, 150, 180, 210, 240, 300, 450)),
    "bandwidth": ("bandwidth", "Hz", (0, 2000, 3000, 3600, 4400, 6000, 7500, float("inf"))),
    "level": ("level_db", "dB", (float("-inf"), -60, -45, -35, -25, -15, -5, float("inf"))),
}


@dataclass(frozen=True)
class Acoustics:
    """Properties of a recording.

    Attributes:
        sample_rate: Hz.
        pitch: median fundamental frequency in Hz (YIN) of frames that are not quiet; 0 for silence.
        bandwidth: highest frequency in Hz at which the mean power spectrum is within 60 dB of its peak.
        level_db: r.m.s. level in dB, 0 at full scale; -inf for silence.
        clipped_fraction: fraction of the samples at full scale.
    """

    sample_rate: int
    pitch: float
    bandwidth: float
    level_db: float
    clipped_fraction: float

    @property
    def is_narrow_band(self) -> bool:
        """Whether the recording holds nothing above 4 kHz although its rate would allow it."""
        return self.sample_rate > 2 * NARROW_BAND and 0 < self.bandwidth <= NARROW_BAND


def analyse_waveform(waveform: NDArray[np.float32], sample_rate: int) -> Acoustics:
    """Analyse samples (T,) in -1...1.

    Raises:
        ModuleNotFoundError: librosa is not installed.
    """
    _require_librosa()
    import librosa

    rms = float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))
    if not rms:
        return Acoustics(sample_rate, 0.0, 0.0, float("-inf"), 0.0)
    scale = sample_rate / 16000
    frame, hop = round(FRAME_LENGTH * scale), round(HOP_LENGTH * scale)
    padded = np.pad(waveform, (0, max(0, 2 * frame - len(waveform))))
    low, high = PITCH_RANGE
    pitch = librosa.yin(padded, fmin=low, fmax=high, sr=sample_rate, frame_length=frame, hop_length=hop)
    level = librosa.feature.rms(y=padded, frame_length=frame, hop_length=hop)[0]
    power = np.square(np.abs(librosa.stft(padded, n_fft=FRAME_LENGTH))).mean(1)
    frequency = librosa.fft_frequencies(sr=sample_rate, n_fft=FRAME_LENGTH)
    return Acoustics(
        sample_rate,
        float(np.median(pitch[level >= PITCH_GATE * level.max()])),
        float(frequency[power >= power.max() * 10 ** (-BANDWIDTH_FLOOR_DB / 10)].max()),
        20 * float(np.log10(rms)),
        float(np.mean(np.abs(waveform) >= FULL_SCALE)),
    )


def analyse_recording(path: str) -> Acoustics:
    """Analyse the first channel of a file, its first 20 s.

    Raises:
        AudioError, FileNotFoundError: it cannot be decoded.
        ModuleNotFoundError: librosa is not installed.
    """
    from voiceface.audio.loading import decode_audio, read_audio_info

    limit = round(MAX_SECONDS * read_audio_info(path).sample_rate)
    found = decode_audio(path, scale="unit", max_samples=limit)
    return analyse_waveform(found.samples[0], found.sample_rate)


def analyse_recordings(
    paths: Sequence[str], *, workers: int | None = None, progress: bool = True
) -> dict[str, Acoustics]:
    """Analyse many files, by path; those that cannot be decoded are absent.

    Args:
        paths: the files.
        workers: processes; None for all cores.
        progress: show a progress bar on standard error.

    Raises:
        ModuleNotFoundError: librosa is not installed.
    """
    _require_librosa()
    found = map_unordered(_try_analyse, paths, workers, "acoustics", "clip", progress=progress)
    results = {path: result for path, result in found if result is not None}
    return {path: results[path] for path in paths if path in results}


def add_acoustics(report: "DatasetReport", acoustics: dict[str, Acoustics]) -> None:
    """Fill in histograms and suspicious recordings.

    Args:
        report: is filled in.
        acoustics: results by name of the recording.
    """
    for title, (attribute, unit, edges) in HISTOGRAMS.items():
        values = np.array([getattr(each, attribute) for each in acoustics.values()])
        counts = ((values >= low) & (values < high) for low, high in pairwise(edges))
        report.acoustics[title] = {
            f"{_format_range(low, high)} {unit}": int(count.sum())
            for (low, high), count in zip(pairwise(edges), counts)
        }
    tests = {
        "clips without sound above 4 kHz (up-sampled from 8 kHz, or telephone)": lambda each: (
            each.is_narrow_band
        ),
        f"clips with a level below {QUIET_DB:g} dB": lambda each: each.level_db < QUIET_DB,
        "clips with clipped samples": lambda each: each.clipped_fraction > CLIPPED_FRACTION,
    }
    for title, holds in tests.items():
        if items := sorted(item for item, each in acoustics.items() if holds(each)):
            report.suspicious[title] = items


def _try_analyse(path: str) -> Acoustics | None:
    """Analyse a file; None if it cannot be decoded."""
    try:
        return analyse_recording(path)
    except (ValueError, OSError):
        return None


def _format_range(low: float, high: float) -> str:
    """Format a range of a histogram."""
    if not np.isfinite(low):
        return f"below {high:g}"
    return f"{low:g} or more" if not np.isfinite(high) else f"{low:g}...{high:g}"


def _require_librosa() -> None:
    """Raise ModuleNotFoundError, with the remedy, if librosa is missing."""
    if find_spec("librosa") is None:
        raise ModuleNotFoundError(
            "acoustic analysis needs librosa, which is not installed: "
            "pip install 'voiceface-shared[analysis]'"
        )
