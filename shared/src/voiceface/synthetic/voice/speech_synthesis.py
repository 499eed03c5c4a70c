"""Speech synthesiser of the synthetic population: source-filter synthesis in the frequency domain.

Each glottal pulse is a 512-sample response (glottal spectrum, vocal tract, fractional delay) from one batched
inverse FFT; responses are overlap-added. Breath and frication are white noise, shaped frame by frame. The
glottal spectrum follows Doval and d'Alessandro's description of the LF model; channel.py adds the recording
channel.

Slots of the counters: stream "clip", item = clip: 1 vocal effort, from 2**20 jitter, 2**21 shimmer, 3 * 2**20
white noise (phonetics.py and channel.py list the others).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.counter_rng import normals, white_noise
from voiceface.synthetic.identities import Identities, get_clip_video
from voiceface.synthetic.voice.channel import SAMPLE_RATE, apply_channel
from voiceface.synthetic.voice.phonetics import (
    FRAME_RATE,
    FULL_INVENTORY,
    ControlTracks,
    PhoneInventory,
    generate_control_tracks,
)
from voiceface.synthetic.voice.vocal_tract import (
    RESPONSE_LENGTH,
    delay_phase,
    throat_response,
    tract_response,
)
from voiceface.synthetic.voice.voice_traits import voice_traits

__all__ = ["SAMPLE_RATE", "SyntheticClip", "synthesise_clip", "synthesise_speech"]

_RESPONSE_LEAD = 96  # samples of a response before its pulse
_HOP_LENGTH = SAMPLE_RATE // FRAME_RATE
_FREQUENCIES = np.arange(RESPONSE_LENGTH // 2 + 1) * (SAMPLE_RATE / RESPONSE_LENGTH)
# Breath relative to the nominal harmonics-to-noise ratio. At lower levels factor 7 (age) is masked by
# background noise: a linear regression on 375 speakers reaches R² 0.25 at 0.3 and 0.48 at 0.7.
_BREATH_LEVEL = 0.60


@dataclass(frozen=True)
class SyntheticClip:
    """Synthetic clip with its ground truth.

    Attributes:
        samples: (T,) int16 mono at SAMPLE_RATE.
        sample_rate: in Hz.
        f0: (F,) Hz at FRAME_RATE, frame n at n / FRAME_RATE seconds; meaningful where `voiced`.
        voiced: (F,) bool, glottal pulses are audible.
        speech: (F,) bool, the speaker is audible.
        formants: (F, 5) Hz.
        phones: (F,) index into phonetics.PHONES.
        video: number of the identity's video that the clip belongs to.
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
    inventory: PhoneInventory = FULL_INVENTORY,
) -> SyntheticClip:
    """Synthesise one clip.

    Args:
        identities: the population; only voice factors are used, so clips do not depend on the coupling.
        index: row of the speaker in `identities`.
        clip: clip number, at least 0; determines the video and so channel and room.
        seed: population seed; default: that of `identities`.
        seconds: length, at least 0.1 s.
        nuisance: factor on mood, effort, channel, room, noise and level; 0 leaves clean speech.
        inventory: phones of the language that is spoken.

    Returns:
        The clip; bit-equal on one machine for any order and number of workers.

    Raises:
        ValueError: `seconds` below 0.1, or `nuisance` negative.
    """
    if not seconds >= 0.1:
        raise ValueError(f"seconds must be at least 0.1, got {seconds}")
    if not nuisance >= 0:
        raise ValueError(f"nuisance must not be negative, got {nuisance}")
    seed = identities.seed if seed is None else seed
    tracks = generate_control_tracks(
        identities,
        index,
        clip,
        seed=seed,
        seconds=seconds,
        nuisance=nuisance,
        inventory=inventory,
    )
    dry = synthesise_speech(
        identities,
        index,
        tracks,
        seed=seed,
        clip=clip,
        seconds=seconds,
        nuisance=nuisance,
    )
    k = int(identities.ids[index])
    video = get_clip_video(k, clip, seed=seed)
    samples = apply_channel(dry, k, clip, video, seed=seed, nuisance=nuisance)
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
    """Synthesise dry speech of one speaker: pulses, breath and frication that follow `tracks`.

    Args:
        identities: the population.
        index: row of the speaker.
        tracks: control tracks of at least `seconds`.
        seed: population seed.
        clip: clip number (jitter, shimmer, effort and noise).
        seconds: length in s.
        nuisance: factor on the effort.

    Returns:
        (T,) float64, arbitrary level, without channel.
    """
    length = round(seconds * SAMPLE_RATE)
    k, v = int(identities.ids[index]), identities.voice_factors[index]
    male = bool(identities.sex[index])
    traits = voice_traits(identities, index)
    throat = throat_response(traits)
    frames = np.arange(len(tracks.f0)) / FRAME_RATE
    effort = nuisance * normals(seed, k, "clip", clip, 1, start=1)[0]
    cutoff = (2200 if male else 1900) * np.exp(-0.35 * v[6] + 0.25 * effort)
    tilt = 1 / np.sqrt(1 + (_FREQUENCIES / cutoff) ** 2)

    times, period, shimmer_noise = _pulse_times(tracks, frames, 0.006 * np.exp(0.5 * v[7]), k, clip, seed)
    shimmer = 0.04 * np.exp(0.4 * v[7])
    amplitude = np.interp(times, frames, tracks.voicing) * np.maximum(1 + shimmer * shimmer_noise, 0.05)
    keep = (amplitude > 1e-3) & (times < length / SAMPLE_RATE)
    times, period, amplitude = times[keep], period[keep], amplitude[keep]

    x = _FREQUENCIES * (period / (0.95 * (1.0 if male else 1.15) * traits.open_quotient))[:, None]
    position = times * SAMPLE_RATE
    start = np.floor(position)
    spectrum = x * (tilt * throat) / (1 - x * x - 1j * traits.glottal_damping * x)
    spectrum *= tract_response(identities, index, tracks, times) * delay_phase(
        position - start + _RESPONSE_LEAD
    )
    responses = np.fft.irfft(spectrum, RESPONSE_LENGTH, axis=1)
    power = float((np.square(responses).sum(1) / (period * SAMPLE_RATE)).mean()) if len(times) else 1.0
    responses *= amplitude[:, None]
    positions = start.astype(np.int64)[:, None] + np.arange(RESPONSE_LENGTH)
    total = _RESPONSE_LEAD + length + RESPONSE_LENGTH + _HOP_LENGTH
    voice = np.bincount(positions.ravel(), responses.ravel(), minlength=total)
    voice = voice[_RESPONSE_LEAD : _RESPONSE_LEAD + length]
    return voice + np.sqrt(power) * _breath_and_frication(
        identities, index, tracks, k, clip, seed, length, np.abs(throat)
    )


