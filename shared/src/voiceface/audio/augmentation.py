"""Changes of waveforms and spectrograms for training: noise, reverberation, speed, codecs, masks.

Every function is determined by its arguments; `voiceface.datasets.augmentation` samples them. Waveforms have
shape (T,), float32, in the 16-bit range (-32768...32767). Reverberation, speed and telephone need torchaudio
(the extra `augmentation`). See docs/augmentation.md.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from voiceface.audio.samples import INT16_FULL_SCALE, Waveform

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "TELEPHONE_BAND",
    "add_noise",
    "change_speed",
    "coloured_noise",
    "mask_spectrogram",
    "mp3_codec",
    "require_torchaudio",
    "reverberate",
    "synthetic_impulse_response",
    "telephone_codec",
]

TELEPHONE_BAND = (300.0, 3400.0)
"""Pass band of telephone speech in Hz (ITU-T G.712)."""
TELEPHONE_RATE = 8000
MU_LAW_CHANNELS = 256  # 8 bits (ITU-T G.711)
LAME_QUALITY = "7"  # 0 best, 9 fastest
DIRECT_SECONDS = 0.0025  # seconds around the peak of an impulse response that count as direct sound


def require_torchaudio(key: str) -> None:
    """Check that torchaudio is installed.

    Raises:
        ModuleNotFoundError: it is not; the message names `key`, the configuration key that needs it.
    """
    if find_spec("torchaudio") is None:
        raise ModuleNotFoundError(
            f"{key} needs torchaudio, which is not installed: pip install "
            f"'voiceface-shared[augmentation]', or set {key}=null"
        )


def coloured_noise(num_samples: int, exponent: float, rng: np.random.Generator) -> Waveform:
    """Generate Gaussian noise with a power spectrum proportional to 1 / f^exponent and unit power.

    Args:
        num_samples: T.
        exponent: 0 white, 1 pink, 2 brown.
        rng: source of the noise.

    Returns:
        Shape (T,), float32, without a constant part.
    """
    from scipy.fft import irfft, rfft

    spectrum = rfft(rng.standard_normal(num_samples, np.float32))
    spectrum[0] = 0
    spectrum[1:] *= np.arange(1, len(spectrum), dtype=np.float32) ** (-exponent / 2)
    noise = irfft(spectrum, num_samples)
    return (noise / max(_rms(noise), 1e-12)).astype(np.float32)


def add_noise(waveform: Waveform, noise: Waveform, snr_db: float) -> Waveform:
    """Add noise at a signal-to-noise ratio, measured over the whole waveform.

    Args:
        waveform: (T,).
        noise: (T,), any scale.
        snr_db: 10 log10 of the ratio of the mean powers.

    Returns:
        Shape (T,), float32. The waveform is unchanged if it or the noise is silent.
    """
    signal_rms, noise_rms = _rms(waveform), _rms(noise)
    if not signal_rms or not noise_rms:
        return waveform
    gain = signal_rms / noise_rms * 10 ** (-snr_db / 20)
    return (waveform + gain * noise).astype(np.float32)


def synthetic_impulse_response(
    decay_seconds: float,
    direct_to_reverberant_db: float,
    rng: np.random.Generator,
    sample_rate: int = 16000,
) -> Waveform:
    """Generate an impulse response: the direct sound, then Gaussian noise that decays exponentially.

    Args:
        decay_seconds: time in which the reverberation falls by 60 dB (RT60).
        direct_to_reverberant_db: energy of the direct sound over that of the reverberation.
        rng: source of the noise.
        sample_rate: Hz.

    Returns:
        Shape (n,), float32; sample 0 is the direct sound, 1.
    """
    length = max(2, round(decay_seconds * sample_rate))
    decay = np.exp(np.arange(1, length, dtype=np.float32) * (-3 * np.log(10) / (decay_seconds * sample_rate)))
    tail = rng.standard_normal(length - 1, np.float32) * decay
    tail[: round(DIRECT_SECONDS * sample_rate)] = 0  # the first reflection comes later
    energy = np.sqrt(np.square(tail).sum())
    if energy:
        tail *= 10 ** (-direct_to_reverberant_db / 20) / energy
    return np.concatenate([[1.0], tail]).astype(np.float32)


def reverberate(waveform: Waveform, impulse_response: Waveform) -> Waveform:
    """Convolve with an impulse response; direct sound and level stay where they are.

    Args:
        waveform: (T,).
        impulse_response: (n,), any scale; its largest absolute value is the direct sound.

    Returns:
        Shape (T,), float32, with the root mean square of `waveform`. Unchanged if the response is all zero.
    """
    if not np.any(impulse_response):
        return waveform
    import torch
    from scipy.fft import next_fast_len

    direct = int(np.abs(impulse_response).argmax())
    total = next_fast_len(len(waveform) + len(impulse_response) - 1, real=True)
    padded = np.pad(impulse_response, (0, total - len(waveform) - len(impulse_response) + 1))
    with _torchaudio_functional() as functional:
        found = functional.fftconvolve(torch.from_numpy(waveform), torch.from_numpy(padded)).numpy()
    found = found[direct : direct + len(waveform)]
    rms = _rms(found)
    return (found * (_rms(waveform) / rms)).astype(np.float32) if rms else waveform


def change_speed(waveform: Waveform, percent: int, sample_rate: int = 16000) -> Waveform:
    """Play a waveform faster or slower by resampling; pitch and formants change by the same factor.

    Args:
        waveform: (T,).
        percent: 100 times the speed; 110 shortens the waveform to T / 1.1.
        sample_rate: Hz, a multiple of 100, so that the resampling filters are short.

    Returns:
        Shape (about 100 T / percent,), float32.
    """
    if percent == 100:
        return waveform
    import torch

    source_rate = percent * sample_rate // 100
    with _torchaudio_functional() as functional:
        return functional.resample(torch.from_numpy(waveform), source_rate, sample_rate).numpy()


def telephone_codec(waveform: Waveform, sample_rate: int = 16000) -> Waveform:
    """Pass a waveform through a telephone channel: 300...3400 Hz at 8 kHz, 8-bit mu-law.

    Args:
        waveform: (T,) in the 16-bit range; louder samples are clipped.
        sample_rate: Hz.

    Returns:
        Shape (T,), float32, at the same rate, band limited.
    """
    import torch

    with _torchaudio_functional() as functional:
        wave = functional.resample(torch.from_numpy(waveform) / INT16_FULL_SCALE, sample_rate, TELEPHONE_RATE)
        low, high = TELEPHONE_BAND
        for _ in range(2):  # two sections of second order: 24 dB an octave
            wave = functional.highpass_biquad(wave, TELEPHONE_RATE, low)
        wave = functional.lowpass_biquad(wave, TELEPHONE_RATE, high).clamp(-1, 1)
        codes = functional.mu_law_encoding(wave, MU_LAW_CHANNELS)
        wave = functional.mu_law_decoding(codes, MU_LAW_CHANNELS)
        wave = functional.resample(wave, TELEPHONE_RATE, sample_rate)[: len(waveform)] * INT16_FULL_SCALE
    return _fit_length(wave.numpy(), len(waveform))


def mp3_codec(waveform: Waveform, kbps: int, sample_rate: int = 16000) -> Waveform:
    """Encode a waveform as mp3 and decode it (PyAV, LAME).

    Args:
        waveform: (T,) in the 16-bit range; louder samples are clipped.
        kbps: constant bit rate, one of MPEG-2 layer III: 8 to 160.
        sample_rate: Hz.

    Returns:
        Shape (T,), float32, aligned with the input.
    """
    import io

    import av

    samples = np.clip(np.rint(waveform), -32768, 32767).astype(np.int16)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp3") as container:
        options = {"compression_level": LAME_QUALITY}
        stream = container.add_stream("libmp3lame", rate=sample_rate, layout="mono", options=options)
        stream.bit_rate = kbps * 1000
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16p", layout="mono")
        frame.sample_rate = sample_rate
        container.mux([*stream.encode(frame), *stream.encode(None)])
    buffer.seek(0)
    with av.open(buffer, "r") as source:
        decoded = [frame.to_ndarray()[0] for frame in source.decode(audio=0)]
    found = np.concatenate(decoded).astype(np.float32) * np.float32(INT16_FULL_SCALE)
    return _fit_length(found, len(waveform))


def mask_spectrogram(bands: "Tensor", rectangles: "Tensor") -> "Tensor":
    """Replace rectangles of a spectrogram by its mean value (SpecAugment, Park et al. 2019, section 2).

    Args:
        bands: (B, M, T) log-mel bands.
        rectangles: (B, K, 4): lowest and highest band, first and last frame of K rectangles, as fractions of
            M and T; a frequency mask covers all frames, a time mask all bands, 0, 0, 0, 0 nothing.

    Returns:
        Shape (B, M, T); the mean is that of each spectrogram, over bands and frames.
    """
    import torch

    low, high, first, last = rectangles.to(bands.device)[..., None].unbind(-2)  # (B, K, 1) each
    rows, columns = (
        (torch.arange(count, device=bands.device) + 0.5) / count for count in (bands.shape[1], bands.shape[2])
    )
    in_band, in_time = (rows >= low) & (rows < high), (columns >= first) & (columns < last)
    masked = (in_band[..., None] & in_time[..., None, :]).any(1)
    return torch.where(masked, bands.mean((1, 2), keepdim=True), bands)


@contextmanager
def _torchaudio_functional() -> Iterator[ModuleType]:
    """Give torchaudio's functions, with one thread (the number of threads changes results)."""
    require_torchaudio("data.augmentation.voice")
    import torch
    import torchaudio.functional

    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield torchaudio.functional
    finally:
        torch.set_num_threads(num_threads)


def _rms(waveform: NDArray[np.floating]) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))


def _fit_length(waveform: Waveform, num_samples: int) -> Waveform:
    """Cut, or append zeros: codecs work in blocks."""
    missing = num_samples - len(waveform)
    return np.pad(waveform, (0, missing)) if missing > 0 else waveform[:num_samples]
