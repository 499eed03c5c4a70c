"""Fields of the head from the table of targets, on the vertices of the head."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.curves import smoothstep
from voiceface.synthetic.head.source import HeadSource
from voiceface.synthetic.head.targets import Bump, Field, Pair
from voiceface.synthetic.head.topology import HeadTopology

__all__ = ["ANCESTRIES", "WINDOWS", "FieldMaker", "macro_displacement"]

Array = NDArray[np.float64]

ANCESTRIES = ("african", "asian", "caucasian")
SEXES = ("male", "female")
# Weights of the targets of ages 25 and 90 at age 42.
_AGES = {"young": 48.0 / 65.0, "old": 17.0 / 65.0}


def _bell(values: Array, centre: float, spread: float) -> Array:
    return np.asarray(np.exp(-0.5 * ((values - centre) / spread) ** 2))


# Where a pair acts: weight as a function of the points of the mean head, (V, 3) in mm.
WINDOWS: dict[str, Callable[[Array], Array]] = {
    "": lambda p: np.ones(len(p)),
    "head": lambda p: smoothstep(p[:, 1] + 0.25 * np.minimum(p[:, 2], 60.0), -130.0, -90.0),
    "cranium": lambda p: smoothstep(p[:, 1] - 0.35 * np.maximum(p[:, 2], 0.0), -45.0, 30.0),
    "midface": lambda p: _bell(p[:, 1], -15.0, 32.0),
    "jaw": lambda p: smoothstep(p[:, 1], -30.0, -65.0) * smoothstep(p[:, 1] + 0.3 * p[:, 2], -140.0, -105.0),
    "neck": lambda p: smoothstep(
        p[:, 1] + 0.3 * np.clip(p[:, 2] + 20.0, 0.0, 120.0) + 1.8 * np.minimum(p[:, 2] + 20.0, 0.0),
        -70.0,
        -100.0,
    ),
    "brow_ridge": lambda p: (
        _bell(np.abs(p[:, 0]), 24.0, 16.0) * _bell(p[:, 1], 14.0, 8.0) * smoothstep(p[:, 2], 50.0, 75.0)
    ),
}


def macro_displacement(source: HeadSource, sex: str, ancestry: str, weight: str = "averageweight") -> Array:
    """Displacement of the base mesh towards an adult of 42 years, (N, 3) in mm.

    Args:
        source: the files.
        sex: "male" or "female".
        ancestry: one of `ANCESTRIES`.
        weight: "averageweight", "minweight" or "maxweight".
    """
    total = np.zeros_like(source.mesh.vertices)
    for age, share in _AGES.items():
        total += share * source.target(f"macrodetails/universal-{sex}-{age}-averagemuscle-{weight}")
        total += share * source.target(f"macrodetails/{ancestry}-{sex}-{age}")
    return total


@dataclass(frozen=True)
class FieldMaker:
    """Makes fields on the vertices of the head.

    Attributes:
        source: the files.
        topology: the head as points on edges of the base mesh.
        mean: (V, 3) mean head in mm.
        mirror: (V,) mirror image of each vertex.
        landmarks: (68,) vertices.
        eyes: (N,) vertices of the base mesh that belong to the eyes.
    """

    source: HeadSource
    topology: HeadTopology
    mean: Array
    mirror: NDArray[np.int64]
    landmarks: NDArray[np.int64]
    eyes: NDArray[np.bool_]
    _smoothers: dict[float, Any] = field(default_factory=dict)

    def make(self, row: Field, smooth: float = 0.0) -> Array:
        """Make a field: displacement (V, 3) in mm at coefficient 1.

        Args:
            row: of the table.
            smooth: standard deviation in mm of a Gaussian that smooths it in space.
        """
        total = np.zeros_like(self.mean)
        for part in row.parts:
            total += self._bump(part) if isinstance(part, Bump) else self.pair(part)
        total = self.smoothed(total, smooth)
        reflected = total[self.mirror] * [-1.0, 1.0, 1.0]
        total = 0.5 * (total - reflected) if row.odd else 0.5 * (total + reflected)
        return np.asarray(total * (row.size / self._extent(total, row)))

    def smoothed(self, displacement: Array, spread: float) -> Array:
        """Smooth a displacement (V, 3) by a Gaussian of `spread` mm in space."""
        if not spread:
            return displacement
        if spread not in self._smoothers:
            self._smoothers[spread] = _gaussian_smoother(self.mean, self.topology.triangles, spread)
        return np.asarray(self._smoothers[spread] @ displacement)

    def change_of_distance(self, displacement: Array, first: int, second: int) -> float:
        """First-order change of the distance of two landmarks, in mm."""
        a, b = self.landmarks[first], self.landmarks[second]
        line = self.mean[b] - self.mean[a]
        return float((displacement[b] - displacement[a]) @ line / np.linalg.norm(line))

    def _extent(self, displacement: Array, row: Field) -> float:
        if row.distance is not None:
            return self.change_of_distance(displacement, *row.distance)
        start, end = self.topology.part_vertices["skin"]
        return float(np.linalg.norm(displacement[start:end], axis=1).max())

    def pair(self, pair: Pair) -> Array:
        """Displacement (V, 3) in mm of a pair of targets, as it is in the files."""
        displacement = self._target(pair.plus)
        if pair.minus:
            displacement = 0.5 * (displacement - self._target(pair.minus))
        window = WINDOWS[pair.window](self.mean)
        return np.asarray(pair.weight * window[:, None] * self.topology.restrict(displacement))

    def _bump(self, bump: Bump) -> Array:
        side = np.tanh(self.mean[:, 0] / 8.0)
        offset = np.stack([np.abs(self.mean[:, 0]), self.mean[:, 1], self.mean[:, 2]], axis=1)
        distance = np.sqrt((((offset - bump.centre) / bump.radius) ** 2).sum(axis=1))
        height = np.exp(-0.5 * distance**bump.power)
        shift = np.broadcast_to(bump.shift, self.mean.shape).copy()
        shift[:, 0] *= side
        return np.asarray(height[:, None] * shift)

    def _target(self, name: str) -> Array:
        if name.startswith("macro/"):
            return self._macro(name.removeprefix("macro/"))
        if "{side}" in name:
            return self.source.target(name.format(side="l")) + self.source.target(name.format(side="r"))
        if "{ancestry}" in name:
            both = [self.source.target(name.format(ancestry=ancestry)) for ancestry in ANCESTRIES]
            return np.asarray(np.mean(both, axis=0))
        return self.source.target(name)

    def _macro(self, name: str) -> Array:
        """Displacement of a group of adults, with the eyes at rest: a sex, ancestries or a weight."""
        sexes = (name,) if name in SEXES else SEXES
        ancestries = tuple(name.split("+")) if name.split("+")[0] in ANCESTRIES else ANCESTRIES
        weight = name if name.endswith("weight") else "averageweight"
        group = [macro_displacement(self.source, s, a, weight) for s in sexes for a in ancestries]
        displacement = np.mean(group, axis=0)
        return np.asarray(displacement - displacement[self.eyes].mean(axis=0))


def _gaussian_smoother(points: Array, triangles: NDArray[np.integer], spread: float) -> Any:
    """Sparse matrix (V, V) that averages over neighbours in space, weighted by their share of the surface."""
    from scipy.sparse import coo_array
    from scipy.spatial import cKDTree

    corners = points[triangles]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.bincount(triangles.ravel(), np.repeat(np.linalg.norm(normal, axis=1) / 6.0, 3), len(points))
    pairs = cKDTree(points).query_pairs(3.0 * spread, output_type="ndarray")
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    own = np.arange(len(points))
    row = np.concatenate([pairs[:, 0], pairs[:, 1], own])
    column = np.concatenate([pairs[:, 1], pairs[:, 0], own])
    distance = np.linalg.norm(points[row] - points[column], axis=1)
    weight = np.exp(-0.5 * (distance / spread) ** 2) * (area[column] + 0.05)
    weight /= np.bincount(row, weight, len(points))[row]
    return coo_array((weight, (row, column)), shape=(len(points), len(points))).tocsr()
