"""Point clouds in .xyz files."""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from voiceface.io.atomic import atomic_path

from perceptionist.meshio.mesh import Array, MeshError, parse_floats, read_text_bytes, validate_mesh
from perceptionist.meshio.text import NumberFormat, read_rows, write_rows

__all__ = [
    "read_xyz",
    "write_xyz",
]


def write_xyz(path: str | Path, vertices: ArrayLike, *, number_format: NumberFormat = "shortest") -> None:
    """Write a point cloud, `x y z` per line without a header; atomic. Errors as in `write_obj`."""
    mesh = validate_mesh(vertices, source=str(path))
    with atomic_path(path) as part, part.open("wb") as file:
        write_rows(file, "", list(mesh.vertices.T), number_format)


def read_xyz(path: str | Path, dtype: DTypeLike = np.float64) -> Array:
    """Read a point cloud: three numbers per line, any white space; empty lines and `#` comments are skipped.

    Returns:
        (V, 3) of `dtype`.

    Raises:
        FileNotFoundError: no such file.
        MeshError: a line of another form, a number that is not finite, or no points.
    """
    path = Path(path)
    data = read_text_bytes(path, "point cloud")
    points = read_rows(data, 3, dtype)
    if points is None:
        rows = []
        for number, line in enumerate(data.decode("latin-1").split("\n"), 1):
            if words := line.partition("#")[0].split():
                rows.append(parse_floats(words, (3,), f"{path}, line {number}"))
        points = np.array(rows, np.float64).reshape(-1, 3).astype(dtype)
    if not len(points):
        raise MeshError(f"{path} contains no points, expected lines of three numbers")
    return validate_mesh(points, source=str(path)).vertices
