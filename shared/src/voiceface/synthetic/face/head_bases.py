"""Formulas of the head: grid, mean surface, shape fields, expression fields, loadings.

Everything is written in mean coordinates (millimetres; x to the viewer's right, y up, z to the viewer, origin
between the ears at eye height), so that landmarks and painted texture travel with the mesh and the model is
exactly linear. Own formulas; source of the numbers: the design of the synthetic population, section 5.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

GRID_ROWS, GRID_COLUMNS = 80, 80
LIP_LINE_Y = -66.0

# Profiles of the mean surface: (height in mm, value in mm) for half width, front depth and back depth.
HALF_WIDTH = (
    *(
        (-165, 66),
        (-152, 52),
        (-138, 47),
        (-120, 45),
        (-112, 45),
        (-105, 49),
        (-85, 59),
        (-65, 65),
        (-45, 68),
    ),
    *((-20, 71), (0, 73), (20, 75), (45, 77), (70, 73), (90, 61), (105, 43), (114, 22), (118, 0.5)),
)
FRONT_DEPTH = (
    *(
        (-165, 48),
        (-150, 42),
        (-135, 38),
        (-124, 42),
        (-119, 56),
        (-115, 78),
        (-108, 86),
        (-95, 86),
        (-84, 86),
    ),
    *((-66, 91), (-45, 92), (-20, 92), (0, 93), (20, 97), (45, 97), (70, 87), (90, 67), (105, 45), (114, 22)),
    (118, 0.5),
)
BACK_DEPTH = (
    *((-165, 62), (-150, 60), (-120, 63), (-90, 75), (-60, 86), (-20, 96), (20, 101), (50, 99), (80, 82)),
    *((100, 54), (114, 22), (118, 0.5)),
)
NOSE_HEIGHT = ((-51, 0), (-46, 4), (-40, 18), (-34, 21), (-25, 16), (-10, 8.5), (0, 4), (8, 1.5), (16, 0))
NOSE_SPREAD = ((-48, 9), (-38, 9.5), (-28, 8.5), (-10, 7), (16, 8))

# name, loadings on the eight coupled factors, half the male-female shift before the factor 0.9
SHAPE_TABLE: tuple[tuple[str, dict[int, float], float], ...] = (
    ("lowlen", {1: 0.88}, 0.6),
    ("midlen", {2: 0.80}, 0.4),
    ("forehead", {1: 0.45}, 0.0),
    ("facew", {5: 0.70}, 0.3),
    ("jaww", {0: -0.80}, 0.9),
    ("chinw", {0: -0.60}, 0.8),
    ("chinp", {0: -0.45}, 0.5),
    ("jawsq", {2: 0.55}, 0.0),
    ("headw", {5: 0.40}, 0.0),
    ("headd", {}, 0.0),
    ("brow", {0: -0.75}, 1.0),
    ("eyesp", {5: 0.80}, 0.0),
    ("eyelen", {}, 0.0),
    ("eyeop", {7: -0.60}, -0.5),
    ("eyesl", {}, 0.0),
    ("sock", {}, 0.0),
    ("nosew", {3: 0.85}, 0.5),
    ("nosep", {3: 0.60}, 0.4),
    ("noseb", {3: 0.50}, 0.0),
    ("noset", {7: -0.60}, 0.0),
    ("mouthw", {4: 0.75}, 0.0),
    ("ulip", {4: 0.75}, -0.5),
    ("llip", {4: 0.75}, -0.4),
    ("lipp", {4: 0.60}, 0.0),
    ("philt", {1: 0.35}, 0.0),
    ("cheekf", {6: 0.85}, 0.0),
    ("cheekb", {2: -0.60}, -0.5),
    ("neck", {6: 0.75}, 0.9),
    ("browh", {7: -0.60}, -0.8),
    ("browt", {}, 0.0),
    ("temple", {5: 0.60}, 0.0),
    ("ear", {}, 0.0),
    ("fslope", {}, 0.5),
    ("asn", {}, 0.0),
    ("asm", {}, 0.0),
    ("asj", {}, 0.0),
    ("rbf0", {}, 0.0),
    ("rbf1", {}, 0.0),
    ("rbf2", {}, 0.0),
    ("rbf3", {}, 0.0),
)
SHAPE_NAMES = tuple(row[0] for row in SHAPE_TABLE)
EXPRESSION_NAMES = (
    *("jaw_open", "smile", "frown", "pucker", "brow_raise"),
    *("brow_frown", "blink", "cheek_puff", "sneer", "lip_press"),
)
EXPRESSION_SD = np.array([0.35, 0.6, 0.3, 0.25, 0.5, 0.5, 0.5, 0.2, 0.3, 0.4])

# Four free fields of five Gaussians of 22 mm each: centre (x, y) and amplitude (dx, dy, dz), all in mm.
RBF_SPOTS = (
    *(((-52, -70, 1.5, -0.6, 2.0), (40, 30, -0.9, 1.2, 1.3), (8, -95, 0.8, 1.0, -1.6)),),
    *(((36, -40, 1.2, 1.1, 1.8), (-30, 52, -1.2, 0.8, 1.7), (55, -5, 1.6, -0.9, -1.2)),),
    *(((-44, -18, -1.3, 1.2, 1.5), (22, -86, 1.1, -1.3, 1.2), (0, 44, 0.6, 1.2, -1.9)),),
    *(((-60, 22, 1.4, 1.0, -1.4), (28, 10, -0.8, -1.2, 1.4), (-18, -88, -1.3, 1.0, 1.6)),),
)
EXTRA_RBF_SPOTS = (
    ((-12, 20, 0.7, -1.1, 1.2), (62, -60, -1.2, 0.9, 1.1)),
    ((-20, -92, 1.0, -0.9, 1.5), (10, -16, -0.7, 0.8, 1.0)),
    ((58, 40, 1.3, -0.8, 1.4), (-56, -74, 1.1, 1.0, 0.9)),
    ((48, -44, 1.2, 0.9, -1.3), (-34, 60, 0.8, -1.0, 1.5)),
)


def monotone_cubic(
    knots: Sequence[tuple[float, float]], positions: Array, outside: float | None = None
) -> Array:
    """Monotone cubic through `knots` (rising abscissa), held at the ends or set to `outside` beyond them.

    Piecewise cubic Hermite interpolation; slopes are weighted harmonic means of the neighbouring secants and
    0 at extremes (Fritsch and Butland 1984), so there is no overshoot.
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
    """Three-point slope at an end, kept from overshooting."""
    slope = ((2 * width + next_width) * secant - width * next_secant) / (width + next_width)
    if slope * secant <= 0:
        return 0.0
    if secant * next_secant <= 0 and abs(slope) > 3 * abs(secant):
        return 3 * secant
    return slope


