"""`voiceface weights`: every form of weights file is told apart, and damage is named."""

import pickle
from collections import OrderedDict

import pytest
import torch
from voiceface.checkpoints.native import save_model
from voiceface.checkpoints.resume_state import save_state
from voiceface.commands.weights import inspect_checkpoint, main

CONFIG = {"model": {"face": {"side": 32, "widths": [4, 8]}}, "training": {"batch_size": 8}}


@pytest.fixture
def ours(tmp_path):
    path = tmp_path / "model.safetensors"
    state = {"F.cls.weight": torch.ones(3, 5), "steps": torch.tensor(7)}
    extra = {"names": ["a", "b", "c"], "step": 40, "disclaimer": "Trained on a synthetic population."}
    save_model(
        path, state, system="seeking_shape", kind="model", config=CONFIG, extra=extra, dtype=torch.float16
    )
    return path


def published(path, prefix="module."):
    keys = ["F.model.input_layer.0.weight", "V.model.conv1.weight", "F.cls.weight", "center.weight"]
    state = OrderedDict((prefix + key, torch.ones(2, 3)) for key in keys)
    torch.save({"start_it": 2400, "state_dict": state, "optimizer": {}}, path)
    return path


def test_our_model_file_is_described(ours, capsys):
    assert main([str(ours)]) == 0
    shown = capsys.readouterr().out
    assert main([str(ours.parent)]) == 0  # the run directory, as every --weights takes it
    assert capsys.readouterr().out == shown
    for words in [
        "seeking_shape model",
        "verified",
        "2 tensors (1 float16, 1 int64)",
        "16 values",
        "identities 3",
    ]:
        assert words in shown
    assert "step       40" in shown and "Trained on a synthetic population." in shown
    assert "face.side=32" in shown and "batch_size=8" in shown
    assert inspect_checkpoint(ours).tensors == {"F.cls.weight": ("float16", (3, 5)), "steps": ("int64", ())}


def test_every_name_and_shape_is_listed_on_demand(ours, capsys):
    assert main(["--keys", str(ours)]) == 0
    shown = capsys.readouterr().out
    assert "F.cls.weight  float16  [3, 5]" in shown and "steps         int64    []" in shown


def test_verify_says_in_a_line_each_which_files_are_whole(ours, tmp_path, capsys):
    broken = tmp_path / "broken.safetensors"
    data = bytearray(ours.read_bytes())
    data[-1] ^= 1
    broken.write_bytes(data)
    other = published(tmp_path / "best.pth.tar")
    assert main(["--verify", str(ours), str(broken), str(other)]) == 1
    shown = capsys.readouterr()
    assert (
        len(shown.out.splitlines()) == 2
        and "digest verified" in shown.out
        and "checksums of the archive verified" in shown.out
    )
    assert "broken.safetensors is corrupt" in shown.err
    assert main(["--verify", str(ours), str(other)]) == 0


@pytest.mark.parametrize("legacy", [False, True])
def test_published_file_is_told_by_its_keys(tmp_path, capsys, legacy):
    path = published(tmp_path / "best.pth.tar")
    if legacy:
        torch.save(torch.load(path, weights_only=True), path, _use_new_zipfile_serialization=False)
    assert main([str(path)]) == 0
    shown = capsys.readouterr().out
    for words in [
        "4 tensors",
        "seeking_shape, full model",
        "start_it, state_dict, optimizer",
        "F.model (1)",
    ]:
        assert words in shown
    assert "start_it   2400" in shown


def test_bare_state_dicts_are_told_by_their_keys(tmp_path, capsys):
    face = tmp_path / "backbone.pth"
    torch.save({"input_layer.0.weight": torch.ones(1), "body.0.res_layer.0.weight": torch.ones(1)}, face)
    unknown = tmp_path / "unknown.pth"
    torch.save({"odd.weight": torch.ones(1)}, unknown)
    assert main([str(face), str(unknown)]) == 0
    shown = capsys.readouterr().out
    assert "face.evoLVe" in shown and "read by    seeking_shape train" in shown
    assert "unknown: no system here reads it" in shown


