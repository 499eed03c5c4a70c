"""Soft masks of the skin texture, which all identities share: computed once per process, by formula.

Positions are mm of the mean head, |x| and y: both halves of a face have the same masks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.curves import smoothstep

__all__ = ["Anchors", "Mask", "SkinMap", "SkinMasks", "build_skin_masks", "crop_mask"]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Anchors:
    """Places of the mean head in mm, of the viewer's right half: x, y or both."""

    eye: tuple[float, float]
    eye_inner: float
    eye_outer: float
    nose_tip: float
    wing: tuple[float, float]
    mouth: tuple[float, float]
    mouth_corner: float
    chin: float
    brow: float
    brow_inner: float
    brow_outer: float


@dataclass(frozen=True)
class SkinMap:
    """Mean head at the texels of the skin texture, (512, 512) each: x, y, z in mm, azimuth, lips, ears."""

    x: Floats
    y: Floats
    z: Floats
    azimuth: Floats
    lips: Floats
    ears: Floats


@dataclass(frozen=True)
class Mask:
    """Weights about 0 to 1 in a window of the texture; 0 outside."""

    window: tuple[slice, slice]
    weight: Floats


@dataclass(frozen=True)
class SkinMasks:
    """All masks.

    Attributes:
        window: part of the texture that holds the tints.
        tints: (M, P) float32, flattened windows of the masks whose colours multiply.
        rows: row of `tints` by name.
        blends: masks whose colours cover, by name.
        gloss: (512, 512) float32.
    """

    window: tuple[slice, slice]
    tints: Floats
    rows: dict[str, int]
    blends: dict[str, Mask]
    gloss: Floats


def crop_mask(weight: NDArray[Any], least: float = 0.004) -> Mask:
    """Keep the rows and columns where a mask is not zero."""
    large = np.abs(weight) > least
    rows, columns = np.flatnonzero(large.any(axis=1)), np.flatnonzero(large.any(axis=0))
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return Mask(window, np.ascontiguousarray(weight[window], np.float32))


class _Painter:
    """Bells, creases and lines on the mean face."""

    def __init__(self, skin: SkinMap) -> None:
        self.x = np.where(np.cos(skin.azimuth) > 0, np.abs(skin.x), np.float32(1e3))
        self.y = skin.y
        self.front = smoothstep(np.cos(skin.azimuth), 0.0, 0.35).astype(np.float32)

    def bell(self, x: float, y: float, sx: float, sy: float) -> Array:
        """Gaussian about (|x|, y)."""
        near = (np.abs(self.x - np.float32(x)) < 3.6 * sx) & (np.abs(self.y - np.float32(y)) < 3.6 * sy)
        shape = ((self.x[near] - x) / sx) ** 2 + ((self.y[near] - y) / sy) ** 2
        weight = np.zeros(self.x.shape)
        weight[near] = np.exp(-0.5 * shape) * self.front[near]
        return weight

    def distance(self, points: Any, reach: float = 9.0) -> tuple[NDArray[np.bool_], Array, Array]:
        """Texels near a polyline, (H, W) bool; there its distance in mm and the place along it, 0 to 1."""
        p = np.asarray(points, float)
        low, high = p.min(axis=0) - reach, p.max(axis=0) + reach
        near = (self.x > low[0]) & (self.x < high[0]) & (self.y > low[1]) & (self.y < high[1])
        x, y = self.x[near], self.y[near]
        a, d = p[:-1, :, None], np.diff(p, axis=0)[..., None]
        share = (x - a[:, 0]) * d[:, 0] + (y - a[:, 1]) * d[:, 1]
        share = np.clip(share / (d[:, 0] ** 2 + d[:, 1] ** 2), 0.0, 1.0)
        away = (x - a[:, 0] - share * d[:, 0]) ** 2 + (y - a[:, 1] - share * d[:, 1]) ** 2
        segment, column = away.argmin(axis=0), np.arange(len(x))
        return near, np.sqrt(away[segment, column]), (segment + share[segment, column]) / len(d)

    def line(self, points: Any, width: float) -> Array:
        """Soft line along a polyline; `width` in mm."""
        near, distance, _ = self.distance(points, 3.0 * width)
        weight = np.zeros(self.x.shape)
        weight[near] = np.exp(-((distance / width) ** 2)) * self.front[near]
        return weight

    def crease(self, points: Curve, width: float, light: float = 0.45) -> Array:
        """Dark line along a smooth curve, lighter beside it, thinner at its ends."""
        near, distance, along = self.distance(_bend(points), 6.0 * width)
        ends = np.sin(np.pi * np.clip(along, 0.02, 0.98)) ** 0.55
        dark = np.exp(-((distance / width) ** 2))
        dark -= light * np.exp(-(((distance - 2.0 * width) / (1.3 * width)) ** 2))
        weight = np.zeros(self.x.shape)
        weight[near] = dark * ends * self.front[near]
        return weight


