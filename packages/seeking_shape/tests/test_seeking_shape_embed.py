"""`seeking_shape embed`: one table from files and folders."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from seeking_shape import load
from voiceface.association.embedder import Embedder
from voiceface.association.embedding import find_files
from voiceface.embeddings.table import EmbeddingTable

Call = Callable[..., int]


@pytest.fixture
def mixed(people: Path, tmp_path: Path) -> Path:
    """Two recordings, two pictures, and a file that is neither."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    for number, path in enumerate(sorted((people / "wav").rglob("*.wav"))[:2]):
        shutil.copy(path, folder / f"v{number}.wav")
    for number, path in enumerate(sorted((people / "faces").rglob("*.jpg"))[:2]):
        shutil.copy(path, folder / f"f{number}.jpg")
    (folder / "notes.txt").write_text("not for the table")
    return folder


@pytest.mark.parametrize("ending", [".npz", ".parquet", ".feather"])
def test_a_folder_becomes_a_table(
    call: Call, mixed: Path, trained: Path, tmp_path: Path, ending: str
) -> None:
    out = tmp_path / f"table{ending}"
    words = [mixed, "--weights", trained, "--out", out, "--relative-to", mixed, "--workers", "1"]
    assert call("embed", *words) == 0
    table, model = EmbeddingTable.load(out), load(trained)
    assert table.items == ["v0.wav", "v1.wav", "f0.jpg", "f1.jpg"]
    assert table.fingerprint == model.fingerprint
    assert np.allclose(table.vectors[:2], model.embed_voices([mixed / "v0.wav", mixed / "v1.wav"]), atol=1e-5)
    assert np.allclose(table.vectors[2:], model.embed_faces([mixed / "f0.jpg", mixed / "f1.jpg"]), atol=1e-5)


def test_what_cannot_be_read_is_listed_and_the_rest_is_there(
    call: Call, mixed: Path, trained: Path, tmp_path: Path, capsys: Any
) -> None:
    (mixed / "v2.wav").write_bytes(b"")
    (mixed / "f2.jpg").write_text("no picture")
    out = tmp_path / "table.npz"
    assert call("embed", mixed, "--weights", trained, "--out", out) == 1
    said = capsys.readouterr().err
    assert len(EmbeddingTable.load(out)) == 4
    assert "skipped" in said and "v2.wav" in said and "f2.jpg" in said and "v0.wav:" not in said


@pytest.mark.parametrize("name", ["v0.wav", "f0.jpg"])
def test_one_side_that_cannot_be_read_does_not_cost_the_other(
    call: Call, mixed: Path, trained: Path, tmp_path: Path, name: str, capsys: Any
) -> None:
    for path in mixed.glob(f"{name[0]}?{Path(name).suffix}"):
        path.write_bytes(b"")
    out = tmp_path / "table.npz"
    assert call("embed", mixed, "--weights", trained, "--out", out) == 1
    assert len(EmbeddingTable.load(out)) == 2
    assert name in capsys.readouterr().err


def test_a_stopped_run_goes_on_and_gives_the_same_bytes(
    call: Call, people: Path, trained: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    words = [people / "wav", people / "faces", "--weights", trained]
    assert call("embed", *words, "--out", tmp_path / "whole.npz") == 0
    out, faces = tmp_path / "stopped.npz", Embedder.encode_faces
    with monkeypatch.context() as patch:
        patch.setattr(Embedder, "encode_faces", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert call("embed", *words, "--out", out) == 130
    assert not out.exists() and faces is Embedder.encode_faces
    monkeypatch.setattr(Embedder, "encode_voices", lambda *_: pytest.fail("a voice was encoded again"))
    assert call("embed", *words, "--out", out) == 0
    assert out.read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_a_changed_file_is_encoded_again(call: Call, mixed: Path, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.npz"
    assert call("embed", mixed, "--weights", trained, "--out", out) == 0
    before = EmbeddingTable.load(out)
    soundfile.write(mixed / "v0.wav", np.sin(np.arange(16_000) / 9) * 0.3, 16_000, subtype="PCM_16")
    assert call("embed", mixed, "--weights", trained, "--out", out) == 0
    same = (EmbeddingTable.load(out).vectors == before.vectors).all(axis=1)
    assert same.tolist() == [False, True, True, True]


def test_another_rate_is_brought_to_ours_or_refused(
    call: Call, mixed: Path, trained: Path, tmp_path: Path, capsys: Any
) -> None:
    tone = np.sin(np.arange(44_100) * 2 * np.pi * 300 / 44_100) * 0.3
    soundfile.write(mixed / "cd.wav", tone, 44_100)
    out = tmp_path / "table.npz"
    assert call("embed", mixed, "--weights", trained, "--out", out) == 0
    assert call("embed", mixed, "--weights", trained, "--out", out, "--resample", "never") == 1
    said = capsys.readouterr().err
    assert "cd.wav" in said and "44100" in said and "16000" in said


def test_stereo_and_eight_bits_are_fine(trained: Path, tmp_path: Path) -> None:
    tone = np.sin(np.arange(16_000) / 9) * 0.3
    both = np.stack([tone, np.roll(tone, 5)], axis=1)
    soundfile.write(tmp_path / "stereo.wav", both, 16_000, subtype="PCM_16")
    soundfile.write(tmp_path / "first.wav", tone, 16_000, subtype="PCM_16")
    soundfile.write(tmp_path / "eight.wav", tone, 16_000, subtype="PCM_U8")
    model = load(trained)
    stereo, first, eight = model.embed_voices([tmp_path / f"{n}.wav" for n in ("stereo", "first", "eight")])
    assert (stereo == first).all()  # the first channel counts
    assert np.isfinite(eight.numpy()).all()


def test_paths_are_checked_before_anything_is_loaded(call: Call, tmp_path: Path, capsys: Any) -> None:
    out = ["--out", tmp_path / "t.npz"]
    assert call("embed", tmp_path / "absent", *out) == 1
    assert "absent" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert call("embed", tmp_path / "empty", *out) == 1
    message = capsys.readouterr().err
    assert "no recordings or images" in message and "empty" in message
    (tmp_path / "a.pdf").touch()
    assert call("embed", tmp_path / "a.pdf", *out) == 1
    message = capsys.readouterr().err
    assert "a.pdf" in message and ".wav" in message and ".jpg" in message
    with pytest.raises(SystemExit) as stop:
        call("embed", tmp_path, "--out", tmp_path / "t.csv")
    assert stop.value.code == 2 and ".parquet" in capsys.readouterr().err


def test_files_are_found_once_in_order(mixed: Path) -> None:
    (mixed / "z.wav").symlink_to(mixed / "v0.wav")
    voices, faces = find_files([mixed / "v1.wav", mixed])
    assert [path.name for path in voices] == ["v1.wav", "v0.wav", "z.wav"]
    assert [path.name for path in faces] == ["f0.jpg", "f1.jpg"]


def test_names_must_lie_below_the_folder_they_are_relative_to(
    call: Call, mixed: Path, trained: Path, tmp_path: Path, capsys: Any
) -> None:
    words = [mixed, "--weights", trained, "--out", tmp_path / "t.npz", "--relative-to", tmp_path / "other"]
    assert call("embed", *words) == 1
    message = capsys.readouterr().err
    assert "v0.wav" in message and "other" in message and "--relative-to" in message