def row_heights(rows: int = GRID_ROWS) -> Array:
    """Heights of the grid rows from -165 (neck) to +118 mm (crown), twice as dense from -118 to +32."""
    stations = np.linspace(0.0, 433.0, rows)
    return np.interp(stations, [0.0, 47.0, 347.0, 433.0], [-165.0, -118.0, 32.0, 118.0])


def column_angles(columns: int = GRID_COLUMNS) -> Array:
    """Angles of the grid columns in radians, -pi (back) over 0 (front) to pi, dense in front."""
    s = np.linspace(-1.0, 1.0, columns)
    return np.pi * (0.40 * s + 0.60 * s**3)


def grid_triangles(rows: int, columns: int) -> NDArray[np.int32]:
    """Two triangles per cell of a row-major grid, (2·(rows-1)·(columns-1), 3), 0-based.

    Rows go up and columns go to the viewer's right, so the order is counter-clockwise seen from outside.
    """
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    right, up = corner + 1, corner + columns
    lower = np.stack([corner, right, up + 1], axis=1)
    upper = np.stack([corner, up + 1, up], axis=1)
    return np.stack([lower, upper], axis=1).reshape(-1, 3).astype(np.int32)


def smoothstep(values: Array, start: float, end: float) -> Array:
    """Smoothstep: 0 at `start`, 1 at `end`, whichever is larger."""
    t = np.clip((values - start) / (end - start), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def sigmoid(value: Array) -> Array:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * value)))


