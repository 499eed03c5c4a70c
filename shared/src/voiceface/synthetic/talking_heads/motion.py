"""Motion of talking heads: the mouth follows the phones, head and eyelids move a little.

All tracks have one value per frame of the video. The mouth opens with the first formant of vowels, which
rises with the opening of the jaw, closes for labials and lags or leads the sound by a constant time.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.head import shape_space
from voiceface.synthetic.voice.phonetics import CONSONANTS, FRAME_RATE, PHONES, VOWELS

__all__ = [
    "MAX_OPENING_MM",
    "HeadMotion",
    "chewing_track",
    "idle_track",
    "sample_head_motion",
    "speech_track",
    "turn_weight",
]

Array = NDArray[np.float64]

MAX_OPENING_MM = 18.0
OPENING_MM = 15.0  # of the most open vowel before smoothing
SMOOTHING_SECONDS = 0.12
_LABIALS = frozenset("pbm")
_LABIODENTALS = frozenset("fv")
_ROUNDED = {"u": 1.0, "uh": 0.5, "aw": 0.5, "w": 1.0, "sh": 0.5, "r": 0.3}


def _phone_opening() -> Array:
    """Opening of the mouth per phone, 0 to 1, in the order of PHONES."""
    vowels = np.interp([phone.f1 for phone in VOWELS], [340.0, 770.0], [0.30, 1.0])
    narrow = [
        0.0 if each.name in _LABIALS else 0.06 if each.name in _LABIODENTALS else 0.18 for each in CONSONANTS
    ]
    return np.concatenate([vowels, narrow, np.zeros(len(PHONES) - len(VOWELS) - len(CONSONANTS))])


_OPENING = _phone_opening()
_ROUNDING = np.array([_ROUNDED.get(phone.name, 0.0) for phone in PHONES])


@dataclass(frozen=True)
class HeadMotion:
    """Motion of one head, one row per frame.

    Attributes:
        pose: (K, 3) yaw, pitch, roll in radians.
        shift: (K, 2) shift to the right and down in mm.
        expression: (K, 10) coefficients of the expression bases; that of the jaw is 0.
    """

    pose: Array
    shift: Array
    expression: Array


def speech_track(phones: NDArray[np.int64], times: Array, lead: float) -> tuple[Array, Array]:
    """Compute opening and rounding of a speaking mouth.

    Args:
        phones: (F,) index into PHONES at 100 per second, from the beginning of the speech.
        times: (K,) s from the beginning of the speech; the mouth is closed before and after it.
        lead: s by which the mouth is ahead of the sound; negative where it lags.

    Returns:
        Opening in mm (K,) and rounding of the lips, 0 to 1 (K,).
    """
    taps = round(SMOOTHING_SECONDS * FRAME_RATE)
    window = np.hanning(taps + 2)[1:-1]
    window /= window.sum()
    own = np.arange(-taps, len(phones) + taps) / FRAME_RATE
    tracks = []
    for values in (OPENING_MM * _OPENING[phones], _ROUNDING[phones]):
        smooth = np.convolve(np.pad(values, taps), window, mode="same")
        tracks.append(np.interp(times + lead, own, smooth, left=0.0, right=0.0))
    return tracks[0], tracks[1]


def chewing_track(times: Array, rng: np.random.Generator) -> Array:
    """Sample the opening of a chewing mouth in mm, (K,): 1.2 to 1.8 strokes a second, with rests."""
    rate, phase = rng.uniform(1.2, 1.8), rng.uniform(0, 2 * np.pi)
    wander = 1.5 * _wander(times, 1.0, rng)
    strokes = np.clip(0.5 - 0.5 * np.cos(2 * np.pi * rate * times + phase + wander), 0, 1) ** 1.5
    height = np.clip(6.0 + 1.2 * _wander(times, 1.5, rng), 0, 9)
    rest = np.clip(2.0 + 2.5 * _wander(times, 2.0, rng), 0, 1)
    return np.asarray(strokes * height * rest)


def idle_track(times: Array, rng: np.random.Generator) -> Array:
    """Sample the opening of a silent mouth in mm, (K,): nearly closed, the lips part now and then."""
    still = 0.25 * np.abs(_wander(times, 0.5, rng))
    for start in np.cumsum(rng.exponential(6.0, 1 + int((times[-1] - times[0]) / 2))) + times[0]:
        still = still + rng.uniform(0.8, 2.0) * np.exp(-0.5 * ((times - start) / 0.2) ** 2)
    return np.asarray(still)


def turn_weight(times: Array, start: float, end: float, fade: float = 0.15) -> Array:
    """Compute how much a turn from `start` to `end` (s) determines the mouth, 0 to 1, (K,)."""
    inside = np.minimum(times - start, end - times)
    return np.clip(1.0 + inside / fade, 0.0, 1.0)


def sample_head_motion(
    times: Array, rng: np.random.Generator, *, facing: float = 0.0, liveliness: Array | float = 0.0
) -> HeadMotion:
    """Sample slow turns of the head, blinks, brows and a faint smile.

    Args:
        times: (K,) s.
        rng: random numbers.
        facing: yaw around which the head turns, radians.
        liveliness: (K,) 0 to 1; a speaking head moves more.
    """
    lively = 0.5 + 0.5 * np.broadcast_to(np.asarray(liveliness, float), times.shape)
    spread = np.radians([7.0, 3.5, 2.5])
    pose = np.stack([_wander(times, 1.2, rng) * each for each in spread], axis=1) * lively[:, None]
    pose[:, 0] += facing + rng.normal() * np.radians(4.0)
    pose[:, 1] += rng.normal() * np.radians(2.5)
    shift = np.stack([3.0 * _wander(times, 1.5, rng), 1.5 * _wander(times, 1.5, rng)], axis=1)
    expression = np.zeros((len(times), len(shape_space.EXPRESSION_NAMES)))
    move = dict(zip(shape_space.EXPRESSION_NAMES, expression.T))
    move["smile"] += np.clip(rng.uniform(-0.1, 0.35) + 0.15 * _wander(times, 2.0, rng), 0, 1)
    move["brow_raise"] += np.clip(0.1 + 0.3 * lively * _wander(times, 0.6, rng), 0, 1)
    for blink in np.cumsum(rng.exponential(3.5, 4 + int((times[-1] - times[0]) / 2))) + times[0]:
        move["blink"] += np.exp(-0.5 * ((times - blink) / 0.07) ** 2)
    np.clip(move["blink"], 0, 1, out=move["blink"])
    return HeadMotion(pose, shift, expression)


def _wander(times: Array, seconds: float, rng: np.random.Generator) -> Array:
    """Sample a smooth random track of variance 1 that changes within about `seconds`, (K,)."""
    count = 12
    frequency = rng.exponential(0.35 / seconds, count)
    phase = rng.uniform(0, 2 * np.pi, count)
    waves = np.sin(2 * np.pi * frequency * times[:, None] + phase)
    return np.asarray(waves.sum(axis=1) * np.sqrt(2.0 / count))
