"""Polygon files (.ply), text and binary: vertices, colours and faces; other elements are skipped."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from voiceface.io.atomic import atomic_path
from voiceface.io.foreign_files import reading

from perceptionist.meshio.mesh import Mesh, MeshError, validate_mesh
from perceptionist.meshio.text import read_rows, write_rows

__all__ = [
    "FACE_INDEX_NAMES",
    "PLY_FORMATS",
    "PLY_TYPES",
    "PlyElement",
    "PlyProperty",
    "read_ply",
    "write_ply",
]


Array = NDArray[Any]
PLY_TYPES = {
    **{"char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2"},
    **{"ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4"},
    **{"float": "f4", "float32": "f4", "double": "f8", "float64": "f8"},
}
PLY_FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
FACE_INDEX_NAMES = ("vertex_indices", "vertex_index")
FACE_ELEMENTS = ("face", "tristrips")


@dataclass(frozen=True)
class PlyProperty:
    """One property of an element: its type, and for a list property the type of its length."""

    name: str
    dtype: str
    length_dtype: str = ""


@dataclass(frozen=True)
class PlyElement:
    """One element (table) of a file."""

    name: str
    count: int
    properties: tuple[PlyProperty, ...]


def write_ply(
    path: str | Path,
    vertices: ArrayLike,
    triangles: ArrayLike | None = None,
    colors: ArrayLike | None = None,
    *,
    binary: bool = True,
) -> None:
    """Write a mesh, atomically; coordinates keep their type, colours become 0 to 255.

    Args:
        path: the file.
        vertices: (V, 3) float32 or float64. triangles: (T, 3), 0-based. colors: (V, 3) in [0, 1].
        binary: little-endian; else text, with the shortest numbers that are read back exactly.

    Raises:
        MeshError: the mesh is invalid.
        OSError: the file cannot be written.
    """
    mesh = validate_mesh(vertices, triangles, colors, str(path))
    kind = "float" if mesh.vertices.dtype == np.float32 else "double"
    lines = ["ply", f"format {'binary_little_endian' if binary else 'ascii'} 1.0"]
    lines += [f"element vertex {len(mesh.vertices)}", *(f"property {kind} {axis}" for axis in "xyz")]
    columns = list(mesh.vertices.T)
    if mesh.colors is not None:
        lines += [f"property uchar {name}" for name in ("red", "green", "blue")]
        columns += list(np.rint(mesh.colors * 255).astype(np.uint8).T)
    lines += [f"element face {len(mesh.triangles)}", "property list uchar int vertex_indices", "end_header"]
    corners = [np.full(len(mesh.triangles), 3, np.uint8), *mesh.triangles.T]
    with atomic_path(path) as part, part.open("wb") as file:
        file.write(("\n".join(lines) + "\n").encode())
        for table in (columns, corners):
            if binary:
                file.write(
                    np.rec.fromarrays([column.astype(column.dtype.newbyteorder("<")) for column in table])
                )
            else:
                write_rows(file, "", table)


def read_ply(path: str | Path) -> Mesh:
    """Read a mesh; vertices are float32 if the file has no wider type; polygons become triangle fans.

    Raises:
        FileNotFoundError: no such file.
        MeshError: another file format, a header that does not fit the content, faces with unknown vertices.
    """
    path = Path(path)
    with reading(path, MeshError, "a PLY mesh", own_kinds=("ply",)) as file:
        return _parse(file.read(), path)


def _parse(data: bytes, path: Path) -> Mesh:
    """Read a mesh from the bytes of a file."""
    form, elements, at = _parse_header(data, path)
    tables: dict[str, dict[str, Array | list[Array]]] = {}
    lines = data[at:].replace(b"\r\n", b"\n").split(b"\n") if form == "ascii" else []
    for element in elements:
        where = f"{path}: element {element.name} ({element.count} rows)"
        if element.name in tables:
            raise MeshError(f"{where} occurs twice")
        if form == "ascii":
            table, lines = _read_text_table(lines, element, where)
        else:
            table, at = _read_binary_table(data, at, element, PLY_FORMATS[form], where)
        tables[element.name] = table
    if any(map(bytes.strip, lines)) or (form != "ascii" and at < len(data)):
        raise MeshError(
            f"{path} goes on behind the elements of its header; the header or the file is damaged"
        )
    vertex = tables.get("vertex", {})
    if not all(axis in vertex for axis in "xyz"):
        raise MeshError(f"{path} has no vertices with x, y and z; its elements: {[e.name for e in elements]}")
    axes = [np.asarray(vertex[axis]) for axis in "xyz"]
    wide = any(axis.dtype.itemsize > 4 or axis.dtype.kind in "iu" for axis in axes)
    points = np.stack(axes, axis=1).astype(np.float64 if wide else np.float32)
    if not len(points):
        raise MeshError(f"{path} contains no vertices, expected at least one")
    colors = None
    if all(name in vertex for name in ("red", "green", "blue")):
        shades = np.stack([np.asarray(vertex[name]) for name in ("red", "green", "blue")], axis=1)
        colors = (shades / 255 if shades.dtype.kind in "iu" else shades).astype(np.float32)
    faces = [_read_faces(tables, element, str(path)) for element in elements if element.name in FACE_ELEMENTS]
    triangles = np.concatenate([np.zeros((0, 3), np.int64), *faces])
    return validate_mesh(points, triangles, colors, str(path))


def _read_faces(tables: dict[str, dict[str, Array | list[Array]]], element: PlyElement, path: str) -> Array:
    """Triangles (T, 3) of the faces or of the strips of triangles."""
    lists = {item.name: item for item in element.properties if item.length_dtype}
    name = next((name for name in FACE_INDEX_NAMES if name in lists), None)
    if name is None or lists[name].dtype[0] not in "iu":
        if not element.count:
            return np.zeros((0, 3), np.int64)
        found = ", ".join(item.name for item in element.properties) or "nothing"
        raise MeshError(
            f"{path}: the element {element.name} has {found}, expected a list of integers named "
            f"{' or '.join(FACE_INDEX_NAMES)}"
        )
    polygons = tables[element.name][name]
    return _triangulate(polygons, path) if element.name == "face" else _unroll_strips(polygons)


def _unroll_strips(strips: Array | list[Array]) -> Array:
    """Triangles (T, 3) of strips of triangles, which -1 separates; every second triangle is turned."""
    found = [np.zeros((0, 3), np.int64)]
    for row in strips:
        corners = np.asarray(row).astype(np.int64)
        for strip in np.split(corners, np.flatnonzero(corners == -1)):
            strip = strip[strip != -1]
            if len(strip) >= 3:
                triangles = np.stack([strip[:-2], strip[1:-1], strip[2:]], axis=1)
                triangles[1::2] = triangles[1::2][:, [1, 0, 2]]
                distinct = (triangles != np.roll(triangles, 1, axis=1)).all(axis=1)
                found.append(triangles[distinct])  # strips repeat vertices where they are joined
    return np.concatenate(found)


def _parse_header(data: bytes, path: Path) -> tuple[str, list[PlyElement], int]:
    """Parse format, elements, and the offset of the content."""
    end = data.find(b"\nend_header") + 1
    stop = data.find(b"\n", end)
    if not data.startswith((b"ply\n", b"ply\r\n")) or end < 1 or stop < 0:
        raise ValueError("expected `ply` in the first line and `end_header` below it")
    form, elements = "", []
    for number, line in enumerate(data[:end].decode("latin-1").split("\n"), 1):
        words = line.split()
        try:
            match words:
                case ["format", name, "1.0"] if name in PLY_FORMATS:
                    form = name
                case ["element", name, count] if int(count) >= 0:
                    elements.append(PlyElement(name, int(count), ()))
                case ["property", "list", length, kind, name] if PLY_TYPES[length][0] in "iu":
                    elements[-1] = _with_property(
                        elements[-1], PlyProperty(name, PLY_TYPES[kind], PLY_TYPES[length])
                    )
                case ["property", kind, name]:
                    elements[-1] = _with_property(elements[-1], PlyProperty(name, PLY_TYPES[kind]))
                case [] | ["ply"] | ["comment" | "obj_info", *_]:
                    pass
                case _:
                    raise ValueError
        except (ValueError, LookupError):
            raise MeshError(
                f"{path}, line {number}: {line[:80]!r}, expected a valid header line of a .ply file"
            ) from None
    if not form:
        raise MeshError(f"{path} states no format, expected one of {', '.join(PLY_FORMATS)} 1.0")
    return form, elements, stop + 1


def _with_property(element: PlyElement, new: PlyProperty) -> PlyElement:
    if new.name in {item.name for item in element.properties}:
        raise ValueError(f"{new.name} occurs twice")
    return PlyElement(element.name, element.count, (*element.properties, new))


def _read_binary_table(
    data: bytes, offset: int, element: PlyElement, byte_order: str, where: str
) -> tuple[dict[str, Array | list[Array]], int]:
    """Read the columns of a binary element; return them and the offset of the next."""
    lists = [item for item in element.properties if item.length_dtype]
    lengths = {}
    if lists and element.count:  # usually all lists have the length of the first
        position = offset
        for item in element.properties:
            if item.length_dtype:
                lengths[item.name] = int(
                    _read_array(data, position, byte_order + item.length_dtype, 1, where)[0]
                )
                position += np.dtype(item.length_dtype).itemsize
            position += np.dtype(item.dtype).itemsize * lengths.get(item.name, 1)
    fields: list[tuple[str, str] | tuple[str, str, tuple[int]]] = []
    for number, item in enumerate(element.properties):
        if item.length_dtype:
            fields += [(f"length {number}", byte_order + item.length_dtype)]
            fields += [(f"value {number}", byte_order + item.dtype, (max(0, lengths.get(item.name, 0)),))]
        else:
            fields += [(f"value {number}", byte_order + item.dtype)]
    row = np.dtype(fields)
    if row.itemsize * element.count <= len(data) - offset or not lists:
        rows = _read_array(data, offset, row, element.count, where)
        if all(
            (rows[f"length {number}"] == lengths.get(item.name, 0)).all()
            for number, item in enumerate(element.properties)
            if item.length_dtype
        ):
            table: dict[str, Array | list[Array]] = {
                item.name: rows[f"value {number}"] for number, item in enumerate(element.properties)
            }
            return table, offset + row.itemsize * element.count
    columns: dict[str, list[Any]] = {item.name: [] for item in element.properties}
    for _ in range(element.count):
        for item in element.properties:
            if item.length_dtype:
                size = int(_read_array(data, offset, byte_order + item.length_dtype, 1, where)[0])
                offset += np.dtype(item.length_dtype).itemsize
                columns[item.name].append(_read_array(data, offset, byte_order + item.dtype, size, where))
                offset += np.dtype(item.dtype).itemsize * size
            else:
                columns[item.name].append(_read_array(data, offset, byte_order + item.dtype, 1, where)[0])
                offset += np.dtype(item.dtype).itemsize
    return {
        item.name: columns[item.name] if item.length_dtype else np.array(columns[item.name], item.dtype)
        for item in element.properties
    }, offset


def _read_array(data: bytes, offset: int, dtype: Any, count: int, where: str) -> Array:
    """Read `count` items at an offset."""
    needed = np.dtype(dtype).itemsize * count
    if count < 0 or offset + needed > len(data):
        raise MeshError(f"{where}: the file ends too early; it is corrupt or truncated")
    if not needed:
        return np.zeros(count, dtype)
    return np.frombuffer(data, dtype, count, offset)


def _read_text_table(
    lines: list[bytes], element: PlyElement, where: str
) -> tuple[dict[str, Array | list[Array]], list[bytes]]:
    """Read the columns of a text element; return them and the remaining lines."""
    chosen, rest = lines[: element.count], lines[element.count :]
    if len(chosen) < element.count:
        raise MeshError(f"{where}: the file ends after {len(chosen)} rows; it is corrupt or truncated")
    lists = [item for item in element.properties if item.length_dtype]
    block = b"".join([line + b"\n" for line in chosen])
    if element.properties and not lists:
        rows = read_rows(block, len(element.properties), np.float64)
        if rows is not None and all(
            _fits(rows[:, n], item.dtype) for n, item in enumerate(element.properties)
        ):
            names = enumerate(element.properties)
            return {item.name: rows[:, n].astype(item.dtype) for n, item in names}, rest
    if len(element.properties) == 1 and chosen and chosen[0][:1] == b"3":
        rows = read_rows(block, 4, np.int32)
        if rows is not None and (rows[:, 0] == 3).all() and _fits(rows[:, 1:], element.properties[0].dtype):
            return {element.properties[0].name: rows[:, 1:]}, rest
    columns: dict[str, list[Any]] = {item.name: [] for item in element.properties}
    for number, line in enumerate(chosen):
        words = line.split()
        try:
            for item in element.properties:
                size = int(words.pop(0)) if item.length_dtype else 1
                values = np.array([float(word) for word in words[:size]])
                if not 0 <= size <= len(words) or not _fits(values, item.dtype):
                    raise ValueError
                columns[item.name].append(values.astype(item.dtype) if item.length_dtype else values[0])
                words = words[size:]
            if words:
                raise ValueError
        except (ValueError, LookupError):
            shown = line[:80].decode("latin-1")
            expected = " ".join(item.name for item in element.properties)
            raise MeshError(f"{where}: row {number} is {shown!r}, expected {expected}") from None
    return {
        item.name: columns[item.name]
        if item.length_dtype
        else np.array(columns[item.name]).astype(item.dtype)
        for item in element.properties
    }, rest


def _fits(values: Array, dtype: str) -> bool:
    """Whether numbers of a text file are values of a type: whole and in its range for integers."""
    if dtype[0] not in "iu" or not values.size:
        return True
    limits = np.iinfo(dtype)
    return bool(
        (values == np.trunc(values)).all() and limits.min <= values.min() and values.max() <= limits.max
    )


def _triangulate(polygons: Array | list[Array], where: str) -> Array:
    """Triangles (T, 3) of polygons, each a fan around its first corner."""
    if isinstance(polygons, np.ndarray) and polygons.ndim == 2:
        if len(polygons) and polygons.shape[1] < 3:
            raise MeshError(f"{where}: faces with {polygons.shape[1]} corners, expected at least 3")
        places = range(1, polygons.shape[1] - 1)
        fans = [polygons[:, [0, place, place + 1]] for place in places] or [np.zeros((0, 3), np.int64)]
        return np.stack(fans, axis=1).reshape(-1, 3).astype(np.int64)
    short = [len(corners) for corners in polygons if len(corners) < 3]
    if short:
        raise MeshError(f"{where}: a face with {short[0]} corners, expected at least 3")
    triangles = [(c[0], b, d) for c in (p.tolist() for p in polygons) for b, d in pairwise(c[1:])]
    return np.array(triangles, np.int64).reshape(-1, 3)
