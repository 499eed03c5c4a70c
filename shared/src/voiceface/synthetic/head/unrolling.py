"""The mean head unrolled around its vertical axis: which point of the mesh lies at a cell of a grid."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["HIGHEST_MM", "LOWEST_MM", "MAP_SIZE", "MeshSources", "find_sources", "skin_coordinates"]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

MAP_SIZE = 512  # width and height of the skin texture
LOWEST_MM, HIGHEST_MM = -165.0, 112.0


def skin_coordinates(points: Array) -> Array:
    """Texel x and y in the skin texture of points (..., 3) of the mean head.

    Columns follow the azimuth, densely in front, and rows the height: a texel of the face is about 0.5 mm.
    """
    s = np.linspace(-1.0, 1.0, 1025)
    theta = np.arctan2(points[..., 0], points[..., 2])
    column = 0.5 + 0.5 * np.interp(theta, np.pi * (0.40 * s + 0.60 * s**3), s)
    row = (HIGHEST_MM - points[..., 1]) / (HIGHEST_MM - LOWEST_MM)
    return np.stack([MAP_SIZE * column - 0.5, MAP_SIZE * row - 0.5], axis=-1)


@dataclass(frozen=True)
class MeshSources:
    """Points of a mesh at the cells of a grid.

    Attributes:
        corners: (H, W, 3) vertices.
        weights: (H, W, 3) float32 barycentric weights.
    """

    corners: NDArray[np.intp]
    weights: Floats

    def sample(self, values: NDArray[Any]) -> Floats:
        """Values (V,) or (V, C) of the mesh at the cells, (H, W) or (H, W, C) float32."""
        flat = np.asarray(values, np.float32)
        out = sum(
            flat[self.corners[..., i]]
            * (self.weights[..., i] if flat.ndim == 1 else self.weights[..., i, None])
            for i in range(3)
        )
        return np.asarray(out, np.float32)


def find_sources(
    points: Array,
    triangles: NDArray[Any],
    place: Callable[[Array], Array],
    period: float,
    height: int,
    width: int,
) -> MeshSources:
    """Find the outermost point of a mesh at every cell of an unrolled grid; holes take the nearest cell's.

    Args:
        points: (V, 3) of the mean head.
        triangles: (T, 3) of the parts to unroll.
        place: maps points to (..., 2) column and row; columns have period `period`.
        period: columns once around the head.
        height: rows of the grid.
        width: columns of the grid.
    """
    import cv2

    from voiceface.rendering import rasterize_triangles

    where = place(points)[triangles]  # (T, 3, 2)
    across = where[..., 0].copy()
    split = np.ptp(across, axis=1) > 0.5 * period
    across[split] += np.where(across[split] < 0.5 * period, period, 0.0)
    radius = np.linalg.norm(points, axis=1)[triangles]
    soup = np.stack([across, where[..., 1], radius], axis=-1).astype(np.float32)
    again = soup[split] - np.array([period, 0.0, 0.0], np.float32)  # both ends of the period
    soup, owner = np.concatenate([soup, again]), np.concatenate([triangles, triangles[split]])
    corners = np.arange(3 * len(soup), dtype=np.int32).reshape(-1, 3)
    found = rasterize_triangles(soup.reshape(-1, 3), corners, height, width, threads=1)
    hit = found.triangles >= 0
    _, label = cv2.distanceTransformWithLabels(
        (~hit).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    cell_of_label = np.zeros(int(label.max()) + 1, np.intp)
    cell_of_label[label[hit]] = np.flatnonzero(hit)
    cell = cell_of_label[label]
    vertices = owner[found.triangles.ravel()[cell]].astype(np.intp)
    return MeshSources(vertices, found.weights.reshape(-1, 3)[cell])
