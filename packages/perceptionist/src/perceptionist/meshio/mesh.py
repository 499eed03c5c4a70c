"""Mesh record, its validation, and the errors of mesh files. Letters: V vertices, T triangles."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from voiceface.io.file_kinds import HEAD_SIZE, printable, recognise
from voiceface.io.foreign_files import read_file_bytes

__all__ = [
    "Mesh",
    "MeshError",
    "parse_floats",
    "read_text_bytes",
    "validate_mesh",
]


Array = NDArray[Any]


class MeshError(ValueError):
    """A mesh or mesh file is invalid; the message states position, found and expected values."""


@dataclass(frozen=True)
class Mesh:
    """Triangle mesh.

    Attributes:
        vertices: (V, 3) float32 or float64, finite.
        triangles: (T, 3) int32, 0-based; empty for a point cloud.
        colors: (V, 3) float32, red, green, blue in [0, 1]; None if there are none.
    """

    vertices: Array
    triangles: NDArray[np.int32]
    colors: NDArray[np.float32] | None = None


def validate_mesh(
    vertices: ArrayLike, triangles: ArrayLike | None = None, colors: ArrayLike | None = None, source: str = ""
) -> Mesh:
    """Validate the parts of a mesh; float vertices keep their precision.

    Raises:
        MeshError: a wrong shape or type, non-finite values, triangles with unknown vertices, or colours
            outside [0, 1]; the message starts with `source`.
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
            f"{lead}triangles of shape {corners.shape} of type {corners.dtype}, expected (T, 3) integers"
        )
    if len(corners) and (corners.min() < 0 or corners.max() >= len(points)):
        raise MeshError(
            f"{lead}triangles refer to vertices {corners.min()} to {corners.max()}, "
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
            raise MeshError(f"{lead}colours range from {shades.min()} to {shades.max()}, expected [0, 1]")
    return Mesh(points, np.ascontiguousarray(corners, np.int32), shades)


def read_text_bytes(path: Path, description: str) -> bytes:
    """Read all bytes of a file; in .obj and .xyz files without byte order mark, with line feeds as line ends.

    Args:
        path: the file.
        description: "mesh" or "point cloud", for messages.

    Raises:
        FileNotFoundError: no such file.
        MeshError: not a regular file, or a text file in another encoding.
    """
    data = read_file_bytes(path, MeshError, f"a {description}")
    if path.suffix.lower() in (".obj", ".xyz"):
        data = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        kind = recognise(data[:HEAD_SIZE])
        if b"\0" in data or (kind is not None and kind.key != "empty" and data[:2] != b"# "):
            found = kind.title if kind is not None else "not text"
            raise MeshError(f"{printable(path)} is {found}, expected a {description} as text")
    return data


def parse_floats(words: list[str], widths: tuple[int, ...], where: str) -> list[float]:
    """Parse finite numbers.

    Raises:
        MeshError: another number of words, or words that are not finite numbers; the message starts with
            `where`.
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
