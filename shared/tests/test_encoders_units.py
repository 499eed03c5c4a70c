"""`voiceface encode` by units: the tables of the way without them, from addresses and by other engines."""

import filecmp
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_graphs import write_arcface, write_speaker
from sound_files import RATE, speech_like
from voiceface.__main__ import COMMANDS
from voiceface.association import shard_command
from voiceface.audio.loading import write_wav
from voiceface.commandline.dispatch import dispatch
from voiceface.commands import encode
from voiceface.embeddings.parts import list_parts, merge_parts
from voiceface.embeddings.table import EmbeddingError, EmbeddingTable
from voiceface.encoders.shard_encoding import EncoderLoader


def run(*words):
    return dispatch("voiceface", COMMANDS, [str(word) for word in words])


@pytest.fixture
def by_units(monkeypatch):
    """Commands of this test work by units, with the local engine."""
    monkeypatch.setattr(encode, "needs_units", lambda *_: True)


@pytest.fixture
def networks(tmp_path):
    """Names of a speaker and of an ArcFace network."""
    return (
        f"onnx:{write_speaker(tmp_path / 'speaker.onnx')}",
        f"onnx:{write_arcface(tmp_path / 'arcface.onnx')}",
    )


@pytest.fixture
def own(tmp_path):
    """A recording, a silent one and a picture."""
    folder = tmp_path / "own"
    folder.mkdir()
    write_wav(folder / "a.wav", np.int16(speech_like(2)))
    write_wav(folder / "silent.wav", np.zeros(RATE, np.int16))
    picture = np.random.default_rng(0).integers(0, 255, (130, 120, 3)).astype(np.uint8)
    Image.fromarray(picture).save(folder / "1.png")
    return folder


def test_files_at_addresses_become_the_same_rows(own, networks, tmp_path, capsys):
    words = ("--encoder", networks[0], "--workers", 0)
    assert run("encode", "--voices", own, "--relative-to", own, *words, "--out", tmp_path / "t.npz") == 0
    assert "silent.wav" in capsys.readouterr().err
    address = f"file://{own}"
    out = f"file://{tmp_path}/remote.npz"
    assert run("encode", "--voices", address, "--relative-to", address, *words, "--out", out) == 0
    assert "1 file was left out" in capsys.readouterr().err
    tables = [EmbeddingTable.load(tmp_path / name) for name in ("t.npz", "remote.npz")]
    assert tables[0].items == tables[1].items == ["a.wav"]
    assert np.array_equal(tables[0].vectors, tables[1].vectors)
    assert (tables[0].fingerprint, tables[0].encoder) == (tables[1].fingerprint, tables[1].encoder)
    assert tables[1].facts["a.wav"].file == f"{address}/a.wav"
    assert list((tmp_path / "remote.npz.cache" / "parts").iterdir())


def test_a_folder_keeps_the_parts_of_a_table(own, networks, tmp_path, capsys, monkeypatch):
    words = ["--voices", own, "--relative-to", own, "--encoder", networks[0], "--workers", 0, "--out"]
    assert run("encode", *words, tmp_path / "t.npz") == 0
    with pytest.raises(SystemExit):
        run("encode", *words, tmp_path / "parts")
    assert "a folder of parts needs --engine ray" in capsys.readouterr().err
    args = encode._parser().parse_args([str(word) for word in [*words, tmp_path / "parts"]])
    assert encode._encode_by_units(args) == 0
    assert "1 part with features of length" in capsys.readouterr().out
    table, whole = (
        merge_parts([EmbeddingTable.load(path) for path in list_parts(tmp_path / "parts")]),
        EmbeddingTable.load(tmp_path / "t.npz"),
    )
    assert table.items == whole.items and set(table.failed) == {"silent.wav"}
    assert np.array_equal(table.vectors, whole.vectors)
    assert (table.fingerprint, table.encoder) == (whole.fingerprint, whole.encoder)
    index = json.loads((tmp_path / "parts" / "parts.json").read_text())
    assert (index["fingerprint"], index["encoder"]) == (whole.fingerprint, whole.encoder)
    parts = set((tmp_path / "parts").iterdir())
    assert encode._encode_by_units(args) == 0  # goes on with what is there
    assert set((tmp_path / "parts").iterdir()) == parts
    other = write_speaker(tmp_path / "other.onnx", batch=1)
    args.encoder = f"onnx:{other}"
    with pytest.raises(EmbeddingError, match=r"parts holds parts of another model"):
        encode._encode_by_units(args)


