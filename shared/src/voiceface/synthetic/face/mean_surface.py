"""Mean surface of the head: grid, profiles and relief, by formula.

Coordinates are mean coordinates: millimetres, x to the viewer's right, y up, z to the viewer, origin between
the ears at eye height. The bases (head_bases.py) and the texture (masks.py, appearance.py) are functions on
this surface, so landmarks and texture travel with the mesh and the head model is exactly linear.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BACK_DEPTH",
    "FRONT_DEPTH",
    "GRID_COLUMNS",
    "GRID_ROWS",
    "HALF_WIDTH",
    "LIP_LINE_Y",
    "NOSE_HEIGHT",
    "NOSE_SPREAD",
    "MeanSurface",
    "build_mean_surface",
    "column_angles",
    "grid_triangles",
    "monotone_cubic",
    "row_heights",
    "sigmoid",
]

Array = NDArray[np.float64]

GRID_ROWS, GRID_COLUMNS = 80, 80
LIP_LINE_Y = -66.0  # mm

# Profiles: (height in mm, value in mm).
HALF_WIDTH = (
    (-165, 66), (-152, 52), (-138, 47), (-120, 45), (-112, 45), (-105, 49), (-85, 59), (-65, 65), (-45, 68),
    (-20, 71), (0, 73), (20, 75), (45, 77), (70, 73), (90, 61), (105, 43), (114, 22), (118, 0.5),
)  # fmt: skip
FRONT_DEPTH = (
    (-165, 48), (-150, 42), (-135, 38), (-124, 42), (-119, 56), (-115, 78), (-108, 86), (-95, 86), (-84, 86),
    (-66, 91), (-45, 92), (-20, 92), (0, 93), (20, 97), (45, 97), (70, 87), (90, 67), (105, 45), (114, 22),
    (118, 0.5),
)  # fmt: skip
BACK_DEPTH = (
    (-165, 62), (-150, 60), (-120, 63), (-90, 75), (-60, 86), (-20, 96), (20, 101), (50, 99), (80, 82),
    (100, 54), (114, 22), (118, 0.5),
)  # fmt: skip
NOSE_HEIGHT = ((-51, 0), (-46, 4), (-40, 18), (-34, 21), (-25, 16), (-10, 8.5), (0, 4), (8, 1.5), (16, 0))
NOSE_SPREAD = ((-48, 9), (-38, 9.5), (-28, 8.5), (-10, 7), (16, 8))


def monotone_cubic(
    knots: Sequence[tuple[float, float]], positions: Array, outside: float | None = None
) -> Array:
    """Interpolate by a monotone piecewise cubic Hermite polynomial (PCHIP).

    Slopes are weighted harmonic means of the neighbouring secants and 0 at extremes (Fritsch and Butland
    1984), so there is no overshoot.

    Args:
        knots: (abscissa, value) pairs, ascending.
        positions: where to evaluate, any shape.
        outside: value beyond the knots; None holds the end values.
    """
    places, values = np.array(knots, float).T
    width, secant = np.diff(places), np.diff(values) / np.diff(places)
    slope = np.zeros(len(places))
    same = secant[:-1] * secant[1:] > 0
    before, after = 2 * width[1:] + width[:-1], width[1:] + 2 * width[:-1]
    safe_first, safe_second = np.where(same, secant[:-1], 1.0), np.where(same, secant[1:], 1.0)
    harmonic = (before + after) / (before / safe_first + after / safe_second)
    slope[1:-1] = np.where(same, harmonic, 0.0)
    slope[0] = _end_slope(width[0], width[1], secant[0], secant[1])
    slope[-1] = _end_slope(width[-1], width[-2], secant[-1], secant[-2])
    inside = np.clip(positions, places[0], places[-1])
    i = np.clip(np.searchsorted(places, inside, side="right") - 1, 0, len(width) - 1)
    h, t = width[i], (inside - places[i]) / width[i]
    result = (
        values[i] * (1 + 2 * t) * (1 - t) ** 2
        + values[i + 1] * t**2 * (3 - 2 * t)
        + h * slope[i] * t * (1 - t) ** 2
        - h * slope[i + 1] * t**2 * (1 - t)
    )
    if outside is not None:
        result = np.where((positions < places[0]) | (positions > places[-1]), outside, result)
    return np.asarray(result, float)


def _end_slope(width: float, next_width: float, secant: float, next_secant: float) -> float:
    """Three-point slope at an end, limited against overshoot."""
    slope = ((2 * width + next_width) * secant - width * next_secant) / (width + next_width)
    if slope * secant <= 0:
        return 0.0
    if secant * next_secant <= 0 and abs(slope) > 3 * abs(secant):
        return 3 * secant
    return slope


def row_heights(rows: int = GRID_ROWS) -> Array:
    """Return heights of the grid rows, -165 (neck) to +118 mm (crown), twice as dense from -118 to +32."""
    stations = np.linspace(0.0, 433.0, rows)
    return np.interp(stations, [0.0, 47.0, 347.0, 433.0], [-165.0, -118.0, 32.0, 118.0])


def column_angles(columns: int = GRID_COLUMNS) -> Array:
    """Return angles of the grid columns in radians, -pi (back) over 0 (front) to pi, dense in front."""
    s = np.linspace(-1.0, 1.0, columns)
    return np.pi * (0.40 * s + 0.60 * s**3)


def grid_triangles(rows: int, columns: int) -> NDArray[np.int32]:
    """Return two triangles per cell of a row-major grid, (2·(rows-1)·(columns-1), 3), 0-based.

    Rows ascend and columns run to the viewer's right, so the order is counter-clockwise seen from outside.
    """
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    right, up = corner + 1, corner + columns
    lower = np.stack([corner, right, up + 1], axis=1)
    upper = np.stack([corner, up + 1, up], axis=1)
    return np.stack([lower, upper], axis=1).reshape(-1, 3).astype(np.int32)


def sigmoid(value: Array) -> Array:
    """Logistic function, without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * value)))


