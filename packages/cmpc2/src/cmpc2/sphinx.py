"""Voice front end of the published package cmpc2: Sphinx-style log-mel bands and cepstra (docs/cmpc2.md).

`MFCC` and `get_fbank` are names of the published package. Notation: T frames, M bands, K cepstra.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from voiceface.audio.frontends import PerceptionistLogMel
from voiceface.audio.mel import repeat_frames

from cmpc2.model_config import MIN_FRAMES

__all__ = [
    "MFCC",
    "Array",
    "dct",
    "dct2",
    "dct3",
    "get_fbank",
    "get_published_frontend",
    "idct",
    "logspec2s2mfc",
    "standardise_bands",
]

Array = NDArray[np.float64]


class MFCC:
    """Log-mel bands and cepstra of CMU Sphinx, for 16-bit samples; names as published.

    Frames start at every hop; at the end of an utterance they are filled by repetition. Pre-emphasis takes
    the last sample of the previous frame, or of the previous utterance, for the sample before a frame.

    Args:
        nfilt: number of bands M.
        ncep: number of cepstra K.
        lowerf: lower corner of the first band in Hz.
        upperf: upper corner of the last band in Hz.
        alpha: pre-emphasis: factor of the previous sample.
        samprate: sampling rate in Hz.
        frate: frames per second.
        wlen: window in seconds.
        nfft: transform length in samples.
        carry: keep the last sample of an utterance for the next one, as published; else pre-emphasis starts
            at 0 for every utterance.

    Attributes:
        filters: filter bank, (nfft / 2 + 1, M).
        win: the window, (window,).
    """

    def __init__(
        self,
        nfilt: int = 40,
        ncep: int = 13,
        lowerf: float = 133.3333,
        upperf: float = 6855.4976,
        alpha: float = 0.97,
        samprate: int = 16000,
        frate: int = 100,
        wlen: float = 0.0256,
        nfft: int = 512,
        *,
        carry: bool = True,
    ) -> None:
        self.nfilt, self.ncep, self.alpha, self.samprate = nfilt, ncep, alpha, samprate
        self.frontend = PerceptionistLogMel(
            nfilt,
            sample_rate=samprate,
            n_fft=nfft,
            win_length=int(wlen * samprate),
            hop_length=int(samprate / frate),
            f_min=lowerf,
            f_max=upperf,
            pre_emphasis=alpha,
            min_frames=1,
        )
        self.filters: Array = self.frontend.bank.numpy()
        self.win: Array = self.frontend.window.numpy()
        self.carry, self.prior = carry, 0.0

    def sig2logspec(self, sig: ArrayLike) -> Array:
        """Compute natural log energies of samples (samples,), shape (T, M)."""
        samples = torch.from_numpy(np.asarray(sig, np.float64))[None]
        log_mel = self.frontend.log_mel(samples, self.prior)
        if self.carry:
            self.prior = float(self.frontend.last_sample(samples)[0])
        return log_mel[0].T.numpy()

    def sig2s2mfc(self, sig: ArrayLike) -> Array:
        """Compute legacy cepstra of samples (samples,), shape (T, K)."""
        return logspec2s2mfc(self.sig2logspec(sig), self.ncep)

    s2mfc = sig2s2mfc


def logspec2s2mfc(logspec: ArrayLike, ncep: int = 13) -> Array:
    """Compute legacy cepstra (T, K) of log energies (T, M): mean x_n cos(pi (n + 1/2) k / M), x_0 halved."""
    values = np.array(logspec, np.float64)
    values[..., 0] /= 2
    return values @ _dct_matrix(values.shape[-1], ncep) / values.shape[-1]


def dct(input: ArrayLike, K: int = 13) -> Array:
    """Compute the orthonormal cosine transform of rows (T, M), first K coefficients."""
    values = np.asarray(input, np.float64)
    coefficients = values @ _dct_matrix(values.shape[-1], K) * np.sqrt(2 / values.shape[-1])
    coefficients[..., 0] /= np.sqrt(2)
    return coefficients


def dct2(input: ArrayLike, K: int = 13) -> Array:
    """Compute the cosine transform (2 / M) sum x_n cos(pi (n + 1/2) k / M) of rows (T, M), k < K."""
    values = np.asarray(input, np.float64)
    return values @ _dct_matrix(values.shape[-1], K) * (2 / values.shape[-1])


def idct(input: ArrayLike, K: int = 40) -> Array:
    """Invert `dct`: cepstra (T, k) to K bands."""
    values = np.array(input, np.float64)
    values[..., 0] /= np.sqrt(2)
    return values @ _dct_matrix(K, values.shape[-1]).T * np.sqrt(2 / K)


def dct3(input: ArrayLike, K: int = 40) -> Array:
    """Invert `dct2`: cepstra (T, k) to K bands."""
    values = np.array(input, np.float64)
    values[..., 0] /= 2
    return values @ _dct_matrix(K, values.shape[-1]).T


def get_fbank(voice: ArrayLike, mfc_obj: Any = None, min_time: int = MIN_FRAMES) -> NDArray[np.float32]:
    """Compute network input of voiced samples: log energies, standardised per band, repeated if short.

    Args:
        voice: samples in the 16-bit range, shape (samples,).
        mfc_obj: an `MFCC`; None: the published 64 bands of 20...7200 Hz, without previous samples.
        min_time: minimum number of frames; longer utterances are not cropped.

    Returns:
        Shape (T, M), float32, T at least `min_time`.

    Raises:
        ValueError: no samples.
    """
    samples = np.asarray(voice)
    if samples.ndim != 1 or not len(samples):
        raise ValueError(f"expected samples of shape (samples,), at least one, found shape {samples.shape}")
    if mfc_obj is not None:
        log_mel = torch.from_numpy(mfc_obj.sig2logspec(samples)).float().T[None]
    else:
        log_mel = get_published_frontend().log_mel(torch.from_numpy(samples.astype(np.float64))[None]).float()
    return standardise_bands(log_mel, min_time)[0].T.numpy()


def standardise_bands(bands: torch.Tensor, min_frames: int) -> torch.Tensor:
    """Standardise bands (B, M, T) to mean 0 and deviation 1 over time; repeat to `min_frames` if shorter.

    A constant band becomes exactly 0.
    """
    bands = bands - bands[..., :1]  # otherwise a constant band would be the rounding error of its mean
    variance, mean = torch.var_mean(bands, dim=-1, correction=0, keepdim=True)
    standardised = (bands - mean) / (variance.sqrt() + torch.finfo(torch.float32).eps)
    return repeat_frames(standardised, min_frames)


@lru_cache(maxsize=1)
def get_published_frontend() -> PerceptionistLogMel:
    """Build the published front end: 64 bands of 20...7200 Hz, window 25 ms, transform of 1024 samples."""
    return PerceptionistLogMel(min_frames=MIN_FRAMES)


def _dct_matrix(bands: int, cepstra: int) -> Array:
    """Build the matrix cos(pi (n + 1/2) k / M), shape (M, K)."""
    positions = (np.arange(bands) + 0.5)[:, None]
    return np.cos(np.pi * positions * np.arange(cepstra) / bands)
