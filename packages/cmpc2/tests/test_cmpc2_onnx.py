"""Both branches as ONNX files, with both front ends."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cmpc2.audio_frontend import compute_log_mel, prepare_voice
from cmpc2.embedder import Embedder, load_embedder
from cmpc2.model_config import VoiceFrontendConfig
from cmpc2.onnx_export import build_graphs, build_voice_front_end
from cmpc2.sphinx import get_fbank
from cmpc2.system import SPEC
from voiceface.export.graph import Graph, Port, example_voices
from voiceface.export.running import open_graph
from voiceface.export.writing import export_graph
from voiceface.testing.commands import CommandRunner
from voiceface.testing.contracts.onnx_export import OnnxExportContract
from voiceface.testing.corrupt_files import assert_mentions

LENGTHS = [1_001, 16_000, 31_999, 32_000, 32_160, 47_983]


class TestOnnx(OnnxExportContract):
    """Exported branches give what PyTorch gives."""


def to_graph(config: VoiceFrontendConfig, folder: Path) -> Any:
    """A front end as a file, run by onnxruntime."""
    pytest.importorskip("onnxruntime")
    module = build_voice_front_end(config)
    graph = Graph(
        "voice",
        module,
        (Port("samples", ("N", "T"), "waveforms"),),
        (Port("bands", ("N", 1, 64, "frames"), "bands"),),
        [[voice] for voice in example_voices([20_000, 50_000])],
        lambda samples: [module(torch.from_numpy(samples)).numpy()],
    )
    return open_graph(export_graph(graph, folder / "front.onnx").path)


@pytest.mark.parametrize("position", ["centre", "whole"])
@pytest.mark.parametrize("frames", [200, 201])
def test_the_front_end_in_decibels_is_the_same_as_a_graph(position: Any, frames: int, tmp_path: Path) -> None:
    config = VoiceFrontendConfig(frontend="decibels", num_frames=frames, clip_position=position)
    graph = to_graph(config, tmp_path)
    for voice in example_voices(LENGTHS):
        expected = prepare_voice(compute_log_mel(voice[0].astype(np.int16), 16_000, config), config)
        (found,) = graph(voice)
        assert found.shape[1:] == expected.shape
        np.testing.assert_allclose(found[0], expected, atol=2e-3)


def test_the_published_front_end_is_the_same_as_a_graph(tmp_path: Path) -> None:
    graph = to_graph(VoiceFrontendConfig(frontend="sphinx", min_frames=200), tmp_path)
    for voice in example_voices([1, 17, *LENGTHS]):
        (found,) = graph(voice + 0.25)  # samples are rounded as those of files
        np.testing.assert_allclose(found[0, 0].T, get_fbank(voice[0], min_time=200), atol=1e-3)


def test_graphs_state_the_removal_of_silence_of_their_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    config = VoiceFrontendConfig(frontend="sphinx", vad_aggressiveness=3)
    monkeypatch.setattr(Embedder, "voice_config", config)
    (graph,) = build_graphs(SPEC, load_embedder(), modalities=["voice"]).values()
    assert graph.facts["silence"]["aggressiveness"] == 3


def test_stored_features_are_no_input_of_graphs(
    call: CommandRunner, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    from voiceface.association.onnx_embedder import load_onnx_embedder
    from voiceface.audio.vad import SpeechError

    assert call("export", trained, "--out", tmp_path / "m.onnx", "--modality", "voice") == 0
    model = load_onnx_embedder(SPEC, [tmp_path / "m_voice.onnx"])
    with pytest.raises(SpeechError) as raised:
        model.read_recording(tmp_path / "v.npy")
    assert_mentions(str(raised.value), "v.npy", "--weights")
