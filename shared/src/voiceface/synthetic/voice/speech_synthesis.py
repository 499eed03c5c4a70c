"""Voice synthesiser of the synthetic population: source and filter in the frequency domain, no sample loop.

Every glottal pulse becomes a 512-sample response (glottal shape, tract, fractional delay) by one batched
inverse FFT; the responses are added up at their places. Breath and friction are white noise shaped frame by
frame. Then a channel with a room. The cascade of second-order sections follows Klatt 1980, the glottal
spectrum Doval & d'Alessandro's view of the LF model.

Slots of the counters: stream "clip", clip field = clip: 1 effort, 2 level, 3 noise level, from 2**20 pulse
jitter, 2**21 shimmer, 3 * 2**20 white noise, 2**22 background noise (phones.py has the rest); stream "voice",
clip field 1 + video: 0-7 equaliser, 8 high-pass, 9 low-pass, 10 room?, 11 its length, 12 its level, 13 colour
of the noise, from 2**20 the room's echo.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.counter_rng import integers, normals, uniforms
from voiceface.synthetic.identities import Identities, get_clip_video
from voiceface.synthetic.voice.phonetics import (
    FRAME_RATE,
    MALE_TRACT_CM,
    ControlTracks,
    generate_control_tracks,
    vocal_tract_length,
)

GENERATOR_VERSION = 1
SAMPLE_RATE = 16_000
_RESPONSE_LENGTH = 512  # response of one pulse
_RESPONSE_LEAD = 96  # samples of a response before its pulse
_HOP_LENGTH = SAMPLE_RATE // FRAME_RATE
_FREQUENCIES = np.arange(_RESPONSE_LENGTH // 2 + 1) * (SAMPLE_RATE / _RESPONSE_LENGTH)
_BANDWIDTHS = np.array([60.0, 80.0, 120.0, 170.0, 230.0])
# Breath relative to the nominal harmonics-to-noise ratio. Lower, factor 7 (age) drowns in background noise:
# a linear observer of 375 speakers reaches R^2 .25 at 0.3 and .48 at 0.7.
_BREATH_LEVEL = 0.60
_EQUALISER_HZ = np.array([0.0, 150, 400, 900, 1800, 3200, 5000, 8000])


@dataclass(frozen=True)
class SyntheticClip:
    """A synthetic clip and what is true of it.

    Attributes:
        samples: (T,) int16 mono at SAMPLE_RATE.
        sample_rate: samples a second.
        f0: (F,) Hz at FRAME_RATE, frame n at second n / FRAME_RATE; meaningful where `voiced`.
        voiced: (F,) bool, glottal pulses audible.
        speech: (F,) bool, any sound of the speaker.
        formants: (F, 5) Hz.
        phones: (F,) index into phones.PHONES.
        video: which of the identity's videos the clip is cut from.
    """

    samples: NDArray[np.int16]
    sample_rate: int
    f0: NDArray[np.float64]
    voiced: NDArray[np.bool_]
    speech: NDArray[np.bool_]
    formants: NDArray[np.float64]
    phones: NDArray[np.int64]
    video: int


def synthesise_clip(
    identities: Identities,
    index: int,
    clip: int,
    *,
    seed: int | None = None,
    seconds: float,
    nuisance: float = 1.0,
) -> SyntheticClip:
    """Synthesise one clip.

    Args:
        identities: the population; only its voice side matters, so clips do not depend on the coupling.
        index: row of the speaker in `identities`.
        clip: clip number, at least 0; also decides the video, hence channel and room.
        seed: seed of the clip's numbers; the population's own by default.
        seconds: length, at least 0.1 s.
        nuisance: multiplier of mood, effort, channel, room, noise and level; 0 leaves clean speech.

    Returns:
        The clip; bit-identical on one machine for any order and number of workers.

    Raises:
        ValueError: a clip that is too short, or a negative nuisance.
    """
    if not seconds >= 0.1:
        raise ValueError(f"a clip lasts at least 0.1 s, got {seconds}")
    if not nuisance >= 0:
        raise ValueError(f"nuisance must not be negative, got {nuisance}")
    chosen = identities.seed if seed is None else seed
    tracks = generate_control_tracks(identities, index, clip, seed=chosen, seconds=seconds, nuisance=nuisance)
    dry = synthesise_speech(
        identities, index, tracks, seed=chosen, clip=clip, seconds=seconds, nuisance=nuisance
    )
    k = int(identities.ids[index])
    video = get_clip_video(k, clip, seed=chosen)
    samples = apply_channel(dry, k, clip, video, seed=chosen, nuisance=nuisance)
    return SyntheticClip(
        samples=samples,
        sample_rate=SAMPLE_RATE,
        f0=tracks.f0,
        voiced=tracks.voicing > 0.1,
        speech=tracks.voicing + tracks.aspiration + tracks.frication > 0.05,
        formants=tracks.formants,
        phones=tracks.phone,
        video=video,
    )


def synthesise_speech(
    identities: Identities,
    index: int,
    tracks: ControlTracks,
    *,
    seed: int,
    clip: int,
    seconds: float,
    nuisance: float = 1.0,
) -> NDArray[np.float64]:
    """Pulses, breath and friction of one speaker following `tracks`: dry speech.

    Args:
        identities: the population.
        index: row of the speaker.
        tracks: controls, long enough for `seconds`.
        seed: seed of the clip's numbers.
        clip: clip number (for jitter, shimmer, effort and noise).
        seconds: length.
        nuisance: multiplier of the effort.

    Returns:
        float64 (T,), arbitrary level, no channel.
    """
    length = round(seconds * SAMPLE_RATE)
    k, v, man = int(identities.ids[index]), identities.voice_factors[index], bool(identities.sex[index])
    frames = np.arange(len(tracks.f0)) / FRAME_RATE
    effort = nuisance * normals(seed, k, "clip", clip, 1, start=1)[0]
    cutoff = (2200 if man else 1900) * np.exp(-0.35 * v[6] + 0.25 * effort)
    tilt = 1 / np.sqrt(1 + (_FREQUENCIES / cutoff) ** 2)

    at, period, wobble = _pulse_times(tracks, frames, 0.006 * np.exp(0.5 * v[7]), k, clip, seed)
    shimmer = 0.04 * np.exp(0.4 * v[7])
    amplitude = np.interp(at, frames, tracks.voicing) * np.maximum(1 + shimmer * wobble, 0.05)
    keep = (amplitude > 1e-3) & (at < length / SAMPLE_RATE)
    at, period, amplitude = at[keep], period[keep], amplitude[keep]

    x = _FREQUENCIES * (period / (0.95 * (1.0 if man else 1.15)))[:, None]
    position = at * SAMPLE_RATE
    start = np.floor(position)
    spectrum = x * tilt / (1 - x * x - 0.9j * x)
    spectrum *= _tract_response(identities, index, tracks, at) * _delay_phase(
        position - start + _RESPONSE_LEAD
    )
    responses = np.fft.irfft(spectrum, _RESPONSE_LENGTH, axis=1)
    power = float((np.square(responses).sum(1) / (period * SAMPLE_RATE)).mean()) if len(at) else 1.0
    responses *= amplitude[:, None]
    place = start.astype(np.int64)[:, None] + np.arange(_RESPONSE_LENGTH)
    total = _RESPONSE_LEAD + length + _RESPONSE_LENGTH + _HOP_LENGTH
    voice = np.bincount(place.ravel(), responses.ravel(), minlength=total)[
        _RESPONSE_LEAD : _RESPONSE_LEAD + length
    ]
    return voice + np.sqrt(power) * _breath_and_frication(identities, index, tracks, k, clip, seed, length)


def apply_channel(
    speech: NDArray[np.float64], identity: int, clip: int, video: int, *, seed: int, nuisance: float = 1.0
) -> NDArray[np.int16]:
    """Channel, room, background noise and level of one clip.

    Args:
        speech: (T,) speech at any level.
        identity: identity.
        clip: clip number: level and amount of noise.
        video: video number: equaliser, filters, room and colour of the noise.
        seed: seed of the numbers.
        nuisance: multiplier of all effects.

    Returns:
        int16 (T,); never clipped.
    """
    u = uniforms(seed, identity, "voice", 1 + video, 14)
    decibels = 3 * nuisance * normals(seed, identity, "voice", 1 + video, 8)
    own = uniforms(seed, identity, "clip", clip, 4)
    size = _even_fast_length(len(speech) + SAMPLE_RATE // 4)
    f = np.arange(size // 2 + 1) * (SAMPLE_RATE / size)
    gain = 10 ** (np.interp(f, _EQUALISER_HZ, decibels) / 20)
    high_pass = 40 + 100 * min(nuisance, 1.5) * u[8]
    low_pass = max(8500 - 3000 * nuisance * u[9], 3400)
    squared = np.square(f / high_pass)
    gain *= squared / np.sqrt(1 + squared * squared)
    gain /= np.sqrt(1 + np.square(np.square(np.square(f / low_pass))))
    spectrum = np.fft.rfft(speech, size) * gain
    if u[10] < 0.5 and nuisance > 0:
        seconds, level = 0.05 + 0.2 * u[11], nuisance * (0.01 + 0.03 * u[12])
        span = int(seconds * SAMPLE_RATE)
        echo = level * _white_noise(seed, identity, "voice", 1 + video, span, 1 << 20)
        spectrum *= 1 + np.fft.rfft(echo * np.exp(-6.9 * np.arange(span) / span), size)
    wet = np.fft.irfft(spectrum, size)[: len(speech)]
    if nuisance > 0:
        colour = np.maximum(f, 60) ** (-0.6 * u[13])
        colour[0] = 0
        noise = np.fft.irfft(
            np.fft.rfft(_white_noise(seed, identity, "clip", clip, len(speech), 1 << 22), size) * colour, size
        )
        noise = noise[: len(speech)]
        ratio = nuisance * 10 ** (-(12 + 20 * own[3]) / 20)
        wet += noise * (ratio * np.sqrt(np.square(wet).mean() / np.square(noise).mean()))
    level = 10 ** ((-21 + 10 * nuisance * (own[2] - 0.5)) / 20)
    scale = level / max(float(np.sqrt(np.square(wet).mean())), 1e-12)
    scale = min(scale, 0.97 / max(float(np.abs(wet).max()), 1e-12))
    return np.rint(wet * (scale * 32767)).astype(np.int16)


def _pulse_times(
    tracks: ControlTracks,
    frame_times: NDArray[np.float64],
    jitter: float,
    identity: int,
    clip: int,
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Times (s), periods (s) and shimmer numbers N(0, 1) of all glottal pulses, each of shape (P,)."""
    steps = (tracks.f0[1:] + tracks.f0[:-1]) / (2 * FRAME_RATE)
    phase = np.concatenate([[0], np.cumsum(steps)])
    number = np.arange(1, int(phase[-1]))
    regular = np.interp(number, phase, frame_times)
    period = 1 / np.interp(regular, frame_times, tracks.f0)
    shift = 0.7 * jitter * period * normals(seed, identity, "clip", clip, len(number), start=1 << 20)
    return (
        np.maximum(regular + shift, 0),
        period,
        normals(seed, identity, "clip", clip, len(number), start=1 << 21),
    )


