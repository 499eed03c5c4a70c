"""Geometry of the head for tests: triangles turned over, points in front of the skin."""

import numpy as np
from numpy.typing import NDArray
from voiceface.synthetic.head.bundle import HeadBundle

Array = NDArray[np.float64]


def triangle_normals(vertices: Array, triangles: NDArray[np.int32]) -> Array:
    corners = vertices[triangles]
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def turned_over(head: HeadBundle, vertices: Array) -> NDArray[np.bool_]:
    """Triangles whose normal turned by more than a right angle against the mean head."""
    before = triangle_normals(head.mean, head.triangles)
    return np.asarray((triangle_normals(vertices, head.triangles) * before).sum(axis=1) <= 0)


def inside_polygon(points: Array, polygon: Array) -> NDArray[np.bool_]:
    """Even-odd rule, points (N, 2) and a closed polygon (P, 2)."""
    start, end = polygon, np.roll(polygon, -1, axis=0)
    x, y = points[:, :1], points[:, 1:]
    spans = (start[:, 1] > y) != (end[:, 1] > y)
    slope = (end[:, 0] - start[:, 0]) / np.where(end[:, 1] == start[:, 1], 1.0, end[:, 1] - start[:, 1])
    crossing = spans & (x < start[:, 0] + slope * (y - start[:, 1]))
    return np.asarray(crossing.sum(axis=1) % 2 == 1)


def depth_behind_skin(head: HeadBundle, vertices: Array, part: str, opening: str) -> Array:
    """How deep the vertices of a part lie behind the skin in mm, seen from the front; negative: through it.

    Vertices within the opening (the rim of the lids, the line of the lips) may be seen and are left out.
    """
    points = vertices[head.vertices_of(part)]
    points = points[~inside_polygon(points[:, :2], vertices[head.loops[opening], :2])]
    skin = head.triangles[head.triangles_of("skin")]
    skin = skin[(head.regions["mouth"][skin] < 0.5).all(axis=1)]
    corners = vertices[skin]
    low, high = corners[..., :2].min(axis=1), corners[..., :2].max(axis=1)
    near = ((low <= points[:, :2].max(axis=0)) & (high >= points[:, :2].min(axis=0))).all(axis=1)
    a, b, c = corners[near].transpose(1, 0, 2)
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
    front = area > 1e-9
    a, b, c, area = a[front], b[front], c[front], area[front]
    x, y = points[:, :1], points[:, 1:2]
    u = ((b[:, 0] - x) * (c[:, 1] - y) - (c[:, 0] - x) * (b[:, 1] - y)) / area
    v = ((c[:, 0] - x) * (a[:, 1] - y) - (a[:, 0] - x) * (c[:, 1] - y)) / area
    w = 1.0 - u - v
    covers = (u >= 0) & (v >= 0) & (w >= 0)
    surface = np.where(covers, u * a[:, 2] + v * b[:, 2] + w * c[:, 2], -np.inf).max(axis=1)
    covered = covers.any(axis=1)
    return surface[covered] - points[covered, 2]
