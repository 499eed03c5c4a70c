"""Face model files: published layouts, full BFM coefficients, the own format, ICT-FaceKit folders."""

import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from perceptionist.face_models.bfm import (
    BFM_NUM_VERTICES,
    BFM_PAIRS,
    PUBLISHED_SCALE,
    read_3ddfa_pack,
    read_bfm_coefficients,
    read_expert_archive,
    read_model_folder,
)
from perceptionist.face_models.convert import main
from perceptionist.face_models.ict_facekit import read_ict_facekit
from perceptionist.face_models.io import load_face_model, resolve_face_model, save_face_model
from perceptionist.face_models.landmarks import pairs_from_landmarks
from perceptionist.face_models.linear import FaceModelError, LinearFaceModel
from perceptionist.face_models.synthetic_head import build_synthetic_face_model
from perceptionist.meshio.obj import read_obj, write_obj
from perceptionist.visualisation import missing_triangles, render_portrait
from scipy.io import savemat
from voiceface.checkpoints.published import CheckpointError
from voiceface.io.safe_pickle import ArrayFileError
from voiceface.synthetic.head.model import build_head_model

VERTICES = 120
LANDMARKS = np.random.default_rng(0).permutation(VERTICES)[:68]


def arrays(vertices: int = VERTICES) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    names = {"w_shp": 40, "w_exp": 10, "u_shp": 1, "u_exp": 1}
    return {name: rng.normal(size=(3 * vertices, k)).astype(np.float32) for name, k in names.items()} | {
        "tri": rng.integers(0, vertices, (50, 3)),
        "keypoints": (3 * LANDMARKS[:, None] + np.arange(3)).ravel(),
        "mean": np.concatenate([[6e-4, 0, 0, 60, 0, 6e-4, 0, 74, 0, 0, 6e-4, -66], rng.normal(size=90)]),
        "std": rng.uniform(0.5, 2, 102),
    }


def folder_of(folder: Path, parts: dict[str, np.ndarray], version: str = "_v201") -> Path:
    folder.mkdir()
    for name in ("w_shp", "w_exp"):
        np.save(folder / f"{name}{version}.npy", parts[name])
    for name in ("u_shp", "u_exp"):
        np.save(folder / f"{name}.npy", parts[name])
    np.save(folder / "keypoints_sim.npy", parts["keypoints"])
    savemat(folder / "tri.mat", {"tri": parts["tri"].T + 1})
    whitening = {"param_mean": parts["mean"], "param_std": parts["std"]}
    (folder / f"param_whitening{version}.pkl").write_bytes(pickle.dumps(whitening, 2))
    return folder


def same(first: LinearFaceModel, second: LinearFaceModel, numbers: int = 102) -> None:
    for name in ("mean", "shape_basis", "expression_basis"):
        assert torch.equal(getattr(first, name), getattr(second, name))
    for name in ("parameter_mean", "parameter_std"):
        assert torch.equal(getattr(first, name)[:numbers], getattr(second, name)[:numbers])
    assert np.array_equal(first.triangles, second.triangles)
    assert np.array_equal(first.landmarks, second.landmarks)
    assert first.pairs == second.pairs
    assert first.references.keys() == second.references.keys()
    for name, points in first.references.items():
        assert np.array_equal(points, second.references[name])


@pytest.mark.parametrize("version", ["_v201", "_sim", ""])
def test_published_folders(tmp_path: Path, version: str) -> None:
    parts = arrays()
    model = resolve_face_model(folder_of(tmp_path / "train.configs", parts, version))
    assert torch.equal(model.mean, torch.from_numpy(parts["u_shp"] + parts["u_exp"])[:, 0])
    assert np.array_equal(model.triangles, parts["tri"])
    assert np.array_equal(model.landmarks, LANDMARKS)
    assert model.pairs == pairs_from_landmarks(LANDMARKS)
    assert model.parameter_mean.shape == (102,)
    assert model.unit_mm == 0.001


def test_published_pairs_and_scale_belong_to_the_published_size(tmp_path: Path) -> None:
    parts = arrays(BFM_NUM_VERTICES)
    parts["w_shp"], parts["w_exp"] = parts["w_shp"][:, :2], parts["w_exp"][:, :1]
    model = read_model_folder(folder_of(tmp_path / "bfm", parts))
    assert model.pairs == BFM_PAIRS
    assert model.scale == PUBLISHED_SCALE


