"""Bases of the head model: shape and expression fields, factor loadings, landmark targets, by formula.

Fields are displacements in millimetres on the points of the mean surface (mean_surface.py).
"""

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.curves import smoothstep
from voiceface.synthetic.face.mean_surface import LIP_LINE_Y, MeanSurface, sigmoid

__all__ = [
    "EXPRESSION_NAMES",
    "EXPRESSION_SD",
    "EXTRA_RBF_SPOTS",
    "RBF_SPOTS",
    "SHAPE_NAMES",
    "SHAPE_TABLE",
    "build_expression_bases",
    "build_shape_bases",
    "factor_loadings",
    "landmark_targets",
    "residual_scale",
    "sex_shift",
]

Array = NDArray[np.float64]

# Name, loadings on the eight face factors, half the male-female shift (scaled by 0.9 in `sex_shift`).
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

# Four fields of five Gaussians with an SD of 22 mm: centre (x, y) and amplitude (dx, dy, dz), all in mm.
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


def build_shape_bases(mean: MeanSurface) -> Array:
    """Build the 40 shape bases on the points of `mean`: mm per +1 SD, (40, rows·columns, 3)."""
    x, y, g, band = mean.x, mean.y, mean.front_gaussian, mean.height_gaussian
    side, front = mean.side_sign, mean.front_mask
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
    """Build the 10 expression bases on the points of `mean`: mm at coefficient 1, (10, points, 3)."""
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
    """Return A, (40, 8): change of each shape coefficient per SD of each face factor."""
    table = np.zeros((len(SHAPE_TABLE), 8))
    for row, (_, loadings, _) in enumerate(SHAPE_TABLE):
        for factor, loading in loadings.items():
            table[row, factor] = loading
    return table


def sex_shift() -> Array:
    """Return the shift of each shape coefficient for men, (40,); women have its negative."""
    return 0.9 * np.array([shift for _, _, shift in SHAPE_TABLE])


def residual_scale() -> Array:
    """Return D, (40,): scale of the residual, so that every coefficient is N(0, 1) within a sex."""
    return np.sqrt(1.0 - (factor_loadings() ** 2).sum(axis=1))


def landmark_targets() -> Array:
    """Return landmark targets in iBUG order, (68, 3): x in mm or angle in radians, y in mm, 1 for angles."""
    angles = np.linspace(-1.45, 1.45, 17)
    jaw = [(t, -116.0 + 116.0 * (abs(t) / 1.45) ** 1.7, 1.0) for t in angles]
    brow = [(46.0, 17.5), (38.0, 20.5), (30.0, 21.5), (21.0, 20.5), (13.0, 17.5)]
    brows = [(-x, y) for x, y in brow] + [(x, y) for x, y in brow[::-1]]
    nose = [(0.0, 5.0), (0.0, -9.0), (0.0, -22.0), (0.0, -35.0)]
    base = [(-14.0, -43.0), (-7.0, -45.5), (0.0, -46.0), (7.0, -45.5), (14.0, -43.0)]
    eye = [(-46.0, 0.0), (-37.0, 5.0), (-27.0, 5.0), (-18.0, 0.0), (-27.0, -3.5), (-37.0, -3.5)]
    other_eye = [(-x, y) for x, y in (eye[3], eye[2], eye[1], eye[0], eye[5], eye[4])]
    outer = [(-25.5, -66.0), (-16.0, -61.5), (-6.0, -59.0), (0.0, -60.0)]
    outer += [(6.0, -59.0), (16.0, -61.5), (25.5, -66.0)]
    outer += [(15.0, -73.0), (7.0, -75.0), (0.0, -75.5), (-7.0, -75.0), (-15.0, -73.0)]
    inner = [(-20.0, -66.0), (-8.0, -64.5), (0.0, -64.5), (8.0, -64.5), (20.0, -66.0)]
    inner += [(8.0, -68.5), (0.0, -68.5), (-8.0, -68.5)]
    flat = [(x, y, 0.0) for x, y in brows + nose + base + eye + other_eye + outer + inner]
    return np.array(jaw + flat)
