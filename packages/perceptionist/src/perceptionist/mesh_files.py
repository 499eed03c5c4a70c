"""Mesh files: Wavefront .obj, .xyz point clouds, and the door to .ply and to the formats that trimesh knows.

The order of the vertices is kept in both directions: a face model's landmarks and measuring pairs are numbers
of vertices. Files of the plain form, which all writers of face models use, are read and written many rows at
a time; anything else that the format allows is read line by line.
"""

import io
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from voiceface.io.atomic import atomic_path, write_bytes

from perceptionist.number_text import Spelling, read_rows, write_rows

Array = NDArray[Any]
SUFFIXES = (".obj", ".ply", ".xyz")
READ_BY_TRIMESH = (".off", ".glb")
WRITTEN_BY_TRIMESH = (".off", ".glb", ".stl")
BLANKS = b" \t"


class MeshError(ValueError):
    """A mesh or mesh file cannot be used; the message names file and place, what was found and expected."""


@dataclass(frozen=True)
class Mesh:
    """Vertices joined by triangles.

    Attributes:
        vertices: (V, 3) float32 or float64, finite.
        triangles: (T, 3) int32, 0-based; none for a point cloud.
        colors: (V, 3) float32, red, green, blue in [0, 1]; None where the file has none.
    """

    vertices: Array
    triangles: NDArray[np.int32]
    colors: NDArray[np.float32] | None = None


def as_mesh(
    vertices: ArrayLike, triangles: ArrayLike | None = None, colors: ArrayLike | None = None, source: str = ""
) -> Mesh:
    """Check the parts of a mesh; float vertices keep their precision.

    Raises:
        MeshError: a wrong shape or type, values that are not finite, triangles without vertices, colours
            outside [0, 1]; `source` begins the message.
    """
    lead = f"{source}: " if source else ""
    points = np.asarray(vertices)
    if points.ndim != 2 or points.shape[1] != 3 or points.dtype.kind not in "fiu":
        raise MeshError(
            f"{lead}vertices of shape {points.shape} and type {points.dtype}, expected (V, 3) numbers"
        )
    if points.dtype not in (np.float32, np.float64):
        points = points.astype(np.float64)
    if not np.isfinite(points).all():
        row = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
        raise MeshError(f"{lead}vertex {row} is {points[row].tolist()}, expected finite numbers")
    corners = np.zeros((0, 3), np.int32) if triangles is None else np.asarray(triangles)
    if corners.size == 0:
        corners = np.zeros((0, 3), np.int32)
    if corners.ndim != 2 or corners.shape[1] != 3 or corners.dtype.kind not in "iu":
        raise MeshError(
            f"{lead}triangles of shape {corners.shape} of type {corners.dtype}, expected (T, 3) whole numbers"
        )
    if len(corners) and (corners.min() < 0 or corners.max() >= len(points)):
        raise MeshError(
            f"{lead}triangles name vertices {corners.min()} to {corners.max()}, "
            f"expected 0 to {len(points) - 1} (0-based)"
        )
    shades = None
    if colors is not None:
        shades = np.asarray(colors, np.float32)
        if shades.shape != points.shape:
            raise MeshError(
                f"{lead}colours of shape {shades.shape}, expected one for each of {len(points)} vertices"
            )
        if not ((shades >= 0) & (shades <= 1)).all():
            raise MeshError(f"{lead}colours reach from {shades.min()} to {shades.max()}, expected [0, 1]")
    return Mesh(points, np.ascontiguousarray(corners, np.int32), shades)


def read_mesh(path: str | Path, dtype: DTypeLike = np.float64) -> Mesh:
    """Read a mesh file by its suffix.

    Args:
        path: .obj, .ply, .xyz, or through trimesh .off, .glb.
        dtype: float64, or float32: text is then rounded once, straight to single precision.

    Raises:
        FileNotFoundError: no such file.
        MeshError: unknown suffix, or not such a file.
    """
    path = Path(path)
    match path.suffix.lower():
        case ".obj":
            return read_obj(path, dtype)
        case ".xyz":
            return Mesh(read_xyz(path, dtype), np.zeros((0, 3), np.int32))
        case ".ply":
            from perceptionist.ply_files import read_ply

            mesh = read_ply(path)
            return Mesh(mesh.vertices.astype(dtype), mesh.triangles, mesh.colors)
    return _read_with_trimesh(path, dtype)


def write_mesh(path: str | Path, mesh: Mesh) -> None:
    """Write a mesh file by its suffix, atomically: .obj, .ply (binary), .xyz; by trimesh .glb, .off, .stl.

    Raises:
        MeshError: unknown suffix, or the mesh is not sound.
        OSError: the file cannot be written.
    """
    path = Path(path)
    match path.suffix.lower():
        case ".obj":
            write_obj(path, mesh.vertices, mesh.triangles, mesh.colors)
        case ".xyz":
            write_xyz(path, mesh.vertices)
        case ".ply":
            from perceptionist.ply_files import write_ply

            write_ply(path, mesh.vertices, mesh.triangles, mesh.colors)
        case _:
            _write_with_trimesh(path, as_mesh(mesh.vertices, mesh.triangles, mesh.colors, str(path)))


