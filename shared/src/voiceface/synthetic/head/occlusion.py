"""Ambient occlusion per vertex: the share of the sky that a point of a mesh sees."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["compute_normals", "compute_occlusion", "sky_directions"]

Array = NDArray[np.float64]

_CELL = 1.6  # mm, side of a cell of the depth maps
_LIFT = 2.0  # mm, a surface nearer than this does not hide


def sky_directions(count: int) -> Array:
    """Directions spread evenly over the sphere (Fibonacci lattice), (count, 3) of unit length."""
    step = np.arange(count) + 0.5
    height = 1.0 - 2.0 * step / count
    angle = np.pi * (1.0 + np.sqrt(5.0)) * step
    ring = np.sqrt(1.0 - height**2)
    return np.stack([ring * np.cos(angle), height, ring * np.sin(angle)], axis=1)


def compute_normals(vertices: Array, triangles: NDArray[np.integer]) -> Array:
    """Unit normals of the vertices, triangles weighted by area, (V, 3)."""
    corners = vertices[triangles]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.stack(
        [np.bincount(triangles.ravel(), np.repeat(axis, 3), len(vertices)) for axis in normal.T], axis=1
    )
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12))


def compute_occlusion(
    vertices: ArrayLike,
    triangles: NDArray[np.integer],
    directions: int = 256,
    floor: tuple[float, float] | None = None,
) -> Array:
    """Compute the cosine-weighted share of the sky that each vertex sees, (V,) in [0, 1].

    Each direction gives a depth map of the mesh by orthographic projection; a vertex is hidden where the map
    is nearer.

    Args:
        vertices: (V, 3) in mm.
        triangles: (T, 3).
        directions: number of directions over the whole sphere.
        floor: height and radius in mm of a disc about the y axis that hides, too, such as the shoulders.
    """
    points = np.asarray(vertices, float)
    normals = compute_normals(points, triangles)
    samples = _surface_samples(points, triangles)
    seen, total = np.zeros(len(points)), np.zeros(len(points))
    for direction in sky_directions(directions):
        across = np.cross(direction, [0.0, 1.0, 0.0] if abs(direction[1]) < 0.9 else [1.0, 0.0, 0.0])
        across /= np.linalg.norm(across)
        axes = np.stack([across, np.cross(across, direction), direction])
        surface = _project(samples, axes)
        low = surface[:, :2].min(axis=0) - _CELL
        cell = ((surface[:, :2] - low) / _CELL).astype(np.int64)
        width, rows = int(cell[:, 0].max()) + 2, int(cell[:, 1].max()) + 2
        depth = np.full(width * rows, -np.inf)
        np.maximum.at(depth, cell[:, 1] * width + cell[:, 0], surface[:, 2])
        place = _project(points + _LIFT * normals, axes)
        at = np.clip(((place[:, :2] - low) / _CELL).astype(np.int64), 0, [width - 1, rows - 1])
        cosine = np.maximum(_project(normals, axes)[:, 2], 0.0)
        hidden = depth[at[:, 1] * width + at[:, 0]] > place[:, 2] + 1.0
        if floor is not None and direction[1] < 0:
            distance = (points[:, 1] - floor[0]) / -direction[1]
            hit = points[:, [0, 2]] + distance[:, None] * direction[[0, 2]]
            hidden |= (hit**2).sum(axis=1) < floor[1] ** 2
        total += cosine
        seen += cosine * ~hidden
    return np.asarray(seen / np.maximum(total, 1e-12))


def _project(points: Array, axes: Array) -> Array:
    """Coordinates along axes, added up in a fixed order."""
    return np.asarray(points[:, :1] * axes[:, 0] + points[:, 1:2] * axes[:, 1] + points[:, 2:3] * axes[:, 2])


def _surface_samples(points: Array, triangles: NDArray[np.integer]) -> Array:
    """Points on all triangles, denser than the cells of the depth maps."""
    corners = points[triangles]
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    steps = np.maximum(1, np.ceil(longest / (0.7 * _CELL))).astype(np.int64)
    pieces = []
    for count in np.unique(steps):
        i, j = np.meshgrid(np.arange(count + 1), np.arange(count + 1), indexing="ij")
        inside = i + j <= count
        a, b = i[inside] / count, j[inside] / count
        weights = np.stack([1.0 - a - b, a, b], axis=1)
        chosen = corners[steps == count]
        pieces.append((weights[None, :, :, None] * chosen[:, None]).sum(axis=2).reshape(-1, 3))
    return np.concatenate(pieces)
