"""Recordings of which a part is lost: refused, or used as far as they go."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from seeking_shape import load
from voiceface.association.data import load_split
from voiceface.audio.decoders import AudioError
from voiceface.embeddings.table import EmbeddingTable

Call = Callable[..., int]


@pytest.fixture
def torn(people: Path, tmp_path: Path) -> Path:
    """The people with the last quarter of every recording of one training person cut off."""
    root = tmp_path / "people"
    shutil.copytree(people, root)
    corpus = load_split(root, "train")
    for clip in map(corpus.voice_path, corpus.records[0].voices):
        data = clip.read_bytes()
        clip.write_bytes(data[: 3 * len(data) // 4])
    return root


def test_damaged_recordings_are_refused_or_used(
    call: Call, torn: Path, trained: Path, tmp_path: Path, caplog: Any, capsys: Any
) -> None:
    corpus = load_split(torn, "train")
    clip, table = corpus.voice_path(corpus.records[0].voices[0]), tmp_path / "table.npz"
    words = ["embed", clip, torn / "faces", "--weights", trained, "--out", table]
    assert call(*words) == 1
    assert f"skipped: {clip}" in capsys.readouterr().err and str(clip) not in EmbeddingTable.load(table)
    assert call(*words, "--on-corrupt", "salvage") == 0
    assert clip.as_posix() in EmbeddingTable.load(table)
    assert f"{clip}: 0 packets, 0.2" in caplog.text and "s of sound are lost" in caplog.text


def test_the_api_is_strict_unless_told(torn: Path, trained: Path) -> None:
    corpus = load_split(torn, "train")
    clip = corpus.voice_path(corpus.records[0].voices[0])
    strict, tolerant = load(trained), load(trained, on_corrupt="salvage")
    with pytest.raises(AudioError, match="truncated"):
        strict.embed_voices(clip)
    assert torch.isfinite(tolerant.embed_voices(clip)).all()
    assert strict.fingerprint != tolerant.fingerprint  # one cache must not answer for the other


def test_training_uses_what_is_left_on_request(train: Call, torn: Path, tmp_path: Path, capsys: Any) -> None:
    assert train(tmp_path / "strict", "training.max_steps=1", data=torn) == 1
    assert "truncated" in capsys.readouterr().err
    words = ["training.max_steps=1", "data.corrupt_audio=salvage"]
    assert train(tmp_path / "tolerant", *words, data=torn) == 0
    assert load(tmp_path / "tolerant").config.data.corrupt_audio == "salvage"