def write_obj(
    path: str | Path,
    vertices: ArrayLike,
    triangles: ArrayLike | None = None,
    colors: ArrayLike | None = None,
    *,
    spelling: Spelling = "shortest",
) -> None:
    """Write `v x y z` lines (`v x y z r g b` with colours), then `f a b c` lines, 1-based; atomic.

    The published writer (specification, section 5.4) is `spelling="published"` without colours.

    Args:
        path: the file.
        vertices: (V, 3); integers are written as doubles.
        triangles: (T, 3), 0-based; None for none.
        colors: (V, 3) in [0, 1]; None for none.
        spelling: of the coordinates, see `perceptionist.number_text.write_rows`.

    Raises:
        MeshError: the mesh is not sound.
        OSError: the file cannot be written.
    """
    mesh = as_mesh(vertices, triangles, colors, str(path))
    columns = list(mesh.vertices.T) + ([] if mesh.colors is None else list(mesh.colors.T))
    with atomic_path(path) as part, part.open("wb") as file:
        write_rows(file, "v", columns, spelling)
        write_rows(file, "f", list((mesh.triangles + np.int32(1)).T))


def write_xyz(path: str | Path, vertices: ArrayLike, *, spelling: Spelling = "shortest") -> None:
    """Write a point cloud, `x y z` a line without a header; atomic. Errors as in `write_obj`."""
    mesh = as_mesh(vertices, source=str(path))
    with atomic_path(path) as part, part.open("wb") as file:
        write_rows(file, "", list(mesh.vertices.T), spelling)


def read_xyz(path: str | Path, dtype: DTypeLike = np.float64) -> Array:
    """Read a point cloud: three numbers a line, any white space; empty lines and `#` comments do not count.

    Returns:
        (V, 3) of `dtype`.

    Raises:
        FileNotFoundError: no such file.
        MeshError: a line of another form, a number that is not finite, or no points.
    """
    path = Path(path)
    data = content_of(path, "point cloud")
    points = read_rows(data, 3, dtype)
    if points is None:
        rows = []
        for number, line in enumerate(data.decode("latin-1").splitlines(), 1):
            words = line.partition("#")[0].split()
            if words:
                rows.append(numbers_of(words, (3,), f"{path}, line {number}"))
        points = np.array(rows, np.float64).reshape(-1, 3).astype(dtype)
    if not len(points):
        raise MeshError(f"{path} holds no points, expected lines of three numbers")
    return as_mesh(points, source=str(path)).vertices


def read_obj(path: str | Path, dtype: DTypeLike = np.float64) -> Mesh:
    """Read the vertices, vertex colours and faces of a Wavefront file.

    Understood: `v x y z`, `v x y z 1`, `v x y z r g b` (values above 1 are taken as 0 to 255), `f` with
    three or more corners of the forms a, a/t, a//n, a/t/n, positive (1-based) or negative (counted from the
    last vertex). Polygons become fans of triangles. Comments and all other statements (vn, vt, o, g, s,
    usemtl, …) are passed over.

    Args:
        path: the file.
        dtype: of the vertices, float64 or float32.

    Raises:
        FileNotFoundError: no such file.
        MeshError: no vertices, or a line that is not as above; the message names the line.
    """
    path = Path(path)
    data = content_of(path, "mesh")
    plain = _read_plain(data, dtype)
    vertices, colors, triangles = plain if plain is not None else _read_lines(path, data, dtype)
    if not len(vertices):
        raise MeshError(f"{path} holds no vertices, expected lines `v x y z`")
    if colors is not None and colors.max() > 1:
        colors = colors / 255
    return as_mesh(vertices, triangles, colors, str(path))