def _bend(points: Curve) -> Array:
    """Smooth curve of 17 points through control points."""
    from scipy.interpolate import CubicSpline

    p = np.asarray(points, float)
    return np.asarray(CubicSpline(np.linspace(0.0, 1.0, len(p)), p)(np.linspace(0.0, 1.0, 17)))


def build_skin_masks(skin: SkinMap, at: Anchors, lid_edge: Array) -> SkinMasks:
    """Build all masks.

    Args:
        skin: mean head in the texture.
        at: places of the features.
        lid_edge: (N, 2) x and y of the loop of the viewer's right lids on which the lashes grow.
    """
    p = _Painter(skin)
    blends = _mouth_blends(p, at, skin) | _eye_blends(p, at, lid_edge) | _beard_blends(p, at, skin)
    blends["freckles"] = crop_mask(
        p.bell(at.eye[0] - 4, -24, 22, 14) + p.bell(0, -20, 12, 12) + 0.5 * p.bell(20, 32, 30, 14)
    )
    tints = _feature_tints(p, at) | _age_tints(p, at) | {"ears": np.clip(skin.ears, 0, 1)}
    lips = np.clip(skin.lips, 0.0, 1.0)
    tints["lip_edge"] = 4.0 * lips * (1.0 - lips) * (np.abs(p.y - at.mouth[1]) < 18)
    gloss = 0.30 + 0.30 * p.bell(0, 40, 34, 24) + 0.45 * p.bell(0, at.nose_tip + 6, 8, 18)
    gloss = gloss + 0.14 * p.bell(at.eye[0] + 10, -20, 16, 10) + 0.12 * p.bell(0, at.chin + 8, 14, 8)
    gloss = gloss + 0.5 * smoothstep(lips, 0.3, 0.9)
    window = crop_mask(np.max([np.abs(each) for each in tints.values()], axis=0), 0.01).window
    bank = np.stack([each[window].ravel() for each in tints.values()]).astype(np.float32)
    rows = {name: row for row, name in enumerate(tints)}
    return SkinMasks(window, bank, rows, blends, gloss.astype(np.float32))


def _feature_tints(p: _Painter, at: Anchors) -> dict[str, Array]:
    """Redness, shadows and edges of a young face."""
    (ex, ey), (wx, wy), (_, my) = at.eye, at.wing, at.mouth
    between = 0.5 * (my + at.nose_tip) - 3.0
    wing = [(wx - 2.5, wy + 11), (wx + 1.5, wy + 7), (wx + 2, wy + 1), (wx - 3, wy - 3.5)]
    fold = [
        (at.eye_inner + 0.5, ey + 3.5),
        (ex - 3, ey + 8.0),
        (ex + 5, ey + 7.8),
        (at.eye_outer + 2.5, ey + 2.8),
    ]
    return {
        "blush": p.bell(ex + 12, at.nose_tip + 2, 19, 15)
        + 0.9 * p.bell(0, at.nose_tip, 13, 10)
        + 0.5 * p.bell(0, at.chin + 8, 14, 9)
        + 0.35 * p.bell(ex, ey + 6, 14, 6),
        "forehead": p.bell(0, 45, 50, 22),
        "jaw": p.bell(0, at.chin + 12, 44, 20) + p.bell(24, my - 6, 16, 24),
        "socket": p.bell(at.eye_inner + 0.5, ey + 2.5, 6.5, 8.0)
        + 0.75 * p.bell(ex, ey - 10, 13, 4.5)
        + 0.5 * p.bell(ex, ey + 7.5, 13, 3.2),
        "lid": p.bell(ex, ey + 6.5, 12.5, 2.6) + 0.4 * p.bell(ex, ey - 5.5, 12, 2.0),
        "lid_fold": p.crease(fold, 0.8, 0.2),
        "wing": p.crease(wing, 1.3, 0.0),
        "nostril": p.bell(6.2, wy - 4.7, 2.6, 1.5),
        "nose_ridge": p.bell(0, at.nose_tip + 16, 3.2, 14) + 0.5 * p.bell(0, at.nose_tip + 1, 5, 4),
        "philtrum": p.bell(0, between, 2.0, 5) - 0.5 * p.bell(4.2, between, 1.3, 5),
        "sulcus": p.bell(0, my - 15, 13, 3.2),
        "mouth_corner": p.bell(at.mouth[0] + 0.5, at.mouth_corner - 0.5, 2.6, 2.2),
        "mouth_line": _mouth_line(p, at),
        "lip_light": p.bell(0, my - 7.5, 9, 2.4),
    }


