"""`perceptionist face-model`: the folder of the open face model, meshes of coefficients, pictures."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from perceptionist.__main__ import main
from perceptionist.dataset.open import load_dataset
from perceptionist.dataset.published_lists import DataError
from perceptionist.dataset.synthetic import generate_synthetic_dataset, population_head
from perceptionist.face_model import parse_coefficients
from perceptionist.face_models.coefficient_pictures import draw_head, write_coefficient_pictures
from perceptionist.face_models.io import resolve_face_model
from perceptionist.face_models.linear import REFERENCE_NAMES
from perceptionist.face_models.pose import Y_FLIP
from perceptionist.face_models.synthetic_head import (
    PopulationHead,
    canonical_coefficients,
    equivalent_coefficients,
    find_head,
    semantic_coefficients,
)
from perceptionist.ground_truth import load_synthetic_ground_truth
from perceptionist.inference import load
from perceptionist.meshio.io import read_mesh
from perceptionist.pictures import render_head
from tiny_checkpoints import write_supervised_checkpoint
from voiceface.synthetic.camera import LANDMARK_BOX_SIZE
from voiceface.synthetic.head import load_head_bundle
from voiceface.synthetic.head.model import build_head_model
from voiceface.synthetic.head.shape_space import EXPRESSION_NAMES, SHAPE_NAMES, sex_shift
from voiceface.synthetic.layout import POPULATION_FILE, PopulationError, build_settings
from voiceface.synthetic.writer import write_population


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("face_model")
    assert main(["face-model", "--out", str(out), "--sex", "male", "nosew=2", "smile=1"]) == 0
    return out


def test_the_folder_is_a_face_model(folder: Path) -> None:
    model = resolve_face_model(folder, folder / "references")
    head = build_head_model(1.0)
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
    head, bundle = build_head_model(1.0), load_head_bundle()
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
    head = build_head_model(1.0)
    mesh = read_mesh(folder / f"head.{suffix}")
    np.testing.assert_allclose(mesh.vertices, head.compute_vertices(shape, expression), atol=1e-3)
    assert np.array_equal(mesh.triangles, head.triangles)


def test_the_same_call_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    main(["face-model", "--out", str(tmp_path), "--sex", "male", "nosew=2", "smile=1"])
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_meshes_alone_and_the_gain_of_the_population(tmp_path: Path) -> None:
    command = ["face-model", "--out", str(tmp_path), "--face-gain", "1.5", "--mesh", "xyz", "--name", "one"]
    assert main([*command, "--meshes-only"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["one.xyz"]
    assert main(command) == 0
    assert resolve_face_model(tmp_path).name == "population"


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


def test_the_folder_is_recognised_as_a_head_of_the_population(folder: Path, tmp_path: Path) -> None:
    model = resolve_face_model(folder)
    assert model.name == "population gain 1"
    assert find_head(model.name) == PopulationHead(1.0)
    assert resolve_face_model(model.name).name == model.name
    assert find_head("population") == PopulationHead() and find_head("bfm") is None
    for name in ("population-2", "population gain 1.2.3"):  # no head, and no file
        with pytest.raises(FileNotFoundError, match=name):
            resolve_face_model(name)
    shutil.copytree(folder, tmp_path / "changed")
    bases = np.load(folder / "w_shp_sim.npy")
    np.save(tmp_path / "changed" / "w_shp_sim.npy", -bases)
    assert resolve_face_model(tmp_path / "changed").name == "changed"


def test_the_ground_truth_of_a_population_can_be_stated_in_the_folder(folder: Path) -> None:
    model, head = resolve_face_model(folder), PopulationHead(1.0)
    data = generate_synthetic_dataset("tiny", "val", model, num_workers=1, progress=False, train=2, test=1)
    heads = head.model.compute_vertices(semantic_coefficients(data.ground_truth.shape, head))
    codes = torch.from_numpy(data.ground_truth.shape)
    found = model.vertices(codes).transpose(1, 2).numpy() * model.unit_mm
    np.testing.assert_allclose(found, heads, atol=0.05)


def test_coefficients_at_another_gain_give_the_same_head() -> None:
    strong, plain = PopulationHead(1.5), PopulationHead(1.0)
    shape, expression = np.linspace(-1, 1, 40), np.linspace(0, 1, 10)
    other = equivalent_coefficients(shape, strong, plain)
    moved = equivalent_coefficients(expression, strong, plain, "expression")
    np.testing.assert_allclose(moved, expression)
    np.testing.assert_allclose(
        plain.model.compute_vertices(other, moved),
        strong.model.compute_vertices(shape, expression),
        atol=1e-6,
    )
    codes = other[None] @ plain.model.orthonormal.shape_from_semantic.T
    np.testing.assert_allclose(canonical_coefficients(codes, plain.name)[0], shape, atol=1e-6)
    with pytest.raises(ValueError, match="bfm is no head of the population"):
        canonical_coefficients(codes, "bfm")


@pytest.mark.parametrize("gain", [1.0, 1.5])
def test_a_population_is_stated_in_the_head_that_it_was_drawn_with(gain: float, tmp_path: Path) -> None:
    changes = {"train": 2, "val": 2, "test": 1, "clips": 0, "images": 1}
    settings = build_settings("tiny", face_gain=gain, **changes)
    write_population(tmp_path / "people", settings, lists=False, progress=False)
    model = resolve_face_model(population_head(tmp_path / "people"))
    assert model.name == {1.0: "population gain 1", 1.5: "population"}[gain]
    data = load_dataset(tmp_path / "people", "train", model, with_utterances=False)
    truth = load_synthetic_ground_truth(tmp_path / "people", data.identities)
    box = np.ptp(truth.vertices[:, model.landmarks, :2], axis=1).mean(axis=1)
    np.testing.assert_allclose(box, 120 * LANDMARK_BOX_SIZE, rtol=1e-5)
    # Pose, shape and expression place the landmarks of the model where the image shows them.
    assert data.ground_truth.image_parameters is not None
    known = model.unwhiten(torch.from_numpy(data.ground_truth.image_parameters))
    pose = known.pose.reshape(-1, 3, 4)
    placed = pose[:, :, :3] @ model.vertices_at(known.shape, known.expression) + pose[:, :, 3:]
    views = np.load(tmp_path / "people" / "truth" / "views.npz")
    rows = [row for row, path in enumerate(views["path"]) if str(path).split("/")[0] in data.identities]
    order = np.argsort([str(views["path"][row]) for row in rows])
    seen = views["landmarks"][np.array(rows)[order]] / settings.render_size * 120
    x, y = placed[:, 0].numpy(), Y_FLIP - placed[:, 1].numpy()
    assert np.hypot(x - seen[..., 0], y - seen[..., 1]).mean() < 2.0  # pixels; the camera is perspective


def test_heads_of_an_earlier_population_are_refused(tmp_path: Path) -> None:
    settings = build_settings("tiny", train=1, val=1, test=1, clips=0, images=1)
    root = write_population(tmp_path / "people", settings, lists=False, progress=False)
    state = json.loads((root / POPULATION_FILE).read_text())
    state["settings"]["generator"] = "voice 1, image 1"
    (root / POPULATION_FILE).write_text(json.dumps(state))
    message = "population.json: a population of generator 'voice 1, image 1'"
    for call in (
        lambda: population_head(root),
        lambda: load_dataset(root, "train", resolve_face_model(), with_utterances=False),
        lambda: load_synthetic_ground_truth(root, ["anybody"]),
    ):
        with pytest.raises(PopulationError, match=message):
            call()
    del state["settings"]
    (root / POPULATION_FILE).write_text(json.dumps(state))
    with pytest.raises(DataError, match=r"population\.json has no settings .*; write the population again"):
        population_head(root)


def test_weights_of_an_earlier_head_are_refused(tmp_path: Path) -> None:
    for number, vertices in enumerate((None, 6400)):
        path = write_supervised_checkpoint(tmp_path / f"{number}.safetensors", num_vertices=vertices)
        with pytest.raises(ValueError, match=rf"{path} was trained with an earlier head .* expected 4883"):
            load(path)
    assert load(write_supervised_checkpoint(tmp_path / "new.safetensors")).face_model.num_vertices == 4883


def test_a_head_can_be_drawn_as_the_population_draws_it() -> None:
    picture = render_head(np.zeros(40, np.float32), 48, PopulationHead(1.5))
    assert picture.shape == (48, 48, 3) and picture.std() > 10