def _tract_response(
    identities: Identities, index: int, tracks: ControlTracks, times: NDArray[np.float64]
) -> NDArray[np.complex128]:
    """Transfer function of the vocal tract at the times `times` (P,), shape (P, _SIZE // 2 + 1).

    The second-order sections are multiplied out to one polynomial above and one below, then transformed.
    """
    frames = np.arange(len(tracks.f0)) / FRAME_RATE
    formants = np.column_stack([np.interp(times, frames, track) for track in tracks.formants.T])
    scale = MALE_TRACT_CM / vocal_tract_length(identities, index)
    v = identities.voice_factors[index]
    nasality = np.interp(times, frames, tracks.nasality)
    strength = 1.3 * (0.25 + 0.75 * nasality) * np.clip(0.55 + 0.28 * v[3], -0.1, 1.3)
    strength = np.clip(strength, 0, 1.6)[:, None]
    width = _BANDWIDTHS * np.exp(0.30 * v[6])
    low, high = 280 * scale, 1000 * scale
    fixed = np.broadcast_to([5500.0, 6500.0, low, high], (len(times), 4))
    poles = np.column_stack([formants, fixed])
    below = _section_product(poles, np.concatenate([width, [400, 500, 120, 150]]))
    above = _section_product(
        np.column_stack([low + 260 * strength, high + 350 * strength]), np.array([140.0, 150.0])
    )
    ratio = below.sum(1) / above.sum(1)
    return np.fft.rfft(above * ratio[:, None], _RESPONSE_LENGTH, axis=1) / np.fft.rfft(
        below, _RESPONSE_LENGTH, axis=1
    )


