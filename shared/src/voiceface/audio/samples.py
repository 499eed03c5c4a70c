"""Decoded sound: its error, its scales, and the limits of what counts as a recording."""

import os
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

__all__ = [
    "INT16_FACTOR_OFFSET",
    "INT16_FULL_SCALE",
    "MAX_CHANNELS",
    "MAX_FLOAT_PEAK",
    "MAX_RATE",
    "MAX_SAMPLES",
    "MIN_RATE",
    "AudioError",
    "DecodedAudio",
    "OnCorrupt",
    "SampleScale",
    "Waveform",
    "check_budget",
    "check_floats",
    "check_format",
    "check_waveform",
    "limit_block",
    "rescale",
    "scale_factor_offset",
]

SampleScale = Literal["int16", "unit", "native"]
OnCorrupt = Literal["error", "salvage"]
Waveform = NDArray[np.float32]

INT16_FULL_SCALE = 32768.0
INT32_FULL_SCALE = 2.0**31
INT16_FACTOR_OFFSET = (INT16_FULL_SCALE, 0.0)
# the stored value of a sample x in -1...1 is factor * x + offset; all other formats as 16 bit
NATIVE_FACTOR_OFFSET = {
    "PCM_S8": (128.0, 0.0),
    "PCM_U8": (128.0, 128.0),
    "PCM_24": (INT32_FULL_SCALE, 0.0),  # in the upper bytes of 32 bit
    "PCM_32": (INT32_FULL_SCALE, 0.0),
    "ALAC_20": (INT32_FULL_SCALE, 0.0),
    "ALAC_24": (INT32_FULL_SCALE, 0.0),
    "ALAC_32": (INT32_FULL_SCALE, 0.0),
    "FLOAT": (1.0, 0.0),
    "DOUBLE": (1.0, 0.0),
}
MAX_FLOAT_PEAK = 16.0  # float files stay near 1; far above, they hold integers that were not scaled
MIN_RATE, MAX_RATE = 2000, 1_536_000
"""Sampling rates in Hz that a recording can have; others are a damaged header."""
MAX_CHANNELS = 256
MAX_SAMPLES = 2**30
"""Most samples that are held at once, all channels together (4 GiB of float32; 18 hours at 16 kHz, mono)."""
MAX_BLOCK_SAMPLES = 2**23  # of a file that is decoded in blocks; 3 minutes of 48 kHz, mono


class AudioError(ValueError):
    """A sound file that cannot be used as it is; the message names file, finding, expectation and remedy."""


@dataclass(frozen=True)
class DecodedAudio:
    """Decoded samples of a file, and what was lost.

    Attributes:
        samples: shape (channels, T), float32, in the requested scale.
        sample_rate: samples per second.
        lost_packets: compressed packets that could not be decoded or were missing (0 under "error").
        lost_seconds: sound that is missing, as far as the file states its length (0 under "error").
        notes: peculiarities of the file by which nothing was lost, such as a header without a length.
        subtype: sample format, as libsndfile names it; lossy formats are "PCM_16" or their own name.
    """

    samples: Waveform
    sample_rate: int
    lost_packets: int = 0
    lost_seconds: float = 0.0
    notes: tuple[str, ...] = ()
    subtype: str = ""

    @property
    def loss(self) -> str:
        """What is lost, for messages; "" if nothing is."""
        if not self.lost_packets and not self.lost_seconds:
            return ""
        packets = f"{self.lost_packets} packets, " if self.lost_packets else ""
        return f"{packets}{self.lost_seconds:.3f} s of audio are lost"


def check_format(path: str | os.PathLike[str], sample_rate: int, num_channels: int) -> None:
    """Refuse rates and numbers of channels that no recording has, before anything is allocated.

    Raises:
        AudioError: the rate is not within `MIN_RATE`...`MAX_RATE` or there are 0 or too many channels.
    """
    if not MIN_RATE <= sample_rate <= MAX_RATE:
        raise AudioError(
            f"{path}: the header states a sample rate of {sample_rate} Hz, expected {MIN_RATE} to {MAX_RATE} "
            "Hz; the header is damaged, copy or export the file again"
        )
    if not 1 <= num_channels <= MAX_CHANNELS:
        raise AudioError(
            f"{path}: the header states {num_channels} channels, expected 1 to {MAX_CHANNELS}; "
            "the header is damaged, copy or export the file again"
        )