def test_population_reads_back_from_its_own_published_files(tmp_path: Path) -> None:
    build_head_model().orthonormal.save(tmp_path / "configs", "_v201")
    model, known = read_model_folder(tmp_path / "configs"), build_synthetic_face_model()
    for name in ("mean", "shape_basis", "expression_basis", "parameter_mean", "parameter_std"):
        assert torch.equal(getattr(model, name), getattr(known, name))
    assert np.array_equal(model.triangles, known.triangles)
    assert model.pairs == known.pairs
    assert model.scale == known.scale


@pytest.mark.parametrize("one_based", [True, False])
def test_3ddfa_pack(tmp_path: Path, one_based: bool) -> None:
    parts = arrays()
    parts["tri"][0] = [0, 1, VERTICES - 1]
    pack = {k: parts[k] for k in ("w_shp", "w_exp", "keypoints")} | {"u": parts["u_shp"] + parts["u_exp"]}
    pack["tri"] = parts["tri"].T + 1 if one_based else parts["tri"]
    (tmp_path / "bfm_noneck_v3.pkl").write_bytes(pickle.dumps(pack))
    with pytest.raises(FileNotFoundError, match="whitening"):
        read_3ddfa_pack(tmp_path / "bfm_noneck_v3.pkl")
    whitening = {"mean": parts["mean"][:62], "std": parts["std"][:62]}
    (tmp_path / "param_mean_std_62d_120x120.pkl").write_bytes(pickle.dumps(whitening))
    model = resolve_face_model(tmp_path / "bfm_noneck_v3.pkl")
    same(model, read_model_folder(folder_of(tmp_path / "same", parts)), 62)
    assert model.parameter_mean.shape == (62,)
    assert model.frontal_vertices(torch.zeros(2, 102)).shape == (2, 3, VERTICES)


def test_expert_archive(tmp_path: Path) -> None:
    parts = arrays()
    state = {f"module.{name}": torch.from_numpy(parts[name]) for name in ("w_shp", "w_exp")}
    state |= {"module.u": torch.from_numpy(parts["u_shp"] + parts["u_exp"])}
    state |= {f"module.param_{name}": torch.from_numpy(parts[name]).float() for name in ("mean", "std")}
    state |= {"module.IGM.backbone.features.0.0.weight": torch.zeros(1)}
    torch.save({"state_dict": state}, tmp_path / "2D-to-3D-pretrained.tar")
    configs = folder_of(tmp_path / "train.configs", parts)
    model = read_expert_archive(tmp_path / "2D-to-3D-pretrained.tar", configs)
    same(model, read_model_folder(configs))
    assert model.scale == PUBLISHED_SCALE


def test_a_folder_without_triangles_serves_everything_but_drawing(tmp_path: Path) -> None:
    from perceptionist.demo import write_face
    from perceptionist.voice_to_mesh import GeneratedFace

    parts = arrays()
    folder = folder_of(tmp_path / "train.configs", parts)
    whole = read_model_folder(folder)
    (folder / "tri.mat").unlink()
    model = resolve_face_model(folder)
    assert model.triangles.shape == model.outward_triangles.shape == (0, 3)
    assert missing_triangles(model) and not missing_triangles(whole)
    parameters = torch.ones(1, 62)
    assert torch.equal(model.frontal_vertices(parameters), whole.frontal_vertices(parameters))
    save_face_model(tmp_path / "model.safetensors", model)
    same(load_face_model(tmp_path / "model.safetensors"), model)
    vertices = model.frontal_vertices(parameters)[0].T.numpy()
    with pytest.raises(FaceModelError, match=r"has no triangles.*add tri\.mat"):
        render_portrait(vertices, model)
    fields = {field.name: None for field in dataclasses.fields(GeneratedFace)} | {"vertices": vertices}
    files = write_face(tmp_path / "out", Path("A/1"), GeneratedFace(**fields), model)
    assert [file.name for file in files] == ["1.obj"]
    mesh = read_obj(files[0])
    assert len(mesh.vertices) == VERTICES and not len(mesh.triangles)