def _section_product(
    frequencies: NDArray[np.float64], bandwidths: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Product of the sections 1 - b z^-1 - c z^-2: coefficients (P, 2 S + 1) from Hz (P, S) and Hz (S,)."""
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


def _delay_phase(samples: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Phase of a delay by `samples` (P,), shape (P, _SIZE // 2 + 1); powers split to save exponentials."""
    unit = -2j * np.pi / _RESPONSE_LENGTH * samples[:, None]
    coarse = np.exp(unit * (16 * np.arange(_RESPONSE_LENGTH // 32 + 1)))
    fine = np.exp(unit * np.arange(16))
    whole = (coarse[:, :, None] * fine[:, None, :]).reshape(len(samples), coarse.shape[1] * 16)
    return whole[:, : _RESPONSE_LENGTH // 2 + 1]


def _breath_and_frication(
    identities: Identities,
    index: int,
    tracks: ControlTracks,
    identity: int,
    clip: int,
    seed: int,
    length: int,
) -> NDArray[np.float64]:
    """Breath and friction relative to a mean voice power of 1, shape (length,)."""
    v = identities.voice_factors[index]
    centres = (
        np.arange(length // _HOP_LENGTH + 2) * _HOP_LENGTH
    )  # frame n spans centre - 160 ... centre + 160
    at = np.minimum(centres / SAMPLE_RATE, (len(tracks.f0) - 1) / FRAME_RATE)
    frames = np.arange(len(tracks.f0)) / FRAME_RATE
    voicing, breath, friction, centre, width = (
        np.interp(at, frames, track)
        for track in (
            tracks.voicing,
            tracks.aspiration,
            tracks.frication,
            tracks.frication_centre,
            tracks.frication_bandwidth,
        )
    )
    shape = np.square(
        np.abs(_tract_response(identities, index, tracks, at)) * (_FREQUENCIES / (_FREQUENCIES + 800))
    )
    shape /= shape.mean(1, keepdims=True)
    ratio = 17 - 4.5 * v[7]
    loudness = _BREATH_LEVEL * (10 ** (-ratio / 20) * voicing + 0.25 * breath)
    power = shape * np.square(loudness[:, None])
    band = np.exp(-np.square((_FREQUENCIES - centre[:, None]) / width[:, None]))
    band *= np.square(_FREQUENCIES / (_FREQUENCIES + 500))
    band /= band.mean(1, keepdims=True)
    power += band * np.square(0.22 * friction[:, None])

    white = _white_noise(seed, identity, "clip", clip, len(centres) * _HOP_LENGTH + _HOP_LENGTH, 3 << 20)
    pieces = np.lib.stride_tricks.sliding_window_view(white, 2 * _HOP_LENGTH)[::_HOP_LENGTH][: len(centres)]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(2 * _HOP_LENGTH) / (2 * _HOP_LENGTH))
    padded = np.zeros((len(centres), _RESPONSE_LENGTH))
    padded[:, _RESPONSE_LEAD : _RESPONSE_LEAD + 2 * _HOP_LENGTH] = pieces * window
    shaped = np.fft.irfft(np.fft.rfft(padded, axis=1) * np.sqrt(power), _RESPONSE_LENGTH, axis=1)
    place = centres[:, None] + np.arange(_RESPONSE_LENGTH)
    added = np.bincount(place.ravel(), weights=shaped.ravel()).astype(np.float64, copy=False)
    return added[_RESPONSE_LEAD + _HOP_LENGTH : _RESPONSE_LEAD + _HOP_LENGTH + length]


def _white_noise(
    seed: int, identity: int, stream: str, clip: int, count: int, start: int
) -> NDArray[np.float64]:
    """White noise of variance 1, four even-spread 16-bit samples from each hash word, shape (n,)."""
    words = integers(seed, identity, stream, clip, -(-count // 4), start)
    samples = words.astype("<u8").view("<i2")[:count].astype(np.float64)
    return (samples + 0.5) * (np.sqrt(12) / 65536)


def _even_fast_length(n: int) -> int:
    """An even length of at least n that the FFT likes: a power of two times 1, 3, 5, 9 or 15."""
    lengths = (odd << power for odd in (1, 3, 5, 9, 15) for power in range(1, 40))
    return min(length for length in lengths if length >= n)
