"""Soft masks of the texture map, computed once per process in mean coordinates (mm).

The map has three samples per grid cell (240 x 240) and moves with the mesh.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.curves import smoothstep
from voiceface.synthetic.face.mean_surface import (
    LIP_LINE_Y,
    MeanSurface,
    build_mean_surface,
    sigmoid,
)

__all__ = ["MAP_SIZE", "SoftMask", "build_shared_masks", "mean_surface_map"]

Map = NDArray[np.float32]

MAP_SIZE = 240


@dataclass(frozen=True)
class SoftMask:
    """Soft mask, cropped to the rows and columns where it is not zero.

    Attributes:
        window: rows and columns of the map.
        mask: values in [0, 1] in that window.
    """

    window: tuple[slice, slice]
    mask: Map

    @classmethod
    def from_map(cls, mask: NDArray[np.floating]) -> "SoftMask":
        """Crop a mask of the whole map (240, 240)."""
        rows, columns = np.nonzero(mask.max(axis=1) > 4e-3)[0], np.nonzero(mask.max(axis=0) > 4e-3)[0]
        if not len(rows):
            return cls((slice(0, 1), slice(0, 1)), np.zeros((1, 1), np.float32))
        window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        return cls(window, np.ascontiguousarray(mask[window], np.float32))


@lru_cache(maxsize=1)
def mean_surface_map() -> MeanSurface:
    """Return the mean surface at the samples of the map."""
    return build_mean_surface(MAP_SIZE, MAP_SIZE)


def _soft_line(points: tuple[tuple[float, float], ...], width: float) -> NDArray[np.float64]:
    """Compute a soft line through `points` (|x|, y) in mm with an SD of `width` mm, mirrored."""
    x, y = np.abs(mean_surface_map().x), mean_surface_map().y
    nearest = np.full_like(x, np.inf)
    for (ax, ay), (bx, by) in pairwise(points):
        t = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2), 0, 1)
        nearest = np.minimum(nearest, (x - ax - t * (bx - ax)) ** 2 + (y - ay - t * (by - ay)) ** 2)
    return np.asarray(np.exp(-0.5 * nearest / width**2) * mean_surface_map().front_mask)


@lru_cache(maxsize=1)
def build_shared_masks() -> dict[str, SoftMask]:
    """Build the soft masks that all identities share, by name."""
    m = mean_surface_map()
    x, y, front, g = m.x, m.y, m.front_mask, m.front_gaussian
    ax = np.abs(x)
    result: dict[str, NDArray[np.float64]] = {}
    ear = np.exp(-0.5 * (((np.abs(m.theta) - 1.68) / 0.16) ** 2 + ((y + 6) / 19) ** 2))
    result["blush"] = np.clip(
        g(45, -34, 17, 13) + 0.8 * g(0, -36, 12, 8) + 0.6 * ear + 0.4 * g(0, -104, 12, 9), 0, 1
    )
    speckle = np.sin(x * 2.1 + 1.7 * np.sin(y * 1.3)) * np.sin(y * 2.4 + 1.9 * np.sin(x * 1.1))
    result["freckles"] = np.clip(2.5 * speckle - 1.0, 0, 1) * np.clip(
        g(34, -24, 24, 14) + g(0, -24, 14, 12), 0, 1
    )
    result["hollow"] = np.clip(
        0.55 * g(20, 7, 8, 7) + 0.45 * g(32, 3, 17, 9) + 0.28 * g(0, -50, 11, 4) + 0.55 * g(0, -82, 14, 4)
        + 0.35 * g(17, -42, 4, 5) + 0.35 * g(30, -67, 5, 5) + 0.25 * g(66, -52, 12, 26), 0, 1,
    )  # fmt: skip
    result["under_chin"] = (
        smoothstep(y, -113, -123) * (0.45 + 0.55 * front) * (1.0 - 0.35 * smoothstep(y, -135, -160))
    )
    result["nasolabial"] = _soft_line(((16, -38), (20, -44), (26, -54), (31, -64), (32, -70)), 2.1)
    creases = np.exp(-0.5 * ((((y - 36 - 0.003 * x**2) % 9.0) - 4.5) / 1.25) ** 2)
    result["forehead_lines"] = (
        creases * np.exp(-((ax / 36) ** 4)) * smoothstep(y, 31, 35) * smoothstep(y, 60, 55) * front
    )
    result["eye_bags"] = _soft_line(((19, -5), (24, -9.5), (32, -11.5), (40, -9)), 1.8) + 0.35 * g(
        31, -7, 10, 3
    )
    crow = (
        _soft_line(((51, 3), (58, 7)), 1.3)
        + _soft_line(((51, 0), (59, -1)), 1.3)
        + _soft_line(((50, -3), (57, -8)), 1.3)
    )
    result["crow"] = crow + 0.8 * _soft_line(((5, 12), (6, 22)), 1.1)

    # Mouth: bow-shaped upper edge, round lower edge.
    t = np.clip(ax / 25.5, 0, 1)
    lip_line = LIP_LINE_Y + 1.4 * t**2  # corners turn up slightly
    upper = lip_line + np.interp(ax, [0, 3, 6.5, 12, 19, 25.5], [6.0, 6.9, 7.4, 6.2, 3.2, 0.0])
    lower = lip_line - 9.6 * (1 - t**2.4) ** 0.9
    inside = np.minimum(upper - y, y - lower)
    result["lips"] = sigmoid(inside / 0.45) * (ax < 26.5) * front
    result["lip_edge"] = np.exp(-0.5 * (inside / 0.9) ** 2) * (ax < 25.0) * front * smoothstep(y, -66, -72)
    line = lip_line + 0.54 * np.exp(-((ax / 7) ** 2))
    result["mouth_line"] = np.exp(-0.5 * ((y - line) / 0.85) ** 2) * sigmoid((26.0 - ax) / 1.2) * front
    off_lips = 1.0 - sigmoid((inside + 1.5) / 0.7) * (ax < 29)
    edge = np.interp(ax, [0, 22, 34, 48, 60, 75], [-49.0, -50.0, -58.0, -66.0, -48.0, -2.0])
    beard = (
        sigmoid((edge - y) / 2.2) * (1 - smoothstep(y, -122, -136)) * sigmoid(9 * (np.cos(m.theta) - 0.12))
    )
    result["beard"] = (
        beard * off_lips * (1 - 0.85 * np.exp(-0.5 * (((ax - 17) / 5) ** 2 + ((y + 79) / 4) ** 2)))
    )
    result["stubble"] = 0.86 + 0.14 * np.sin(x * 3.3 + np.sin(y * 2.7) * 2) * np.sin(
        y * 3.1 + np.sin(x * 2.3) * 2
    )

    result["wing_crease"] = _soft_line(((10, -35), (15.5, -34), (18.2, -39), (16.5, -45)), 1.2)
    result["nose_side"] = _soft_line(((11, 12), (9, 2), (10, -14), (12.5, -30)), 2.4)
    result["nose_ridge"] = (
        np.exp(-0.5 * (x / 3.2) ** 2) * smoothstep(y, 8, 0) * smoothstep(y, -40, -34) * front
    )
    result["nostril"] = np.clip(1.15 * g(7.5, -45.2, 3.0, 1.5), 0, 1)

    # Eyes: almond between (18, -0.5) and (46, 1), a little higher outside.
    u = (ax - 32.0) / 14.2
    open_part = np.clip(1.0 - u**2, 0, 1)
    middle = 0.4 + 0.9 * u
    top, bottom = middle + 5.6 * open_part**0.75, middle - 4.0 * open_part**0.9
    within = np.where(np.abs(u) < 1, np.minimum(top - y, y - bottom), -9.0)
    eye = sigmoid(within / 0.35) * front
    disc = np.hypot(ax - 31.8, y - 1.1)
    result["eye"] = eye
    result["iris"] = eye * sigmoid((5.9 - disc) / 0.35)
    result["iris_rim"] = eye * np.exp(-0.5 * ((disc - 5.6) / 0.6) ** 2)
    result["pupil"] = eye * sigmoid((2.5 - disc) / 0.35)
    sparkle = np.hypot(x - np.sign(x) * 31.8 - 1.9, y - 3.0)
    result["highlight"] = eye * sigmoid((1.3 - sparkle) / 0.3)
    result["caruncle"] = eye * np.exp(-0.5 * ((ax - 19) / 1.6) ** 2)
    result["lid_shadow"] = eye * np.exp(-0.5 * ((y - top) / 1.8) ** 2)
    on_eye = sigmoid((15.2 - np.abs(ax - 32.4)) / 0.6) * front
    thick = 0.75 + 0.35 * np.clip(u, -1, 1)
    result["lashes"] = np.exp(-0.5 * ((y - top - 0.3) / thick) ** 2) * on_eye
    result["lower_lashes"] = np.exp(-0.5 * ((y - bottom + 0.2) / 0.6) ** 2) * on_eye
    crease = middle + 5.6 * np.clip(1 - ((ax - 32.5) / 16.5) ** 2, 0, 1) ** 0.75 + 2.9
    result["crease"] = (
        np.exp(-0.5 * ((y - crease) / 0.9) ** 2) * sigmoid((15.0 - np.abs(ax - 32.5)) / 1.2) * front
    )
    result["beard"] = result["beard"] * result.pop("stubble")
    gloss = 0.16 + 0.5 * result["eye"] + 0.22 * result["lips"] + 0.06 * result["blush"]
    soft_masks = {name: SoftMask.from_map(mask) for name, mask in result.items()}
    soft_masks["gloss"] = SoftMask((slice(None), slice(None)), gloss.astype(np.float32))
    return soft_masks