def _mouth_line(p: _Painter, at: Anchors) -> Array:
    mx, my = at.mouth
    low = at.mouth_corner
    return p.line(
        _bend([(-6, my), (0, my - 0.2), (8, my + 0.4), (17, 0.6 * my + 0.4 * low), (mx - 1, low)]), 1.0
    )


def _age_tints(p: _Painter, at: Anchors) -> dict[str, Array]:
    """Wrinkles, bags and folds."""
    (ex, ey), (wx, wy), (mx, my), ox = at.eye, at.wing, at.mouth, at.eye_outer
    nasolabial: Curve = [(wx + 1.5, wy + 6), (wx + 7, wy - 2), (mx + 7, my + 15), (mx + 11, my + 3)]
    forehead: Array = np.zeros(p.y.shape)
    for i, level in enumerate((31.0, 38.5, 46.5, 54.0)):
        line = [
            (-8, level - 1.0),
            (0, level - 1.2),
            (16, level + 0.8),
            (32, level + 1.2),
            (46 - 3 * i, level - 2.5),
        ]
        forehead += (1.0 - 0.14 * i) * p.crease(line, 0.85, 0.6)
    bag = [(at.eye_inner + 1, ey - 6.0), (ex - 4, ey - 11.5), (ex + 6, ey - 11.5), (ox + 1.5, ey - 6.5)]
    cheek = [(at.eye_inner + 2, ey - 9.5), (ex - 4, ey - 16), (ex + 7, ey - 17), (ox + 5, ey - 11)]
    crow: Array = np.zeros(p.y.shape)
    for rise in (7.5, 2.0, -3.5, -8.5):
        ray = [(ox + 4.0, ey - 1 + 0.25 * rise), (ox + 9, ey - 1 + 0.62 * rise), (ox + 15.5, ey - 1.5 + rise)]
        crow += p.crease(ray, 0.75, 0.5)
    for drop in (4.0, 6.5):
        under = [(ex - 4, ey - 3.5 - drop), (ex + 5, ey - 4 - drop), (ox + 3, ey - 1.5 - drop)]
        crow += 0.6 * p.crease(under, 0.7, 0.4)
    neck: Array = np.zeros(p.y.shape)
    for level in (-128.0, -141.0):
        neck += p.crease([(-6, level - 2), (14, level), (34, level + 4), (48, level + 10)], 1.1, 0.4)
    lips: Array = np.zeros(p.y.shape)
    for x in (3.0, 7.5, 12.0, 16.5):
        lips += p.crease([(x, my + 8), (x * 1.05, my + 11), (x * 1.1, my + 15)], 0.6, 0.4)
    jowl = _bend([(mx + 10, my - 6), (mx + 12, my - 22), (mx + 2, at.chin + 6)])
    marionette: Curve = [(mx + 3, my - 3), (mx + 5, my - 9), (mx + 4, my - 17)]
    frown: Curve = [(4.5, at.brow - 5), (5.5, at.brow + 2), (4.8, at.brow + 9)]
    return {
        "nasolabial": 0.8 * p.crease(nasolabial, 1.7, 0.25) + 0.30 * p.line(_bend(nasolabial), 5.0),
        "marionette": 0.8 * p.crease(marionette, 1.6, 0.2),
        "forehead_lines": forehead,
        "glabella": p.crease(frown, 0.9),
        "eye_bags": p.crease(bag, 1.1, 0.5)
        + 0.7 * p.crease(cheek, 1.2, 0.3)
        + 0.3 * p.bell(ex, ey - 9, 12, 3.5),
        "crow": crow,
        "neck_lines": neck,
        "lip_lines": lips,
        "jowl": p.line(jowl, 4.0),
    }


