"""Mesh files as other programs write them, and damaged ones; the table reader and the careful one agree."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
from perceptionist.meshio import obj, xyz
from perceptionist.meshio.io import read_mesh
from perceptionist.meshio.mesh import Mesh, MeshError
from perceptionist.meshio.obj import read_obj
from perceptionist.meshio.ply import read_ply
from perceptionist.meshio.xyz import read_xyz

CUBE = """# a comment
v 0 0 0
v 1 0 0.5
v 1 1e0 0
v -0.25 1 0
o name
vn 0 0 1
f 1 2 3
f 1 3 4
"""


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("last", ["", "v 9 9 9\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("first", ["# x\n", ""])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_byte_order_marks_lose_no_vertex(
    tmp_path: Path, last: str, bom: bytes, first: str, ends: str
) -> None:
    text = (first + CUBE.removeprefix("# a comment\n") + last).replace("\n", ends)
    mesh = read_obj(write(tmp_path / "a.obj", bom + text.encode()))
    assert mesh.vertices[0].tolist() == [0, 0, 0] and len(mesh.vertices) == 4 + bool(last)
    assert mesh.triangles.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert len(read_xyz(write(tmp_path / "a.xyz", bom + b"1 2 3\n4 5 6\n"))) == 2


def test_backslashes_continue_lines_but_no_comments(tmp_path: Path) -> None:
    text = "# made in C:\\meshes\\\nv 0 0 0\nv 1 \\\n0 0\nv 0 1 0 # C:\\\nv 1 1 1\nf 1 2 \\\n3\n"
    mesh = read_obj(write(tmp_path / "a.obj", text))
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 1]]
    assert mesh.triangles.tolist() == [[0, 1, 2]]
    with pytest.raises(MeshError, match="line 2: found '0 0 x'"):
        read_obj(write(tmp_path / "a.obj", "v 1 2 3\nv 0 \\\n0 x\n"))


def outcome(path: Path, careful: bool, monkeypatch: pytest.MonkeyPatch) -> Mesh | None:
    """Mesh of a file by the whole reader or by the careful one alone; None: refused."""
    with monkeypatch.context() as patch:
        if careful:
            patch.setattr(obj, "_read_regular", lambda data, dtype: None)
            patch.setattr(xyz, "read_rows", lambda block, width, dtype: None)
        try:
            return read_mesh(path)
        except MeshError as error:
            assert path.name in str(error)
            return None


TOKENS = [
    "v",
    "f",
    "\t",
    " ",
    "\n",
    "#",
    "\\",
    "/",
    "-",
    "+",
    "e",
    "nan",
    "inf",
    "0x1",
    "1_0",
    "1.",
    ".5",
    "\x0b",
]
TOKENS += [
    "\x0c",
    "\xa0",
    "\x85",
    "\x1c",
    "v 1 2\n",
    "f 1 2\n",
    "v\t1 2 3\n",
    "f 9 9 9\n",
    "\r",
    "99999999999",
    '"',
]
TOKENS += [
    "v 1 2 3 1\n",
    "v 1 2 3 .1 .2 .3\n",
    "f 1/1 2/2 3/3\n",
    "f -1 -2 -3\n",
    " v 1 2 3\n",
    "vv 1\n",
    "v",
    "F",
]
TOKENS += [
    "v 1,5 2 3\n",
    "f 1.0 2 3\n",
    "f 0 1 2\n",
    "f +1 2 3\n",
    "f 1 2 3 4\n",
    "v#\n",
    "v\n",
    "f\n",
    "v/ 1 2 3\n",
]


@pytest.mark.parametrize("suffix", [".obj", ".xyz"])
def test_both_readers_accept_the_same(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    choose, path = random.Random(3), tmp_path / f"a{suffix}"
    whole = CUBE if suffix == ".obj" else "0 0 0\n1 2.5 3\n-1 1e3 4\n"
    accepted = 0
    for _ in range(1500):
        text = whole
        for _ in range(choose.randint(1, 3)):
            place = choose.randrange(len(text) + 1)
            cut = choose.choice([0, 0, 1, 3])
            text = text[:place] + choose.choice([*TOKENS, ""]) + text[place + cut :]
        write(path, text.encode("latin-1"))
        fast, careful = (outcome(path, slow, monkeypatch) for slow in (False, True))
        assert (fast is None) == (careful is None), repr(text)
        if fast is not None and careful is not None:
            accepted += 1
            np.testing.assert_array_equal(fast.vertices, careful.vertices, repr(text))
            np.testing.assert_array_equal(fast.triangles, careful.triangles, repr(text))
    assert 100 < accepted < 1450


VERTICES = "element vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
POINTS = "0 0 0\n1 0 0\n1 1 0\n0 1 0\n"


def ply(faces: str, rows: str) -> str:
    return f"ply\nformat ascii 1.0\n{VERTICES}{faces}end_header\n{POINTS}{rows}"


def test_strips_of_triangles(tmp_path: Path) -> None:
    header = "element tristrips 1\nproperty list int int vertex_indices\n"
    mesh = read_ply(write(tmp_path / "a.ply", ply(header, "9 0 1 3 2 -1 1 2 3 3\n")))
    assert mesh.triangles.tolist() == [[0, 1, 3], [3, 1, 2], [1, 2, 3]]
    text = ply(header, "")
    binary = text.replace("ascii", "binary_little_endian").split("end_header\n")[0] + "end_header\n"
    points = np.array(POINTS.split(), "<f4").tobytes()
    strip = np.array([4, 0, 1, 3, 2], "<i4").tobytes()
    mesh = read_ply(write(tmp_path / "b.ply", binary.encode() + points + strip))
    assert mesh.triangles.tolist() == [[0, 1, 3], [3, 1, 2]]


@pytest.mark.parametrize(
    "faces, rows, reason",
    [
        (
            "element face 1\nproperty list uchar int corners\n",
            "3 0 1 2\n",
            "has corners, expected a list of integers",
        ),
        ("element face 1\nproperty int vertex_indices\n", "3\n", "has vertex_indices, expected a list"),
        (
            "element face 1\nproperty list uchar float vertex_indices\n",
            "3 0 1 2\n",
            "expected a list of integers",
        ),
        ("element face 1\nproperty list uchar uchar vertex_indices\n", "3 0 1 300\n", "row 0 is"),
        ("element face 1\nproperty list uchar int vertex_indices\n", "3 0 1 2.5\n", "row 0 is"),
        ("element face 1\nproperty list uchar int vertex_indices\n", "3 0 1 2\n3 0 1 2\n", "goes on behind"),
        ("element face 1\nproperty list uchar int vertex_indices\n", "3 0 1 9\n", "refer to vertices"),
        ("element vertex 0\nproperty float x\n", "", "occurs twice"),
        ("element face 1\nproperty int a\nproperty int a\n", "1 1\n", "expected a valid header line"),
    ],
)
def test_faces_are_never_lost_without_a_word(tmp_path: Path, faces: str, rows: str, reason: str) -> None:
    with pytest.raises(MeshError, match=rf"a\.ply.*{reason}"):
        read_ply(write(tmp_path / "a.ply", ply(faces, rows)))


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".xyz", ".off", ".glb"])
def test_other_files_are_called_what_they_are(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    for content, found in (
        (b"", "empty|no points|no vertices"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
        (b"PK\x03\x04....", "a zip archive"),
        ("v 1 2 3\n".encode("utf-16"), "UTF-16"),
    ):
        with pytest.raises(MeshError, match=rf"a\{suffix} .*({found})"):
            read_mesh(write(path, content))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(MeshError, match="named pipe"):
        read_mesh(path)