def test_resume_state_and_foreign_safetensors(tmp_path, capsys):
    import safetensors.torch

    save_state(
        tmp_path / "state.safetensors", {"step": 9, "model": {"w": torch.ones(4)}, "seeds": [torch.ones(2)]}
    )
    safetensors.torch.save_file({"w": torch.ones(2, 2)}, tmp_path / "other.safetensors")
    assert main([str(tmp_path / "state.safetensors"), str(tmp_path / "other.safetensors")]) == 0
    shown = capsys.readouterr().out
    assert "resume state" in shown and "step       9" in shown and "without native header" in shown
    assert set(inspect_checkpoint(tmp_path / "state.safetensors").tensors) == {"model/w", "seeds/0"}


def test_values_that_are_not_finite_are_a_fault(tmp_path, capsys):
    path = tmp_path / "nan.pth"
    torch.save({"w": torch.tensor([1.0, float("nan")])}, path)
    assert main([str(path)]) == 1
    assert "not finite 1 tensors: w" in capsys.readouterr().out


class Attack:
    """Creates a file when unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("wrap", [pickle.dumps, None])
def test_malicious_file_is_refused_and_its_code_not_run(tmp_path, capsys, wrap):
    path, trace = tmp_path / "evil.pth", tmp_path / "trace"
    if wrap:
        path.write_bytes(wrap({"w": Attack(trace)}))
    else:
        torch.save({"w": Attack(trace)}, path)
    assert main([str(path)]) == 1
    assert "evil.pth" in capsys.readouterr().err
    assert not trace.exists()


@pytest.mark.parametrize("cut", [3, 60, -10])
def test_truncated_files_are_named(ours, tmp_path, capsys, cut):
    other = published(tmp_path / "best.pth.tar")
    for path in (ours, other):
        path.write_bytes(path.read_bytes()[:cut])
        assert main([str(path)]) == 1
        assert str(path) in capsys.readouterr().err


def test_absent_file_folder_and_text(tmp_path, capsys):
    text = tmp_path / "notes.txt"
    text.write_text("no weights")
    assert main([str(tmp_path / "none.pth"), str(tmp_path), str(text)]) == 1
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 3 and "does not exist" in shown[0] and "holds no model.safetensors" in shown[1]
    assert main([]) == 2


def test_files_without_checksums_cannot_be_verified_and_flipped_ones_are_refused(tmp_path, capsys):
    legacy, whole, flipped = (tmp_path / name for name in ("legacy.pth", "whole.pth", "flipped.pth"))
    torch.save({"w": torch.ones(50)}, legacy, _use_new_zipfile_serialization=False)
    assert main(["--verify", str(legacy)]) == 0
    assert "legacy.pth: readable" in (shown := capsys.readouterr().out) and "cannot be verified" in shown
    torch.save({"w": torch.full((50,), 3.5)}, whole)
    data = bytearray(whole.read_bytes())
    data[data.index(torch.full((50,), 3.5).numpy().tobytes()) + 99] ^= 1
    flipped.write_bytes(data)
    assert main(["--verify", str(whole), str(flipped)]) == 1
    shown = capsys.readouterr()
    assert "checksums of the archive verified" in shown.out and "flipped.pth" not in shown.out
    assert "flipped.pth is corrupt" in shown.err and "checksum" in shown.err


def test_a_native_header_that_cannot_be_read_is_an_error(tmp_path, capsys):
    text = '{"__metadata__":{"voiceface":"' + "[" * 100_000 + '"}}'
    path = tmp_path / "nest.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text.encode())
    assert main(["--verify", str(path)]) == 1
    assert "nest.safetensors is corrupt, or not a checkpoint of this project" in capsys.readouterr().err
