"""Vocal tract of a synthetic speaker: transfer function of a cascade of second-order sections.

The cascade follows Klatt (1980).
"""

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.identities import Identities
from voiceface.synthetic.voice.channel import SAMPLE_RATE
from voiceface.synthetic.voice.phonetics import (
    FRAME_RATE,
    MALE_TRACT_CM,
    ControlTracks,
    vocal_tract_length,
)
from voiceface.synthetic.voice.voice_traits import VoiceTraits, voice_traits

__all__ = ["RESPONSE_LENGTH", "delay_phase", "throat_response", "tract_response"]

RESPONSE_LENGTH = 512  # samples of the response to one pulse
_BANDWIDTHS = np.array([60.0, 80.0, 120.0, 170.0, 230.0])  # Hz, F1 to F5
_SUBGLOTTAL_BANDWIDTHS = np.array([120.0, 150.0, 200.0])


def tract_response(
    identities: Identities,
    index: int,
    tracks: ControlTracks,
    times: NDArray[np.float64],
) -> NDArray[np.complex128]:
    """Compute the transfer function of the vocal tract at `times` (s, shape (P,)).

    The sections are expanded into a numerator and a denominator polynomial, which are then transformed.

    Args:
        identities: the population.
        index: row of the speaker.
        tracks: control tracks of the clip.
        times: s.

    Returns:
        Shape (P, RESPONSE_LENGTH // 2 + 1), complex.
    """
    frames = np.arange(len(tracks.f0)) / FRAME_RATE
    formants = np.column_stack([np.interp(times, frames, track) for track in tracks.formants.T])
    scale = MALE_TRACT_CM / vocal_tract_length(identities, index)
    v = identities.voice_factors[index]
    traits = voice_traits(identities, index)
    nasality = np.interp(times, frames, tracks.nasality)
    nasal_coupling = 1.3 * (0.25 + 0.75 * nasality) * np.clip(0.55 + 0.28 * v[3], -0.1, 1.3)
    nasal_coupling = np.clip(nasal_coupling, 0, 1.6)[:, None]
    width = _BANDWIDTHS * np.exp(0.30 * v[6]) * traits.bandwidth_factor
    low, high = 280 * scale * traits.nasal_factor[0], 1000 * scale * traits.nasal_factor[1]
    fixed = np.broadcast_to([*traits.fixed_poles, low, high], (len(times), 4))
    poles = np.column_stack([formants, fixed])
    denominator = _section_product(poles, np.concatenate([width, [400, 500, 120, 150]]))
    numerator = _section_product(
        np.column_stack([low + 260 * nasal_coupling, high + 350 * nasal_coupling]), np.array([140.0, 150.0])
    )
    numerator *= (denominator.sum(1) / numerator.sum(1))[:, None]
    spectrum = np.fft.rfft(numerator, RESPONSE_LENGTH, axis=1)
    return spectrum / np.fft.rfft(denominator, RESPONSE_LENGTH, axis=1)


def throat_response(traits: VoiceTraits) -> NDArray[np.complex128]:
    """Compute what a speaker's throat does to every voiced sound: colour, piriform zero, subglottal pairs.

    Returns:
        Shape (RESPONSE_LENGTH // 2 + 1,).
    """
    f = np.arange(RESPONSE_LENGTH // 2 + 1) * (SAMPLE_RATE / RESPONSE_LENGTH)
    mel = np.log1p(f / 700) / np.log1p(SAMPLE_RATE / 1400)
    cosines = np.cos(np.pi * np.outer(np.arange(1, len(traits.colour) + 1), mel))
    gain = 10 ** (np.asarray(traits.colour) @ cosines / 20)
    gain *= 1 - traits.piriform_depth / (1 + np.square((f - traits.piriform_hz) / traits.piriform_bandwidth))
    zeros, poles = (
        _section_product(np.array([hertz]), _SUBGLOTTAL_BANDWIDTHS)[0]
        for hertz in (traits.subglottal_zero_hz, traits.subglottal_hz)
    )
    pairs = np.fft.rfft(zeros, RESPONSE_LENGTH) / np.fft.rfft(poles, RESPONSE_LENGTH)
    return gain * pairs * (poles.sum() / zeros.sum())


def _section_product(
    frequencies: NDArray[np.float64], bandwidths: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Expand a product of sections 1 - b z^-1 - c z^-2: coefficients (P, 2 S + 1) from Hz (P, S) and (S,)."""
    radius = np.exp(-np.pi * bandwidths / SAMPLE_RATE)
    first = -2 * radius * np.cos(2 * np.pi * frequencies / SAMPLE_RATE)
    second = radius * radius
    count = frequencies.shape[1]
    product = np.zeros((len(frequencies), 2 * count + 1))
    product[:, 0] = 1
    for section in range(count):
        before = product.copy()
        product[:, 1:] += first[:, section, None] * before[:, :-1]
        product[:, 2:] += second[section] * before[:, :-2]
    return product


def delay_phase(samples: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Compute the phase factors of delays by `samples` (P,), shape (P, RESPONSE_LENGTH // 2 + 1).

    Powers are split into coarse and fine steps, which saves exponentials.
    """
    unit = -2j * np.pi / RESPONSE_LENGTH * samples[:, None]
    coarse = np.exp(unit * (16 * np.arange(RESPONSE_LENGTH // 32 + 1)))
    fine = np.exp(unit * np.arange(16))
    product = (coarse[:, :, None] * fine[:, None, :]).reshape(len(samples), coarse.shape[1] * 16)
    return product[:, : RESPONSE_LENGTH // 2 + 1]
