"""Colours of people and their surroundings, shared by all faces of the population, in linear light."""

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DARK_SKIN",
    "FAIR_SKIN",
    "GREY_HAIR",
    "HAIR_COLOURS",
    "IRIS_COLOURS",
    "RED_HAIR",
    "hair_colour",
    "interpolate",
    "muted_colour",
    "palette_colour",
    "skin_colour",
    "to_linear_light",
]

Array = NDArray[np.float64]

# Display colours, 0-255 red, green, blue.
FAIR_SKIN, DARK_SKIN = (238, 194, 170), (112, 70, 48)
IRIS_COLOURS = ((72, 44, 26), (96, 66, 36), (104, 104, 52), (86, 124, 146), (112, 128, 136))
HAIR_COLOURS = ((22, 18, 17), (52, 35, 26), (88, 58, 38), (134, 94, 58), (196, 158, 104))
RED_HAIR, GREY_HAIR = (142, 66, 30), (196, 194, 192)


def to_linear_light(colour: object) -> Array:
    """Convert a display colour, 0-255, to linear light in [0, 1]."""
    return (np.asarray(colour, float) / 255.0) ** 2


def interpolate(a: Array, b: Array, weight: float) -> Array:
    """Mix two colours: `a` at weight 0, `b` at weight 1."""
    return np.asarray(a + (b - a) * weight)


def palette_colour(colours: tuple[tuple[int, int, int], ...], position: float) -> Array:
    """Interpolate a palette of display colours at `position` in [0, 1], linear light."""
    stops = to_linear_light(colours)
    index = np.clip(position, 0.0, 1.0) * (len(stops) - 1)
    return np.array([np.interp(index, np.arange(len(stops)), stops[:, c]) for c in range(3)])


def skin_colour(tone: float, undertone: float, shift: float) -> tuple[float, Array]:
    """Compute the position between fair and dark in (0, 1) and the linear colour (3,)."""
    position = _sigmoid(1.15 * (tone + shift) - 0.7)
    colour = interpolate(to_linear_light(FAIR_SKIN), to_linear_light(DARK_SKIN), position) * (
        1.0 + 0.045 * undertone * np.array([0.6, 0.1, -1.0])
    )
    return position, np.asarray(colour)


def hair_colour(shade: float, redness: float, tone: float, grey: float) -> Array:
    """Compute the linear colour (3,) of hair.

    Args:
        shade: N(0, 1), from black to fair.
        redness: N(0, 1), red above about 1.
        tone: of the skin, 0 fair to 1 dark.
        grey: share of grey, 0 to 1.
    """
    position = _sigmoid(1.3 * shade - 0.4) * (1.0 - 0.75 * tone)
    colour = palette_colour(HAIR_COLOURS, position)
    red = float(np.clip(0.8 * redness - 0.7, 0, 0.8)) * (1 - tone)
    colour = interpolate(colour, to_linear_light(RED_HAIR), red)
    return interpolate(colour, to_linear_light(GREY_HAIR), grey)


def muted_colour(uniforms: Array, brightness: float, nuisance: float) -> Array:
    """Sample a display colour of walls and clothes from three uniforms; brightness varies more than hue."""
    mean = uniforms.mean()
    change = 140.0 * (mean - 0.5) * 1.7 + 85.0 * (uniforms - mean)
    return np.clip(brightness + min(nuisance, 1.5) * change, 14, 240)


def _sigmoid(x: float) -> float:
    return float(0.5 * (1.0 + np.tanh(0.5 * x)))  # without overflow
