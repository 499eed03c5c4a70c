"""Checkpoints: whole or refused, exact, and published files read without running their code."""

import collections
import errno
import os
import pickle
import random
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from voiceface.checkpoints import native
from voiceface.checkpoints.export_compact import export_compact
from voiceface.checkpoints.native import fingerprint, load_into, load_model, save_model
from voiceface.checkpoints.published import (
    CheckpointError,
    apply_key_table,
    extract_state_dict,
    read_published,
)
from voiceface.checkpoints.resume_state import load_state, save_state
from voiceface.io import atomic

DEMO = {"system": "demo", "kind": "model", "config": {"lr": 0.1, "text": 'a "quoted" ü'}}


@pytest.fixture
def state():
    generator = torch.Generator().manual_seed(3)
    shared = torch.randn(2, 3, generator=generator)
    return {
        "b.weight": torch.randn(3, 2, generator=generator).t(),  # not contiguous
        "a.weight": shared,
        "tied": shared,
        "count": torch.tensor(7),
        "mask": torch.tensor([True, False]),
        "double": torch.randn(2, dtype=torch.float64, generator=generator),
        "empty": torch.zeros(0, 4),
    }


@pytest.fixture
def model_file(tmp_path, state):
    path = tmp_path / "model.safetensors"
    save_model(path, state, **DEMO, extra={"classes": ["x", "y"]})
    return path


def test_model_returns_exactly(model_file, state):
    loaded = load_model(model_file, system="demo", kind="model")
    assert loaded.state.keys() == state.keys()
    assert all(torch.equal(loaded.state[key], state[key]) for key in state)
    assert all(loaded.state[key].dtype == state[key].dtype for key in state)
    assert loaded.config == DEMO["config"] and loaded.extra == {"classes": ["x", "y"]}
    assert len(loaded.sha256) == 64


def test_same_input_gives_same_bytes(model_file, state):
    again = model_file.with_name("again.safetensors")
    save_model(again, state, **DEMO, extra={"classes": ["x", "y"]})
    assert again.read_bytes() == model_file.read_bytes()


def test_every_flipped_byte_is_noticed(model_file):
    data = model_file.read_bytes()
    for place in range(len(data)):
        for change in (0x01, 0x20):
            flipped = bytearray(data)
            flipped[place] ^= change
            model_file.write_bytes(flipped)
            with pytest.raises(CheckpointError, match=r"model\.safetensors"):
                load_model(model_file)


def test_every_truncation_is_noticed(model_file):
    data = model_file.read_bytes()
    for length in range(len(data)):
        model_file.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match="again"):
            load_model(model_file)
    model_file.write_bytes(data + b"\0")
    with pytest.raises(CheckpointError, match="longer than it should be"):
        load_model(model_file)


def test_another_system_kind_content_or_file_is_refused(model_file, tmp_path):
    with pytest.raises(CheckpointError, match="another system: found 'demo', expected 'sf2f'"):
        load_model(model_file, system="sf2f")
    with pytest.raises(
        CheckpointError, match="another kind: found 'model', expected 'generator'; give one of"
    ):
        load_model(model_file, kind="generator")
    with pytest.raises(CheckpointError, match="holds a model, expected a state"):
        load_state(model_file)
    with pytest.raises(FileNotFoundError, match=r"missing\.safetensors does not exist"):
        load_model(tmp_path / "missing.safetensors")
    torch.save({}, tmp_path / "torch.safetensors")
    with pytest.raises(CheckpointError, match="PyTorch file"):
        load_model(tmp_path / "torch.safetensors")


def test_half_precision_is_smaller_and_read_as_single(tmp_path):
    weights = {"w": torch.linspace(-2, 2, 4096), "n": torch.tensor(3)}
    save_model(tmp_path / "full.safetensors", weights, **DEMO)
    save_model(tmp_path / "half.safetensors", weights, **DEMO, dtype=torch.float16)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    loaded = load_model(tmp_path / "half.safetensors").state
    assert loaded["w"].dtype == torch.float32 and loaded["n"].dtype == torch.int64
    assert torch.equal(loaded["w"], weights["w"].half().float())
    with pytest.raises(CheckpointError, match="w has values too large"):
        save_model(tmp_path / "x.safetensors", {"w": torch.tensor([1e6])}, **DEMO, dtype=torch.float16)


def test_full_disk_leaves_the_old_file(model_file, state, monkeypatch):
    before = model_file.read_bytes()

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match=r"could not write .*model\.safetensors: No space left"):
        save_model(model_file, {"other": torch.ones(3)}, **DEMO)
    assert model_file.read_bytes() == before
    assert [item.name for item in model_file.parent.iterdir()] == ["model.safetensors"]


