"""Wavefront .obj files.

The order of the vertices is kept. Files in the regular form that face model tools write are read and written
as whole tables; any other valid file is read line by line.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from voiceface.io.atomic import atomic_path

from perceptionist.meshio.mesh import Array, Mesh, MeshError, parse_floats, read_text_bytes, validate_mesh
from perceptionist.meshio.text import NumberFormat, read_rows, write_rows

__all__ = [
    "BLANKS",
    "read_obj",
    "write_obj",
]


BLANKS = b" \t"
_LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_REGULAR_FIRST = np.frombuffer(_LETTERS + b"#\n", np.uint8)
_REGULAR_SECOND = np.frombuffer(_LETTERS + b" ", np.uint8)
_WORD = re.compile(r"[^ \t\x0b\x0c]+")


def write_obj(
    path: str | Path,
    vertices: ArrayLike,
    triangles: ArrayLike | None = None,
    colors: ArrayLike | None = None,
    *,
    number_format: NumberFormat = "shortest",
) -> None:
    """Write `v x y z` lines (`v x y z r g b` with colours), then `f a b c` lines, 1-based; atomic.

    The published writer corresponds to `number_format="published"` without colours.

    Args:
        path: the file.
        vertices: (V, 3); integers are written as doubles.
        triangles: (T, 3), 0-based; None for none.
        colors: (V, 3) in [0, 1]; None for none.
        number_format: of the coordinates, see `perceptionist.meshio.text.write_rows`.

    Raises:
        MeshError: the mesh is invalid.
        OSError: the file cannot be written.
    """
    mesh = validate_mesh(vertices, triangles, colors, str(path))
    columns = list(mesh.vertices.T) + ([] if mesh.colors is None else list(mesh.colors.T))
    with atomic_path(path) as part, part.open("wb") as file:
        write_rows(file, "v", columns, number_format)
        write_rows(file, "f", list((mesh.triangles + np.int32(1)).T))


def read_obj(path: str | Path, dtype: DTypeLike = np.float64) -> Mesh:
    """Read the vertices, vertex colours and faces of a Wavefront file.

    Supported: `v x y z`, `v x y z 1`, `v x y z r g b` (values above 1 mean a range of 0 to 255), `f` with
    three or more corners of the forms a, a/t, a//n, a/t/n, positive (1-based) or negative (counted from the
    last vertex). Polygons become fans of triangles. Comments and all other statements (vn, vt, o, g, s,
    usemtl, …) are skipped.

    Args:
        path: the file.
        dtype: of the vertices, float64 or float32.

    Raises:
        FileNotFoundError: no such file.
        MeshError: no vertices, or an invalid line; the message names the line.
    """
    path = Path(path)
    data = read_text_bytes(path, "mesh")
    parts = _read_regular(data, dtype)
    vertices, colors, triangles = parts if parts is not None else _read_line_by_line(path, data, dtype)
    if not len(vertices):
        raise MeshError(f"{path} contains no vertices, expected lines `v x y z`")
    if colors is not None and colors.max() > 1:
        colors = colors / 255
    return validate_mesh(vertices, triangles, colors, str(path))


def _read_regular(data: bytes, dtype: DTypeLike) -> tuple[Array, Array | None, Array] | None:
    """Read vertices, colours and triangles of a file in the regular form; None for other files."""
    if b"\\" in data:
        return None
    content = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(content == ord("\n"))
    if len(data) and (not len(ends) or ends[-1] != len(data) - 1):
        return _read_regular(data + b"\n", dtype)
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else np.zeros(0, np.int64)
    first = content[starts]
    second = content[np.minimum(starts + 1, len(content) - 1)]
    is_keyword = np.isin(second, _REGULAR_SECOND) | ~np.isin(first, list(b"vf"))
    if not (is_keyword & np.isin(first, _REGULAR_FIRST)).all():
        return None  # first words that only the careful reader takes apart
    blocks = {}
    for letter in "vf":
        chosen = (first == ord(letter)) & (second == ord(" "))
        edges = np.flatnonzero(np.diff(chosen.astype(np.int8), prepend=0, append=0))
        begin, end = starts[edges[::2]].tolist(), (ends[edges[1::2] - 1] + 1).tolist()
        blocks[letter] = b"".join([data[a:b] for a, b in zip(begin, end)])
    width = blocks["v"].partition(b"\n")[0].count(b" ")
    if width not in (3, 6):
        return None
    vertices = read_rows(blocks["v"], width, dtype, has_keyword=True)
    corners = read_rows(blocks["f"], 3, np.int32, has_keyword=True)
    if vertices is None or corners is None:
        return None
    if len(corners) and (corners.min() < 1 or corners.max() > len(vertices)):
        return None
    colors = vertices[:, 3:].astype(np.float32) if width == 6 else None
    return np.ascontiguousarray(vertices[:, :3]), colors, corners - np.int32(1)


def _read_line_by_line(path: Path, data: bytes, dtype: DTypeLike) -> tuple[Array, Array | None, Array]:
    """Read vertices, colours and triangles of any file, line by line."""
    rows: list[list[float]] = []
    faces: list[tuple[int, list[int]]] = []
    for line, number in _logical_lines(data.decode("latin-1")):
        words = _WORD.findall(line.partition("#")[0])
        where = f"{path}, line {number}"
        if not words:
            continue
        if words[0] == "v":
            values = parse_floats(words[1:], (3, 4, 6), where)
            if len(values) == 4 and values.pop() != 1:
                raise MeshError(f"{where}: a vertex with weight {words[4]}, expected none or 1")
            if rows and len(values) != len(rows[0]):
                raise MeshError(
                    f"{where}: {len(values)} numbers, expected {len(rows[0])} as in the vertices before"
                )
            rows.append(values)
        elif words[0] == "f":
            faces.append((number, _parse_face(words[1:], len(rows), where)))
    table = np.array(rows, np.float64).reshape(len(rows), -1 if rows else 3)
    triangles = []
    for line_number, corners in faces:
        if not 0 <= min(corners) <= max(corners) < len(rows):
            raise MeshError(
                f"{path}, line {line_number}: vertex {max(corners) + 1} in a face, expected 1 to {len(rows)}"
            )
        triangles += [(corners[0], b, c) for b, c in pairwise(corners[1:])]
    colors = table[:, 3:6].astype(np.float32) if table.shape[1:] == (6,) else None
    return table[:, :3].astype(dtype), colors, np.array(triangles, np.int64).reshape(-1, 3)


def _logical_lines(text: str) -> Iterator[tuple[str, int]]:
    """Lines and their numbers from 1; a backslash at the end continues a line, except in a comment."""
    begun, first = "", 1
    for number, line in enumerate(text.split("\n"), 1):
        whole = begun + line
        first = first if begun else number
        if line.endswith("\\") and "#" not in whole:
            begun = whole[:-1] + " "
            continue
        yield whole, first
        begun = ""
    if begun:
        yield begun, first


def _parse_face(words: list[str], num_vertices: int, where: str) -> list[int]:
    """Parse the 0-based vertex indices of one face."""
    corners = []
    for word in words:
        spelled = word.partition("/")[0]
        digits = spelled.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()) or int(digits) == 0 or len(digits) > 10:
            raise MeshError(f"{where}: corner {word[:40]!r}, expected a vertex index such as 7, 7/1/3 or -2")
        value = int(spelled)
        if value < -num_vertices:
            raise MeshError(
                f"{where}: corner {value}, expected at least -{num_vertices}, the number of vertices so far"
            )
        corners.append(value - 1 if value > 0 else num_vertices + value)
    if len(corners) < 3:
        raise MeshError(f"{where}: a face with {len(corners)} corners, expected at least 3")
    return corners
