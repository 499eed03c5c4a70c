"""A voice to coefficients and coefficients to a mesh, as ONNX files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from perceptionist import load
from perceptionist.__main__ import main
from perceptionist.export import export_onnx
from perceptionist.meshio.io import read_mesh
from perceptionist.speech import get_frontend
from PIL import Image
from tiny_checkpoints import DISCLAIMER, write_supervised_checkpoint, write_unsupervised_checkpoint
from voiceface.audio.loading import write_wav
from voiceface.export.graph import example_voices
from voiceface.export.inspection import GraphError, sign_graph
from voiceface.export.running import open_graph
from voiceface.testing.corrupt_files import assert_mentions

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
WRITERS = {"supervised": write_supervised_checkpoint, "unsupervised": write_unsupervised_checkpoint}


def predict(model: Any, samples: np.ndarray) -> Any:
    """What PyTorch predicts for speech (N, T)."""
    return model.predict(get_frontend()(torch.from_numpy(samples.astype(np.float64))))


@pytest.mark.parametrize("method", WRITERS)
def test_both_graphs_give_the_mesh_of_pytorch(method: str, tmp_path: Path) -> None:
    model = load(WRITERS[method](tmp_path / "model.safetensors"))
    results = export_onnx(model, tmp_path / "new" / "m.onnx", seconds=[2], name="model.safetensors")
    names = ["m_voice.onnx", "m_voice_2s.onnx", "m_mesh.onnx", "m_expert.onnx"]
    assert [result.path.name for result in results] == names
    assert len(list((tmp_path / "new").iterdir())) == 4
    assert all(result.max_error < 1e-3 for result in results)
    voice, mesh = (open_graph(results[number].path, system="perceptionist") for number in (0, 2))
    assert voice.facts["notice"].startswith(DISCLAIMER) and voice.facts["method"] == method
    assert voice.outputs == ["scale", "shape", "expression", *["image"] * (method == "unsupervised")]
    for samples in example_voices([7_777, 200_001]):
        expected = predict(model, samples)
        scale, shape, expression, *images = voice(samples)
        np.testing.assert_allclose(shape, expected.coefficients.shape, rtol=1e-3, atol=1e-3 * np.ptp(shape))
        for image in images:
            np.testing.assert_allclose(image, expected.images, atol=1e-3)
        (vertices,) = mesh(scale, shape, expression)
        reference = model.vertices_from_coefficients(expected.coefficients)[0].T
        assert vertices.shape[1:] == reference.shape
        np.testing.assert_allclose(vertices[0], reference, atol=0.05)


def test_the_bundled_model_is_exported_by_its_command(tmp_path: Path, capsys: Any) -> None:
    words = ["export", "--out", str(tmp_path / "m.onnx")]
    assert main(words) == 0
    assert "m_mesh.onnx: mesh" in capsys.readouterr().out
    (samples,) = example_voices([54_321])
    voice = open_graph(tmp_path / "m_voice.onnx", kinds=["voice"])
    found, expected = voice(samples)[1], predict(load(), samples).coefficients.shape.numpy()
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()
    with pytest.raises(
        GraphError, match=r"m_mesh\.onnx is a graph of perceptionist \(mesh\), expected voice"
    ):
        open_graph(tmp_path / "m_mesh.onnx", kinds=["voice"])
    damaged = bytearray((tmp_path / "m_mesh.onnx").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "m_mesh.onnx").write_bytes(damaged)
    with pytest.raises(GraphError, match=r"m_mesh\.onnx is damaged"):
        open_graph(tmp_path / "m_mesh.onnx")


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording, and stored features."""
    root = tmp_path_factory.mktemp("voices")
    for number, samples in enumerate(example_voices([40_000, 90_000])):
        write_wav(root / f"s{number}" / "v" / "1.wav", samples[0].astype(np.int16))
    (root / "s2").mkdir()
    np.save(root / "s2" / "1.npy", np.random.default_rng(1).standard_normal((1200, 64)).astype(np.float32))
    return root