def test_what_cannot_be_stored_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="w: found list"):
        save_model(tmp_path / "a.safetensors", {"w": [1]}, **DEMO)
    with pytest.raises(CheckpointError, match=r"end in \.safetensors, found '\.pth'"):
        save_model(tmp_path / "a.pth", {}, **DEMO)
    with pytest.raises(CheckpointError, match="resume state /a/1: a set"):
        save_state(tmp_path / "a.safetensors", {"a": [1, {2}]})


def test_fingerprint_follows_content_only(model_file, state):
    assert fingerprint(state) == fingerprint(dict(reversed(state.items()))) == fingerprint(model_file)
    changed = {**state, "count": torch.tensor(8)}
    renamed = {("c" if key == "count" else key): value for key, value in state.items()}
    reshaped = {**state, "mask": state["mask"][None]}
    assert len({fingerprint(x) for x in (state, changed, renamed, reshaped)}) == 4


def same(a, b):
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or a != a)


def test_resume_state_returns_exactly(tmp_path):
    net = nn.Linear(3, 2)
    optimiser = torch.optim.Adam(net.parameters(), betas=(0.5, 0.9))
    net(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    tree = {
        "optimiser": optimiser.state_dict(),
        "python": random.Random(3).getstate(),
        "numpy": np.random.default_rng(3).bit_generator.state,
        "legacy": np.random.RandomState(3).get_state(),
        "torch": torch.Generator().manual_seed(5).get_state(),
        "big": 2**100,
        "floats": [0.1, float("inf"), float("nan"), -0.0],
        "none": None,
        "bytes": b"\0\xff",
        "arrays": [np.zeros((0, 3)), np.arange(6, dtype=">i2").reshape(2, 3), np.array(3.5)],
        "marker": {"tensor": "text", 3: (), "": {}},
        "half": torch.ones(2, dtype=torch.bfloat16),
    }
    save_state(tmp_path / "state.safetensors", tree)
    assert same(load_state(tmp_path / "state.safetensors"), tree)
    net2 = nn.Linear(3, 2)
    torch.optim.Adam(net2.parameters()).load_state_dict(
        load_state(tmp_path / "state.safetensors")["optimiser"]
    )


def test_a_resume_state_without_tensors(tmp_path):
    save_state(tmp_path / "state.safetensors", {"step": 3, "names": ("a", "b")})
    assert load_state(tmp_path / "state.safetensors") == {"step": 3, "names": ("a", "b")}


def test_flipped_bytes_in_a_resume_state_are_noticed(tmp_path):
    path = tmp_path / "state.safetensors"
    save_state(path, {"w": torch.arange(5.0), "step": 3, "lr": 0.25})
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x01]) + data[place + 1 :])
        with pytest.raises(CheckpointError):
            load_state(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_published_files_of_both_forms(tmp_path, zipped):
    path = tmp_path / "model.pth.tar"
    shared = torch.arange(6.0)
    weights = collections.OrderedDict([("module.a.weight", shared[:3]), ("module.b", shared.view(2, 3))])
    content = {
        "state_dict": weights,
        "start_it": 2400,
        "best": np.float64(0.5),
        "history": np.arange(3),
        "losses": collections.defaultdict(list, {"ce": [1.0]}),
        "optimizer": {
            "match": {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.01}]}
        },
    }
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    read = read_published(path)
    assert list(read["state_dict"]) == ["a.weight", "b"]
    assert torch.equal(read["state_dict"]["b"], shared.view(2, 3))
    assert read["start_it"] == 2400 and read["best"] == 0.5 and read["losses"] == {"ce": [1.0]}
    assert np.array_equal(read["history"], np.arange(3))
    assert torch.equal(read["optimizer"]["match"]["state"][0]["momentum_buffer"], torch.ones(2))
    assert list(extract_state_dict(read)) == ["a.weight", "b"]
    assert list(extract_state_dict(read["state_dict"])) == ["a.weight", "b"]
    with pytest.raises(CheckpointError, match="no state dict; its keys: start_it"):
        extract_state_dict({"start_it": 3})
    for part in (0.1, 0.5, 0.9):
        cut = tmp_path / "cut.pth"
        cut.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
        with pytest.raises(CheckpointError, match=r"cut\.pth is corrupt"):
            read_published(cut)


def test_prefix_stays_when_not_every_key_has_it(tmp_path):
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "a.pth")
    assert list(read_published(tmp_path / "a.pth")) == ["module.a", "b"]


