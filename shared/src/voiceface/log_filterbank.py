"""Logarithm of filterbank energies, as sf2f stores them: a fast front end, and a twin that can be exported.

The definition is that of python_speech_features' `logfbank` (sf2f's specification, section 2.5): emphasis
over the whole wave, frames without a window function, triangles whose corners are moved down to a bin.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

LEAST = float(np.finfo(np.float64).eps)  # stands for an energy of exactly zero


def floor_bin_mel_bank(
    n_fft: int, n_mels: int, rate: int = 16000, low: float = 0.0, high: float | None = None
) -> Tensor:
    """Triangles of height one whose corners are moved down to a bin, bins counted as if there were one more.

    Corners are evenly spaced on the mel scale 2595 log10(1 + f / 700); corner f stands at bin
    floor((n_fft + 1) f / rate). Where two corners fall on one bin, that side of the triangle is empty, and a
    band may hold no bin at all (its energy is then exactly zero).

    Args:
        n_fft: frame length in samples.
        n_mels: number of bands M.
        rate: sample rate in Hz.
        low: lower corner of the first band in Hz.
        high: upper corner of the last band in Hz; rate / 2 when None.

    Returns:
        Weights in [0, 1], shape (M, n_fft / 2 + 1), double precision.

    Raises:
        ValueError: the range is empty or leaves the spectrum.
    """
    top = rate / 2 if high is None else high
    if not 0 <= low < top <= rate / 2:
        raise ValueError(f"mel bands need 0 <= low < high <= {rate / 2:g} Hz, found {low:g} and {top:g}")
    first, last = (2595 * math.log10(1 + f / 700) for f in (low, top))
    corner = 700 * (10 ** (np.linspace(first, last, n_mels + 2) / 2595) - 1)
    left, centre, right = (np.floor((n_fft + 1) * corner[i : i + n_mels] / rate)[:, None] for i in range(3))
    k = np.arange(n_fft // 2 + 1)
    rising = (k - left) / np.maximum(centre - left, 1) * ((left <= k) & (k < centre))
    falling = (right - k) / np.maximum(right - centre, 1) * ((centre <= k) & (k < right))
    return torch.from_numpy(rising + falling)


def samples_in(seconds: float, rate: int) -> int:
    """Samples in a stretch of time, halves rounded up."""
    return math.floor(seconds * rate + 0.5)


class _LogFilterbank(nn.Module):
    """Sizes of both front ends.

    Args:
        n_mels: number of bands M.
        rate: sample rate in Hz.
        n_fft: frame length in samples; of longer windows the first `n_fft` samples count.
        window: seconds.
        hop: seconds.
        low: lower corner of the first band in Hz.
        high: upper corner of the last band in Hz; rate / 2 when None.
        pre_emphasis: share of the previous sample that is subtracted from each.
    """

    bank: Tensor

    def __init__(
        self,
        n_mels: int = 40,
        *,
        rate: int = 16000,
        n_fft: int = 512,
        window: float = 0.025,
        hop: float = 0.01,
        low: float = 0.0,
        high: float | None = None,
        pre_emphasis: float = 0.97,
    ) -> None:
        super().__init__()
        self.n_fft, self.window, self.hop = n_fft, samples_in(window, rate), samples_in(hop, rate)
        if not 0 < self.hop <= self.window:
            raise ValueError(f"needed: 0 < hop <= window, found {self.hop} and {self.window} samples")
        self.pre_emphasis = pre_emphasis
        bank = floor_bin_mel_bank(n_fft, n_mels, rate, low, high)
        self.register_buffer("bank", bank, persistent=False)

    def frames(self, samples: int) -> int:
        """Frames of a wave of so many samples, at least 1."""
        return 1 + max(0, math.ceil((samples - self.window) / self.hop))


class SF2FLogMel(_LogFilterbank):
    """Front end of sf2f: log-mel bands of any number of frames, double precision, no gradient.

    Frames begin at every hop and are not centred; zeros fill the last one. The computation goes by blocks of
    frames that stay in the cache. Arguments: see `_LogFilterbank`.
    """

    BLOCK = 64  # frames at a time

    @torch.no_grad()
    def forward(self, samples: Tensor) -> Tensor:
        """Natural logarithm of the mel energy; 2.2e-16 stands for energies of exactly zero.

        Args:
            samples: waves in the 16-bit range (-32768...32767), shape (B, T), T at least 1.

        Returns:
            Shape (B, M, frames), double precision, also under autocast.

        Raises:
            ValueError: the waves are not (B, T) or have no samples.
        """
        require_waves(samples)
        batch, total = samples.shape
        count, used = self.frames(total), min(self.window, self.n_fft)
        wave = self.bank.new_zeros(batch, (count - 1) * self.hop + self.window)
        source = samples.to(self.bank.dtype)
        wave[:, 0] = source[:, 0]
        torch.sub(source[:, 1:], source[:, :-1], alpha=self.pre_emphasis, out=wave[:, 1:total])
        frames = wave.unfold(1, used, self.hop)[:, :count]
        weights = (self.bank / self.n_fft).T.contiguous()
        energy = self.bank.new_empty(batch, count, len(self.bank))
        block = max(8, self.BLOCK // batch)
        room = self.bank.new_zeros(batch, block, self.n_fft)
        with torch.autocast(samples.device.type, enabled=False):
            for first in range(0, count, block):
                part = frames[:, first : first + block]
                padded = room[:, : part.shape[1]]
                padded[..., :used] = part
                spectrum = torch.fft.rfft(padded)
                power = torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)
                energy[:, first : first + block] = power @ weights
        return energy.masked_fill_(energy == 0, LEAST).log_().transpose(1, 2)


class ExportableLogMel(_LogFilterbank):
    """The same front end as a graph of ordinary tensor operations: the transform is a matrix.

    Nothing depends on the samples but their number, so that `torch.onnx.export` takes it with a dynamic T (of
    at least a window). In single precision bands differ from those of `SF2FLogMel` by its rounding, less than
    1e-3.

    Args:
        n_mels: number of bands M.
        dtype: of the computation and the result.
        how: see `_LogFilterbank`.
    """

    transform: Tensor

    def __init__(self, n_mels: int = 40, *, dtype: torch.dtype = torch.float32, **how: Any) -> None:
        super().__init__(n_mels, **how)
        used = min(self.window, self.n_fft)
        turn = np.outer(np.arange(self.n_fft // 2 + 1), np.arange(used)) % self.n_fft
        angle = 2 * np.pi / self.n_fft * turn
        parts = np.stack([np.cos(angle), np.sin(angle)]).reshape(-1, 1, used)
        matrix = torch.zeros(len(parts), 1, self.window, dtype=torch.float64)
        matrix[..., :used] = torch.from_numpy(parts)
        self.register_buffer("transform", matrix, persistent=False)
        self.bank /= self.n_fft
        self.to(dtype)

    def forward(self, samples: Tensor) -> Tensor:
        """Waves (B, T) in the 16-bit range, any number type, to (B, M, frames); see `SF2FLogMel`."""
        require_waves(samples)
        source = samples.to(self.bank.dtype)
        wave = torch.cat([source[:, :1], source[:, 1:] - self.pre_emphasis * source[:, :-1]], 1)
        missing = self.hop - 1
        if wave.shape[1] < self.window:
            missing = max(missing, self.window - wave.shape[1])
        wave = nn.functional.pad(wave, (0, missing))
        spectrum = nn.functional.conv1d(wave[:, None], self.transform, stride=self.hop)
        real, imaginary = spectrum.square().chunk(2, 1)
        energy = torch.matmul(self.bank, real + imaginary)
        return torch.where(energy == 0, LEAST, energy).log()


def require_waves(samples: Tensor) -> None:
    """Refuse anything but waves (B, T) with samples."""
    if samples.ndim != 2 or not samples.shape[1]:
        raise ValueError(f"waves must be (B, T) with T > 0 samples, found shape {tuple(samples.shape)}")
