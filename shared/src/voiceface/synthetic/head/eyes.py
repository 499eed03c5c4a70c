"""Eyes: the texture of the ball seen from the front, gaze, shadow of the lids, and highlights."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.head.shading import Light, sample_texture
from voiceface.synthetic.head.traits import Traits

__all__ = ["EYE_SIZE", "paint_eye", "shade_eye"]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

EYE_SIZE = 112  # texels per diameter of the ball
_IRIS_RADIUS = 0.455  # in radii of the ball
_LARGEST_TURN, _TURN_SHARE, _REST_DROP = 0.42, 0.85, 0.07
_MAX_WAVES = 48


@lru_cache(maxsize=1)
def _polar() -> tuple[Floats, Floats, Floats]:
    """Radius (S, S), and cosines and sines of the multiples of the angle, (waves, S, S)."""
    axis = (np.arange(EYE_SIZE) + 0.5) / EYE_SIZE * 2.0 - 1.0
    radius, angle = np.hypot(axis[None, :], axis[:, None]), np.arctan2(-axis[:, None], axis[None, :])
    multiples = np.arange(9, _MAX_WAVES, 7)[:, None, None] * angle
    return (
        radius.astype(np.float32),
        np.cos(multiples).astype(np.float32),
        np.sin(multiples).astype(np.float32),
    )


def paint_eye(traits: Traits) -> Floats:
    """Paint an eye ball: iris with fibres, collar and dark rim, pupil, white with reddish corners.

    Returns:
        (S, S, 4) float32, linear colour and 1; it spans one diameter with the front in the middle.
    """
    radius, cosines, sines = _polar()
    random = traits.iris_pattern
    axis = np.abs((np.arange(EYE_SIZE) + 0.5) / EYE_SIZE * 2.0 - 1.0)
    white = np.array([0.78, 0.755, 0.72]) * (1.0 - 0.10 * traits.tone)
    white = white * [1.0, 1.0 - 0.03 * traits.age, 1.0 - 0.08 * traits.age]
    corner = np.clip((axis - 0.52) / 0.45, 0, 1)[None, :, None] * np.array([0.05, 0.32, 0.34])
    paint = np.repeat(white * (1.0 - corner), EYE_SIZE, axis=0).astype(np.float32)
    size = _IRIS_RADIUS * traits.iris_size
    share = radius / np.float32(size)
    waves, phase = len(cosines), 2.0 * np.pi * random[: len(cosines)]
    height = 1.0 / (1.0 + 0.25 * np.arange(waves)) / 2.2
    fibres = np.tensordot((height * np.cos(phase)).astype(np.float32), cosines, 1)
    fibres += np.tensordot((height * np.sin(phase)).astype(np.float32), sines, 1)
    collar = np.exp(-(((share - 0.52) / 0.16) ** 2))
    shade = 0.80 + 0.22 * fibres + 0.5 * collar + 0.35 * np.clip(share - 0.5, 0, 1)
    shade -= 0.75 * np.clip((share - 0.80) / 0.2, 0, 1)
    warm = 1.0 + 0.7 * collar[..., None] * np.array([0.25, 0.0, -0.3], np.float32)
    iris = np.clip(traits.iris.astype(np.float32) * shade[..., None] * warm, 0.0, 1.0)

    def inside(edge: float, softness: float) -> Floats:
        return np.clip((edge - radius) / np.float32(softness) + 0.5, 0.0, 1.0)[..., None]

    rim = (0.10 * traits.iris + 0.01).astype(np.float32)
    paint += (rim - paint) * (0.9 * inside(1.04 * size, 0.08))
    paint += (iris - paint) * inside(0.97 * size, 0.07)
    pupil = size * (0.40 + 0.06 * (float(random[30]) - 0.5))
    paint += (np.array([0.004, 0.003, 0.003], np.float32) - paint) * inside(pupil, 0.05)
    return np.concatenate([paint, np.ones((EYE_SIZE, EYE_SIZE, 1), np.float32)], axis=2)


def shade_eye(
    texture: Floats,
    place: Floats,
    irradiance: Floats,
    normals: Floats,
    lids: tuple[Array, Array],
    rotation: Array,
    pose: Array,
    light: Light,
) -> Floats:
    """Shade pixels of one eye ball, (N, 3) linear.

    The gaze turns back towards the camera by most of the head's yaw and pitch.

    Args:
        texture: from `paint_eye`.
        place: (N, 2) x and y in head coordinates, in radii from the middle of the ball.
        irradiance: (N, 3) diffuse light.
        normals: (N, 3) unit normals in camera space.
        lids: quadratic polynomials (numpy.polyfit) of the heights of upper and lower lid over x, in radii.
        rotation: (3, 3) of the head.
        pose: (3,) yaw, pitch, roll in radians.
        light: lamps in camera space.
    """
    x, y = place[:, 0], place[:, 1]
    below_upper = np.maximum(np.polyval(lids[0], x) - y, 0.0)
    above_lower = np.maximum(y - np.polyval(lids[1], x), 0.0)
    shadow = 1.0 - 0.72 * np.exp(-below_upper / 0.11) - 0.25 * np.exp(-above_lower / 0.08)
    shadow = np.clip(shadow, 0.06, 1.0).astype(np.float32)
    yaw, pitch = np.clip(-_TURN_SHARE * np.asarray(pose[:2]), -_LARGEST_TURN, _LARGEST_TURN)
    # A positive pitch lowers the face: the gaze rises.
    middle = np.array([np.sin(yaw), -np.sin(pitch) - _REST_DROP])
    across, up = x - np.float32(middle[0]), y - np.float32(middle[1])
    half = np.float32(0.5 * EYE_SIZE)
    paint = sample_texture(texture, across * half + half - 0.5, half - up * half - 0.5)[:, :3]
    colour = (
        paint * (0.55 * irradiance + 0.45 * irradiance.mean(axis=1, keepdims=True)) * (1.08 * shadow[:, None])
    )
    # The cornea bulges: its normals lean outwards twice as fast.
    axis = rotation @ np.array([middle[0], middle[1], np.sqrt(1.0 - (middle**2).sum())])
    bulge = np.clip(1.25 - np.hypot(across, up) / _IRIS_RADIUS, 0.0, 1.0)[:, None]
    cornea = normals + (normals - axis.astype(np.float32)) * (0.9 * bulge)
    cornea /= np.linalg.norm(cornea, axis=1, keepdims=True)
    lamp = np.maximum(cornea @ light.half, 0.0) ** 90 * light.lamp
    window = 0.04 * np.maximum(cornea @ np.array([-0.2, 0.42, 0.885], np.float32), 0.0) ** 60
    return np.asarray(colour + ((1.1 * lamp + window) * shadow)[:, None], np.float32)