def test_errors_of_a_model_folder_name_the_problem(tmp_path: Path) -> None:
    parts = arrays()
    folder = folder_of(tmp_path / "a", parts)
    (folder / "tri.mat").write_bytes(b"no matlab file")
    with pytest.raises(FaceModelError, match=r"tri\.mat"):
        read_model_folder(folder)
    (folder / "u_exp.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"u_exp_v201\.npy"):
        read_model_folder(folder)
    folder = folder_of(tmp_path / "b", parts | {"keypoints": parts["keypoints"] + 1})
    with pytest.raises(FaceModelError, match="keypoints"):
        read_model_folder(folder)
    folder = folder_of(tmp_path / "c", parts | {"w_shp": parts["w_shp"][:-3]})
    with pytest.raises(FaceModelError, match="shape basis"):
        read_model_folder(folder)
    folder = folder_of(tmp_path / "d", parts | {"mean": parts["mean"][:20], "std": parts["std"][:20]})
    with pytest.raises(FaceModelError, match="20"):
        read_model_folder(folder)
    (folder / "param_whitening_v201.pkl").write_bytes(pickle.dumps({"a": parts["mean"]}))
    with pytest.raises(FaceModelError, match="param_mean"):
        read_model_folder(folder)
    (folder / "param_whitening_v201.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(ArrayFileError, match="could run code"):
        read_model_folder(folder)
    for name in ("nothing", "nothing.pkl", "nothing.safetensors"):
        with pytest.raises(FileNotFoundError):
            resolve_face_model(tmp_path / name)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(FaceModelError, match=r"\.txt"):
        resolve_face_model(tmp_path / "a.txt")


def test_own_format_round_trip(tmp_path: Path) -> None:
    model = build_synthetic_face_model()
    save_face_model(tmp_path / "head.safetensors", model)
    loaded = resolve_face_model(tmp_path / "head.safetensors")
    same(model, loaded)
    for name in ("name", "scale", "unit_mm", "disclaimer"):
        assert getattr(loaded, name) == getattr(model, name)
    data = bytearray((tmp_path / "head.safetensors").read_bytes())
    data[-100] ^= 1
    (tmp_path / "changed.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError):
        load_face_model(tmp_path / "changed.safetensors")
    with pytest.raises(CheckpointError, match=r"\.pkl"):
        save_face_model(tmp_path / "head.pkl", model)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["changed.safetensors", "head.safetensors"]


def test_references_from_a_folder(tmp_path: Path) -> None:
    model = build_synthetic_face_model()
    with pytest.raises(FileNotFoundError, match=r"male\.obj"):
        resolve_face_model("population", references=tmp_path)
    write_obj(tmp_path / "male.obj", model.references["female"])
    changed = resolve_face_model(references=tmp_path)
    assert list(changed.references) == ["male"]
    assert np.array_equal(changed.references["male"], model.references["female"])
    write_obj(tmp_path / "slim.obj", np.zeros((5, 3)))
    with pytest.raises(FaceModelError, match="slim"):
        resolve_face_model(references=tmp_path)


def test_bfm_coefficients_in_every_layout(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    shape, expression = rng.normal(size=199).astype(np.float32), rng.normal(size=29).astype(np.float32)
    two = np.empty(2, object)
    two[:] = [shape, expression]
    mapping = np.array({"shape": shape[:, None], "exp": expression[:, None]}, object)
    contents = {"one": np.concatenate([shape, expression]), "row": np.concatenate([shape, expression])[None]}
    contents |= {"two": two, "turned": two[::-1], "dict": mapping}
    for name, content in contents.items():
        np.save(tmp_path / f"{name}.npy", content, allow_pickle=True)
    np.savez(tmp_path / "both.npz", shape=shape, expression=expression)
    for path in sorted(tmp_path.iterdir()):
        result = read_bfm_coefficients(path)
        assert np.array_equal(result.shape, shape), path
        assert np.array_equal(result.expression, expression)
        assert np.array_equal(result.shape[:40], shape[:40])
    for bad in (np.zeros(227), np.zeros((2, 114)), np.full(228, np.nan), np.array(["a"] * 228)):
        np.save(tmp_path / "bad.npy", bad)
        with pytest.raises((FaceModelError, ArrayFileError), match=r"bad\.npy"):
            read_bfm_coefficients(tmp_path / "bad.npy")


@pytest.fixture
def facekit(tmp_path: Path) -> Path:
    """A small folder of the form of the light model: quads and triangles, an area at the front."""
    folder = tmp_path / "kit" / "FaceXModel"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(3)
    neutral = rng.normal(size=(130, 3)) * 9

    def write(name: str, vertices: np.ndarray) -> None:
        lines = ["# made up"] + ["v {:.6f} {:.6f} {:.6f}".format(*row) for row in vertices]
        lines += [
            "vt 0 0",
            *(f"f {i}/1 {i + 1}/1 {i + 2}/1 {i + 3}/1" for i in range(1, 127)),
            "f 1/1 2/1 3/1",
        ]
        (folder / f"{name}.obj").write_text("\n".join(lines) + "\n")

    write("generic_neutral_mesh", neutral)
    for mode in range(6):
        write(f"identity{mode:03d}", neutral + rng.normal(size=(130, 3)) / (1 + mode))
    base = rng.normal(size=(2, 130, 3))
    names = []
    for number, weights in enumerate(((1, 0), (0.5, 0.2), (0, 1), (0.3, -0.4))):
        names.append(f"jaw_{number}")
        write(names[-1], neutral + np.tensordot(weights, base, 1))
    write("pupil", neutral + 5)
    (folder / "vertex_indices.json").write_text(json.dumps({"expressions": names, "idxs": [1, 2]}))
    listed = ", ".join(map(str, range(68)))
    (folder.parent / "README.md").write_text(f"# Kit\nVertices [1, 2, 3]; landmarks:\n[{listed}]\n")
    return folder


def test_facekit_folder_becomes_a_model(facekit: Path) -> None:
    model = read_ict_facekit(facekit, area=100, num_shape=5, num_expression=2)
    assert (model.num_vertices, model.num_shape, model.num_expression) == (100, 5, 2)
    neutral = read_obj(facekit / "generic_neutral_mesh.obj")
    for mode in range(5):
        one = model.vertices(torch.eye(5)[mode : mode + 1])[0].T.numpy()
        expected = read_obj(facekit / f"identity{mode:03d}.obj").vertices[:100]
        assert np.abs(one - expected).max() < 1e-4
    # Four expressions of two directions: two principal directions hold them all.
    basis = model.expression_basis.numpy().astype(float)
    for number in range(4):
        displaced = (read_obj(facekit / f"jaw_{number}.obj").vertices - neutral.vertices)[:100].ravel()
        weights = np.linalg.lstsq(basis, displaced, rcond=None)[0]
        assert np.abs(basis @ weights - displaced).max() < 1e-4
    inside = (neutral.triangles < 100).all(axis=1)
    assert np.array_equal(model.outward_triangles, neutral.triangles[inside])
    assert model.landmarks.tolist() == list(range(68))
    assert model.pairs == pairs_from_landmarks(np.arange(68))
    same(read_ict_facekit(facekit, 130, 6, 4), read_ict_facekit(facekit, "all", 6, 4))


def test_facekit_command_writes_a_model(facekit: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "ict.safetensors"
    words = ["--area", "all", "--shapes", "4", "--expressions", "3"]
    assert main([str(facekit), "--out", str(out), *words]) == 0
    assert "130 vertices" in capsys.readouterr().out
    same(load_face_model(out), read_ict_facekit(facekit, "all", 4, 3))
    assert main([str(facekit), "--out", str(out), "--area", "head"]) == 1
    assert "narrow" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda f: (f / "generic_neutral_mesh.obj").unlink(), {}, "generic_neutral_mesh"),
        (lambda f: (f / "jaw_2.obj").unlink(), {}, "jaw_2"),
        (lambda f: (f / "vertex_indices.json").write_text("{}"), {}, "expressions"),
        (lambda f: (f.parent / "README.md").unlink(), {}, "README"),
        (lambda f: write_obj(f / "identity001.obj", np.zeros((5, 3))), {}, "identity001"),
        (lambda f: None, {"area": 60}, "landmarks"),
        (lambda f: None, {"num_shape": 7}, "7"),
        (lambda f: None, {"num_expression": 5}, "5"),
        (lambda f: None, {"landmarks": [1, 2]}, "2 landmarks"),
        (lambda f: None, {"area": "face"}, "130"),
    ],
)
def test_errors_of_a_facekit_folder_name_the_problem(
    facekit: Path, change, options: dict, words: str
) -> None:
    change(facekit)
    with pytest.raises((FaceModelError, FileNotFoundError), match=words):
        read_ict_facekit(facekit, **({"area": "all", "num_shape": 3, "num_expression": 2} | options))
