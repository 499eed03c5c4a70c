"""Subdivision of triangle meshes by a sparse matrix: Loop's scheme or midpoints.

Loop, "Smooth subdivision surfaces based on triangles", University of Utah 1987, with the weights of Warren
(3/8n, and 3/16 for three neighbours) and his rules for borders.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.head.bundle import HeadBundle, load_head_bundle

__all__ = ["Scheme", "Subdivision", "load_subdivided_head", "subdivide", "subdivide_head"]

Scheme = Literal["loop", "midpoint"]


@dataclass(frozen=True)
class Subdivision:
    """One step of subdivision of a mesh of V vertices and T triangles.

    Attributes:
        matrix: sparse (V + E, V): new values per vertex are `matrix @ values`. The first V rows belong to the
            old vertices, the others to the E edges.
        triangles: (4T, 3) int32; the four parts of a triangle follow each other.
    """

    matrix: Any
    triangles: NDArray[np.int32]


def subdivide(triangles: NDArray[np.integer], count: int, scheme: Scheme = "loop") -> Subdivision:
    """Subdivide a mesh once: every edge gets a vertex, every triangle becomes four.

    Args:
        triangles: (T, 3) vertex numbers; at most two triangles share an edge.
        count: number of vertices.
        scheme: "loop" smooths; "midpoint" keeps the surface.
    """
    from scipy.sparse import coo_array

    corners = np.asarray(triangles, np.int64)
    sides = np.stack([corners, np.roll(corners, -1, axis=1)], axis=-1).reshape(-1, 2)
    opposite = np.roll(corners, 1, axis=1).ravel()
    edges, number, uses = np.unique(np.sort(sides, axis=1), axis=0, return_inverse=True, return_counts=True)
    number = number.ravel()
    middle = (count + number).reshape(-1, 3)  # on a-b, b-c, c-a
    (a, b, c), (ab, bc, ca) = corners.T, middle.T
    children = np.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], axis=1).reshape(-1, 3)
    inner = uses == 2
    end = np.where(inner & (scheme == "loop"), 3.0 / 8.0, 0.5)
    edge_rows = count + np.arange(len(edges))
    rows, columns, weights = [edge_rows, edge_rows], [edges[:, 0], edges[:, 1]], [end, end]
    if scheme == "loop":
        wing = inner[number]
        rows.append(count + number[wing])
        columns.append(opposite[wing])
        weights.append(np.full(int(wing.sum()), 1.0 / 8.0))
        more = _vertex_rules(edges, inner, count)
    else:
        more = (np.arange(count), np.arange(count), np.ones(count))
    for values, extra in zip((rows, columns, weights), more):
        values.append(extra)
    entries = (np.concatenate(rows), np.concatenate(columns))
    matrix = coo_array((np.concatenate(weights), entries), shape=(count + len(edges), count)).tocsr()
    return Subdivision(matrix, children.astype(np.int32))


def subdivide_head(bundle: HeadBundle, scheme: Scheme = "loop") -> HeadBundle:
    """Subdivide a head once; its fields, regions and occlusion go along.

    Parts stay in order. Within a part the old vertices come first, so landmarks and loops stay the vertices
    they were; loops keep their old vertices only.
    """
    from scipy.sparse import block_diag

    from voiceface.synthetic.head.topology import find_mirror

    matrices, triangles, starts = [], [], {}
    size = 0
    for part, (start, end) in bundle.part_vertices.items():
        local = bundle.triangles[bundle.triangles_of(part)].astype(np.int64) - start
        step = subdivide(local, end - start, scheme)
        starts[part] = (size, size + step.matrix.shape[0])
        matrices.append(step.matrix)
        triangles.append(step.triangles + size)
        size += step.matrix.shape[0]
    matrix = block_diag(matrices, format="csr")
    texture = subdivide(bundle.texture_triangles, len(bundle.texture), "midpoint")
    old_start = np.array([start for start, _ in bundle.part_vertices.values()])
    shift = np.array([starts[part][0] for part in bundle.part_vertices]) - old_start

    def moved(vertices: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.asarray(vertices + shift[np.searchsorted(old_start, vertices, side="right") - 1])

    def carried(values: NDArray[Any]) -> NDArray[Any]:
        flat = values.reshape(len(values), -1)
        return np.asarray(matrix @ flat).reshape(-1, *values.shape[1:]).astype(values.dtype)

    def basis(fields: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(carried(fields.transpose(1, 0, 2)).transpose(1, 0, 2))

    mean = carried(bundle.mean)
    result = replace(
        bundle,
        mean=mean,
        shape_basis=basis(bundle.shape_basis),
        expression_basis=basis(bundle.expression_basis),
        triangles=np.concatenate(triangles).astype(np.int32),
        texture=np.asarray(texture.matrix @ bundle.texture, np.float32),
        texture_triangles=texture.triangles,
        landmarks=moved(bundle.landmarks),
        mirror=find_mirror(mean, starts),
        occlusion=carried(bundle.occlusion),
        regions={name: carried(weight) for name, weight in bundle.regions.items()},
        loops={name: moved(loop) for name, loop in bundle.loops.items()},
        part_vertices=starts,
        part_triangles={part: (4 * a, 4 * b) for part, (a, b) in bundle.part_triangles.items()},
    )
    result.freeze()
    return result


@lru_cache(maxsize=2)
def load_subdivided_head(scheme: Scheme = "loop") -> HeadBundle:
    """Load the bundle of the package, subdivided once; cached per process, arrays are read-only."""
    return subdivide_head(load_head_bundle(), scheme)


def _vertex_rules(
    edges: NDArray[np.int64], inner: NDArray[np.bool_], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Rows, columns and weights of Loop's rules for old vertices."""
    both = np.concatenate([edges, edges[:, ::-1]])
    on_inner = np.concatenate([inner, inner])
    border = np.zeros(count, bool)
    border[edges[~inner]] = True
    valence = np.bincount(both[:, 0], minlength=count)
    ring = np.where(valence == 3, 3.0 / 16.0, 3.0 / (8.0 * np.maximum(valence, 1)))
    use = np.where(border[both[:, 0]], ~on_inner, True)
    here, there = both[use].T
    weight = np.where(border[here], 1.0 / 8.0, ring[here])
    own = 1.0 - np.bincount(here, weight, count)
    vertices = np.arange(count)
    return np.concatenate([here, vertices]), np.concatenate([there, vertices]), np.concatenate([weight, own])
