"""Log-mel front ends: waves to what a voice network reads, one front end per system."""

import math

import torch
from torch import Tensor, nn


def hamming_window(length: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Periodic Hamming window 0.54 - 0.46 cos(2 pi n / length), shape (length,).

    In float32 it is computed in float32: that gives the published window to the last digit.
    """
    return torch.hamming_window(length, periodic=True, dtype=dtype)


def htk_mel_bank(
    bins: int,
    n_mels: int,
    low: float = 0.0,
    high: float = 8000.0,
    rate: int = 16000,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Triangles of height one, evenly spaced on the HTK mel scale 2595 log10(1 + f / 700).

    Args:
        bins: frequencies of a one-sided spectrum, evenly spaced from 0 to rate / 2 Hz.
        n_mels: number of bands M.
        low: lower corner of the first band in Hz.
        high: upper corner of the last band in Hz.
        rate: sample rate in Hz.
        dtype: of the result and of its computation; float32 gives the published bank to the last digit.

    Returns:
        Weights in [0, 1], shape (bins, M); no area normalisation.

    Raises:
        ValueError: the range is empty or leaves the spectrum, or a band holds no bin.
    """
    if not 0 <= low < high <= rate / 2:
        raise ValueError(f"mel bands need 0 <= low < high <= {rate / 2:g} Hz, found {low:g} and {high:g}")
    frequency = torch.linspace(0, rate / 2, bins, dtype=dtype)
    ends = [2595 * math.log10(1 + f / 700) for f in (low, high)]
    corner = 700 * (10 ** (torch.linspace(ends[0], ends[1], n_mels + 2, dtype=dtype) / 2595) - 1)
    width = corner.diff()
    rising = (frequency[:, None] - corner[:-2]) / width[:-1]
    falling = (corner[2:] - frequency[:, None]) / width[1:]
    bank = torch.minimum(rising, falling).clamp_min(0)
    empty = (bank.sum(0) == 0).nonzero().flatten().tolist()
    if empty:
        raise ValueError(
            f"{n_mels} mel bands over {bins} bins: bands {empty} hold no bin; ask for fewer bands"
        )
    return bank


def power_spectrogram(samples: Tensor, window: Tensor, n_fft: int = 512, hop: int = 160) -> Tensor:
    """Squared magnitude of centred, reflect-padded frames.

    Args:
        samples: waves, shape (B, T), float32 or float64, T > n_fft / 2.
        window: at most n_fft values, centred in the frame; same dtype as `samples`.
        n_fft: frame length in samples.
        hop: step between frames in samples.

    Returns:
        Power, shape (B, 1 + T // hop, n_fft / 2 + 1): frames first, ready for a matrix product with a bank.

    Raises:
        ValueError: the waves are not (B, T) or too short to be reflected.
    """
    half = n_fft // 2
    if samples.ndim != 2 or samples.shape[1] <= half:
        raise ValueError(f"waves must be (B, T) with T > {half} samples, found shape {tuple(samples.shape)}")
    left = (n_fft - len(window)) // 2
    frame = nn.functional.pad(window, (left, n_fft - len(window) - left))
    padded = nn.functional.pad(samples[:, None], (half, half), mode="reflect")[:, 0]
    spectrum = torch.fft.rfft(padded.unfold(1, n_fft, hop) * frame)
    return torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)


def standardise_over_time(bands: Tensor, epsilon: float = 1e-5) -> Tensor:
    """Subtract each band's mean over time and divide by sqrt(population variance + epsilon).

    Args:
        bands: shape (B, M, frames).
        epsilon: floor of the variance.

    Returns:
        Same shape; exactly zero where a band is constant (digital silence).
    """
    bands = bands - bands[..., :1]  # without this a constant band would show the rounding of its mean
    variance, mean = torch.var_mean(bands, dim=-1, correction=0, keepdim=True)
    return (bands - mean) * torch.rsqrt(variance + epsilon)


class Spectrogram(nn.Module):
    """Holds the window (buffer `window`); waves (B, T) to power (B, frames, bins)."""

    window: Tensor

    def __init__(self, n_fft: int, window: int, hop: int) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        self.register_buffer("window", hamming_window(window))

    def forward(self, samples: Tensor) -> Tensor:
        return power_spectrogram(samples.to(self.window.dtype), self.window, self.n_fft, self.hop)


class MelScale(nn.Module):
    """Holds the bank (buffer `fb`); power (B, frames, bins) to bands (B, M, frames)."""

    fb: Tensor

    def __init__(self, bank: Tensor) -> None:
        super().__init__()
        self.register_buffer("fb", bank)

    def forward(self, power: Tensor) -> Tensor:
        return (power @ self.fb).transpose(1, 2)


class SeekingShapeLogMel(nn.Module):
    """Front end of seeking_shape (its specification, section 4.3): standardised log-mel bands, no gradient.

    The window and the bank are buffers under the names of the published checkpoints: `spectrogram.window`
    and `mel_scale.fb`. Samples are in the 16-bit range (-32768...32767); the buffers' precision (float32 or
    float64) is the precision of the computation, also under autocast.

    Args:
        n_mels: number of bands M.
        rate: sample rate in Hz.
        n_fft: frame length in samples.
        window: window length in samples.
        hop: step between frames in samples.
        low: lower corner of the first band in Hz.
        high: upper corner of the last band in Hz; rate / 2 when None.
        offset: added to the mel power before the logarithm.
        epsilon: added to the variance over time.
    """

    def __init__(
        self,
        n_mels: int = 40,
        *,
        rate: int = 16000,
        n_fft: int = 512,
        window: int = 400,
        hop: int = 160,
        low: float = 0.0,
        high: float | None = None,
        offset: float = 1e-6,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        self.offset, self.epsilon = offset, epsilon
        top = rate / 2 if high is None else high
        self.spectrogram = Spectrogram(n_fft, window, hop)
        self.mel_scale = MelScale(htk_mel_bank(n_fft // 2 + 1, n_mels, low, top, rate))

    @torch.no_grad()
    def log_mel(self, samples: Tensor) -> Tensor:
        """Natural logarithm of mel power + offset, shape (B, M, 1 + T // hop), before standardising."""
        with torch.autocast(samples.device.type, enabled=False):
            return self.mel_scale(self.spectrogram(samples)).add_(self.offset).log_()

    @torch.no_grad()
    def forward(self, samples: Tensor) -> Tensor:
        """Waves (B, T) in the 16-bit range to network input (B, M, 1 + T // hop)."""
        return standardise_over_time(self.log_mel(samples), self.epsilon)
