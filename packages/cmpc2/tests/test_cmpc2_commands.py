"""The commands embed, match, nearest, features, bundle and demo on small files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cmpc2
import numpy as np
import pytest
import torch
from cmpc2.export import export_bundled
from cmpc2.nearest import load_prototype_memory
from cmpc2.published import read_prototype_memory
from numpy.typing import NDArray
from voiceface.audio.loading import write_wav
from voiceface.checkpoints.native import load_model
from voiceface.checkpoints.published import CheckpointError

Call = Callable[..., int]


@pytest.fixture
def voice(tmp_path: Path, speech: NDArray[np.int16]) -> Path:
    write_wav(tmp_path / "voice.wav", speech)
    return tmp_path / "voice.wav"


def test_nearest_prints_videos_of_near_prototypes(
    call: Call, trained: Path, population: Path, voice: Path, tmp_path: Path, capsys: Any
) -> None:
    words = ["nearest", voice, "--weights", trained, "-k", "2", "--top", "50", "--json", tmp_path / "n.json"]
    assert call(*words, "--faces", population / "unzippedFaces", "--report", tmp_path / "n.html") == 0
    (record,) = json.loads((tmp_path / "n.json").read_text())["voices"]
    assert record["voice"] == str(voice)
    result = record["videos"]
    distance = [each["distance"] for each in result]
    assert distance == sorted(distance) and len({each["prototype"] for each in result}) == 2
    lines = [line for line in capsys.readouterr().out.splitlines() if "prototype" in line and "/1.6/" in line]
    assert len(lines) == len(result) and "data:image" in (tmp_path / "n.html").read_text()
    assert call("nearest", voice, "--weights", trained, "-k", "2", "--order", "table", "--top", "50") == 0
    listed = [line.split()[-1] for line in capsys.readouterr().out.splitlines() if "/1.6/" in line]
    rows = {each["path"]: each["row"] for each in result}
    assert [rows[path] for path in listed] == sorted(rows.values())
    first = result[0]["path"].split("/")[0]
    assert call("nearest", voice, "--weights", trained, "-k", "2", "--exclude", first) == 0
    assert first not in capsys.readouterr().out
    words = ["nearest", voice, voice, "--weights", trained, "-k", "2", "--report", tmp_path / "two.html"]
    assert call(*words) == 0
    assert capsys.readouterr().out.count("nearest prototypes") == 2


def test_nearest_works_with_the_bundled_model(call: Call, voice: Path, capsys: Any) -> None:
    assert call("nearest", voice) == 0
    output = capsys.readouterr()
    assert "nearest prototypes" in output.out and "a synthetic population" in output.err
    memory, table = load_prototype_memory(None, None, None)
    assert len(memory.assignment[0]) == len(table) and len(memory.centroids) == 3


def test_nearest_names_incompatible_inputs(
    call: Call, trained: Path, voice: Path, tmp_path: Path, capsys: Any
) -> None:
    memory = ["--memory", trained / "memory.safetensors", "--table", trained / "training.csv"]
    for words, output in (
        ([tmp_path / "absent.wav"], "no utterance at"),
        ([voice, "--table", trained / "training.csv"], "--memory and --table together"),
        (
            [voice, "--weights", trained / "checkpoints" / "step_000001.safetensors"],
            "give its path with --memory",
        ),
        ([voice, "--weights", trained, "--clusters", "3", "-k", "4"], "1 to 3 prototypes, found k = 4"),
        ([voice, "--weights", trained, "--clusters", "9"], "of 9 clusters in this memory; available: 2, 3"),
        ([voice, *memory, "-k", "2"], "memory and model of the same run"),
    ):
        assert call("nearest", *words) == 1
        error = capsys.readouterr().err
        assert output in error and "Traceback" not in error


def test_utterance_without_speech_is_named(call: Call, tmp_path: Path, capsys: Any) -> None:
    """Before any front end."""
    from cmpc2.model import FV_Wrapper
    from cmpc2.model_config import ModelConfig

    small = {"widths": (8, 8, 8, 8), "blocks": (1, 1, 1, 1)}
    model = FV_Wrapper(config=ModelConfig.model_validate({"voice": small, "face": small, "embedding_dim": 8}))
    torch.save({"model": model.state_dict()}, tmp_path / "model_best_256.pth.tar")
    write_wav(tmp_path / "silence.wav", np.zeros(32_000, np.int16))
    words = ["embed", tmp_path / "silence.wav", "--weights", tmp_path / "model_best_256.pth.tar"]
    assert call(*words, "--out", tmp_path / "t.npz") == 1
    assert "silence.wav: is silent" in capsys.readouterr().err


def test_model_is_not_read_as_memory(trained: Path) -> None:
    with pytest.raises(CheckpointError, match="another kind"):
        read_prototype_memory(trained / "model.safetensors")


def test_features_are_stored_once_and_failures_are_named(
    call: Call, population: Path, tmp_path: Path, capsys: Any
) -> None:
    source = tmp_path / "wav" / "id1" / "video"
    source.mkdir(parents=True)
    sound = next((population / "wav").rglob("*.wav"))
    (source / "00001.wav").write_bytes(sound.read_bytes())
    (source / "00002.wav").write_bytes(b"no sound")
    assert call("features", tmp_path / "wav", "--out", tmp_path / "spec") == 1
    assert "00002.wav" in capsys.readouterr().err
    stored = tmp_path / "spec" / "id1" / "video" / "00001.npy"
    assert np.load(stored).shape == (64, 101)
    before = stored.stat().st_mtime_ns
    assert call("features", tmp_path / "wav", "--out", tmp_path / "spec") == 1
    assert stored.stat().st_mtime_ns == before


def test_exported_files_are_small_and_equivalent(trained: Path, tmp_path: Path) -> None:
    weights, memory, table = export_bundled(trained, tmp_path / "small.safetensors")
    one, other = cmpc2.load_embedder(trained), cmpc2.load_embedder(weights)
    assert other.identity_names == one.identity_names and other.disclaimer == one.disclaimer
    waveform = (8000 * np.sin(np.arange(16_000) / 5)).astype(np.int16)
    assert np.allclose(one.embed_voices(waveform), other.embed_voices(waveform), rtol=0.02, atol=0.02)
    computed, reference = read_prototype_memory(trained / "memory.safetensors"), read_prototype_memory(memory)
    for a, b in zip(computed.assignment, reference.assignment):
        assert (a == b).all()
    assert table.read_bytes() == (trained / "training.csv").read_bytes()
    assert "bank/face" not in load_model(memory).state


def test_bundled_files_keep_their_size() -> None:
    from importlib import resources

    sizes = [item.stat().st_size for item in Path(str(resources.files("cmpc2") / "weights")).iterdir()]
    assert len(sizes) == 3 and sum(sizes) < 3_000_000


@pytest.mark.slow
def test_demo_writes_a_report(call: Call, tmp_path: Path) -> None:
    assert call("demo", "--out", tmp_path / "demo") == 0
    assert (tmp_path / "demo" / "report.html").is_file()
