"""Read and write mesh files by suffix: .obj, .ply, .xyz, and further formats through trimesh.

The order of the vertices is kept: landmarks and measuring pairs of a face model are vertex indices.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from voiceface.io.atomic import write_bytes
from voiceface.io.foreign_files import reading

from perceptionist.meshio.mesh import Mesh, MeshError, validate_mesh
from perceptionist.meshio.obj import read_obj, write_obj
from perceptionist.meshio.xyz import read_xyz, write_xyz

__all__ = [
    "NATIVE_SUFFIXES",
    "READ_BY_TRIMESH",
    "WRITTEN_BY_TRIMESH",
    "read_mesh",
    "write_mesh",
]


NATIVE_SUFFIXES = (".obj", ".ply", ".xyz")

READ_BY_TRIMESH = (".off", ".glb")

WRITTEN_BY_TRIMESH = (".off", ".glb", ".stl")


def read_mesh(path: str | Path, dtype: DTypeLike = np.float64) -> Mesh:
    """Read a mesh file by its suffix.

    Args:
        path: .obj, .ply, .xyz, or through trimesh .off, .glb.
        dtype: float64, or float32: text is rounded once, directly to single precision.

    Raises:
        FileNotFoundError: no such file.
        MeshError: unknown suffix, or a corrupt file.
    """
    path = Path(path)
    match path.suffix.lower():
        case ".obj":
            return read_obj(path, dtype)
        case ".xyz":
            return Mesh(read_xyz(path, dtype), np.zeros((0, 3), np.int32))
        case ".ply":
            from perceptionist.meshio.ply import read_ply

            mesh = read_ply(path)
            return Mesh(mesh.vertices.astype(dtype), mesh.triangles, mesh.colors)
    return _read_with_trimesh(path, dtype)


def write_mesh(path: str | Path, mesh: Mesh) -> None:
    """Write a mesh file by its suffix, atomically: .obj, .ply (binary), .xyz; by trimesh .glb, .off, .stl.

    Raises:
        MeshError: unknown suffix, or the mesh is invalid.
        OSError: the file cannot be written.
    """
    path = Path(path)
    match path.suffix.lower():
        case ".obj":
            write_obj(path, mesh.vertices, mesh.triangles, mesh.colors)
        case ".xyz":
            write_xyz(path, mesh.vertices)
        case ".ply":
            from perceptionist.meshio.ply import write_ply

            write_ply(path, mesh.vertices, mesh.triangles, mesh.colors)
        case _:
            _write_with_trimesh(path, validate_mesh(mesh.vertices, mesh.triangles, mesh.colors, str(path)))


def _read_with_trimesh(path: Path, dtype: DTypeLike) -> Mesh:
    """Read other formats through trimesh, without merging or reordering vertices."""
    trimesh = _import_trimesh(path, READ_BY_TRIMESH)
    kind = path.suffix[1:].lower()
    with reading(path, MeshError, f"a {kind} file", own_kinds=(kind,)) as file:
        mesh = trimesh.load_mesh(io.BytesIO(file.read()), file_type=kind, process=False, maintain_order=True)
        vertices, faces = np.asarray(mesh.vertices, dtype), np.asarray(mesh.faces)
    return validate_mesh(vertices, faces, source=str(path))


def _write_with_trimesh(path: Path, mesh: Mesh) -> None:
    trimesh = _import_trimesh(path, WRITTEN_BY_TRIMESH)
    shades = None if mesh.colors is None else np.rint(mesh.colors * 255).astype(np.uint8)
    whole = trimesh.Trimesh(mesh.vertices, mesh.triangles, vertex_colors=shades, process=False)
    written = whole.export(file_type=path.suffix[1:].lower())
    write_bytes(path, written.encode() if isinstance(written, str) else written)


def _import_trimesh(path: Path, suffixes: tuple[str, ...]) -> Any:
    """Import trimesh, if it is used for the suffix."""
    if path.suffix.lower() not in suffixes:
        known = ", ".join((*NATIVE_SUFFIXES, *suffixes))
        raise MeshError(f"{path}: suffix {path.suffix!r}, expected one of {known}")
    import trimesh

    return trimesh
