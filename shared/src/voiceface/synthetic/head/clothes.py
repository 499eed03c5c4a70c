"""Collar and shoulders of a picture, which belong to no ground truth."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.camera import rotation_matrix
from voiceface.synthetic.colours import muted_colour, to_linear_light
from voiceface.synthetic.head.grids import falling_grid_triangles

__all__ = ["CLOTHES_TRIANGLES", "Collar", "build_clothes", "clothes_occlusion", "paint_clothes"]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

_COLUMNS = 73  # the first and last coincide
# From the inside of the collar to the chest: share of the shoulders' outline, mm below the edge, width.
_SHARE = np.array([0.0, 0.0, 0.015, 0.04, 0.09, 0.18, 0.34, 0.54, 0.74, 0.90, 1.0, 1.0])
_DROP = np.array([10.0, 1.0, -1.0, 2.0, 8.0, 14.0, 24.0, 36.0, 52.0, 76.0, 112.0, 172.0])
_GROW = np.array([1.0, 1.02, 1.05, 1.075, 1.10, 1.14, 1.16, 1.13, 1.10, 1.05, 1.0, 1.0])
_SHADE = np.array([0.25, 0.7, 0.9, 0.8, 0.9, 0.94, 0.96, 1.0, 1.0, 1.0, 1.0, 1.0])
_SEAM_ROW = 3.45
_ROWS = len(_SHARE)
CLOTHES_TRIANGLES = falling_grid_triangles(_ROWS, _COLUMNS)


@dataclass(frozen=True)
class Collar:
    """Neck of a head in mm: half its width, front and back, height; and how low the collar is cut."""

    half_width: float
    front: float
    back: float
    height: float
    neckline: float
    slope: float


def build_clothes(collar: Collar, rotation: Array, pose: Array) -> Floats:
    """Build the surface in camera space, (12·73, 3) mm; shoulders turn by part of the head's yaw and roll."""
    azimuth = np.linspace(-np.pi, np.pi, _COLUMNS)
    sine, cosine = np.sin(azimuth), np.cos(azimuth)
    middle, depth = 0.5 * (collar.front + collar.back), 0.5 * (collar.front - collar.back)
    edge = collar.height + 16.0 - collar.neckline * (0.5 + 0.5 * cosine) ** 2.2
    wide = 190.0 * np.sign(sine) * np.abs(sine) ** 0.8
    deep = np.where(cosine > 0, 74.0, 92.0) * np.sign(cosine) * np.abs(cosine) ** 0.8
    share, grow = _SHARE[:, None], _GROW[:, None]
    body = np.empty((_ROWS, _COLUMNS, 3))
    body[..., 0] = (1.0 - share) * grow * collar.half_width * sine + share * wide
    body[..., 1] = edge - _DROP[:, None] - collar.slope * share * np.abs(sine)
    body[..., 2] = middle + (1.0 - share) * grow * depth * cosine + share * deep
    base = np.array([0.0, collar.height, middle])
    part = rotation_matrix(np.array([0.45, 0.0, 0.25]) * pose)
    return np.asarray((body - base) @ part.T + rotation @ base, np.float32).reshape(-1, 3)


@lru_cache(maxsize=1)
def clothes_occlusion() -> tuple[Floats, Floats]:
    """Ambient light at the surface's points (P, 3), and their column and row (P, 2)."""
    row, column = np.meshgrid(np.arange(_ROWS), np.arange(_COLUMNS), indexing="ij")
    place = np.stack([column.ravel(), row.ravel()], axis=1).astype(np.float32)
    return np.repeat(_SHADE[row.ravel(), None], 3, axis=1).astype(np.float32), place


def paint_clothes(place: Floats, uniforms: Array, nuisance: float) -> Floats:
    """Paint cloth at columns and rows (N, 2): one colour, a collar of another shade, a knit. (N, 3) linear.

    Args:
        place: from the surface's points.
        uniforms: (4,) colour and collar.
        nuisance: how much colours differ between videos.
    """
    weight = 0.6 * min(nuisance, 1.5)
    display = np.array([70.0, 84.0, 110.0]) * (1.0 - weight) + weight * muted_colour(uniforms[:3], 105.0, 1.7)
    cloth = to_linear_light(np.clip(display, 14, 236)).astype(np.float32)
    collar = np.float32(0.72) * cloth if uniforms[3] < 0.5 else np.float32(0.55) * cloth + np.float32(0.40)
    row = place[:, 1]
    knit = 1.0 + 0.05 * np.sin(8.4 * place[:, 0]) * np.sin(60.0 * row)
    knit *= 1.0 - 0.5 * np.exp(-(((row - _SEAM_ROW) / 0.15) ** 2))
    return np.asarray(np.where((row < _SEAM_ROW)[:, None], collar, cloth) * knit[:, None], np.float32)