@dataclass(frozen=True)
class MeanSurface:
    """The mean head on a rows x columns grid; the fields below are functions on its points.

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
        """Mask, 1 on the front and 0 on the back."""
        return sigmoid(12.0 * (np.cos(self.theta) - 0.15))

    @cached_property
    def side_sign(self) -> Array:
        """-1 on the viewer's left, +1 on the right, smooth over the middle."""
        return np.tanh(self.x / 18.0)

    def front_gaussian(self, cx: float, cy: float, sx: float, sy: float, *, signed: bool = False) -> Array:
        """Front Gaussian at (cx, cy) with widths sx, sy in mm; mirrored to both sides unless `signed`."""
        across = self.x if signed else np.abs(self.x)
        shape = np.exp(-0.5 * (((across - cx) / sx) ** 2 + ((self.y - cy) / sy) ** 2))
        return np.asarray(shape * self.front_mask)

    def height_gaussian(self, cy: float, sy: float) -> Array:
        """Gaussian in height alone, all round the head."""
        return np.asarray(np.exp(-0.5 * ((self.y - cy) / sy) ** 2))

    def points(self) -> Array:
        """(rows·columns, 3) in mm, row-major."""
        return np.stack([self.x, self.y, self.z], axis=-1).reshape(-1, 3)


def build_mean_surface(rows: int = GRID_ROWS, columns: int = GRID_COLUMNS) -> MeanSurface:
    """The mean head: superellipse sections along three profiles, relief of the face, ears."""
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


