"""`voiceface encode`, `voiceface encoders`, names of encoders, and branches of association systems."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from small_graphs import write_arcface, write_speaker
from sound_files import RATE, speech_like
from stub_systems import FolderNameEmbedder
from voiceface.__main__ import COMMANDS
from voiceface.audio.loading import write_wav
from voiceface.commandline.dispatch import dispatch
from voiceface.datasets.corpus import open_corpus
from voiceface.embeddings.table import EmbeddingTable
from voiceface.encoders import (
    EncoderError,
    EncoderInfo,
    FeatureSet,
    list_encoders,
    load_encoder,
    system_encoders,
)
from voiceface.encoders.records import format_encoders, stated_encoders


def run(*words):
    return dispatch("voiceface", COMMANDS, [str(word) for word in words])


@pytest.fixture
def networks(tmp_path):
    """Names of a speaker and of an ArcFace network."""
    return (
        f"onnx:{write_speaker(tmp_path / 'speaker.onnx')}",
        f"onnx:{write_arcface(tmp_path / 'arcface.onnx')}",
    )


@pytest.fixture
def own(tmp_path):
    """Two recordings, one that is silent, two pictures and a text."""
    folder = tmp_path / "own"
    folder.mkdir()
    for name, seconds in (("a.wav", 2), ("b.wav", 3)):
        write_wav(folder / name, np.int16(speech_like(seconds)))
    write_wav(folder / "silent.wav", np.zeros(RATE, np.int16))
    for number, name in enumerate(("1.png", "2.png")):
        picture = np.random.default_rng(number).integers(0, 255, (130, 120, 3)).astype(np.uint8)
        Image.fromarray(picture).save(folder / name)
    (folder / "notes.txt").write_text("no recording")
    return folder


def test_own_recordings_become_one_table(own, networks, tmp_path, capsys):
    out = tmp_path / "voices.npz"
    words = ("encode", "--voices", own, "--encoder", networks[0], "--out", out, "--relative-to", own)
    assert run(*words) == 0
    table = EmbeddingTable.load(out)
    assert table.items == ["a.wav", "b.wav"] and table.vectors.shape == (2, 192)
    encoder = load_encoder(networks[0], "voice")
    np.testing.assert_allclose(table.vectors, encoder.encode([own / "a.wav", own / "b.wav"]), atol=1e-4)
    assert stated_encoders(table) == (encoder.info,) and table.facts["a.wav"].kind == "recording"
    shown = capsys.readouterr()
    assert (
        "silent.wav" in shown.err
        and "2 files were left out" in shown.err
        and "features of length 192" in shown.out
    )
    first = out.read_bytes()
    assert run(*words, "--strict") == 1  # from the cache, with equal bytes
    assert out.read_bytes() == first


def test_own_pictures_as_they_are_and_long_recordings(own, networks, tmp_path):
    out = tmp_path / "faces.parquet"
    assert run("encode", "--faces", own, "--crop", "never", "--encoder", networks[1], "--out", out) == 0
    table = EmbeddingTable.load(out)
    assert [item.rpartition("/")[2] for item in table.items] == ["1.png", "2.png"]
    write_wav(own / "a.wav", np.int16(speech_like(20)))
    vectors = []
    for number, policy in enumerate(("best:10", "all:10")):
        place = tmp_path / f"{number}.npz"
        words = ("--voices", own / "a.wav", "--encoder", networks[0], "--out", place)
        assert run("encode", *words, "--long-recordings", policy) == 0
        vectors.append(EmbeddingTable.load(place).vectors[0])
    assert np.linalg.norm(vectors[1]) <= 1.001 and not np.allclose(*vectors)


def test_nothing_usable_is_exit_status_one(own, networks, tmp_path, capsys):
    out = tmp_path / "out.npz"
    assert run("encode", "--voices", own / "silent.wav", "--encoder", networks[0], "--out", out) == 1
    assert "silent" in capsys.readouterr().err and not out.exists()
    assert run("encode", "--voices", own / "1.png", "--encoder", networks[0], "--out", out) == 1
    assert "--voices: no recordings in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--out o.npz", "give own files with --voices and --faces, or a data folder with --data"),
        ("--voices a --data b --out o.npz", "give own files with"),
        ("--voices a --out o.npz", "--encoder is required"),
        ("--voices a --encoder real --out o.csv", "expected a name that ends in .npz"),
        ("--voices a --encoder real --out o.npz --split test", "--split: only with --data"),
        ("--data d --out o --voice-encoder real", "--voice-encoder and --face-encoder are required"),
        ("--data d --out o --encoder real", "--encoder: only with --voices and --faces"),
        ("--data d --out o --crop never", "--crop: only with --voices and --faces"),
        ("--data d --out o.npz --voice-encoder real --face-encoder real", "expected a folder"),
    ],
)
def test_wrong_command_lines_are_exit_status_two(words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        run("encode", *words.split())
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_a_data_folder_becomes_a_feature_set(tiny_population, networks, tmp_path, capsys):
    words = ("--voice-encoder", networks[0], "--face-encoder", networks[1], "--workers", 1)
    data = ("--data", tiny_population, "--split", "test")
    assert run("encode", *data, *words, "--out", tmp_path / "set") == 0
    corpus = open_corpus(tiny_population, "test")
    features = FeatureSet.load(tmp_path / "set")
    assert features.voice_files == tuple(corpus.voices) and features.faces.shape == (len(corpus.faces), 3)
    assert set(features.identities) == set(corpus.names)
    shown = capsys.readouterr()
    assert f"of {len(corpus)} people" in shown.out and "contaminated" not in shown.err
    assert run("encode", "--data", tmp_path / "none", *words, "--out", tmp_path / "x") == 1
    assert "--data: nothing at" in capsys.readouterr().err


def test_a_table_for_all_voices_and_what_is_missing_from_it(tiny_population, networks, tmp_path, capsys):
    corpus = open_corpus(tiny_population, "test")
    table = EmbeddingTable(corpus.voices[1:], np.ones((len(corpus.voices) - 1, 4), np.float32), "f")
    table.save(tmp_path / "t.npz")
    words = [
        "encode",
        "--data",
        tiny_population,
        "--split",
        "test",
        "--voice-encoder",
        f"table:{tmp_path / 't.npz'}",
    ]
    words += ["--face-encoder", networks[1], "--out", tmp_path / "set"]
    assert run(*words) == 1
    assert f"{corpus.voices[0]} has no feature" in capsys.readouterr().err
    assert run(*words, "--missing", "skip") == 0
    assert "1 file was left out" in capsys.readouterr().err
    assert FeatureSet.load(tmp_path / "set").voices.shape == (len(corpus.voices) - 1, 4)


def test_a_table_that_does_not_fit_leaves_no_folder(tiny_population, networks, tmp_path, capsys):
    (tmp_path / "rows.csv").write_text("\n".join(",".join(["1"] * 512) for _ in range(3)) + "\n")
    words = ["encode", "--data", tiny_population, "--split", "test", "--face-encoder", networks[1]]
    words += ["--voice-encoder", f"table:{tmp_path / 'rows.csv'}", "--out", tmp_path / "new" / "set"]
    assert run(*words) == 1
    assert "rows.csv has 3 rows" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_evaluate_says_which_figures_are_contaminated(tiny_population, tmp_path, capsys):
    corpus = open_corpus(tiny_population, "test")
    infos = [
        EncoderInfo("mine", modality, 4, trained_on=(), identities=tuple(corpus.names[:2]))
        for modality in ("voice", "face")
    ]
    rng = np.random.default_rng(0)
    for items, info, name in ((corpus.voices, infos[0], "v"), (corpus.faces, infos[1], "f")):
        vectors = rng.normal(size=(len(items), 4)).astype(np.float32)
        table = EmbeddingTable(items, vectors, "f", encoder=format_encoders([info]))
        table.save(tmp_path / f"{name}.npz")
    out = tmp_path / "results.json"
    words = ("--voices", tmp_path / "v.npz", "--faces", tmp_path / "f.npz", "--data", tiny_population)
    assert run("evaluate", *words, "--bootstrap-samples", 0, "--out", out) == 0
    found = json.loads(out.read_text())["encoder_overlap"]
    assert len(found) == 2 and all("2 of the" in sentence for sentence in found)
    assert found[0] in capsys.readouterr().err


def test_the_list_of_encoders_says_what_is_missing(capsys):
    assert run("encoders") == 0
    shown = capsys.readouterr().out
    for words in ("real", "not installed", "`voiceface models get real` fetches it", "onnx:FILE"):
        assert words in shown
    names = {each.name for each in list_encoders()}
    assert {"real", "cmpc2", "seeking_shape", "archetype_agnostic", "onnx:FILE", "table:FILE"} <= names


@pytest.mark.parametrize("fetched", [True, False])
def test_systems_on_networks_that_were_not_fetched_say_so(monkeypatch, fetched):
    def require():
        if not fetched:
            raise FileNotFoundError("`voiceface models get real` fetches it")

    spec = SimpleNamespace(
        name="voiceface",
        bundled_checkpoint="__init__.py",
        requirements="there",
        resolve=lambda field: require,
    )
    monkeypatch.setattr(system_encoders, "find_association_systems", lambda: {"stub": "stub:SPEC"})
    monkeypatch.setattr(system_encoders, "resolve_name", lambda place: spec)
    found = [each for each in list_encoders() if each.name == "stub"]
    assert [each.installed for each in found] == [fetched] * 2
    assert {each.hint for each in found} == {"" if fetched else "`voiceface models get real` fetches it"}


def test_names_that_are_none_say_what_is_expected():
    for name, found in (
        ("reel", "did you mean 'real'?"),
        ("ecapa", "expected real, onnx:FILE, the name of an association system"),
        ("onnx:", "names no file, expected onnx:FILE"),
        ("table", "names no file, expected table:FILE"),
        ("table:/none.npz", "/none.npz does not exist"),
    ):
        with pytest.raises(EncoderError) as caught:
            load_encoder(name, "voice")
        assert found in str(caught.value)
    with pytest.raises(EncoderError, match="modality is 'sound'"):
        load_encoder("real", "sound")


@pytest.fixture
def stub_system(monkeypatch):
    """An association system named `stub`, whose embeddings are the names of folders."""
    model = FolderNameEmbedder({"ann": 0, "bo": 1}, names=["ann"])
    model.embedding_dim, model.window_seconds = model.dimension, 3.0
    data = SimpleNamespace(corrupt_audio="error", resample=True, sample_scale="int16")
    face = SimpleNamespace(image_size=64)
    model.config = SimpleNamespace(data=data, model=SimpleNamespace(face=face))
    monkeypatch.setattr(system_encoders, "find_association_systems", lambda: {"stub": "stub:SPEC"})
    monkeypatch.setattr(system_encoders, "_load_embedder", lambda name, weights, device: model)
    return model


def test_a_branch_of_a_system_is_an_encoder(stub_system, tmp_path):
    voice, face = (load_encoder("stub:run", each) for each in ("voice", "face"))
    assert voice.dimension == face.dimension == stub_system.dimension
    assert voice.info.identities == ("ann",) and voice.info.disclaimer == stub_system.disclaimer
    assert voice.info.name == "stub:run" and voice.batch_size == 16 and voice.window_seconds == 3
    (tmp_path / "bo").mkdir()
    write_wav(tmp_path / "bo" / "1.wav", np.int16(speech_like(1.0)))
    rows = torch.from_numpy(voice.load_file(tmp_path / "bo" / "1.wav")[None])
    assert int(voice.encode_batch(rows)[0].argmax()) == 1


def test_help_needs_no_torch():
    code = "import sys; from voiceface.__main__ import main\n"
    code += "try: main(sys.argv[1:])\nfinally: print('torch' in sys.modules)"
    for words in (["encode", "--help"], ["encoders", "--help"]):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
        assert done.stdout.endswith("False\n") and done.returncode == 0
