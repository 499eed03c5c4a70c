"""The voice front end of CMPC's training and evaluation code: log-mel in decibels (docs/cmpc2.md).

Equal to librosa's `melspectrogram` (reflect padding, Slaney bands of equal area) and `power_to_db`. Letters:
M bands, T frames.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SAMPLE_RATE = 16000


def slaney_mel_filterbank(
    n_fft: int = 1600,
    n_mels: int = 64,
    f_min: float = 0.0,
    f_max: float = 8000.0,
    sample_rate: int = SAMPLE_RATE,
) -> Tensor:
    """Triangles on Slaney's mel scale with area normalisation, as librosa's default.

    The scale is linear below 1000 Hz (200/3 Hz a mel) and logarithmic above (27 mels a factor of 6.4). Each
    triangle is multiplied by 2 / (its width in Hz).

    Args:
        n_fft: frame length in samples.
        n_mels: number of bands M.
        low: lower corner of the first band in Hz.
        high: upper corner of the last band in Hz.
        rate: sample rate in Hz.

    Returns:
        Weights, shape (n_fft / 2 + 1, M), double precision.

    Raises:
        ValueError: the range is empty or leaves the spectrum.
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


@lru_cache(maxsize=8)
def _mel_constants(
    n_fft: int, n_mels: int, f_min: float, f_max: float, sample_rate: int
) -> tuple[Tensor, Tensor]:
    """Periodic Hann window and mel bank in single precision."""
    window = torch.hann_window(n_fft, periodic=True, dtype=torch.float64).float()
    return window, slaney_mel_filterbank(n_fft, n_mels, f_min, f_max, sample_rate).float()


@torch.no_grad()
def compute_decibel_log_mel(
    waveform: Tensor,
    *,
    n_fft: int = 1600,
    hop_length: int = 160,
    n_mels: int = 64,
    f_min: float = 0.0,
    f_max: float = 8000.0,
    sample_rate: int = SAMPLE_RATE,
    top_db: float | None = 80.0,
) -> Tensor:
    """Log-mel in decibels, cut off `reach` below the loudest value of the recording.

    Args:
        samples: one recording in the range -1...1 at `rate`, shape (samples,), longer than n_fft / 2.
        n_fft: window and transform length in samples (100 ms).
        hop: step between frames in samples (10 ms).
        n_mels: number of bands M.
        low: lower corner of the first band in Hz.
        high: upper corner of the last band in Hz.
        rate: sample rate in Hz.
        reach: decibels between the maximum and the floor; None leaves the values as they are.

    Returns:
        10 log10 max(1e-10, mel power), shape (M, 1 + samples // hop), float32.

    Raises:
        ValueError: no wave, or one too short to be reflected at its ends.
    """
    if waveform.ndim != 1 or len(waveform) <= n_fft // 2:
        raise ValueError(
            f"a recording must be (samples,) with more than {n_fft // 2} samples (50 ms), found shape "
            f"{tuple(waveform.shape)}; leave it out"
        )
    window, bank = (
        item.to(waveform.device) for item in _mel_constants(n_fft, n_mels, f_min, f_max, sample_rate)
    )
    half = n_fft // 2
    padded = torch.nn.functional.pad(waveform.float()[None, None], (half, half), mode="reflect")[0, 0]
    spectrum = torch.fft.rfft(padded.unfold(0, n_fft, hop_length) * window)
    power = torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag) @ bank
    decibels = power.clamp_min_(1e-10).log10_().mul_(10)
    if top_db is not None:
        decibels.clamp_min_(float(decibels.max()) - top_db)
    return decibels.T.contiguous()


def crop_or_pad(
    log_mel: NDArray[np.float32], num_frames: int, choose_start: Callable[[int], int] | None = None
) -> NDArray[np.float32]:
    """A part of exactly `frames` frames (docs/cmpc2.md).

    A shorter recording gets floor((frames - T + 1) / 2) frames of zeros on both sides first, which makes one
    frame too many where an odd number is missing.

    Args:
        bands: shape (M, T).
        frames: frames wanted.
        start: number of possible starts -> which one, from 0; None takes the middle.

    Returns:
        Shape (M, frames).

    Raises:
        ValueError: no frames at all.
    """
    if log_mel.ndim != 2 or not log_mel.shape[1] or num_frames < 1:
        raise ValueError(
            f"expected bands (M, T) with T > 0, found shape {log_mel.shape}, {num_frames} wanted"
        )
    missing = num_frames - log_mel.shape[1]
    if missing > 0:
        side = (missing + 1) // 2
        log_mel = np.pad(log_mel, ((0, 0), (side, side)))
    places = log_mel.shape[1] - num_frames + 1
    first = (places - 1) // 2 if choose_start is None else choose_start(places)
    return np.ascontiguousarray(log_mel[:, first : first + num_frames])
