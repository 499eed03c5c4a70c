"""Rooms of synthetic recordings: impulse responses of a box with a speaker and a microphone.

Reflections up to the second order by image sources (J. Acoust. Soc. Am. 65, 943, 1979), then an exponential
tail whose energy follows from the critical distance of a diffuse field (Kuttruff, Room Acoustics, 4th
edition, section 5.4). Slots of the counters, stream "voice", item = 1 + video: 16-18 size of the room, 19
reverberation time, 20 distance, 21-23 place of the microphone, 24 and 25 direction, 26 damping, from 2**20
the tail.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.counter_rng import uniforms, white_noise

__all__ = ["room_response"]

SPEED_OF_SOUND = 343.0  # m/s
_SMALLEST, _LARGEST = np.array([2.5, 2.5, 2.3]), np.array([7.0, 6.0, 3.3])  # m
_REVERBERATION = (0.15, 0.60)  # s
_DISTANCE = (0.08, 0.50)  # m
_ORDERS = np.array(list(product((-1, 0, 1), repeat=3)))  # of the periods of the mirrored rooms
_SIDES = np.array(list(product((0, 1), repeat=3)))  # mirrored or not, per axis
_TAIL_START = 0.008  # s after the direct sound, below which single reflections are heard


def room_response(
    identity: int, video: int, *, seed: int, sample_rate: int, nuisance: float = 1.0
) -> NDArray[np.float64]:
    """Compute the impulse response of the room of one video, from the direct sound on.

    Args:
        identity: identity number.
        video: video number.
        seed: population seed.
        sample_rate: in Hz.
        nuisance: factor on everything after the direct sound.

    Returns:
        (T,), the direct sound is 1 at sample 0; T is at most 0.35 s.
    """
    u = uniforms(seed, identity, "voice", 1 + video, 11, start=16)
    size = _SMALLEST + (_LARGEST - _SMALLEST) * u[:3]
    volume, surface = float(size.prod()), 2 * float(size.prod() * (1 / size).sum())
    seconds, distance = (
        low * (high / low) ** x for (low, high), x in zip((_REVERBERATION, _DISTANCE), u[3:5])
    )
    length = int(min(seconds, 0.35) * sample_rate)
    response = np.zeros(length + 1)

    absorption = 1 - np.exp(-0.161 * volume / (surface * seconds))  # Eyring
    places, bounces = _image_sources(size, 0.3 + 0.4 * u[5:8], distance, u[8:10])
    ways = np.linalg.norm(places, axis=1)
    delays = (ways - distance) / SPEED_OF_SOUND * sample_rate
    early = (bounces > 0) & (bounces <= 2) & (delays < length - 1)
    gains = (1 - absorption) ** (bounces[early] / 2) * distance / ways[early]
    floor = np.floor(delays[early]).astype(np.int64)
    part = delays[early] - floor
    for shift, weights in ((0, gains * (1 - part)), (1, gains * part)):
        response += np.bincount(floor + shift, weights, minlength=length + 1)

    start = int(_TAIL_START * sample_rate)
    decay = np.exp(-6.9 * np.arange(length - start) / (seconds * sample_rate))
    tail = white_noise(seed, identity, "voice", 1 + video, length - start, 1 << 20) * decay
    damping = 0.2 + 0.5 * u[10]  # walls and air swallow high tones
    tail[1:] = (1 - damping) * tail[1:] + damping * tail[:-1]
    critical = 0.057 * np.sqrt(volume / seconds)
    energy = (distance / critical) ** 2 * float(np.exp(-13.8 * _TAIL_START / seconds))
    response[start:length] += tail * np.sqrt(energy / np.square(tail).sum())
    response *= nuisance
    response[0] += 1
    return response


def _image_sources(
    size: NDArray[np.float64], share: NDArray[np.float64], distance: float, direction: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Place the image sources relative to the microphone, (N, 3) m, and count their reflections, (N,)."""
    microphone = share * size
    turn, rise = 2 * np.pi * direction[0], 0.6 * (direction[1] - 0.5)
    step = np.array([np.cos(turn) * np.cos(rise), np.sin(turn) * np.cos(rise), np.sin(rise)])
    speaker = np.clip(microphone + distance * step, 0.05, size - 0.05)
    places = (1 - 2 * _SIDES) * speaker + 2 * _ORDERS[:, None] * size
    bounces = np.abs(2 * _ORDERS[:, None] - _SIDES).sum(2)
    return (places - microphone).reshape(-1, 3), bounces.reshape(-1)
