"""Head of the population: mean, fields, triangles, texture coordinates, landmarks, regions and parts.

The bundle is made from MakeHuman's base mesh and morph targets (CC0) by `make_head`; docs/face_model.md
describes it.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BUNDLE_FILE", "FORMAT", "HeadBundle", "load_head_bundle", "read_bundle"]

Array = NDArray[np.float64]

BUNDLE_FILE = Path(__file__).parents[1] / "weights" / "head.safetensors"
FORMAT = "voiceface-head-1"


@dataclass(frozen=True)
class HeadBundle:
    """The head as it is stored; lengths in mm, x to the viewer's right, y up, z to the viewer.

    The origin lies between the ears at eye height. Vertices and triangles are sorted by part. The names
    "left" and "right" are the viewer's.

    Attributes:
        mean: (V, 3) float64 mean head of both sexes.
        shape_basis: (40, V, 3) float64 displacement per standard deviation, life-size.
        expression_basis: (10, V, 3) float64 displacement at coefficient 1, life-size.
        shape_names, expression_names: names of the coefficients.
        triangles: (T, 3) int32, counter-clockwise seen from outside.
        texture: (U, 2) float32 texture coordinates in [0, 1], y up.
        texture_triangles: (T, 3) int32 numbers of texture coordinates at the corners of `triangles`.
        landmarks: (68,) int64 vertices in iBUG order.
        mirror: (V,) int64 mirror image of each vertex.
        occlusion: (V,) float32 share of the sky that a vertex of the mean head sees, 0 to 1.
        regions: (V,) float32 weight in [0, 1] by name of the region.
        loops: ordered vertices of closed edge loops, by name: borders and line of the lips, lids.
        part_vertices, part_triangles: first and one past the last vertex or triangle, by name of the part.
    """

    mean: Array
    shape_basis: Array
    expression_basis: Array
    shape_names: tuple[str, ...]
    expression_names: tuple[str, ...]
    triangles: NDArray[np.int32]
    texture: NDArray[np.float32]
    texture_triangles: NDArray[np.int32]
    landmarks: NDArray[np.int64]
    mirror: NDArray[np.int64]
    occlusion: NDArray[np.float32]
    regions: dict[str, NDArray[np.float32]]
    loops: dict[str, NDArray[np.int64]]
    part_vertices: dict[str, tuple[int, int]]
    part_triangles: dict[str, tuple[int, int]]

    def vertices_of(self, part: str) -> slice:
        """Vertices of a part, as a slice."""
        return slice(*self.part_vertices[part])

    def triangles_of(self, part: str) -> slice:
        """Triangles of a part, as a slice."""
        return slice(*self.part_triangles[part])

    def freeze(self) -> None:
        """Make all arrays read-only."""
        for array in (*vars(self).values(), *self.regions.values(), *self.loops.values()):
            if isinstance(array, np.ndarray):
                array.setflags(write=False)


@lru_cache(maxsize=1)
def load_head_bundle() -> HeadBundle:
    """Load the bundle of the package; cached per process, arrays are read-only.

    Raises:
        FileNotFoundError: this installation lacks the file.
        ValueError: the file has another format.
    """
    return read_bundle(BUNDLE_FILE)


def read_bundle(path: str | Path) -> HeadBundle:
    """Read a bundle that `make_head` wrote."""
    from safetensors import safe_open

    with safe_open(str(path), framework="numpy") as file:
        names: dict[str, Any] = json.loads((file.metadata() or {}).get("head", "{}"))
        if names.get("format") != FORMAT:
            raise ValueError(f"{path}: format is {names.get('format')!r}, expected {FORMAT!r}")
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    parts = names["parts"]

    def spans(key: str) -> dict[str, tuple[int, int]]:
        ends = np.cumsum([0, *arrays[key].tolist()]).tolist()
        return {part: (ends[i], ends[i + 1]) for i, part in enumerate(parts)}

    bundle = HeadBundle(
        mean=arrays["mean"].astype(np.float64),
        shape_basis=arrays["shape_basis"].astype(np.float64),
        expression_basis=arrays["expression_basis"].astype(np.float64),
        shape_names=tuple(names["shape"]),
        expression_names=tuple(names["expression"]),
        triangles=arrays["triangles"].astype(np.int32),
        texture=arrays["texture"],
        texture_triangles=arrays["texture_triangles"].astype(np.int32),
        landmarks=arrays["landmarks"].astype(np.int64),
        mirror=arrays["mirror"].astype(np.int64),
        occlusion=arrays["occlusion"].astype(np.float32) / np.float32(255),
        regions={
            name: row.astype(np.float32) / np.float32(255)
            for name, row in zip(names["regions"], arrays["regions"], strict=True)
        },
        loops={
            name: loop.astype(np.int64)
            for name, loop in zip(
                names["loops"], np.split(arrays["loops"], np.cumsum(arrays["loop_sizes"])[:-1]), strict=True
            )
        },
        part_vertices=spans("part_vertices"),
        part_triangles=spans("part_triangles"),
    )
    bundle.freeze()
    return bundle