def build_shape_bases(mean: MeanSurface) -> Array:
    """The 40 shape bases on the points of `mean`: displacement of +1 SD in mm, (40, rows·columns, 3)."""
    x, y, g, band, side, front = (
        mean.x,
        mean.y,
        mean.front_gaussian,
        mean.height_gaussian,
        mean.side_sign,
        mean.front_mask,
    )
    fields = np.zeros((len(SHAPE_TABLE), *x.shape, 3))
    move = dict(zip(SHAPE_NAMES, fields))
    low = 1.0 - smoothstep(y, -66.0, -106.0) * smoothstep(y, -118.0, -140.0)
    ear = np.exp(-0.5 * (((np.abs(mean.theta) - 1.68) / 0.15) ** 2 + ((y + 6) / 19) ** 2))
    at_eye = g(32, 1, 15, 9)
    across = np.abs(x) - 32.0

    move["lowlen"][..., 1] = -5.5 * smoothstep(y, -48, -112)
    move["midlen"][..., 1] = -3.2 * smoothstep(y, 8, -45)
    move["forehead"][..., 1] = 4.0 * smoothstep(y, 25, 115)
    move["facew"][..., 0] = 0.050 * x * band(-15, 38)
    move["jaww"][..., 0] = 5.0 * np.sign(x) * smoothstep(np.abs(x), 5.0, 48.0) * band(-88, 24)
    move["chinw"][..., 0] = 0.16 * x * band(-106, 14) * low
    move["chinp"][..., 2] = 4.0 * g(0, -106, 20, 14)
    move["jawsq"][..., 1] = -5.0 * g(46, -92, 18, 18)
    move["headw"][..., 0] = 0.035 * x * smoothstep(y, 5, 45)
    move["headd"][..., 2] = 0.035 * mean.z * smoothstep(y, 5, 45)
    move["brow"][..., 2] = 2.8 * g(24, 18, 24, 7)
    move["eyesp"][..., 0] = 1.9 * side * g(32, 4, 17, 16)
    move["eyelen"][..., 0] = 1.6 * side * across / 14.0 * g(32, 1, 17, 10)
    move["eyeop"][..., 1] = 1.3 * (y - 0.5) / 5.0 * at_eye
    move["eyesl"][..., 1] = 1.8 * across / 14.0 * g(32, 1, 18, 12)
    move["sock"][..., 2] = -2.2 * g(31, 4, 15, 10)
    move["nosew"][..., 0] = 0.20 * x * g(0, -36, 18, 11)
    move["nosep"][..., 2] = 0.16 * mean.nose_ridge
    move["noseb"][..., 2] = 2.4 * g(0, 0, 7, 12)
    move["noset"][..., 1] = 2.6 * g(0, -37, 11, 8)
    move["mouthw"][..., 0] = 0.11 * x * g(0, LIP_LINE_Y, 34, 9)
    move["ulip"][..., 1] = 1.5 * g(0, -60, 19, 3.6)
    move["ulip"][..., 2] = 0.6 * g(0, -60, 19, 3.6)
    move["llip"][..., 1] = -1.9 * g(0, -74, 17, 4.2)
    move["llip"][..., 2] = 0.7 * g(0, -74, 17, 4.2)
    move["lipp"][..., 2] = 2.2 * g(0, LIP_LINE_Y, 19, 10)
    move["philt"][..., 1] = -1.8 * g(0, LIP_LINE_Y, 36, 10)
    move["cheekf"][..., 0] = 4.5 * side * g(50, -55, 20, 24)
    move["cheekf"][..., 2] = 2.0 * g(42, -52, 18, 20)
    move["cheekb"][..., 0] = 2.0 * side * g(62, -21, 14, 13)
    move["cheekb"][..., 2] = 2.6 * g(48, -21, 15, 12)
    move["neck"][..., 0] = 0.12 * x * smoothstep(y, -105, -128)
    move["neck"][..., 2] = 0.06 * mean.z * smoothstep(y, -105, -128)
    move["browh"][..., 1] = 2.2 * g(30, 19, 26, 7)
    move["browt"][..., 1] = 1.6 * across / 14.0 * g(30, 19, 22, 7)
    move["temple"][..., 0] = 0.04 * x * band(28, 14)
    move["ear"][..., 0] = 3.0 * np.sign(mean.theta) * ear
    move["ear"][..., 1] = 0.14 * (y + 6) * ear
    move["fslope"][..., 2] = -5.0 * smoothstep(y, 30, 85) * front
    move["asn"][..., 0] = 1.2 * g(0, -28, 14, 18, signed=True)
    move["asm"][..., 1] = 1.0 * np.tanh(x / 16.0) * g(0, LIP_LINE_Y, 30, 10, signed=True)
    move["asj"][..., 0] = 1.1 * band(-104, 18) * front
    for index, spots in enumerate(zip(RBF_SPOTS, EXTRA_RBF_SPOTS)):
        for cx, cy, *amplitude in spots[0] + spots[1]:
            here = g(cx, cy, 22, 22, signed=True)
            move[f"rbf{index}"] += 0.7 * here[..., None] * np.array(amplitude)
    return fields.reshape(len(SHAPE_TABLE), -1, 3)


