"""Cut of the head from MakeHuman's base mesh: parts, a plane through the neck, triangles.

A vertex of the head is a vertex of the base mesh or, at the cut, a point on one of its edges. Displacements
of the base mesh therefore carry over linearly (`HeadTopology.restrict`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.head.source import BaseMesh

__all__ = ["PART_GROUPS", "HeadTopology", "cut_head", "find_mirror"]

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

# Parts in the order of their vertices; groups of the base mesh by prefix.
PART_GROUPS: dict[str, tuple[str, ...]] = {
    "skin": ("body",),
    "eye_left": ("helper-r-eye",),
    "eye_right": ("helper-l-eye",),
    "teeth_upper": ("helper-upper-teeth",),
    "teeth_lower": ("helper-lower-teeth",),
    "tongue": ("helper-tongue",),
    "lashes": ("helper-l-eyelashes", "helper-r-eyelashes"),
}
_SNAP = 0.04  # an edge cut nearer to its end than this share is cut at the end


@dataclass(frozen=True)
class HeadTopology:
    """Head as points on edges of the base mesh.

    Attributes:
        first, second: (V,) vertices of the base mesh.
        share: (V,) position between them, 0 at `first`.
        triangles: (T, 3) int32, counter-clockwise seen from outside.
        texture: (U, 2) texture coordinates.
        texture_triangles: (T, 3) int32 numbers of texture coordinates at the corners of the triangles.
        part_vertices, part_triangles: first and one past the last vertex or triangle of each part.
    """

    first: Indices
    second: Indices
    share: Array
    triangles: NDArray[np.int32]
    texture: Array
    texture_triangles: NDArray[np.int32]
    part_vertices: dict[str, tuple[int, int]]
    part_triangles: dict[str, tuple[int, int]]

    def restrict(self, values: Array) -> Array:
        """Carry values per vertex of the base mesh, (N, ...), over to the head, (V, ...)."""
        share = self.share.reshape(-1, *[1] * (values.ndim - 1))
        return np.asarray((1.0 - share) * values[self.first] + share * values[self.second])

    def find(self, vertex: int) -> int:
        """Return the number of a vertex of the base mesh in the head."""
        (where,) = np.nonzero((self.first == vertex) & (self.share == 0))
        return int(where[0])


def cut_head(mesh: BaseMesh, positions: Array, heights: Array) -> HeadTopology:
    """Cut the head out of the base mesh.

    Args:
        mesh: the base mesh.
        positions: (N, 3) of the mean head, for the choice of diagonals.
        heights: (N,) height above the cut, which is at 0; skin below it is dropped.
    """
    part = np.full(len(mesh.quads), -1)
    for number, prefixes in enumerate(PART_GROUPS.values()):
        for prefix in prefixes:
            part[np.char.startswith(mesh.groups, prefix)] = number
    chosen = (part > 0) | ((part == 0) & (heights[mesh.quads].max(axis=1) > 0))
    corners, texture, part = _split_quads(mesh, positions, part, chosen)
    height = np.where(part[:, None] > 0, 1.0, _snap_heights(corners, heights)[corners])
    first, second, tex_first, tex_second, part = _clip(corners, texture, height, part)
    return _number_vertices(first, second, tex_first, tex_second, part, heights, mesh.texture)


def find_mirror(points: Array, part_vertices: dict[str, tuple[int, int]]) -> Indices:
    """Find the mirror image of each vertex of a symmetric head, (V,).

    Raises:
        ValueError: a vertex has no mirror image, or two vertices have the same.
    """
    from scipy.spatial import cKDTree

    partner = {"eye_left": "eye_right", "eye_right": "eye_left"}
    mirror = np.empty(len(points), np.int64)
    for name, (start, end) in part_vertices.items():
        other_start, other_end = part_vertices[partner.get(name, name)]
        tree = cKDTree(points[other_start:other_end])
        distance, index = tree.query(points[start:end] * [-1.0, 1.0, 1.0])
        if distance.max(initial=0.0) > 1e-3:
            raise ValueError(f"{name}: vertex {start + distance.argmax()} has no mirror image")
        mirror[start:end] = other_start + index
    if (mirror[mirror] != np.arange(len(points))).any():
        raise ValueError("two vertices have the same mirror image")
    return mirror


def _split_quads(
    mesh: BaseMesh, positions: Array, part: Indices, chosen: NDArray[np.bool_]
) -> tuple[Indices, Indices, Indices]:
    """Split quads along the shorter diagonal: corners (T, 3), texture corners (T, 3), part (T,)."""
    order = np.argsort(part[chosen], kind="stable")
    quads, texture = mesh.quads[chosen][order], mesh.texture_quads[chosen][order]
    p = positions[quads]
    longer = np.linalg.norm(p[:, 0] - p[:, 2], axis=1) - np.linalg.norm(p[:, 1] - p[:, 3], axis=1)
    # Where both are equal, mirrored quads still get mirrored diagonals.
    outermost = (np.abs(p[..., 0]) + 0.7 * p[..., 1] + 1.9 * p[..., 2]).argmax(axis=1)
    first = np.where(np.abs(longer) < 1e-3, outermost % 2 == 0, longer < 0)
    split = np.where(first[:, None], [0, 1, 2, 0, 2, 3], [0, 1, 3, 1, 2, 3]).reshape(-1, 2, 3)
    row = np.arange(len(quads))[:, None, None]
    return (
        quads[row, split].reshape(-1, 3),
        texture[row, split].reshape(-1, 3),
        np.repeat(part[chosen][order], 2),
    )


def _snap_heights(corners: Indices, heights: Array) -> Array:
    """Set heights to 0 where the cut passes an edge close to its end, so that it leaves no slivers."""
    start, end = corners.ravel(), np.roll(corners, -1, axis=1).ravel()
    cut = heights[start] * heights[end] < 0
    start, end = start[cut], end[cut]
    share = heights[start] / (heights[start] - heights[end])
    snapped = heights.copy()
    snapped[start[share < _SNAP]] = 0.0
    snapped[end[share > 1.0 - _SNAP]] = 0.0
    return snapped


def _clip(
    corners: Indices, texture: Indices, height: Array, part: Indices
) -> tuple[Indices, Indices, Indices, Indices, Indices]:
    """Clip triangles at height 0; every corner becomes a pair of base vertices, equal where it is uncut."""
    below = (height < 0).sum(axis=1)
    whole = below == 0
    pieces = [(corners[whole], corners[whole], texture[whole], texture[whole])]
    owners = [part[whole]]
    for count in (1, 2):
        rows = np.nonzero(below == count)[0]
        # The corner that is alone on its side comes first.
        lone = np.argmax((height[rows] >= 0) == (count == 2), axis=1)
        turn = (lone[:, None] + np.arange(3)) % 3
        c, t, h = (np.take_along_axis(values[rows], turn, 1) for values in (corners, texture, height))
        for start, end in _cut_corners(count, h[:, 2] < h[:, 1]):
            # The upper end of a cut edge may be at the cut itself.
            stop = np.where(np.take_along_axis(h, start, 1) == 0, start, end)
            c_start, c_stop = (np.take_along_axis(c, ends, 1) for ends in (start, stop))
            t_start, t_stop = (np.take_along_axis(t, ends, 1) for ends in (start, stop))
            pieces.append((c_start, c_stop, t_start, t_stop))
            owners.append(part[rows])
    first, second, tex_first, tex_second = (np.concatenate(column) for column in zip(*pieces))
    owner = np.concatenate(owners)
    key = first * (corners.max() + 1) + second
    proper = (key[:, 0] != key[:, 1]) & (key[:, 1] != key[:, 2]) & (key[:, 2] != key[:, 0])
    order = np.argsort(owner[proper], kind="stable")
    chosen = np.nonzero(proper)[0][order]
    return first[chosen], second[chosen], tex_first[chosen], tex_second[chosen], owner[chosen]


def _cut_corners(below: int, lower_second: NDArray[np.bool_]) -> list[tuple[Indices, Indices]]:
    """Corners (N, 3) of the remaining triangles as edges: upper ends, lower ends; equal for whole corners.

    Args:
        below: number of corners below the cut. 1: corner 0 is below; 2: corner 0 is above.
        lower_second: (N,) whether corner 2 is lower than corner 1; mirrored triangles are split alike.
    """
    if below == 2:
        choices = [(([0, 0, 0], [0, 1, 2]), ([0, 0, 0], [0, 1, 2]))]
    else:
        choices = [
            (([1, 1, 2], [0, 1, 2]), ([1, 1, 2], [0, 1, 0])),
            (([1, 2, 2], [0, 2, 0]), ([1, 2, 2], [1, 2, 0])),
        ]
    which = lower_second[:, None]
    return [(np.where(which, a[0], b[0]), np.where(which, a[1], b[1])) for a, b in choices]


def _number_vertices(
    first: Indices, second: Indices, tex_first: Indices, tex_second: Indices, part: Indices,
    heights: Array, texture: Array,
) -> HeadTopology:  # fmt: skip
    """Give the corners of all triangles their vertex numbers, part after part."""
    keys, inverse = np.unique(
        np.stack([np.repeat(part, 3), first.ravel(), second.ravel()], 1), axis=0, return_inverse=True
    )
    a, b = keys[:, 1], keys[:, 2]
    share = np.where(a == b, 0.0, heights[a] / np.where(a == b, 1.0, heights[a] - heights[b]))
    # Texture coordinates of a cut edge are at the same share as its vertex.
    corner_share = share[inverse.ravel()]
    tex_keys, tex_row, tex_inverse = np.unique(
        np.stack([tex_first.ravel(), tex_second.ravel()], 1), axis=0, return_index=True, return_inverse=True
    )
    s = corner_share[tex_row][:, None]
    names = list(PART_GROUPS)
    ends = np.searchsorted(keys[:, 0], np.arange(len(names) + 1))
    tri_ends = np.searchsorted(part, np.arange(len(names) + 1))
    return HeadTopology(
        first=a,
        second=b,
        share=share,
        triangles=inverse.reshape(-1, 3).astype(np.int32),
        texture=(1 - s) * texture[tex_keys[:, 0]] + s * texture[tex_keys[:, 1]],
        texture_triangles=tex_inverse.reshape(-1, 3).astype(np.int32),
        part_vertices={n: (int(ends[i]), int(ends[i + 1])) for i, n in enumerate(names)},
        part_triangles={n: (int(tri_ends[i]), int(tri_ends[i + 1])) for i, n in enumerate(names)},
    )
