"""Self-shadowing of a mesh, measured once per vertex: from which directions a vertex is seen.

The visibility of a vertex as a function of direction is kept as 16 coefficients of polynomials up to degree
three, which span the first four bands of the spherical harmonics. The shadow of any light is then one product
(precomputed radiance transfer: Sloan, Kautz and Snyder 2002).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voiceface.rendering import get_normals, rasterize_triangles

__all__ = ["evaluate_harmonics", "measure_visibility", "spread_directions"]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

_NUM_DIRECTIONS, _MAP_SIDE, _TOLERANCE_MM = 80, 160, 2.5


def spread_directions(count: int) -> Array:
    """Spread unit vectors evenly over the sphere along a spiral, (count, 3)."""
    z = 1.0 - (2.0 * np.arange(count) + 1.0) / count
    angle = np.pi * (3.0 - np.sqrt(5.0)) * np.arange(count)
    radius = np.sqrt(1.0 - z * z)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)


def evaluate_harmonics(directions: NDArray[Any]) -> Array:
    """Evaluate the 16 polynomials at unit vectors (..., 3), (..., 16)."""
    x, y, z = np.moveaxis(np.asarray(directions, float), -1, 0)
    bands = (
        *(np.ones_like(x), x, y, z),
        *(x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1),
        *(x * (x * x - 3 * y * y), y * (3 * x * x - y * y), z * (x * x - y * y), x * y * z),
        *(x * (5 * z * z - 1), y * (5 * z * z - 1), z * (5 * z * z - 3)),
    )
    return np.stack(bands, axis=-1)


def measure_visibility(points: Array, triangles: NDArray[np.int32]) -> tuple[Floats, Floats]:
    """Measure from where each vertex of a mesh is seen past the mesh itself.

    Args:
        points: (V, 3) in mm.
        triangles: (T, 3), counter-clockwise seen from outside.

    Returns:
        (V,) ambient light: 1 for an open vertex that faces forward, less in hollows and downwards, where
        less light comes from; and (V, 16) coefficients of the visibility, whose product with
        `evaluate_harmonics` is about 0 to 1.
    """
    normals = get_normals(points.astype(np.float32), triangles)
    directions = spread_directions(_NUM_DIRECTIONS)
    centred = points - 0.5 * (points.min(axis=0) + points.max(axis=0))
    scale = (0.5 * _MAP_SIDE - 2.0) / float(np.linalg.norm(centred, axis=1).max())
    facing = normals @ directions.T
    seen = np.ones(facing.shape, np.float32)
    for index, direction in enumerate(directions):
        side = np.cross(direction, np.eye(3)[1 if abs(direction[1]) < 0.9 else 0])
        side /= np.linalg.norm(side)
        turned = centred @ np.stack([side, np.cross(direction, side), direction], axis=1)
        screen = turned * [scale, scale, 1.0] + [0.5 * _MAP_SIDE, 0.5 * _MAP_SIDE, 0.0]
        found = rasterize_triangles(screen.astype(np.float32), triangles, _MAP_SIDE, _MAP_SIDE, threads=1)
        column, row = np.rint(screen[:, :2]).astype(np.intp).T
        slope = np.clip(np.abs(facing[:, index]), 0.15, 1.0)
        covered = found.depth[row, column] > turned[:, 2] + _TOLERANCE_MM + 0.6 / (scale * slope)
        seen[:, index] = ~(covered & (facing[:, index] > 0.0))
    height = np.clip((directions[:, 1] + 0.55) / 0.9, 0.0, 1.0)
    sky = 0.20 + 0.80 * height * height * (3.0 - 2.0 * height)
    forward = (np.maximum(directions[:, 2], 0.0) * sky).sum()
    occlusion = (np.maximum(facing, 0.0) * seen * sky).sum(axis=1) / forward
    transfer = seen @ np.linalg.pinv(evaluate_harmonics(directions)).T
    return occlusion.astype(np.float32), transfer.astype(np.float32)