class Evil:
    """Makes a file as soon as it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


class EvilSystem(Evil):
    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


class EvilEval(Evil):
    def __reduce__(self):
        return eval, (f"open({str(self.target)!r}, 'w')",)


@pytest.mark.parametrize("kind", [Evil, EvilSystem, EvilEval])
@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_malicious_file_is_refused_without_running_it(tmp_path, kind, form):
    trap, path = tmp_path / "trap", tmp_path / "evil.pth"
    content = {"state_dict": {"w": torch.ones(2)}, "bad": kind(trap)}
    if form == "pickle":
        path.write_bytes(pickle.dumps({"bad": kind(trap)}))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(CheckpointError, match=r"evil\.pth is"):
        read_published(path)
    assert not trap.exists()
    pickle.loads(pickle.dumps(kind(trap)))  # the trap does work
    assert trap.exists()


def test_whole_module_and_foreign_files_are_refused(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pth")
    with pytest.raises(CheckpointError, match=r"requests torch\.nn\.modules\.linear\.Linear.*state dict"):
        read_published(tmp_path / "whole.pth")
    torch.save(torch.ones(2), tmp_path / "tensor.pth")
    with pytest.raises(CheckpointError, match="holds a Tensor, expected a dict"):
        read_published(tmp_path / "tensor.pth")
    for content in (b"", b"hello", b"PK\x03\x04", struct.pack("<Q", 3) * 9, b"\x80\x02."):
        (tmp_path / "odd.pth").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"odd\.pth"):
            read_published(tmp_path / "odd.pth")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_published(tmp_path / "missing.pth")


def test_key_table_runs_from_top_to_bottom():
    table = [
        (r"^__S__\.", ""),
        (r"^__L__", None),
        (r"torchfb", None),
        (r"^layer(\d)", r"stage\1"),
        ("^", "V."),
    ]
    state = {"__S__.layer1.w": 1, "__L__.w": 2, "__S__.torchfb.window": 3, "fc": 4}
    assert apply_key_table(state, table) == {"V.stage1.w": 1, "V.fc": 4}
    with pytest.raises(CheckpointError, match=r"gives a and b the same name x"):
        apply_key_table({"a": 1, "b": 2}, [("^[ab]$", "x")])


def test_load_into_summarises():
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    before = {key: value.clone() for key, value in module.state_dict().items()}
    other = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).state_dict()
    bad = {**other, "0.weight": torch.ones(3, 5), "extra": torch.ones(1), "noises.0": torch.ones(1)}
    del bad["1.num_batches_tracked"]
    with pytest.raises(
        CheckpointError, match=r"file\.pth do not fit Sequential.*1 missing \(1.num.*1 unexpected"
    ):
        load_into(module, bad, ignore=["noises.*"], source="file.pth")
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    report = load_into(module, bad, strict=False, ignore=["noises.*"])
    assert report.missing == ["1.num_batches_tracked"] and report.unexpected == ["extra"]
    assert report.mismatched == ["0.weight: file (3, 5), module (3, 2)"]
    assert report.loaded == [key for key in other if key not in ("0.weight", "1.num_batches_tracked")]
    assert str(report).startswith("5 keys loaded; 1 missing")
    assert torch.equal(module[0].bias, other["0.bias"])
    assert not load_into(module, other).missing
    with pytest.raises(CheckpointError, match="no key of"):
        load_into(module, {"zzz": torch.ones(1)}, strict=False)


def test_public_names_are_there():
    assert all(hasattr(native, name) for name in native.__all__)


def test_compact_export_halves_the_values_and_omits_computed_keys(tmp_path):
    weights = {"net.w": torch.randn(40, 30), "mel.window": torch.rand(8), "mel.bank": torch.rand(8)}
    run, out = tmp_path / "run", tmp_path / "compact.safetensors"
    save_model(run / "model.safetensors", weights, **DEMO, extra={"classes": ["x", "y"]})
    assert export_compact(run, out, system="demo", computed_keys=["mel.w*", "*.bank"]) == out
    found = load_model(out)
    assert list(found.state) == ["net.w"]
    assert torch.equal(found.state["net.w"], weights["net.w"].half().float())
    assert {"system": found.system, "kind": found.kind, "config": found.config} == DEMO
    assert found.extra == {"classes": ["x", "y"]}
    with pytest.raises(CheckpointError, match="another system"):
        export_compact(run, out, system="other")


def test_a_truncated_safetensors_file_is_no_published_file(tmp_path):
    path = tmp_path / "half.safetensors"
    save_model(path, {"w": torch.ones(4, 4)}, **DEMO)
    path.write_bytes(path.read_bytes()[:-32])
    with pytest.raises(
        CheckpointError, match=r"half\.safetensors is corrupt, truncated or not a PyTorch file"
    ):
        read_published(path)
