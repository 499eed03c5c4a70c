"""Mel filter banks, power spectrograms, and normalisation over time, for acoustic front ends."""

import math

import numpy as np
import torch
from torch import Tensor, nn

__all__ = [
    "MelScale",
    "Spectrogram",
    "bin_edge_mel_filterbank",
    "floor_bin_mel_filterbank",
    "hamming_window",
    "htk_mel_filterbank",
    "nonzero_blocks",
    "power_spectrogram",
    "repeat_frames",
    "seconds_to_samples",
    "slaney_mel_filterbank",
    "standardise_over_time",
]


def hamming_window(length: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Compute the periodic Hamming window 0.54 - 0.46 cos(2 pi n / length), shape (length,).

    In float32 it is computed in float32: that gives the published window to the last digit.
    """
    return torch.hamming_window(length, periodic=True, dtype=dtype)


def htk_mel_filterbank(
    n_bins: int,
    n_mels: int,
    f_min: float = 0.0,
    f_max: float = 8000.0,
    sample_rate: int = 16000,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Compute triangles of height one, evenly spaced on the HTK mel scale 2595 log10(1 + f / 700).

    Args:
        n_bins: frequencies of a one-sided spectrum, evenly spaced from 0 to sample_rate / 2 Hz.
        n_mels: number of bands M.
        f_min: lower corner of the first band in Hz.
        f_max: upper corner of the last band in Hz.
        sample_rate: sample rate in Hz.
        dtype: of the result and of its computation; float32 gives the published bank to the last digit.

    Returns:
        Weights in [0, 1], shape (n_bins, M); no area normalisation.

    Raises:
        ValueError: the range is empty or leaves the spectrum, or a band holds no bin.
    """
    if not 0 <= f_min < f_max <= sample_rate / 2:
        raise ValueError(
            f"mel bands need 0 <= low < high <= {sample_rate / 2:g} Hz, found {f_min:g} and {f_max:g}"
        )
    frequency = torch.linspace(0, sample_rate / 2, n_bins, dtype=dtype)
    ends = [2595 * math.log10(1 + f / 700) for f in (f_min, f_max)]
    corner = 700 * (10 ** (torch.linspace(ends[0], ends[1], n_mels + 2, dtype=dtype) / 2595) - 1)
    width = corner.diff()
    rising = (frequency[:, None] - corner[:-2]) / width[:-1]
    falling = (corner[2:] - frequency[:, None]) / width[1:]
    bank = torch.minimum(rising, falling).clamp_min(0)
    empty = (bank.sum(0) == 0).nonzero().flatten().tolist()
    if empty:
        raise ValueError(
            f"{n_mels} mel bands over {n_bins} bins: bands {empty} hold no bin; ask for fewer bands"
        )
    return bank


def bin_edge_mel_filterbank(
    n_fft: int,
    n_mels: int,
    f_min: float,
    f_max: float,
    sample_rate: int = 16000,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Compute triangles of area one (in Hz) whose corners are moved to the nearest bin of the spectrum.

    As in the feature files of perceptionist (docs/perceptionist.md): corners evenly spaced on the HTK
    mel scale, height 2 / width in Hz, so that the weights of a band sum to n_fft / sample_rate.

    Args:
        n_fft: frame length in samples; bins are sample_rate / n_fft Hz apart.
        n_mels: number of bands M.
        f_min: lower corner of the first band in Hz.
        f_max: upper corner of the last band in Hz.
        sample_rate: sample rate in Hz.
        dtype: of the result.

    Returns:
        Weights, shape (n_fft / 2 + 1, M).

    Raises:
        ValueError: the range is empty or leaves the spectrum, or all corners of a band fall on one bin.
    """
    if not 0 <= f_min < f_max <= sample_rate / 2:
        raise ValueError(
            f"mel bands need 0 <= low < high <= {sample_rate / 2:g} Hz, found {f_min:g} and {f_max:g}"
        )
    width = sample_rate / n_fft
    ends = [2595 * math.log10(1 + f / 700) for f in (f_min, f_max)]
    mel = torch.linspace(ends[0], ends[1], n_mels + 2, dtype=torch.float64)
    corner = (700 * (10 ** (mel / 2595) - 1) / width).round()
    left, centre, right = corner[:-2], corner[1:-1], corner[2:]
    empty = (right == left).nonzero().flatten().tolist()
    if empty:
        raise ValueError(
            f"{n_mels} mel bands over {n_fft // 2 + 1} bins: bands {empty} hold no bin; ask for fewer bands"
        )
    k = torch.arange(n_fft // 2 + 1, dtype=torch.float64)[:, None]
    rising = (k - left) / (centre - left).clamp_min(1)
    falling = (right - k) / (right - centre).clamp_min(1)
    shape = torch.where(k < centre, rising, falling).masked_fill(k == centre, 1).clamp_min(0)
    shape = shape.masked_fill(k <= left, 0)  # as published: no peak where it falls on the left corner
    return (shape * 2 / ((right - left) * width)).to(dtype)


def slaney_mel_filterbank(
    n_fft: int = 1600,
    n_mels: int = 64,
    f_min: float = 0.0,
    f_max: float = 8000.0,
    sample_rate: int = 16000,
) -> Tensor:
    """Compute triangles on Slaney's mel scale with area normalisation, librosa's default.

    The scale is linear below 1000 Hz (200/3 Hz a mel) and logarithmic above (27 mels a factor of 6.4). Each
    triangle is multiplied by 2 / (its width in Hz).

    Args:
        n_fft: frame length in samples.
        n_mels: number of bands M.
        f_min: lower corner of the first band in Hz.
        f_max: upper corner of the last band in Hz.
        sample_rate: Hz.

    Returns:
        Weights, shape (n_fft / 2 + 1, M), double precision.

    Raises:
        ValueError: the range is empty or leaves the spectrum.

    Example:
        >>> tuple(slaney_mel_filterbank(n_fft=512, n_mels=40).shape)
        (257, 40)
    """
    if not 0 <= f_min < f_max <= sample_rate / 2:
        raise ValueError(
            f"mel bands need 0 <= low < high <= {sample_rate / 2:g} Hz, found {f_min:g} and {f_max:g}"
        )
    ends = torch.tensor([f_min, f_max], dtype=torch.float64)
    step, knee, factor = 200 / 3, 1000.0, np.log(6.4) / 27
    mels = torch.where(ends < knee, ends / step, knee / step + (ends.clamp_min(1) / knee).log() / factor)
    marks = torch.linspace(float(mels[0]), float(mels[1]), n_mels + 2, dtype=torch.float64)
    corner = torch.where(
        marks < knee / step, marks * step, knee * (factor * (marks - knee / step).clamp_min(0)).exp()
    )
    frequency = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)[:, None]
    width = corner.diff()
    rising = (frequency - corner[:-2]) / width[:-1]
    falling = (corner[2:] - frequency) / width[1:]
    return torch.minimum(rising, falling).clamp_min(0) * (2 / (corner[2:] - corner[:-2]))


def power_spectrogram(waveforms: Tensor, window: Tensor, n_fft: int = 512, hop_length: int = 160) -> Tensor:
    """Compute the squared magnitude of centred, reflect-padded frames.

    Args:
        waveforms: shape (B, T), float32 or float64, T > n_fft / 2.
        window: at most n_fft values, centred in the frame; same dtype as `waveforms`.
        n_fft: frame length in samples.
        hop_length: step between frames in samples.

    Returns:
        Power, shape (B, 1 + T // hop_length, n_fft / 2 + 1): frames first, for a matrix product with a bank.

    Raises:
        ValueError: the waveforms are not (B, T) or too short to be reflected.
    """
    half = n_fft // 2
    if waveforms.ndim != 2 or waveforms.shape[1] <= half:
        raise ValueError(
            f"waveforms must be (B, T) with T > {half} samples, found shape {tuple(waveforms.shape)}"
        )
    left = (n_fft - len(window)) // 2
    frame = nn.functional.pad(window, (left, n_fft - len(window) - left))
    padded = nn.functional.pad(waveforms[:, None], (half, half), mode="reflect")[:, 0]
    spectrum = torch.fft.rfft(padded.unfold(1, n_fft, hop_length) * frame)
    return torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)


def standardise_over_time(bands: Tensor, epsilon: float = 1e-5) -> Tensor:
    """Subtract each band's mean over time and divide by sqrt(population variance + epsilon).

    Args:
        bands: shape (B, M, frames).
        epsilon: floor of the variance.

    Returns:
        Same shape; exactly zero where a band is constant (digital silence).

    Example:
        >>> standardise_over_time(torch.tensor([[[1.0, 3.0], [5.0, 5.0]]])).round(decimals=3).tolist()
        [[[-1.0, 1.0], [0.0, 0.0]]]
    """
    bands = bands - bands[..., :1]  # without this a constant band would show the rounding of its mean
    variance, mean = torch.var_mean(bands, dim=-1, correction=0, keepdim=True)
    return (bands - mean) * torch.rsqrt(variance + epsilon)


class Spectrogram(nn.Module):
    """Power spectrogram with its window (buffer `window`): (B, T) to (B, frames, bins)."""

    window: Tensor

    def __init__(self, n_fft: int, win_length: int, hop_length: int) -> None:
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        self.register_buffer("window", hamming_window(win_length))

    def forward(self, samples: Tensor) -> Tensor:
        return power_spectrogram(samples.to(self.window.dtype), self.window, self.n_fft, self.hop_length)


class MelScale(nn.Module):
    """Mel filter bank (buffer `fb`): power (B, frames, bins) to bands (B, M, frames)."""

    fb: Tensor

    def __init__(self, filterbank: Tensor) -> None:
        super().__init__()
        self.register_buffer("fb", filterbank)

    def forward(self, power: Tensor) -> Tensor:
        return (power @ self.fb).transpose(1, 2)


def nonzero_blocks(bank: Tensor, size: int = 16) -> list[tuple[slice, slice]]:
    """List the bins that neighbouring bands of a bank (bins, M) use, `size` bands at a time."""
    parts = []
    for start in range(0, bank.shape[1], size):
        used = bank[:, start : start + size].any(1).nonzero().flatten().tolist()
        parts.append((slice(used[0], used[-1] + 1), slice(start, start + size)))
    return parts


def repeat_frames(bands: Tensor, min_frames: int) -> Tensor:
    """Repeat all frames of an utterance until there are `min_frames`, then cut.

    Args:
        bands: shape (..., frames).
        min_frames: minimum number of frames.

    Returns:
        Shape (..., max(frames, min_frames)); `bands` itself if it is long enough.

    Raises:
        ValueError: there are no frames.
    """
    frames = bands.shape[-1]
    if not frames:
        raise ValueError("cannot repeat an utterance without frames")
    if frames >= min_frames:
        return bands
    return bands.repeat(*[1] * (bands.ndim - 1), -(-min_frames // frames))[..., :min_frames]


def floor_bin_mel_filterbank(
    n_fft: int, n_mels: int, sample_rate: int = 16000, f_min: float = 0.0, f_max: float | None = None
) -> Tensor:
    """Compute triangles of height one whose corners are moved down to a bin, counting one bin more.

    Corners are evenly spaced on the mel scale 2595 log10(1 + f / 700); corner f lies at bin
    floor((n_fft + 1) f / sample_rate). Where two corners fall on one bin, that side of the triangle is empty,
    and a band may hold no bin at all (its energy is then exactly zero).

    Args:
        n_fft: frame length in samples.
        n_mels: number of bands M.
        sample_rate: sample rate in Hz.
        f_min: lower corner of the first band in Hz.
        f_max: upper corner of the last band in Hz; sample_rate / 2 if None.

    Returns:
        Weights in [0, 1], shape (M, n_fft / 2 + 1), double precision.

    Raises:
        ValueError: the range is empty or leaves the spectrum.
    """
    top = sample_rate / 2 if f_max is None else f_max
    if not 0 <= f_min < top <= sample_rate / 2:
        raise ValueError(
            f"mel bands need 0 <= low < high <= {sample_rate / 2:g} Hz, found {f_min:g} and {top:g}"
        )
    first, last = (2595 * math.log10(1 + f / 700) for f in (f_min, top))
    corner = 700 * (10 ** (np.linspace(first, last, n_mels + 2) / 2595) - 1)
    left, centre, right = (
        np.floor((n_fft + 1) * corner[i : i + n_mels] / sample_rate)[:, None] for i in range(3)
    )
    k = np.arange(n_fft // 2 + 1)
    rising = (k - left) / np.maximum(centre - left, 1) * ((left <= k) & (k < centre))
    falling = (right - k) / np.maximum(right - centre, 1) * ((centre <= k) & (k < right))
    return torch.from_numpy(rising + falling)


def seconds_to_samples(seconds: float, sample_rate: int) -> int:
    """Convert a duration to samples, halves rounded up."""
    return math.floor(seconds * sample_rate + 0.5)
