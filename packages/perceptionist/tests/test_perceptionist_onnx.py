"""A voice to coefficients and coefficients to a mesh, as ONNX files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from perceptionist import load
from perceptionist.__main__ import main
from perceptionist.export import export_onnx
from perceptionist.speech import get_frontend
from tiny_checkpoints import DISCLAIMER, write_supervised_checkpoint, write_unsupervised_checkpoint
from voiceface.export.graph import example_voices
from voiceface.export.inspection import GraphError
from voiceface.export.running import open_graph

pytest.importorskip("onnxruntime")
WRITERS = {"supervised": write_supervised_checkpoint, "unsupervised": write_unsupervised_checkpoint}


def predict(model: Any, samples: np.ndarray) -> Any:
    """What PyTorch predicts for speech (N, T)."""
    return model.predict(get_frontend()(torch.from_numpy(samples.astype(np.float64))))


@pytest.mark.parametrize("method", WRITERS)
def test_both_graphs_give_the_mesh_of_pytorch(method: str, tmp_path: Path) -> None:
    model = load(WRITERS[method](tmp_path / "model.safetensors"))
    results = export_onnx(model, tmp_path / "new" / "m.onnx", seconds=[2], name="model.safetensors")
    assert [result.path.name for result in results] == ["m_voice.onnx", "m_voice_2s.onnx", "m_mesh.onnx"]
    assert len(list((tmp_path / "new").iterdir())) == 3
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


def test_wrong_uses_write_nothing(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    assert main(["export", "--out", str(tmp_path / "m.bin")]) == 1
    assert "named *.onnx" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["export", "a", "--weights", "b", "--out", str(tmp_path / "m.onnx")])
    monkeypatch.setattr("voiceface.export.packages.importlib.util.find_spec", lambda _: None)
    assert main(["export", "--out", str(tmp_path / "m.onnx")]) == 1
    assert "voiceface-shared[onnx]" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
