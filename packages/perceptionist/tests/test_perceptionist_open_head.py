"""`perceptionist face-model`: the folder of the open face model, meshes of coefficients, pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from perceptionist.__main__ import main
from perceptionist.face_model import parse_coefficients
from perceptionist.face_models.coefficient_pictures import draw_head, write_coefficient_pictures
from perceptionist.face_models.io import resolve_face_model
from perceptionist.face_models.linear import REFERENCE_NAMES
from perceptionist.meshio.io import read_mesh
from voiceface.synthetic.camera import get_head_model
from voiceface.synthetic.face.head_bases import EXPRESSION_NAMES, SHAPE_NAMES, sex_shift
from voiceface.synthetic.head import load_head_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("face_model")
    assert main(["face-model", "--out", str(out), "--sex", "male", "nosew=2", "smile=1"]) == 0
    return out


def test_the_folder_is_a_face_model(folder: Path) -> None:
    model = resolve_face_model(folder, folder / "references")
    head = get_head_model(1.0, generator=2)
    assert model.num_vertices == len(head.mean)
    assert (model.num_shape, model.num_expression) == (40, 10)
    assert np.array_equal(model.outward_triangles, head.triangles)
    assert np.array_equal(model.landmarks, head.landmarks)
    assert set(model.references) == set(REFERENCE_NAMES)
    # Semantic coefficients and orthonormal ones give the same head, in millimetres.
    fields = np.load(folder / "fields.npz")
    shape, expression = np.linspace(-1, 1, 40), np.linspace(0, 1, 10)
    codes = torch.from_numpy((fields["shape_from_semantic"] @ shape).astype(np.float32))[None]
    moved = torch.from_numpy((fields["expression_from_semantic"] @ expression).astype(np.float32))[None]
    vertices = model.vertices(codes, moved)[0].T.numpy() * model.unit_mm
    np.testing.assert_allclose(vertices, head.compute_vertices(shape, expression), atol=0.01)
    named = fields["mean"] + np.tensordot(shape, fields["shape_basis"], 1)
    named = named + np.tensordot(expression, fields["expression_basis"], 1)
    np.testing.assert_allclose(named, head.compute_vertices(shape, expression), atol=0.001)


def test_landmarks_regions_and_facts_belong_to_the_vertices(folder: Path) -> None:
    head, bundle = get_head_model(1.0, generator=2), load_head_bundle()
    rows = np.loadtxt(folder / "landmarks.csv", delimiter=",", skiprows=1)
    assert np.array_equal(rows[:, 1].astype(int), head.landmarks)
    np.testing.assert_allclose(rows[:, 2:], head.mean[head.landmarks], atol=0.001)
    regions = np.load(folder / "regions.npz")
    assert set(regions) == set(bundle.regions)
    assert np.array_equal(regions["lips"], bundle.regions["lips"][: len(head.mean)])
    facts = json.loads((folder / "face_model.json").read_text())
    assert facts["shape"] == list(SHAPE_NAMES) and facts["expression"] == list(EXPRESSION_NAMES)
    assert facts["parts"]["tongue"][1] == facts["vertices"] == len(head.mean)
    assert "CC0" in facts["licence"] and "not measured on people" in facts["statement"]
    fields = np.load(folder / "fields.npz")
    assert fields["texture_triangles"].shape == head.triangles.shape
    assert fields["texture_triangles"].max() == len(fields["texture"]) - 1


@pytest.mark.parametrize("suffix", ["obj", "ply", "glb"])
def test_meshes_have_the_coefficients_that_were_set(folder: Path, suffix: str) -> None:
    shape, expression = sex_shift(), np.zeros(10)
    shape[SHAPE_NAMES.index("nosew")] += 2.0
    expression[EXPRESSION_NAMES.index("smile")] = 1.0
    head = get_head_model(1.0, generator=2)
    mesh = read_mesh(folder / f"head.{suffix}")
    np.testing.assert_allclose(mesh.vertices, head.compute_vertices(shape, expression), atol=1e-3)
    assert np.array_equal(mesh.triangles, head.triangles)


def test_the_same_call_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    main(["face-model", "--out", str(tmp_path), "--sex", "male", "nosew=2", "smile=1"])
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_the_head_of_generator_1_and_meshes_alone(tmp_path: Path) -> None:
    command = ["face-model", "--out", str(tmp_path), "--generator", "1", "--mesh", "xyz", "--name", "old"]
    assert main([*command, "--meshes-only"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["old.xyz"]
    assert main(command) == 0
    assert not (tmp_path / "regions.npz").exists()
    assert resolve_face_model(tmp_path).num_vertices == 6400


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (["nose=1"], "no coefficient 'nose'; expected one of lowlen, midlen"),
        (["nosew"], "found '', expected a number, such as nosew=1.5"),
        (["nosew=inf"], "found 'inf'"),
        (["nosew=1", "nosew=2"], "nosew is set twice"),
    ],
)
def test_wrong_settings_are_named(setting: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_coefficients(setting)


def test_settings_add_to_the_mean_of_a_sex() -> None:
    shape, expression = parse_coefficients(["lowlen=1", "blink=.5"], "female")
    assert shape[SHAPE_NAMES.index("lowlen")] == pytest.approx(1.0 - 0.54)
    assert shape[SHAPE_NAMES.index("brow")] == pytest.approx(-0.9)
    assert expression[EXPRESSION_NAMES.index("blink")] == 0.5 and expression.sum() == 0.5


def test_a_picture_shows_the_head() -> None:
    picture = draw_head(np.zeros(40), np.zeros(10), size=64)
    assert picture.shape == (64, 64, 3)
    head = (picture != 255).any(axis=2)
    assert 0.25 < head.mean() < 0.7
    assert (head == head[:, ::-1]).mean() > 0.97
    wide = draw_head(np.eye(40)[SHAPE_NAMES.index("facew")], np.zeros(10), face_gain=4.0, size=64)
    assert (wide != 255).any(axis=2).sum() > head.sum()


def test_sheets_have_every_coefficient_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    drawn: list[tuple[float, ...]] = []

    def draw(
        shape: np.ndarray, expression: np.ndarray, yaw: float = 0.0, gain: float = 1.0, size: int = 112
    ) -> np.ndarray:
        drawn.append((*shape, *expression, yaw))
        return np.full((size, size, 3), 128, np.uint8)

    monkeypatch.setattr("perceptionist.face_models.coefficient_pictures.draw_head", draw)
    files = write_coefficient_pictures(tmp_path / "pictures")
    assert [file.name for file in files] == ["mean.jpg", "shape.jpg", "expressions.jpg"]
    seen = np.array(drawn)
    assert ((np.abs(seen[:, :40]) == 2.0).sum(axis=0) == 4).all()  # -2 and +2 from two sides
    assert ((seen[:, 40:50] == 1.0).sum(axis=0) == 1).all()
    assert Image.open(files[1]).size == (3 * 4 * 112, 14 * 128)