def test_addresses_without_files_of_the_kind_are_told(own, networks, tmp_path, capsys):
    (own / "1.png").unlink()
    words = ("--encoder", networks[1], "--out", tmp_path / "t.npz", "--workers", 0)
    (own / "a.wav").rename(own / "a.txt")
    (own / "silent.wav").unlink()
    assert run("encode", "--faces", f"file://{own}", *words) == 1
    assert "no utterances, images or shards in file://" in capsys.readouterr().err
    assert run("encode", "--faces", "unknown://place", *words) == 1
    assert "Protocol not known: unknown" in capsys.readouterr().err


@pytest.mark.usefixtures("by_units")
def test_a_data_folder_by_units_becomes_the_same_feature_set(
    tiny_population, networks, tmp_path, monkeypatch
):
    words = ["encode", "--data", tiny_population, "--split", "test", "--workers", 0]
    words += ["--voice-encoder", networks[0], "--face-encoder", networks[1]]
    assert run(*words, "--out", tmp_path / "units") == 0
    monkeypatch.setattr(encode, "needs_units", shard_command.needs_units)
    assert run(*words, "--out", tmp_path / "plain") == 0
    for name in ("voices.npz", "faces.npz", "identities.csv"):
        assert filecmp.cmp(tmp_path / "units" / name, tmp_path / "plain" / name, shallow=False)


@pytest.mark.usefixtures("by_units")
def test_unreadable_files_of_a_data_folder_are_an_error_or_left_out(
    corrupt_population, networks, tmp_path, capsys
):
    words = ["encode", "--data", corrupt_population, "--split", "test", "--workers", 0]
    words += ["--voice-encoder", networks[0], "--face-encoder", networks[1], "--out", tmp_path / "set"]
    assert run(*words) == 1
    assert "1 of" in (message := capsys.readouterr().err)
    assert "--missing skip" in message
    assert run(*words, "--missing", "skip") == 0
    assert "1 file was left out" in capsys.readouterr().err


@pytest.fixture
def corrupt_population(tiny_population, tmp_path):
    """A copy with one recording that cannot be decoded."""
    import shutil

    from voiceface.datasets.corpus import open_corpus

    folder = tmp_path / "corrupt"
    shutil.copytree(tiny_population, folder)
    corpus = open_corpus(folder, "test")
    corpus.voice_path(corpus.voices[0]).write_bytes(b"no sound")
    return folder


def test_names_of_encoders_have_absolute_paths_in_workers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net.onnx").touch()
    for name, expected in (
        ("onnx:net.onnx#kaldi80", f"onnx:{tmp_path}/net.onnx#kaldi80"),
        ("onnx:net.onnx", f"onnx:{tmp_path}/net.onnx"),
        ("cmpc2:absent", "cmpc2:absent"),
        ("real", "real"),
    ):
        assert EncoderLoader(name, "voice", True, ()).for_workers().name == expected


@pytest.mark.parametrize(
    "command", ["encode --voices a --encoder real --out t.npz", "prepare videos --out DATA"]
)
def test_engines_that_are_absent_and_their_options_are_told_at_once(command, monkeypatch, capsys):
    for words, message in (
        ("--actors 0 --engine ray", "--actors 0: expected at least 1"),
        ("--actors 2", "--actors: only with --engine ray"),
        ("--ray-address auto", "--ray-address: only with --engine ray"),
        ("--engine spark", "invalid choice: 'spark'"),
    ):
        with pytest.raises(SystemExit) as stop:
            run(*command.split(), *words.split())
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
    monkeypatch.setattr("voiceface.commandline.arguments.find_spec", lambda name: None)
    assert run(*command.split(), "--engine", "ray") == 1
    expected = "error: --engine ray needs the package ray: pip install 'voiceface-shared[ray]'\n"
    assert capsys.readouterr().err == expected