def _pulse_times(
    tracks: ControlTracks,
    frame_times: NDArray[np.float64],
    jitter: float,
    identity: int,
    clip: int,
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Sample times (s), periods (s) and shimmer N(0, 1) of all glottal pulses, (P,) each."""
    steps = (tracks.f0[1:] + tracks.f0[:-1]) / (2 * FRAME_RATE)
    phase = np.concatenate([[0], np.cumsum(steps)])
    number = np.arange(1, int(phase[-1]))
    regular = np.interp(number, phase, frame_times)
    period = 1 / np.interp(regular, frame_times, tracks.f0)
    shift = 0.7 * jitter * period * normals(seed, identity, "clip", clip, len(number), start=1 << 20)
    shimmer = normals(seed, identity, "clip", clip, len(number), start=1 << 21)
    return np.maximum(regular + shift, 0), period, shimmer


def _breath_and_frication(
    identities: Identities,
    index: int,
    tracks: ControlTracks,
    identity: int,
    clip: int,
    seed: int,
    length: int,
    throat: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Synthesise breath and frication relative to a mean voice power of 1, shape (length,)."""
    v = identities.voice_factors[index]
    centres = (
        np.arange(length // _HOP_LENGTH + 2) * _HOP_LENGTH
    )  # a frame spans centre - 160 ... centre + 160
    times = np.minimum(centres / SAMPLE_RATE, (len(tracks.f0) - 1) / FRAME_RATE)
    frames = np.arange(len(tracks.f0)) / FRAME_RATE
    voicing, aspiration, frication, centre, width = (
        np.interp(times, frames, getattr(tracks, name))
        for name in ("voicing", "aspiration", "frication", "frication_centre", "frication_bandwidth")
    )
    traits = voice_traits(identities, index)
    response = np.abs(tract_response(identities, index, tracks, times)) * throat
    high = _FREQUENCIES / (_FREQUENCIES + traits.breath_hz)
    high *= (np.maximum(_FREQUENCIES, 200) / 2000) ** traits.breath_slope
    shape = np.square(response * high)
    shape /= shape.mean(1, keepdims=True)
    harmonics_to_noise = 17 - 4.5 * v[7]  # dB
    loudness = _BREATH_LEVEL * (10 ** (-harmonics_to_noise / 20) * voicing + 0.25 * aspiration)
    power = shape * np.square(loudness[:, None])
    band = np.exp(-np.square((_FREQUENCIES - centre[:, None]) / width[:, None]))
    band *= np.square(_FREQUENCIES / (_FREQUENCIES + 500))
    band /= band.mean(1, keepdims=True)
    power += band * np.square(0.22 * frication[:, None])

    white = white_noise(seed, identity, "clip", clip, len(centres) * _HOP_LENGTH + _HOP_LENGTH, 3 << 20)
    segments = np.lib.stride_tricks.sliding_window_view(white, 2 * _HOP_LENGTH)[::_HOP_LENGTH][: len(centres)]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(2 * _HOP_LENGTH) / (2 * _HOP_LENGTH))
    padded = np.zeros((len(centres), RESPONSE_LENGTH))
    padded[:, _RESPONSE_LEAD : _RESPONSE_LEAD + 2 * _HOP_LENGTH] = segments * window
    shaped = np.fft.irfft(np.fft.rfft(padded, axis=1) * np.sqrt(power), RESPONSE_LENGTH, axis=1)
    positions = centres[:, None] + np.arange(RESPONSE_LENGTH)
    noise = np.bincount(positions.ravel(), weights=shaped.ravel()).astype(np.float64, copy=False)
    return noise[_RESPONSE_LEAD + _HOP_LENGTH : _RESPONSE_LEAD + _HOP_LENGTH + length]
