"""From several channels to one, and from arrays of any layout to one waveform."""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voiceface.audio.samples import AudioError, Waveform

__all__ = ["ChannelChoice", "ChannelStatistics", "is_one_recording", "mix_channels", "to_waveform"]

ChannelChoice = Literal["first", "mean", "auto"]
SILENT_RATIO = 0.03  # of the louder channel's level (-30 dB): the other one is silent
CANCEL_RATIO = 0.5  # of the louder channel's level: the mean is quieter, so the channels cancel
MAX_ARRAY_CHANNELS = 8
STATISTICS_SAMPLES = 1 << 17  # per channel, in double precision at a time


def mix_channels(samples: NDArray[Any], channel: ChannelChoice) -> Waveform:
    """Make one channel of several.

    Args:
        samples: shape (channels, T).
        channel: "first" as the published programs do; "mean" of all; "auto": the mean of those that are not
            silent (30 dB below the loudest), or the loudest alone if that mean is less than half as loud:
            the channels cancel, or one of many holds the voice.

    Returns:
        Shape (T,), float32.

    Raises:
        ValueError: `channel` is another word.
    """
    if channel not in ("first", "mean", "auto"):
        raise ValueError(f'channel must be "first", "mean" or "auto", found {channel!r}')
    if len(samples) == 1 or channel == "first":
        return samples[0]
    if channel == "mean":
        return samples.mean(axis=0, dtype=np.float32)
    level = np.sqrt(
        np.mean(np.square(samples - samples.mean(axis=1, keepdims=True), dtype=np.float64), axis=1)
    )
    loud = level > SILENT_RATIO * level.max()
    if not loud.any():
        return samples[0]  # all are silent
    mixed = samples[loud].mean(axis=0, dtype=np.float32)
    if mixed.std(dtype=np.float64) < CANCEL_RATIO * level.max():
        return samples[int(level.argmax())]
    return mixed


class ChannelStatistics:
    """Chooses channels as `mix_channels` does with "auto", from blocks of a long recording.

    Args:
        num_channels: of the recording.
    """

    def __init__(self, num_channels: int) -> None:
        self._count = 0
        self._sums = np.zeros(num_channels)
        self._products = np.zeros((num_channels, num_channels))

    def add(self, samples: NDArray[Any]) -> None:
        """Add a block, (channels, T); one channel counts for all."""
        for start in range(0, samples.shape[1], STATISTICS_SAMPLES):
            part = samples[:, start : start + STATISTICS_SAMPLES].astype(np.float64)
            self._count += part.shape[1]
            self._sums += part.sum(axis=1)
            self._products += part @ part.T

    def choose(self) -> NDArray[np.intp]:
        """Return the channels whose mean is to be taken."""
        means = self._sums / max(1, self._count)
        covariance = self._products / max(1, self._count) - np.outer(means, means)
        level = np.sqrt(np.maximum(np.diag(covariance), 0))
        loud = np.flatnonzero(level > SILENT_RATIO * level.max())
        if not len(loud):
            return np.array([0])
        mixed = np.sqrt(max(0.0, covariance[np.ix_(loud, loud)].mean()))
        return np.array([level.argmax()]) if mixed < CANCEL_RATIO * level.max() else loud


def is_one_recording(array: Any) -> bool:
    """Whether an array is one recording, not a batch: (T,), or (T, channels) as `soundfile.read` gives it.

    Args:
        array: numbers; a batch has shape (N, T).
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        return False
    return array.ndim == 1 or (array.ndim == 2 and array.shape[1] <= MAX_ARRAY_CHANNELS < array.shape[0])


def to_waveform(samples: ArrayLike, source: str = "the recording") -> Waveform:
    """Check an array of samples and make one channel of it.

    Args:
        samples: shape (T,); (T, channels) as `soundfile.read` gives it; or (channels, T). The values keep
            their scale. Several channels are mixed as by `mix_channels` with "auto".
        source: for messages.

    Returns:
        Shape (T,), float32.

    Raises:
        AudioError: another shape, no samples, no numbers, or values that are not finite.
    """
    wave = np.asarray(samples)
    if wave.dtype.kind not in "biuf":
        raise AudioError(f"{source}: expected an array of numbers, found {wave.dtype} of shape {wave.shape}")
    if wave.ndim == 2 and min(wave.shape) <= MAX_ARRAY_CHANNELS < max(wave.shape):
        wave = wave if wave.shape[0] <= MAX_ARRAY_CHANNELS else wave.T
    elif wave.ndim == 1:
        wave = wave[None]
    else:
        raise AudioError(
            f"{source}: expected samples of shape (T,), (T, channels) or (channels, T) with at most "
            f"{MAX_ARRAY_CHANNELS} channels, found shape {wave.shape}"
        )
    if not wave.size:
        raise AudioError(f"{source}: no samples, expected at least one")
    if wave.dtype.kind == "f" and not np.isfinite(wave).all():
        bad = int((~np.isfinite(wave)).any(axis=0).sum())
        raise AudioError(f"{source}: {bad} of {wave.shape[1]} samples are not finite numbers; remove them")
    return mix_channels(wave.astype(np.float32, copy=False), "auto")
