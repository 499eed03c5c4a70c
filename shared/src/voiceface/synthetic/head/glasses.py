"""Glasses: frames before the eyes, which belong to no ground truth."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voiceface.synthetic.counter_rng import uniforms

__all__ = ["FRAME_TRIANGLES", "UNIFORMS_START", "Glasses", "build_frame", "choose_glasses", "own_glasses"]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

UNIFORMS_START = 2720  # of their twelve uniform numbers
_SHARE = 0.30  # of people who own glasses
# Colours of frames in linear light: black, dark brown, tortoise, red, blue, grey metal, gold.
_COLOURS = np.array((
    (0.010, 0.010, 0.011), (0.030, 0.015, 0.009), (0.110, 0.048, 0.016), (0.160, 0.016, 0.014),
    (0.018, 0.034, 0.110), (0.200, 0.205, 0.215), (0.420, 0.280, 0.110),
))  # fmt: skip
_METAL_FROM = 5
_POINTS = 32  # of a rim


@dataclass(frozen=True)
class Glasses:
    """Frame of a pair of glasses, mm.

    Attributes:
        half_width, half_height: of a lens.
        power: exponent of the superellipse of a lens: 2 round, 4 rectangular.
        rise: how far the outer corners are drawn up.
        rim: width of the rims.
        wing: factor on the upper half of the rims.
        colour: (3,) linear.
        gloss: of the frame.
        worn: share of the videos in which they are worn.
    """

    half_width: float
    half_height: float
    power: float
    rise: float
    rim: float
    wing: float
    colour: Array
    gloss: float
    worn: float


def choose_glasses(drawn: Array, normals: Array) -> Glasses | None:
    """Choose a frame from (12,) uniform numbers and (3,) normals; None for people without glasses."""
    if drawn[0] > _SHARE:
        return None
    number = min(int(drawn[1] ** 1.3 * len(_COLOURS)), len(_COLOURS) - 1)
    metal = number >= _METAL_FROM
    return Glasses(
        half_width=float(24.0 + 1.3 * np.clip(normals[0], -2.0, 2.0)),
        half_height=float(15.0 + 6.0 * drawn[3]),
        power=float(2.0 + 2.2 * drawn[4]),
        rise=float(3.0 * drawn[5] ** 2),
        rim=float(1.3 + 0.5 * drawn[6] if metal else 2.0 + 2.4 * drawn[6]),
        wing=float(1.0 + 0.7 * drawn[7]),
        colour=_COLOURS[number] * (0.7 + 0.6 * drawn[8]),
        gloss=0.9 if metal else 0.5,
        worn=float(0.75 + 0.25 * drawn[9]),
    )


def own_glasses(seed: int, ids: ArrayLike) -> NDArray[np.bool_]:
    """Tell which of N people own glasses, (N,) bool; their pictures show them mostly, not always."""
    return uniforms(seed, ids, "face", 0, 1, start=UNIFORMS_START)[:, 0] <= _SHARE


def build_frame(glasses: Glasses, middles: Array, bridge: Array, front: float, temples: Array) -> Floats:
    """Build the frame in head coordinates, (P, 3) mm.

    Args:
        glasses: the frame.
        middles: (2, 3) middles of the viewer's left and right eye.
        bridge: (3,) point on which the frame rests.
        front: depth of what must lie behind the lenses: brows and eyes.
        temples: (2, 3) ends of the arms above the ears.
    """
    angle = np.linspace(0.0, 2.0 * np.pi, _POINTS, endpoint=False)
    cosine, sine = np.cos(angle), np.sin(angle)
    circle = np.stack([np.sign(c) * np.abs(c) ** (2.0 / glasses.power) for c in (cosine, sine)], axis=1)
    height = float(middles[:, 1].mean()) - 2.0
    depth = max(front, float(bridge[2])) + 2.0
    distance = max(float(np.ptp(middles[:, 0])), 2.0 * (glasses.half_width + glasses.rim) + 12.0) / 2.0
    parts = []
    for side, end in zip((-1.0, 1.0), temples):
        inner = circle * [glasses.half_width, glasses.half_height]
        width = glasses.rim * (1.0 + (glasses.wing - 1.0) * np.clip(sine, 0.0, 1.0))[:, None]
        outer = inner + width * circle / np.linalg.norm(circle, axis=1, keepdims=True)
        ring = np.stack([inner, outer], axis=1)  # (POINTS, 2, 2)
        ring[..., 1] += glasses.rise * np.clip(ring[..., 0] / glasses.half_width, 0.0, 1.0) ** 2
        x, y = distance + ring[..., 0], height + ring[..., 1]
        z = depth - 0.0035 * np.maximum(x - 8.0, 0.0) ** 2
        parts.append(np.stack([side * x, y, z], axis=-1).reshape(-1, 3))
        hinge_x = distance + glasses.half_width + 0.5 * glasses.rim
        hinge = np.array([side * hinge_x, height + 5.0 + glasses.rise, depth - 0.0035 * (hinge_x - 8.0) ** 2])
        arm = np.stack([hinge, 0.5 * (hinge + end) + [side * 1.5, 0.0, 0.0], end])
        thick = np.array([[0.0, 0.5 * glasses.rim + 0.8, 0.0]])
        parts.append(np.stack([arm + thick, arm - thick], axis=1).reshape(-1, 3))
    gap = distance - glasses.half_width - 0.3 * glasses.rim
    across = np.linspace(-gap, gap, 5)
    upper = np.stack([across, height + 5.5 - 1.5 * (across / gap) ** 2, np.full(5, depth + 0.5)], axis=1)
    lower = upper - [0.0, 0.8 + glasses.rim, 0.0]
    parts.append(np.stack([upper, lower], axis=1).reshape(-1, 3))
    return np.concatenate(parts).astype(np.float32)


def _ribbon(start: int, count: int, closed: bool) -> NDArray[np.int32]:
    """Triangles of a ribbon of pairs of points, seen from both sides."""
    first = np.arange(count if closed else count - 1)
    second = (first + 1) % count
    a, b, c, d = (start + each for each in (2 * first, 2 * first + 1, 2 * second, 2 * second + 1))
    one = np.concatenate([np.stack([a, b, c], axis=1), np.stack([c, b, d], axis=1)])
    return np.concatenate([one, one[:, ::-1]]).astype(np.int32)


def _frame_triangles() -> NDArray[np.int32]:
    pieces, start = [], 0
    for count, closed in ((_POINTS, True), (3, False), (_POINTS, True), (3, False), (5, False)):
        pieces.append(_ribbon(start, count, closed))
        start += 2 * count
    return np.concatenate(pieces)


FRAME_TRIANGLES = _frame_triangles()