def content_of(path: Path, what: str) -> bytes:
    """All bytes of a file, line ends as line feeds.

    Raises:
        FileNotFoundError: no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{what} {path} {'is a folder' if path.is_dir() else 'does not exist'}; check the path"
        )
    data = path.read_bytes()
    if path.suffix.lower() in (".obj", ".xyz") and b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data


def numbers_of(words: list[str], widths: tuple[int, ...], where: str) -> list[float]:
    """The finite numbers that words spell.

    Raises:
        MeshError: `where` with what was found.
    """
    try:
        values = [float(word) for word in words if "_" not in word]
    except ValueError:
        values = []
    if len(values) != len(words) or len(words) not in widths or not np.isfinite(values).all():
        found = " ".join(words)[:80]
        expected = " or ".join(map(str, widths))
        raise MeshError(f"{where}: found {found!r}, expected {expected} finite numbers")
    return values


def _read_plain(data: bytes, dtype: DTypeLike) -> tuple[Array, Array | None, Array] | None:
    """Vertices, colours and triangles of a file without odd lines; None for other files."""
    if b"\\" in data:
        return None
    content = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(content == ord("\n"))
    if len(data) and (not len(ends) or ends[-1] != len(data) - 1):
        return _read_plain(data + b"\n", dtype)
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else np.zeros(0, np.int64)
    first = content[starts]
    if np.isin(first, list(BLANKS)).any():
        return None
    second = content[np.minimum(starts + 1, len(content) - 1)]
    if ((second == ord("\t")) & np.isin(first, list(b"vf"))).any():
        return None
    blocks = {}
    for letter in "vf":
        chosen = (first == ord(letter)) & (second == ord(" "))
        edges = np.flatnonzero(np.diff(chosen.astype(np.int8), prepend=0, append=0))
        begin, end = starts[edges[::2]].tolist(), (ends[edges[1::2] - 1] + 1).tolist()
        blocks[letter] = b"".join([data[a:b] for a, b in zip(begin, end)])
    width = blocks["v"].partition(b"\n")[0].count(b" ")
    if width not in (3, 6):
        return None
    vertices = read_rows(blocks["v"], width, dtype, marked=True)
    corners = read_rows(blocks["f"], 3, np.int32, marked=True)
    if vertices is None or corners is None:
        return None
    if len(corners) and (corners.min() < 1 or corners.max() > len(vertices)):
        return None
    colors = vertices[:, 3:].astype(np.float32) if width == 6 else None
    return np.ascontiguousarray(vertices[:, :3]), colors, corners - np.int32(1)


def _read_lines(path: Path, data: bytes, dtype: DTypeLike) -> tuple[Array, Array | None, Array]:
    """The same of any file, line by line."""
    rows: list[list[float]] = []
    faces: list[tuple[int, list[int]]] = []
    text = data.decode("latin-1").replace("\\\n", " \0")  # a line that goes on still counts as a line
    number = 1
    for line in text.split("\n"):
        words = line.replace("\0", " ").partition("#")[0].split()
        where = f"{path}, line {number}"
        number += 1 + line.count("\0")
        if not words:
            continue
        if words[0] == "v":
            values = numbers_of(words[1:], (3, 4, 6), where)
            if len(values) == 4 and values.pop() != 1:
                raise MeshError(f"{where}: a vertex with weight {words[4]}, expected none or 1")
            if rows and len(values) != len(rows[0]):
                raise MeshError(
                    f"{where}: {len(values)} numbers, expected {len(rows[0])} as in the vertices before"
                )
            rows.append(values)
        elif words[0] == "f":
            faces.append((number - 1, _corners(words[1:], len(rows), where)))
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


def _corners(words: list[str], vertices: int, where: str) -> list[int]:
    """0-based vertices of one face."""
    corners = []
    for word in words:
        spelled = word.partition("/")[0]
        digits = spelled.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()) or int(digits) == 0 or len(digits) > 10:
            raise MeshError(f"{where}: corner {word[:40]!r}, expected a vertex number such as 7, 7/1/3 or -2")
        value = int(spelled)
        if value < -vertices:
            raise MeshError(f"{where}: corner {value} reaches before the first of {vertices} vertices")
        corners.append(value - 1 if value > 0 else vertices + value)
    if len(corners) < 3:
        raise MeshError(f"{where}: a face with {len(corners)} corners, expected at least 3")
    return corners


def _read_with_trimesh(path: Path, dtype: DTypeLike) -> Mesh:
    """Formats that we do not read ourselves; trimesh is asked neither to merge nor to reorder vertices."""
    trimesh = _trimesh(path, READ_BY_TRIMESH)
    data = io.BytesIO(content_of(path, "mesh"))
    kind = path.suffix[1:].lower()
    try:
        mesh = trimesh.load_mesh(data, file_type=kind, process=False, maintain_order=True)
        vertices, faces = np.asarray(mesh.vertices, dtype), np.asarray(mesh.faces)
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError, struct.error) as error:
        raise MeshError(f"{path} is damaged or no {kind} file ({type(error).__name__}: {error})") from error
    return as_mesh(vertices, faces, source=str(path))


def _write_with_trimesh(path: Path, mesh: Mesh) -> None:
    trimesh = _trimesh(path, WRITTEN_BY_TRIMESH)
    shades = None if mesh.colors is None else np.rint(mesh.colors * 255).astype(np.uint8)
    whole = trimesh.Trimesh(mesh.vertices, mesh.triangles, vertex_colors=shades, process=False)
    written = whole.export(file_type=path.suffix[1:].lower())
    write_bytes(path, written.encode() if isinstance(written, str) else written)


def _trimesh(path: Path, suffixes: tuple[str, ...]) -> Any:
    """The library, where the suffix is one that it is used for."""
    if path.suffix.lower() not in suffixes:
        known = ", ".join((*SUFFIXES, *suffixes))
        raise MeshError(f"{path}: the suffix {path.suffix!r} is none of {known}")
    import trimesh

    return trimesh
