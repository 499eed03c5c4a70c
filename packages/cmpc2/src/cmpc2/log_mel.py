"""The voice front end of CMPC's training and evaluation code: log-mel in decibels (docs/cmpc2.md).

Equal to librosa's `melspectrogram` (reflect padding, Slaney bands of equal area) and `power_to_db`. Notation:
M bands, T frames.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from voiceface.audio.mel import slaney_mel_filterbank

__all__ = ["SAMPLE_RATE", "compute_decibel_log_mel", "crop_or_pad"]

SAMPLE_RATE = 16000


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
    """Compute log-mel bands in decibels, limited to `top_db` below the loudest value of the utterance.

    Args:
        waveform: one utterance in -1...1, shape (samples,), longer than n_fft / 2.
        n_fft: window and transform length in samples (100 ms).
        hop_length: step between frames in samples (10 ms).
        n_mels: number of bands M.
        f_min: lower corner of the first band in Hz.
        f_max: upper corner of the last band in Hz.
        sample_rate: Hz.
        top_db: decibels between maximum and floor; None leaves the values as they are.

    Returns:
        10 log10 max(1e-10, mel power), shape (M, 1 + samples // hop_length), float32.

    Raises:
        ValueError: another shape, or too short to be reflected at its ends.
    """
    if waveform.ndim != 1 or len(waveform) <= n_fft // 2:
        raise ValueError(
            f"an utterance must be (samples,) with more than {n_fft // 2} samples (50 ms), found shape "
            f"{tuple(waveform.shape)}; skip it"
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
    """Crop to exactly `num_frames` frames (docs/cmpc2.md).

    A shorter utterance is first padded with floor((num_frames - T + 1) / 2) frames of zeros on both sides,
    which makes one frame too many where an odd number is missing.

    Args:
        log_mel: shape (M, T).
        num_frames: length of the result.
        choose_start: number of possible starts -> the start, from 0; None takes the middle.

    Returns:
        Shape (M, num_frames).

    Raises:
        ValueError: no frames at all.
    """
    if log_mel.ndim != 2 or not log_mel.shape[1] or num_frames < 1:
        raise ValueError(
            f"expected bands (M, T) with T > 0 for {num_frames} frames, found shape {log_mel.shape}"
        )
    missing = num_frames - log_mel.shape[1]
    if missing > 0:
        side = (missing + 1) // 2
        log_mel = np.pad(log_mel, ((0, 0), (side, side)))
    num_starts = log_mel.shape[1] - num_frames + 1
    start = (num_starts - 1) // 2 if choose_start is None else choose_start(num_starts)
    return np.ascontiguousarray(log_mel[:, start : start + num_frames])
