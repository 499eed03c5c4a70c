"""Damaged, truncated, empty and foreign files of networks in the user's cache."""

import errno
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from sound_files import speech_like
from voiceface.audio.loading import write_wav
from voiceface.checkpoints.native import load_model, save_model
from voiceface.checkpoints.published import CheckpointError
from voiceface.commandline.dispatch import run_main
from voiceface.faces import own_pictures as faces
from voiceface.real import onnx_graphs
from voiceface.real.backends import load_network
from voiceface.real.catalogue import MODELS
from voiceface.real.installation import HOME_VARIABLE, InstalledModel, install_models, write_model_folder
from voiceface.real.networks import build_network
from voiceface.real.onnx_graphs import is_graph_intact
from voiceface.testing.corrupt_files import write_bit_flipped, write_truncated

BACKENDS = ("torch", "onnxruntime")
OTHER = {"face_detector": "face_mesh", "face_mesh": "face_detector"}
OTHER |= {"face_encoder": "voice_encoder", "voice_encoder": "face_encoder"}
INPUTS = {"face_detector": (3, 256, 256), "face_mesh": (3, 192, 192)}
INPUTS |= {"face_encoder": (3, 150, 150), "voice_encoder": (160, 40)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Folder of the networks, with random weights."""
    models = tmp_path_factory.mktemp("whole") / "models"
    for number, (name, model) in enumerate(MODELS.items()):
        torch.manual_seed(number)
        (models / name).mkdir(parents=True)
        write_model_folder(model, dict(build_network(name).state_dict()), models / name)
    return models


@pytest.fixture
def installed(whole, tmp_path, monkeypatch):
    """Cache of the test, with all networks."""
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    shutil.copytree(whole, tmp_path / "home" / "models")
    return {
        name: InstalledModel(model, tmp_path / "home" / "models" / name) for name, model in MODELS.items()
    }


def write_others_values(path, name, whole):
    """A model file of this network with the values of another one."""
    state = load_model(whole / OTHER[name] / path.name).state
    save_model(path, state, system="real", kind=name, config={})


DAMAGES = {
    "truncated": lambda path, name, whole: write_truncated(path, path),
    "one bit changed": lambda path, name, whole: write_bit_flipped(path, path),
    "longer": lambda path, name, whole: path.write_bytes(path.read_bytes() + b"more"),
    "empty": lambda path, name, whole: path.write_bytes(b""),
    "zeros": lambda path, name, whole: path.write_bytes(bytes(path.stat().st_size)),
    "text": lambda path, name, whole: path.write_text("notes of a meeting\n" * 9),
    "web page": lambda path, name, whole: path.write_text("<!doctype html><html><body>404</body></html>"),
    "PyTorch file": lambda path, name, whole: torch.save({"weight": torch.ones(2)}, path),
    "another network's file": lambda path, name, whole: shutil.copy(whole / OTHER[name] / path.name, path),
}
VALUE_DAMAGES = {**DAMAGES, "another network's values": write_others_values}


@pytest.mark.parametrize("damage", VALUE_DAMAGES)
def test_damaged_values_are_named_with_the_command_that_fetches_them(installed, whole, damage):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    for name, model in installed.items():
        VALUE_DAMAGES[damage](model.weights, name, whole)
        for backend in BACKENDS:
            with pytest.raises(CheckpointError) as caught:
                load_network(name, backend)
            said = str(caught.value)
            assert said.startswith(str(model.weights)), said
            assert said.endswith("; `voiceface models get real` fetches it again"), said
            assert "\n" not in said and said.count("again") == 1, said


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_graph_is_written_anew_from_intact_values(installed, whole, damage, caplog):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    for name, model in installed.items():
        before = model.graph.read_bytes()
        DAMAGES[damage](model.graph, name, whole)
        assert not is_graph_intact(model.graph, load_model(model.weights).sha256)
        caplog.clear()
        network = load_network(name, "onnxruntime")
        assert model.graph.read_bytes() == before
        assert [record.message.startswith(str(model.graph)) for record in caplog.records] == [True]
        if damage == "one bit changed":
            x = np.random.default_rng(0).uniform(0, 1, (1, *INPUTS[name])).astype(np.float32)
            for ours, theirs in zip(network(x), load_network(name)(x)):
                np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * max(1, abs(theirs).max()))
        caplog.clear()
        load_network(name, "onnxruntime")
        assert not caplog.records


def test_a_graph_that_cannot_be_written_anew_is_named(installed, monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")

    def refuse(path, data):
        raise OSError(errno.EROFS, "Read-only file system")

    graph = installed["voice_encoder"].graph
    graph.write_bytes(b"")
    monkeypatch.setattr(onnx_graphs, "write_bytes", refuse)
    expected = rf"{re.escape(str(graph))} is missing or damaged.*Read-only.*`voiceface models get real`"
    with pytest.raises(OSError, match=expected):
        load_network("voice_encoder", "onnxruntime")


def test_models_get_writes_a_damaged_graph_without_fetching(installed, tmp_path):
    pytest.importorskip("onnx")
    graphs = [model.graph for model in installed.values()]
    before, said = [graph.read_bytes() for graph in graphs], []
    graphs[0].write_bytes(b"damaged")
    graphs[1].unlink()
    install_models(list(MODELS.values()), tmp_path / "no wheels here", said.append)
    assert [graph.read_bytes() for graph in graphs] == before
    assert [line.endswith("its ONNX graph is written") for line in said] == [True, True, False, False]


@pytest.mark.parametrize("name", ["face_mesh", "face_encoder", "voice_encoder"])
def test_commands_state_the_damaged_file_once(installed, tmp_path, capsys, name):
    (tmp_path / "files").mkdir()
    for number in range(3):
        Image.new("RGB", (64, 64), (90 * number, 60, 50)).save(tmp_path / "files" / f"{number}.png")
        write_wav(tmp_path / "files" / f"{number}.wav", np.int16(speech_like(2)))
    write_bit_flipped(installed[name].weights, installed[name].weights)
    faces._load_installed_finder.cache_clear()
    try:
        if name == "face_mesh":
            words = ["faces", tmp_path / "files", "--out", tmp_path / "out"]
        else:
            kind = f"--{name.split('_')[0]}s"
            words = ["encode", kind, tmp_path / "files", "--encoder", "real", "--out", tmp_path / "out.npz"]
        assert run_main(f"voiceface.commands.{words[0]}", list(map(str, words[1:]))) == 1
    finally:
        faces._load_installed_finder.cache_clear()
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert said.count("`voiceface models get real`") == said.count(str(installed[name].weights)) == 1
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == []
