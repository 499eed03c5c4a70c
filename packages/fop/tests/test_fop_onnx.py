"""Frozen encoders and branches as ONNX files; the encoders have random weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fop.config import FopConfig
from fop.embedder import FopEmbedder
from fop.model import FopModel
from fop.onnx_export import PartialUtterances
from fop.system import SPEC
from voiceface.association.onnx_embedder import load_onnx_embedder
from voiceface.association.onnx_export import export_encoders
from voiceface.export.graph import Graph, Port, example_pictures, example_voices
from voiceface.export.running import open_graph
from voiceface.export.writing import export_graph
from voiceface.real.catalogue import MODELS
from voiceface.real.installation import HOME_VARIABLE, write_model_folder
from voiceface.real.networks import build_network
from voiceface.real.voice_encoder import compute_partial_bands
from voiceface.runtime.config import load_config
from voiceface.testing.commands import CommandRunner
from voiceface.testing.corrupt_files import assert_mentions

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of networks with random weights."""
    home = tmp_path_factory.mktemp("home")
    for number, (name, model) in enumerate(MODELS.items()):
        torch.manual_seed(number)
        folder = home / "models" / name
        folder.mkdir(parents=True)
        write_model_folder(model, dict(build_network(name).state_dict()), folder)
    return home


def small_model(score: str) -> FopEmbedder:
    """A model on the real encoders, not trained."""
    settings = [
        *("model.voice_dim=256", "model.face_dim=128", "model.embedding_dim=16"),
        *("data.voice_encoder=real", "data.face_encoder=real", f"evaluation.score={score}"),
    ]
    config = load_config("main", FopConfig, "fop", settings).with_input_options(resample=True)
    torch.manual_seed(7)
    return FopEmbedder(FopModel(config.model, 5), config, disclaimer="not trained")


@pytest.mark.parametrize("score", ["cosine", "euclidean"])
def test_graphs_hold_encoders_and_branches(
    networks: Path, tmp_path: Path, score: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(networks))
    model = small_model(score)
    for result in export_encoders(SPEC, model, tmp_path / "m.onnx"):
        assert result.max_error < 1e-4
    facts = open_graph(tmp_path / "m_voice.onnx").facts
    assert MODELS["voice_encoder"].licence in facts["licence"] and facts["notice"] == "not trained"
    found = load_onnx_embedder(SPEC, [tmp_path / "m_voice.onnx", tmp_path / "m_face.onnx"])
    assert found.fingerprint == model.fingerprint and found.embedding_dim == model.embedding_dim
    assert found.describe_input("voice") == model.describe_input("voice")
    for (voice,) in (samples for samples in example_voices([9_321, 61_111])):
        partials = torch.from_numpy(compute_partial_bands(voice / 32768)[None])
        expected = model.encode_voices(partials).numpy()
        given = torch.from_numpy(voice[None] / np.float32(32768))
        np.testing.assert_allclose(found.encode_voices(given).numpy(), expected, atol=1e-5)
    faces = torch.from_numpy(np.concatenate(example_pictures(150, 11)[9:]))
    np.testing.assert_allclose(
        found.encode_faces(faces).numpy(), model.encode_faces(faces).numpy(), atol=1e-5
    )


def test_partial_utterances_are_those_of_the_encoder(tmp_path: Path) -> None:
    """Around the lengths at which another partial utterance begins, and the last one is dropped."""
    module = PartialUtterances()
    graph = Graph(
        "voice",
        module,
        (Port("samples", ("N", "T"), "waveforms"),),
        (Port("partials", ("N", "P", 160, 40), "bands"),),
        [[voice] for voice in example_voices([40_000, 70_000])],
        lambda samples: [module(torch.from_numpy(samples)).numpy()],
    )
    run = open_graph(export_graph(graph, tmp_path / "p.onnx").path)
    edges = [800, 25_600, 25_760, 31_519, 31_520, 37_919, 37_920, 37_921, 43_839, 43_840, 44_000, 64_000]
    for voice in example_voices(edges):
        expected = compute_partial_bands(voice[0] / 32768)
        (found,) = run(voice / np.float32(32768))
        assert found.shape[1:] == expected.shape, voice.shape
        np.testing.assert_allclose(found[0], expected, rtol=1e-3, atol=1e-6 * expected.max())


def test_other_encoders_are_refused(call: CommandRunner, trained: Path, tmp_path: Path, capsys: Any) -> None:
    assert call("export", trained, "--out", tmp_path / "m.onnx") == 1
    assert_mentions(capsys.readouterr().err, "speaker.onnx", "only one on the encoders real")
    assert not list(tmp_path.iterdir())
