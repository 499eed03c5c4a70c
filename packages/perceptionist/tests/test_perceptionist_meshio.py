"""Mesh files: round trips in every form; corrupt files raise errors that name the problem."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from perceptionist.meshio.io import read_mesh, write_mesh
from perceptionist.meshio.mesh import Mesh, MeshError
from perceptionist.meshio.obj import _read_line_by_line, _read_regular, read_obj, write_obj
from perceptionist.meshio.ply import read_ply, write_ply
from perceptionist.meshio.xyz import read_xyz, write_xyz

QUIET = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
finite = {32: st.floats(allow_nan=False, allow_infinity=False, width=32), 64: st.floats(-1e300, 1e300)}


@st.composite
def meshes(draw: st.DrawFn, width: int = 32, colored: bool | None = None) -> Mesh:
    kind = np.float32 if width == 32 else np.float64
    count = draw(st.integers(1, 7))
    vertices = draw(arrays.arrays(kind, (count, 3), elements=finite[width]))
    corners = draw(arrays.arrays(np.int32, (draw(st.integers(0, 5)), 3), elements=st.integers(0, count - 1)))
    levels = arrays.arrays(np.uint8, (count, 3))
    with_colors = draw(st.booleans()) if colored is None else colored
    colors = (draw(levels) / 255).astype(np.float32) if with_colors else None
    return Mesh(vertices, corners, colors)


def same(first: Mesh, second: Mesh) -> bool:
    colors = (first.colors is None) == (second.colors is None)
    if first.colors is not None and second.colors is not None:
        colors = np.array_equal(first.colors, second.colors)
    return (
        colors
        and np.array_equal(first.vertices, second.vertices)
        and np.array_equal(first.triangles, second.triangles)
    )


@QUIET
@given(mesh=meshes())
@pytest.mark.parametrize("spelling", ["shortest", "published"])
def test_obj_round_trips_every_float32(tmp_path: Path, mesh: Mesh, spelling: str) -> None:
    write_obj(tmp_path / "a.obj", mesh.vertices, mesh.triangles, mesh.colors, number_format=spelling)  # type: ignore[arg-type]
    loaded = read_obj(tmp_path / "a.obj", np.float32)
    assert same(loaded, mesh)
    assert np.array_equal(np.signbit(loaded.vertices), np.signbit(mesh.vertices))


@QUIET
@given(mesh=meshes(64))
def test_doubles_round_trip_through_obj_xyz_and_both_ply(tmp_path: Path, mesh: Mesh) -> None:
    write_obj(tmp_path / "a.obj", mesh.vertices, mesh.triangles, mesh.colors)
    assert same(read_obj(tmp_path / "a.obj"), mesh)
    write_xyz(tmp_path / "a.xyz", mesh.vertices)
    assert np.array_equal(read_xyz(tmp_path / "a.xyz"), mesh.vertices)
    for binary in (True, False):
        write_ply(tmp_path / "a.ply", mesh.vertices, mesh.triangles, mesh.colors, binary=binary)
        assert same(read_ply(tmp_path / "a.ply"), mesh)


@QUIET
@given(values=arrays.arrays(np.float32, (4, 3), elements=finite[32]))
def test_published_number_format_is_pythons(tmp_path: Path, values: np.ndarray) -> None:
    write_obj(tmp_path / "a.obj", values, number_format="published")
    expected = "".join("v {!r} {!r} {!r}\n".format(*row) for row in values.astype(float).tolist())
    assert (tmp_path / "a.obj").read_text() == expected


@QUIET
@given(mesh=meshes(64))
def test_table_and_line_by_line_reading_agree(tmp_path: Path, mesh: Mesh) -> None:
    write_obj(tmp_path / "a.obj", mesh.vertices, mesh.triangles, mesh.colors)
    data = (tmp_path / "a.obj").read_bytes()
    quick, careful = _read_regular(data, np.float64), _read_line_by_line(tmp_path / "a.obj", data, np.float64)
    assert quick is not None
    for a, b in zip(quick, careful):
        assert (a is None) == (b is None)
        assert a is None or np.array_equal(a, b)


@QUIET
@given(data=st.binary(max_size=200) | st.text("v f0123456789.-+e/#\n\\t", max_size=120).map(str.encode))
@pytest.mark.parametrize("suffix", [".obj", ".xyz", ".ply"])
def test_arbitrary_bytes_give_a_mesh_or_a_mesh_error(tmp_path: Path, suffix: str, data: bytes) -> None:
    path = tmp_path / f"any{suffix}"
    path.write_bytes(data)
    try:
        mesh = read_mesh(path)
    except MeshError as error:
        assert str(path) in str(error)
    else:
        assert len(mesh.vertices) and np.isfinite(mesh.vertices).all()
        assert not len(mesh.triangles) or 0 <= mesh.triangles.min() <= mesh.triangles.max() < len(
            mesh.vertices
        )


@QUIET
@given(mesh=meshes(), cut=st.integers(1, 400))
def test_truncated_binary_ply_is_refused(tmp_path: Path, mesh: Mesh, cut: int) -> None:
    write_ply(tmp_path / "a.ply", mesh.vertices, mesh.triangles, mesh.colors)
    data = (tmp_path / "a.ply").read_bytes()
    shorter = data[: max(0, len(data) - cut)]
    (tmp_path / "b.ply").write_bytes(shorter)
    with pytest.raises(MeshError):
        read_ply(tmp_path / "b.ply")


def test_polygons_slashes_and_negative_numbers(tmp_path: Path) -> None:
    path = tmp_path / "odd.obj"
    path.write_text(
        "# comment\no head\n\n  v 0 0 0 # first\nvn 0 0 1\nvt .5 .5\nv\t1 0 +0.0\nv 1 \\\n 1 0\n"
        "f 1/1 2/1/1 3//1\nv 0 1 0 1\nf 1 2 3 -1\nl 1 2\n"
    )
    mesh = read_obj(path)
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert mesh.triangles.tolist() == [[0, 1, 2], [0, 1, 2], [0, 2, 3]]


def test_colours_up_to_255_are_scaled(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text("v 0 0 0 255 0 51\nv 1 0 0 0 0 0\n")
    colors = read_obj(tmp_path / "a.obj").colors
    assert colors is not None
    assert np.allclose(colors[0], [1, 0, 0.2])


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no vertices"),
        ("v 1 2\n", "line 1"),
        ("v 1 2 nan\n", "finite"),
        ("v 1 2 1e999\n", "finite"),
        ("v 1 2 1_0\n", "line 1"),
        ("v 1 2 3 4\n", "weight"),
        ("v 1 2 3\nv 1 2 3 0 0 0\n", "line 2"),
        ("v 1 2 3\nf 1 1\n", "2 corners"),
        ("v 1 2 3\nf 0 1 1\n", "'0'"),
        ("v 1 2 3\n# x \\\n goes on\nf 1 1 4\n", "line 4"),
        ("v 1 2 3\nf 1 1 -2\n", "expected at least -1"),
        ("v 1 2 3\nf 1 1 x\n", "'x'"),
        ("v 1 2 3\nf 1 1 99999999999999999999\n", "99999"),
        ("v 1 2 3\nf 1 1 1.0\n", "'1.0'"),
        ("v 1 2 3\nf 1 1 0x1\n", "'0x1'"),
    ],
)
def test_errors_of_an_obj_file_name_line_and_problem(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "bad.obj"
    path.write_text(text)
    with pytest.raises(MeshError, match=r"bad\.obj") as caught:
        read_obj(path)
    assert word in str(caught.value)


def test_xyz_takes_any_white_space(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("1.5 -2 3e1\n  4 5.25 6 \n\n# end\n0\t0 0")
    assert read_xyz(tmp_path / "a.xyz").tolist() == [[1.5, -2, 30], [4, 5.25, 6], [0, 0, 0]]
    (tmp_path / "b.xyz").write_text("1 2 3\n1 2 3 4\n")
    with pytest.raises(MeshError, match=r"b.xyz, line 2: found '1 2 3 4'"):
        read_xyz(tmp_path / "b.xyz")


def test_ply_files_of_other_programs(tmp_path: Path) -> None:
    """Big-endian, foreign elements and properties, polygons of several sizes."""
    header = (
        "ply\nformat binary_big_endian 1.0\ncomment made by hand\nelement camera 1\nproperty float f\n"
        "element vertex 4\nproperty double x\nproperty float nx\nproperty double y\nproperty double z\n"
        "element face 2\nproperty uchar flags\nproperty list uchar uint vertex_index\nend_header\n"
    )
    body = struct.pack(">f", 1.0)
    for x, y in ((0, 0), (1, 0), (1, 1), (0, 1)):
        body += struct.pack(">dfdd", x, 9, y, 0.5)
    body += struct.pack(">BB3I", 7, 3, 0, 1, 2) + struct.pack(">BB4I", 7, 4, 0, 1, 2, 3)
    (tmp_path / "a.ply").write_bytes(header.encode() + body)
    mesh = read_ply(tmp_path / "a.ply")
    assert mesh.vertices.tolist() == [[0, 0, 0.5], [1, 0, 0.5], [1, 1, 0.5], [0, 1, 0.5]]
    assert mesh.triangles.tolist() == [[0, 1, 2], [0, 1, 2], [0, 2, 3]]
    text = header.replace("binary_big_endian", "ascii")
    text += "1\n0 9 0 .5\n1 9 0 .5\n1 9 1 .5\n0 9 1 .5\n7 3 0 1 2\n7 4 0 1 2 3\n"
    (tmp_path / "b.ply").write_text(text)
    assert same(read_ply(tmp_path / "b.ply"), mesh)
    for old, new in (
        ("4 0 1 2 3", "4 0 1 2 4"),
        ("4 0 1 2 3", "2 0 1"),
        ("4 0 1 2 3", "4 0 1 2"),
        ("double y", "odd y"),
    ):
        (tmp_path / "c.ply").write_text(text.replace(old, new))
        with pytest.raises(MeshError, match=r"c\.ply"):
            read_ply(tmp_path / "c.ply")


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".off", ".glb"])
def test_order_is_kept_in_every_format(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(5)
    vertices = rng.integers(0, 3, (30, 3)).astype(np.float32)  # many places twice: nothing may be merged
    triangles = rng.permutation(30).reshape(-1, 3).astype(np.int32)
    write_mesh(tmp_path / f"a{suffix}", Mesh(vertices, triangles))
    loaded = read_mesh(tmp_path / f"a{suffix}", np.float32)
    assert np.array_equal(loaded.vertices, vertices)
    assert np.array_equal(loaded.triangles, triangles)
    assert loaded.vertices.dtype == np.float32


def test_trimesh_reads_written_files(tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    vertices = np.random.default_rng(2).normal(size=(20, 3)).astype(np.float32)
    triangles = np.arange(18, dtype=np.int32).reshape(-1, 3)
    for suffix in (".obj", ".ply", ".stl"):
        write_mesh(tmp_path / f"a{suffix}", Mesh(vertices, triangles))
        expected = trimesh.load_mesh(tmp_path / f"a{suffix}", process=False)
        assert np.allclose(
            np.asarray(expected.vertices)[np.asarray(expected.faces)], vertices[triangles], atol=1e-6
        )


@pytest.mark.parametrize(
    ("vertices", "triangles", "colors", "word"),
    [
        (np.zeros((3, 2)), None, None, "(3, 2)"),
        (np.full((3, 3), np.nan), None, None, "vertex 0"),
        (np.zeros((3, 3)), [[0, 1, 3]], None, "0 to 3"),
        (np.zeros((3, 3)), [[0.0, 1, 2]], None, "float64"),
        (np.zeros((3, 3)), [[-1, 1, 2]], None, "-1"),
        (np.zeros((3, 3)), None, np.full((3, 3), 1.5), "1.5"),
        (np.zeros((3, 3)), None, np.zeros((2, 3)), "(2, 3)"),
    ],
)
def test_invalid_meshes_are_not_written(tmp_path: Path, vertices, triangles, colors, word: str) -> None:
    for name, write in (("a.obj", write_obj), ("a.ply", write_ply)):
        with pytest.raises(MeshError) as caught:
            write(tmp_path / name, vertices, triangles, colors)
        assert word in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_unknown_suffixes_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(MeshError, match=r"\.abc"):
        write_mesh(tmp_path / "a.abc", Mesh(np.zeros((1, 3)), np.zeros((0, 3), np.int32)))
    with pytest.raises(MeshError, match=r"\.stl"):
        read_mesh(tmp_path / "a.stl")
    for suffix in (".obj", ".ply", ".xyz", ".off"):
        with pytest.raises(FileNotFoundError, match="does not exist"):
            read_mesh(tmp_path / f"a{suffix}")