@pytest.mark.parametrize("method", WRITERS)
def test_demo_makes_the_same_meshes_with_exported_files(
    method: str, voices: Path, tmp_path: Path, capsys: Any
) -> None:
    weights = WRITERS[method](tmp_path / "model.safetensors")
    export_onnx(load(weights), tmp_path / "m.onnx", name="model.safetensors")
    for way, source in (("torch", ["--weights", weights]), ("onnx", ["--onnx", tmp_path / "m.onnx"])):
        words = ["demo", voices, "--out", tmp_path / way, "--mesh", "ply", "--no-report", *source]
        assert main(list(map(str, words))) == 0
    files = {way: sorted(path.name for path in (tmp_path / way).rglob("*.*")) for way in ("torch", "onnx")}
    assert files["torch"] == files["onnx"]
    meshes = [read_mesh(path).vertices for path in sorted((tmp_path / "torch").rglob("*.ply"))]
    assert len(meshes) == 3
    for expected, path in zip(meshes, sorted((tmp_path / "onnx").rglob("*.ply")), strict=True):
        assert np.abs(read_mesh(path).vertices - expected).max() < 1e-5 * np.abs(expected).max()
    for ending in ("image", "overlap"):
        paths = sorted((tmp_path / "onnx").rglob(f"*_{ending}.png"))
        assert len(paths) == 3
        for path in paths:
            same = tmp_path / "torch" / path.relative_to(tmp_path / "onnx")
            found, wanted = (np.asarray(Image.open(each), int) for each in (path, same))
            assert (np.abs(found - wanted).max(axis=2) > 1).sum() <= 2 * (ending == "overlap")
    records = [json.loads((tmp_path / way / "files.json").read_text()) for way in ("torch", "onnx")]
    assert records[0] == records[1]


def test_demo_refuses_wrong_files(voices: Path, tmp_path: Path, capsys: Any) -> None:
    weights = [write_supervised_checkpoint(tmp_path / f"{seed}.safetensors", seed) for seed in (0, 1)]
    for number, each in enumerate(weights):
        export_onnx(load(each), tmp_path / f"m{number}.onnx", seconds=[2] * (number == 0))
    one, mesh, other = "m0_voice.onnx", "m0_mesh.onnx", "m1_mesh.onnx"
    foreign = tmp_path / "foreign.onnx"
    model = onnx.load(tmp_path / mesh)
    foreign.write_bytes(sign_graph(model, {"system": "sf2f", "kind": "generator"}))
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "plain.onnx")
    for words, message in (
        (["--onnx", one], ["m0_voice.onnx alone makes no face", "*_mesh.onnx"]),
        (["--onnx", one, other], ["different weights", "export both from one model"]),
        (["--onnx", "m0_voice_2s.onnx", mesh], ["32000 samples only"]),
        (
            ["--onnx", foreign.name],
            ["foreign.onnx is a graph of sf2f (generator), expected one of perceptionist"],
        ),
        (["--onnx", "plain.onnx"], ["plain.onnx is an ONNX file of another kind"]),
        (["--onnx", "absent.onnx"], ["absent.onnx", "absent_voice.onnx or absent_mesh.onnx"]),
        (["--onnx", one, mesh, "--weights", weights[0].name], ["either --weights or --onnx"]),
        (["--onnx", one, mesh, "--face-model", "population gain 1"], ["m0_mesh.onnx", "--face-model"]),
    ):
        words = [str(tmp_path / word) if "." in word else word for word in words]
        assert main(["demo", str(voices), "--out", str(tmp_path / "out"), *words]) == 1
        assert_mentions(capsys.readouterr().err, *message)
    assert not (tmp_path / "out").exists()


def test_demo_mic_describes_a_voice_with_exported_files(voices: Path, tmp_path: Path, capsys: Any) -> None:
    weights = write_supervised_checkpoint(tmp_path / "model.safetensors")
    export_onnx(load(weights), tmp_path / "m.onnx", name="model.safetensors")
    words = ["demo_mic", "--wav", str(voices / "s0" / "v" / "1.wav")]
    assert main([*words, "--weights", str(weights)]) == 0
    expected = capsys.readouterr().out
    assert main([*words, "--onnx", str(tmp_path / "m.onnx")]) == 0
    assert capsys.readouterr().out == expected


def test_wrong_uses_write_nothing(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    assert main(["export", "--out", str(tmp_path / "m.bin")]) == 1
    assert "named *.onnx" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["export", "a", "--weights", "b", "--out", str(tmp_path / "m.onnx")])
    monkeypatch.setattr("voiceface.export.packages.importlib.util.find_spec", lambda _: None)
    assert main(["export", "--out", str(tmp_path / "m.onnx")]) == 1
    assert "voiceface-shared[onnx]" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
