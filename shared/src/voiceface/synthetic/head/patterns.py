"""Noise patterns that all identities share: skin and strands of hair, band-limited and periodic."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.counter_rng import normals

__all__ = ["SKIN_NOISE_SIZE", "build_skin_noise", "build_strand_noise"]

Floats = NDArray[np.float32]

SKIN_NOISE_SIZE = 512
_FIRST_COUNTER = 1 << 20
# Cycles per side, from blotches to pores.
_BANDS = (5.0, 14.0, 36.0, 80.0, 150.0)


@lru_cache(maxsize=1)
def build_skin_noise() -> Floats:
    """Build five octaves of noise of variance 1, coarse to fine, two periods wide: (5, 512, 1024)."""
    size = SKIN_NOISE_SIZE
    white = normals(0, 0, "constants", 2, size * size, start=_FIRST_COUNTER).reshape(size, size)
    spectrum = np.fft.rfft2(white)
    radius = np.maximum(np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)) * size, 0.2)
    shape = [np.exp(-0.5 * (np.log(radius / centre) / 0.38) ** 2) for centre in _BANDS]
    bands = [np.fft.irfft2(spectrum * each, s=(size, size)) for each in shape]
    return np.stack([np.tile(band / band.std(), (1, 2)) for band in bands]).astype(np.float32)


@lru_cache(maxsize=1)
def build_strand_noise() -> Floats:
    """Build strands, 128 along and 512 across, fine and coarse, of variance 1: (128, 512, 2)."""
    white = normals(0, 0, "constants", 3, 2 * 128 * 512, start=_FIRST_COUNTER).reshape(2, 128, 512)
    along = np.abs(np.fft.fftfreq(128) * 128)[:, None]
    across = np.maximum(np.fft.rfftfreq(512) * 512, 0.3)
    shapes = [
        np.exp(-0.5 * (along / length) ** 2 - 0.5 * (np.log(across / centre) / width) ** 2)
        for length, centre, width in ((2.2, 95.0, 0.45), (1.6, 22.0, 0.50))
    ]
    strands = np.fft.irfft2(np.fft.rfft2(white) * np.stack(shapes), s=(128, 512))
    strands /= strands.std(axis=(1, 2), keepdims=True)
    return np.ascontiguousarray(strands.transpose(1, 2, 0), np.float32)
