"""Recording channel of a synthetic clip: equaliser, filters, room, background noise, level.

Slots of the counters: stream "clip", item = clip: 2 level, 3 signal-to-noise ratio, from 2**22 background
noise, from 5 * 2**20 noise of the codec, from 6 * 2**20 swell of the noise; stream "voice", item = 1 + video:
0-7 equaliser, 8 high-pass, 9 low-pass, 32 tilt of the noise, 33 its swell, 34 whether there is a codec, 35
its quality; rooms.py lists more.
"""

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.counter_rng import normals, uniforms, white_noise
from voiceface.synthetic.voice.rooms import room_response

__all__ = ["SAMPLE_RATE", "apply_channel"]

SAMPLE_RATE = 16_000
_EQUALISER_HZ = np.array([0.0, 150, 400, 900, 1800, 3200, 5000, 8000])
_EQUALISER_DB = 2.25  # the reflections of rooms colour the sound, too


def apply_channel(
    speech: NDArray[np.float64],
    identity: int,
    clip: int,
    video: int,
    *,
    seed: int,
    nuisance: float = 1.0,
) -> NDArray[np.int16]:
    """Apply channel, room, background noise and level to dry speech.

    Rooms have reflections (`room_response`), noise falls by 4 to 7 dB per octave and its level varies, and a
    quarter of the videos have the distortion of a speech codec.

    Args:
        speech: (T,) speech at any level, 16 kHz.
        identity: identity number.
        clip: clip number; determines level and signal-to-noise ratio.
        video: video number; determines equaliser, filters, room and noise spectrum.
        seed: population seed.
        nuisance: factor on all effects; 0 leaves clean speech at a fixed level.

    Returns:
        (T,) int16, without clipping.
    """
    u = uniforms(seed, identity, "voice", 1 + video, 10)
    decibels = _EQUALISER_DB * nuisance * normals(seed, identity, "voice", 1 + video, 8)
    loudness = uniforms(seed, identity, "clip", clip, 1, start=2)[0]
    size = _even_fast_length(len(speech) + SAMPLE_RATE // 4)
    f = np.arange(size // 2 + 1) * (SAMPLE_RATE / size)
    gain = 10 ** (np.interp(f, _EQUALISER_HZ, decibels) / 20)
    high_pass = 40 + 100 * min(nuisance, 1.5) * u[8]
    low_pass = max(8500 - 3000 * nuisance * u[9], 3400)
    squared = np.square(f / high_pass)
    gain *= squared / np.sqrt(1 + squared * squared)
    gain /= np.sqrt(1 + np.square(np.square(np.square(f / low_pass))))
    spectrum = np.fft.rfft(speech, size) * gain
    if nuisance > 0:
        room = room_response(identity, video, seed=seed, sample_rate=SAMPLE_RATE, nuisance=nuisance)
        spectrum *= np.fft.rfft(room, size)
    wet = np.fft.irfft(spectrum, size)[: len(speech)]
    if nuisance > 0:
        wet = _add_recorded_noise(wet, size, identity, clip, video, seed=seed, nuisance=nuisance)
    level = 10 ** ((-21 + 10 * nuisance * (loudness - 0.5)) / 20)
    scale = level / max(float(np.sqrt(np.square(wet).mean())), 1e-12)
    scale = min(scale, 0.97 / max(float(np.abs(wet).max()), 1e-12))
    return np.rint(wet * (scale * 32767)).astype(np.int16)


def _add_recorded_noise(
    speech: NDArray[np.float64],
    size: int,
    identity: int,
    clip: int,
    video: int,
    *,
    seed: int,
    nuisance: float,
) -> NDArray[np.float64]:
    """Add codec and background noise to (T,) speech; `size` is that of the transforms.

    The codec is a modulated noise reference unit (ITU-T P.810): noise in proportion to the samples.
    """
    tilt, wobble, coded, quality = uniforms(seed, identity, "voice", 1 + video, 4, start=32)
    if coded < 0.25:
        white = white_noise(seed, identity, "clip", clip, len(speech), 5 << 20)
        speech = speech * (1 + nuisance * 10 ** (-(20 + 15 * quality) / 20) * white)
    f = np.arange(size // 2 + 1) * (SAMPLE_RATE / size)
    white = white_noise(seed, identity, "clip", clip, len(speech), 1 << 22)
    slope = np.maximum(f, 60) ** (-0.6 - 0.6 * tilt)
    slope[0] = 0
    noise = np.fft.irfft(np.fft.rfft(white, size) * slope, size)[: len(speech)]
    knots = np.arange(0, len(speech) + SAMPLE_RATE // 4, SAMPLE_RATE // 4)
    swell = np.exp(0.6 * wobble * normals(seed, identity, "clip", clip, len(knots), start=6 << 20))
    noise *= np.interp(np.arange(len(speech)), knots, swell)
    below = 14 + 20 * uniforms(seed, identity, "clip", clip, 1, start=3)[0]  # dB
    ratio = nuisance * 10 ** (-below / 20) * np.sqrt(np.square(speech).mean() / np.square(noise).mean())
    return speech + ratio * noise


def _even_fast_length(n: int) -> int:
    """Return the smallest even length >= n that is a power of two times 1, 3, 5, 9 or 15."""
    lengths = (odd << power for odd in (1, 3, 5, 9, 15) for power in range(1, 40))
    return min(length for length in lengths if length >= n)