def build_expression_bases(mean: MeanSurface) -> Array:
    """The 10 expression bases on the points of `mean`: mm at coefficient 1, (10, points, 3)."""
    x, y, g, side, front = mean.x, mean.y, mean.front_gaussian, mean.side_sign, mean.front_mask
    fields = np.zeros((len(EXPRESSION_NAMES), *x.shape, 3))
    move = dict(zip(EXPRESSION_NAMES, fields))
    in_mouth = np.exp(-((x / 25.0) ** 4))
    below_lips = in_mouth * sigmoid((LIP_LINE_Y - y) / 0.4) + (1.0 - in_mouth) * smoothstep(y, -48, -92)
    jaw = below_lips * front * (1.0 - smoothstep(y, -120, -150))
    corner, lips = g(27, LIP_LINE_Y, 11, 10), g(0, LIP_LINE_Y, 24, 9)

    move["jaw_open"][..., 1] = -9.0 * jaw
    move["jaw_open"][..., 2] = -1.5 * jaw
    move["smile"][..., 0] = 4.0 * side * corner
    move["smile"][..., 1] = 4.5 * corner + 1.6 * g(40, -46, 14, 12)
    move["smile"][..., 2] = 2.0 * g(42, -44, 14, 13) - 1.5 * corner
    move["frown"][..., 1] = -4.0 * corner + 0.8 * lips
    move["pucker"][..., 0] = -0.25 * x * lips
    move["pucker"][..., 2] = 4.0 * g(0, LIP_LINE_Y, 17, 10)
    move["brow_raise"][..., 1] = 5.0 * g(30, 21, 28, 10)
    move["brow_frown"][..., 0] = -2.5 * side * g(16, 18, 12, 8)
    move["brow_frown"][..., 1] = -3.5 * g(15, 18, 13, 8)
    move["blink"][..., 1] = -0.85 * (y + 3.0) * g(32, 1, 14, 6.5)
    move["cheek_puff"][..., 0] = 3.0 * side * g(46, -62, 16, 16)
    move["cheek_puff"][..., 2] = 3.5 * g(38, -62, 15, 15)
    move["sneer"][..., 1] = 3.0 * g(15, -40, 10, 9) + 1.6 * g(14, -60, 10, 5)
    move["lip_press"][..., 1] = -0.45 * (y - LIP_LINE_Y) * lips
    move["lip_press"][..., 2] = -1.6 * lips
    return fields.reshape(len(EXPRESSION_NAMES), -1, 3)


def factor_loadings() -> Array:
    """A, (40, 8): what one SD of each coupled face factor adds to each shape coefficient."""
    table = np.zeros((len(SHAPE_TABLE), 8))
    for row, (_, loads, _) in enumerate(SHAPE_TABLE):
        for factor, load in loads.items():
            table[row, factor] = load
    return table


def sex_shift() -> Array:
    """(40,): shift of each shape coefficient for men; women get its negative."""
    return 0.9 * np.array([shift for _, _, shift in SHAPE_TABLE])


def residual_scale() -> Array:
    """D, (40,): scale of the uncoupled part, which makes every coefficient N(0, 1) within a sex."""
    return np.sqrt(1.0 - (factor_loadings() ** 2).sum(axis=1))


def landmark_targets() -> Array:
    """Targets in iBUG order, (68, 3): x in mm or angle in radians, y in mm, 1 where it is an angle."""
    angles = np.linspace(-1.45, 1.45, 17)
    jaw = [(t, -116.0 + 116.0 * (abs(t) / 1.45) ** 1.7, 1.0) for t in angles]
    brow = [(46.0, 17.5), (38.0, 20.5), (30.0, 21.5), (21.0, 20.5), (13.0, 17.5)]
    brows = [(-x, y) for x, y in brow] + [(x, y) for x, y in brow[::-1]]
    nose = [(0.0, 5.0), (0.0, -9.0), (0.0, -22.0), (0.0, -35.0)]
    base = [(-14.0, -43.0), (-7.0, -45.5), (0.0, -46.0), (7.0, -45.5), (14.0, -43.0)]
    eye = [(-46.0, 0.0), (-37.0, 5.0), (-27.0, 5.0), (-18.0, 0.0), (-27.0, -3.5), (-37.0, -3.5)]
    other_eye = [(-x, y) for x, y in (eye[3], eye[2], eye[1], eye[0], eye[5], eye[4])]
    outer = [
        (-25.5, -66.0),
        (-16.0, -61.5),
        (-6.0, -59.0),
        (0.0, -60.0),
        (6.0, -59.0),
        (16.0, -61.5),
        (25.5, -66.0),
    ]
    outer += [(15.0, -73.0), (7.0, -75.0), (0.0, -75.5), (-7.0, -75.0), (-15.0, -73.0)]
    inner = [(-20.0, -66.0), (-8.0, -64.5), (0.0, -64.5), (8.0, -64.5), (20.0, -66.0)]
    inner += [(8.0, -68.5), (0.0, -68.5), (-8.0, -68.5)]
    flat = [(x, y, 0.0) for x, y in brows + nose + base + eye + other_eye + outer + inner]
    return np.array(jaw + flat)