def check_budget(path: str | os.PathLike[str], num_samples: int, num_channels: int = 1) -> None:
    """Refuse more than `MAX_SAMPLES` samples before they are allocated.

    Raises:
        AudioError: the file states, or decodes to, more.
    """
    if num_samples * num_channels > MAX_SAMPLES:
        raise AudioError(
            f"{path}: {num_samples} samples in {num_channels} channels, expected at most {MAX_SAMPLES} in "
            "all; the header is damaged, or the recording has to be cut into parts"
        )


def limit_block(seconds: float, sample_rate: int, num_channels: int) -> int:
    """Samples per channel of a block of some seconds, at most `MAX_BLOCK_SAMPLES` in all channels."""
    return max(1, min(round(seconds * sample_rate), MAX_BLOCK_SAMPLES // num_channels))


def scale_factor_offset(scale: SampleScale, subtype: str) -> tuple[float, float]:
    """Factor and offset that take samples in -1...1 to a scale; see `rescale`."""
    if scale == "unit":
        return (1.0, 0.0)
    return (
        NATIVE_FACTOR_OFFSET.get(subtype, INT16_FACTOR_OFFSET) if scale == "native" else INT16_FACTOR_OFFSET
    )


def rescale(samples: Waveform, scale: SampleScale, subtype: str) -> None:
    """Scale samples in -1...1, in place; every factor is a power of two, so that nothing is rounded.

    Args:
        samples: shape (channels, T), from -1 to 1.
        scale: of the result.
        subtype: sample format, as libsndfile names it.
    """
    if scale == "unit":
        return
    factor, offset = scale_factor_offset(scale, subtype)
    samples *= np.float32(factor)
    if offset:
        samples += np.float32(offset)


def check_floats(
    path: str | os.PathLike[str],
    samples: NDArray[Any],
    on_corrupt: OnCorrupt,
    *,
    allow_any_peak: bool = False,
) -> tuple[Waveform, int]:
    """Refuse ("error") or set to 0 ("salvage") samples that are not finite in every scale.

    "error" also refuses floats that were not scaled to -1...1, unless `allow_any_peak`.

    Args:
        path: for messages.
        samples: shape (channels, T), floats.
        on_corrupt: see above.
        allow_any_peak: the stored values are wanted, whatever their range.

    Returns:
        The samples as float32, and the number of time steps with samples that were not finite.

    Raises:
        AudioError: see above.
    """
    limit = float(np.finfo(np.float32).max) / (1 if allow_any_peak else INT16_FULL_SCALE)
    with np.errstate(invalid="ignore", over="ignore"):
        peak = np.abs(samples).max(initial=0.0)
    bad = 0
    if not peak <= limit:
        finite = np.abs(samples) <= limit
        bad = int((~finite).any(axis=0).sum())
        if on_corrupt == "error":
            raise AudioError(
                f"{path}: {bad} of {samples.shape[1]} samples are not finite numbers; "
                'write the file again or use on_corrupt="salvage", which sets them to 0'
            )
        samples = np.where(finite, samples, samples.dtype.type(0))
    elif peak > MAX_FLOAT_PEAK and on_corrupt == "error" and not allow_any_peak:
        raise AudioError(
            f"{path}: float samples reach {peak:g}, expected about -1...1; divide them by their full scale "
            '(32768 for 16-bit values) or use on_corrupt="salvage" to keep them'
        )
    return np.ascontiguousarray(samples, dtype=np.float32), bad


def check_waveform(waveform: npt.ArrayLike) -> Waveform:
    """Check and convert the waveform of a person's own recording to (T,) float32.

    Args:
        waveform: (T,), floating point, -1...1.

    Raises:
        ValueError: another shape or type, or values that are not finite.
    """
    wave = np.asarray(waveform)
    if wave.ndim != 1 or wave.dtype.kind != "f":
        raise ValueError(f"a waveform must be (T,) float, values in -1...1, found {wave.shape} {wave.dtype}")
    if not np.isfinite(wave).all():
        raise ValueError("the waveform has values that are not finite")
    return wave.astype(np.float32, copy=False)