@dataclass(frozen=True)
class MeanSurface:
    """Mean head on a rows x columns grid; masks and Gaussians are functions on its points.

    Attributes:
        x, y, z: coordinates in mm, each (rows, columns).
        theta: column angle at each point in radians, (rows, columns).
        nose_ridge: relief of the nose ridge in mm, (rows, columns).
    """

    x: Array
    y: Array
    z: Array
    theta: Array
    nose_ridge: Array

    @cached_property
    def front_mask(self) -> Array:
        """Soft mask, 1 on the front and 0 on the back."""
        return sigmoid(12.0 * (np.cos(self.theta) - 0.15))

    @cached_property
    def side_sign(self) -> Array:
        """-1 on the viewer's left, +1 on the right, smooth over the middle."""
        return np.tanh(self.x / 18.0)

    def front_gaussian(self, cx: float, cy: float, sx: float, sy: float, *, signed: bool = False) -> Array:
        """Gaussian on the front at (cx, cy), SDs sx and sy in mm; mirrored to both sides unless `signed`."""
        across = self.x if signed else np.abs(self.x)
        shape = np.exp(-0.5 * (((across - cx) / sx) ** 2 + ((self.y - cy) / sy) ** 2))
        return np.asarray(shape * self.front_mask)

    def height_gaussian(self, cy: float, sy: float) -> Array:
        """Gaussian in height only, constant around the head."""
        return np.asarray(np.exp(-0.5 * ((self.y - cy) / sy) ** 2))

    def points(self) -> Array:
        """Stack the coordinates, (rows·columns, 3) in mm, row-major."""
        return np.stack([self.x, self.y, self.z], axis=-1).reshape(-1, 3)


def build_mean_surface(rows: int = GRID_ROWS, columns: int = GRID_COLUMNS) -> MeanSurface:
    """Build the mean head: superellipse sections along three profiles, relief of the face, ears."""
    y, theta = np.meshgrid(row_heights(rows), column_angles(columns), indexing="ij")
    sine, cosine = np.sin(theta), np.cos(theta)
    x = monotone_cubic(HALF_WIDTH, y) * np.sign(sine) * np.abs(sine) ** 0.92
    depth = np.where(cosine >= 0, monotone_cubic(FRONT_DEPTH, y), -monotone_cubic(BACK_DEPTH, y))
    z = depth * np.abs(cosine) ** 0.92
    flat = MeanSurface(x, y, z, theta, np.zeros_like(x))
    spread = monotone_cubic(NOSE_SPREAD, y)
    ridge = flat.front_mask * monotone_cubic(NOSE_HEIGHT, y, outside=0.0) * np.exp(-0.5 * (x / spread) ** 2)
    g = flat.front_gaussian
    relief = (
        ridge
        + 6.5 * g(13.5, -39, 4.2, 5)
        - 7.5 * g(31, 3, 13, 9)
        + 4.5 * g(32, 1, 10, 6.5)
        + 4.0 * g(28, 20, 20, 6)
        + 4.0 * g(48, -22, 16, 14)
        + 5.0 * g(0, -60.5, 17, 3.4)
        + 5.5 * g(0, -72, 15, 4.2)
        - 3.0 * g(0, LIP_LINE_Y, 20, 1.8)
        - 4.0 * g(0, -84, 18, 5)
        + 5.0 * g(0, -104, 15, 9)
        - 1.5 * g(0, -52, 4, 5)
    )
    ear = np.exp(-0.5 * (((np.abs(theta) - 1.68) / 0.13) ** 2 + ((y + 6) / 17) ** 2))
    return MeanSurface(x + 11.0 * np.sign(theta) * ear, y, z + relief - 5.0 * ear, theta, ridge)