def _mouth_blends(p: _Painter, at: Anchors, skin: SkinMap) -> dict[str, Mask]:
    mask = crop_mask(smoothstep(skin.lips, 0.30, 0.70) * (p.y > at.mouth[1] - 22))
    upper = smoothstep(p.y, at.mouth[1] - 1, at.mouth[1] + 2)[mask.window]
    return {"lips": mask, "upper_lip": Mask(mask.window, upper.astype(np.float32))}


def _eye_blends(p: _Painter, at: Anchors, lid_edge: Array) -> dict[str, Mask]:
    """Roots of the lashes, and the inner corner of the eye."""
    corners = np.interp(lid_edge[:, 0], [at.eye_inner, at.eye_outer], [-2.0, 0.2])
    edges = [lid_edge[sign * (lid_edge[:, 1] - corners) > 0.3] for sign in (1, -1)]
    upper, lower = (edge[np.argsort(edge[:, 0])] for edge in edges)
    return {
        "lashes": crop_mask(_lash_roots(p, upper - np.array([0.0, 1.2]), 1.15, 0.45)),
        "lower_lashes": crop_mask(_lash_roots(p, lower + np.array([0.0, 1.6]), 0.8, 0.3)),
        "caruncle": crop_mask(p.bell(at.eye_inner + 0.5, at.eye[1] - 2.0, 1.6, 1.4)),
    }


def _lash_roots(p: _Painter, edge: Array, width: float, inner: float) -> Array:
    """Line along a lid from its inner corner, where it has the strength `inner`, to its outer one."""
    near, distance, along = p.distance(edge, 3.0 * width)
    weight = np.zeros(p.x.shape)
    weight[near] = np.exp(-((distance / width) ** 2)) * (inner + (1.0 - inner) * along) * p.front[near]
    return weight


def _beard_blends(p: _Painter, at: Anchors, skin: SkinMap) -> dict[str, Mask]:
    my = at.mouth[1]
    x = np.abs(skin.x)
    heights = [my + 25, my + 24, my + 7, my + 7, my + 30, -20, 8]
    upper = np.interp(x, [0, 20, 34, 48, 58, 66, 74], heights)
    lower = np.interp(x, [0, 30, 60, 80], [-128, -124, -112, -104])
    beard = (
        smoothstep(upper - p.y, -4, 6)
        * smoothstep(p.y - lower, -8, 8)
        * smoothstep(np.cos(skin.azimuth), -0.12, 0.12)
    )
    bare = 0.75 * np.exp(-(((x - 15) / 6.0) ** 2 + ((p.y - (my - 15)) / 5.0) ** 2))
    bare = np.maximum(bare, 0.5 * np.exp(-((x / 2.4) ** 2 + ((p.y - at.nose_tip + 13) / 7.0) ** 2)))
    lips = smoothstep(skin.lips, 0.25, 0.60) + 0.8 * np.exp(-0.5 * ((x / 18) ** 2 + ((p.y - my) / 3.0) ** 2))
    mask = crop_mask(beard * (1.0 - bare) * np.clip(1.0 - lips, 0.0, 1.0))
    mx = at.mouth[0]
    lip = smoothstep(p.y, my + 1, my + 4) * smoothstep(mx + 9 - x, 0, 6)
    chin = smoothstep(my - 9 - p.y, 0, 5) * np.exp(-((x / 17.0) ** 4))
    ring = np.exp(-((x / (mx + 9.0)) ** 6)) * smoothstep(p.y, at.chin - 12, at.chin - 2)
    cuts = {1: ring, 2: lip, 3: np.maximum(lip, chin)}
    return {"beard": mask} | {
        f"beard_cut_{number}": Mask(mask.window, cut[mask.window].astype(np.float32))
        for number, cut in cuts.items()
    }
