"""Grid over the head on which hair grows: meridians from the crown down to the nape."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.head.grids import falling_grid_triangles
from voiceface.synthetic.head.unrolling import MeshSources, find_sources

__all__ = [
    "COLUMNS",
    "DOME_ROWS",
    "EQUATOR_MM",
    "FALL_ROWS",
    "ROWS",
    "TRIANGLES",
    "HairHull",
    "build_hull",
    "smooth_grid",
    "texture_of_grid",
]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

DOME_ROWS, FALL_ROWS, COLUMNS = 22, 18, 73  # the first and last column coincide
ROWS = DOME_ROWS + FALL_ROWS
EQUATOR_MM, NAPE_MM = 15.0, -112.0
TEXTURE_ROWS, TEXTURE_COLUMNS = 160, 640
TRIANGLES = falling_grid_triangles(ROWS, COLUMNS)


@dataclass(frozen=True)
class HairHull:
    """Hull of the mean head, once per process.

    Attributes:
        sources: points of the head's mesh below the grid, (ROWS, COLUMNS).
        mean: (ROWS, COLUMNS, 3) smooth hull of the mean head, mm.
        azimuth: (COLUMNS,) in radians, 0 in front.
        direction: (ROWS, COLUMNS, 3) unit vectors in which hair is lifted.
        texels: (ROWS·COLUMNS, 2) float32 place of the grid's points in textures.
        fine: (TEXTURE_ROWS, TEXTURE_COLUMNS, 3) float32, `mean` at the texels.
        fine_azimuth: (1, TEXTURE_COLUMNS) float32.
        fine_row: (TEXTURE_ROWS, 1) float32 row of the grid.
        behind: (T,) bool, triangles behind the neck, which show their inner side.
    """

    sources: MeshSources
    mean: Array
    azimuth: Array
    direction: Array
    texels: Floats
    fine: Floats
    fine_azimuth: Floats
    fine_row: Floats
    behind: NDArray[np.bool_]

    def fit(self, points: NDArray[np.floating]) -> Array:
        """Smooth hull of a head with vertices (V, 3) in the numbering of the mean, (ROWS, COLUMNS, 3)."""
        hull = self.sources.sample(points).astype(float)
        hull[0] = hull[1].mean(axis=0)
        return smooth_grid(hull, 3)


def build_hull(points: Array, triangles: NDArray[np.int32]) -> HairHull:
    """Build the hull.

    Args:
        points: (V, 3) mean head.
        triangles: (T, 3) of its skin without ears.
    """
    import cv2

    sources = find_sources(points, triangles, _grid_place, COLUMNS - 1, ROWS, COLUMNS)
    azimuth = np.linspace(-np.pi, np.pi, COLUMNS)
    rise = np.clip(0.5 * np.pi * (1.0 - np.arange(ROWS) / DOME_ROWS), 0.0, None)
    direction = np.empty((ROWS, COLUMNS, 3))
    direction[..., 0] = np.cos(rise)[:, None] * np.sin(azimuth)
    direction[..., 1] = np.sin(rise)[:, None]
    direction[..., 2] = np.cos(rise)[:, None] * np.cos(azimuth)
    row, column = np.meshgrid(np.arange(ROWS), np.arange(COLUMNS), indexing="ij")
    texels = texture_of_grid(np.stack([column.ravel(), row.ravel()], axis=1))
    around = np.abs(azimuth[TRIANGLES % COLUMNS])
    low = np.all(TRIANGLES // COLUMNS > DOME_ROWS - 4, axis=1)
    behind = np.asarray(np.all(around > 1.75, axis=1) & low, bool)
    hull = HairHull(
        sources, np.empty(0), azimuth, direction, texels, np.empty(0, np.float32), np.empty(0, np.float32),
        np.linspace(0, ROWS - 1, TEXTURE_ROWS, dtype=np.float32)[:, None], behind,
    )  # fmt: skip
    mean = hull.fit(points)
    across = np.linspace(0, COLUMNS - 1, TEXTURE_COLUMNS, dtype=np.float32)[None].repeat(TEXTURE_ROWS, axis=0)
    down = np.ascontiguousarray(hull.fine_row.repeat(TEXTURE_COLUMNS, axis=1))
    fine = np.asarray(cv2.remap(mean.astype(np.float32), across, down, cv2.INTER_LINEAR), np.float32)
    fine_azimuth = np.linspace(-np.pi, np.pi, TEXTURE_COLUMNS, dtype=np.float32)[None]
    return HairHull(sources, mean, azimuth, direction, texels, fine, fine_azimuth, hull.fine_row, behind)


def texture_of_grid(place: NDArray[np.integer]) -> Floats:
    """Texel x and y of grid columns and rows (N, 2)."""
    scale = np.array([(TEXTURE_COLUMNS - 1) / (COLUMNS - 1), (TEXTURE_ROWS - 1) / (ROWS - 1)])
    return np.asarray(place * scale, np.float32)


def smooth_grid(grid: Array, times: int) -> Array:
    """Smooth a grid (R, C, ...) whose first and last column coincide."""
    for _ in range(times):
        wide = np.concatenate([grid[:, -2:-1], grid, grid[:, 1:2]], axis=1)
        grid = 0.25 * wide[:, :-2] + 0.5 * wide[:, 1:-1] + 0.25 * wide[:, 2:]
        tall = np.concatenate([grid[:1], grid, grid[-1:]])
        grid = 0.25 * tall[:-2] + 0.5 * tall[1:-1] + 0.25 * tall[2:]
    return grid


def _grid_place(points: Array) -> Array:
    """Column and row of the grid at points (..., 3) of the mean head."""
    azimuth = np.arctan2(points[..., 0], points[..., 2])
    rise = np.arctan2(points[..., 1] - EQUATOR_MM, np.hypot(points[..., 0], points[..., 2]))
    dome = (1.0 - rise / (0.5 * np.pi)) * DOME_ROWS
    fall = DOME_ROWS + (EQUATOR_MM - points[..., 1]) / (EQUATOR_MM - NAPE_MM) * FALL_ROWS
    column = (azimuth / (2.0 * np.pi) + 0.5) * (COLUMNS - 1)
    return np.stack([column, np.where(rise >= 0, dome, fall)], axis=-1)
