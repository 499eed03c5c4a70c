"""Files of torch.save as other programs write them: containers, protocols, wrappers, checksums, bombs."""

import argparse
import collections
import datetime
import decimal
import fractions
import io
import os
import pathlib
import pickle
import struct
import tarfile
import time
import tracemalloc
import types
import uuid
import zipfile

import easydict
import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from voiceface.checkpoints.published import (
    CheckpointError,
    read_published,
    read_published_content,
    strip_wrapper_prefixes,
)
from voiceface.io.safe_pickle import ArrayFileError, read_npy, read_npz, read_pickle

WEIGHTS = {"a": torch.arange(6.0).view(2, 3), "b": torch.arange(3)}


class Settings(dict):
    """A dict class that no other program knows."""


class Steps(list):
    """A list class that no other program knows."""


def assert_weights(found):
    assert list(found) == list(WEIGHTS)
    assert all(torch.equal(found[key], value) for key, value in WEIGHTS.items())


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", range(2, 6))
def test_containers_become_plain_values(tmp_path, zipped, protocol):
    path, config = tmp_path / "a.pth", easydict.EasyDict(lr=0.1, inner={"depth": 2}, empty={})
    cases = {
        "easydict": (config, {"lr": 0.1, "inner": {"depth": 2}, "empty": {}}),
        "own dict": (Settings(x=Settings(y=1)), {"x": {"y": 1}}),
        "own list": (Steps([1, 2]), [1, 2]),
        "deque": (collections.deque([1, 2], maxlen=5), [1, 2]),
        "defaultdict": (collections.defaultdict(list, {"k": [1]}), {"k": [1]}),
        "counter": (collections.Counter("aab"), {"a": 2, "b": 1}),
        "ordered": (collections.OrderedDict(x=1), {"x": 1}),
        "path": (pathlib.PurePosixPath("runs/one"), "runs/one"),
        "windows": (pathlib.PureWindowsPath("c:/runs"), "c:\\runs"),
        "date": (datetime.datetime(2026, 11, 29, 8, 30), "2026-11-29T08:30:00"),
        "day": (datetime.date(2026, 11, 29), "2026-11-29"),
        "duration": (datetime.timedelta(minutes=2), 120.0),
        "namespace": (argparse.Namespace(lr=1, tags=["x"]), {"lr": 1, "tags": ["x"]}),
        "simple": (types.SimpleNamespace(lr=1), {"lr": 1}),
        "set": ({1, "x"}, {1, "x"}),
        "frozen": (frozenset([1]), frozenset([1])),
        "bytes": (b"\x00\xff", b"\x00\xff"),
        "bytearray": (bytearray(b"\x00\xff"), bytearray(b"\x00\xff")),
        "complex": (1 + 2j, 1 + 2j),
        "huge": (10**30, 10**30),
        "scalar": (np.float32(0.5), np.float32(0.5)),
        "flag": (np.bool_(True), np.bool_(True)),
        "size": (torch.Size([2, 3]), (2, 3)),
        "dtype": (torch.bfloat16, torch.bfloat16),
        "device": (torch.device("cuda:1"), "cuda:1"),
        "text": ("Zoë", "Zoë"),
        "none": (None, None),
        "range": (range(1, 9, 2), (1, 9, 2)),
        "slice": (slice(None, 3), (None, 3, None)),
        "decimal": (decimal.Decimal("1.50"), "1.50"),
        "fraction": (fractions.Fraction(1, 3), "1/3"),
        "uuid": (uuid.UUID(int=7), {"int": 7}),
        "numpy dtype": (np.dtype("float16"), "float16"),
    }
    content = {"state_dict": WEIGHTS, **{name: value for name, (value, _) in cases.items()}}
    torch.save(content, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    found = read_published(path)
    assert_weights(found["state_dict"])
    for name, (_, expected) in cases.items():
        assert found[name] == expected and type(found[name]) is type(expected), name


@pytest.mark.parametrize("zipped", [True, False])
def test_protocol_0_and_files_without_tensors_are_named(tmp_path, zipped):
    path = tmp_path / "a.pth"
    torch.save(WEIGHTS, path, _use_new_zipfile_serialization=zipped, pickle_protocol=0)
    with pytest.raises(CheckpointError, match=r"a\.pth.*protocol 0, which PyTorch cannot read"):
        read_published(path)
    path.write_bytes(safetensors.torch.save({}))
    with pytest.raises(CheckpointError, match=r"a\.pth.*holds no tensors"):
        read_published(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_of_every_kind_come_back(tmp_path, zipped):
    path, base = tmp_path / "a.pth", torch.randn(4, 6)
    kinds = (
        "float16",
        "bfloat16",
        "float64",
        "int8",
        "uint8",
        "int16",
        "int32",
        "int64",
        "bool",
        "complex64",
    )
    content = {name: (base * 3).to(getattr(torch, name)) for name in kinds}
    content |= {
        "t": base.t(),
        "part": base[1:3, ::2],
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(2.0),
    }
    content |= {"parameter": nn.Parameter(base), "wide": torch.ones(1).expand(3, 4), "array": base.numpy()}
    if zipped:
        content |= {"float8": base.to(torch.float8_e4m3fn), "uint16": base.abs().to(torch.uint16)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    found = read_published(path)
    for name, value in content.items():
        if name == "array":
            assert np.array_equal(found[name], value)
            continue
        assert found[name].dtype == value.dtype and found[name].stride() == value.stride()
        assert found[name].shape == value.shape, name
        assert torch.equal(found[name].to(torch.complex64), value.detach().to(torch.complex64)), name
    assert found["t"].untyped_storage().data_ptr() == found["part"].untyped_storage().data_ptr()


def test_agreement_with_pytorchs_own_reader(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.GRU(4, 5))
    optimiser = torch.optim.Adam(module.parameters())
    module[0](torch.ones(1, 3, 5, 5)).sum().backward()
    optimiser.step()
    for zipped in (True, False):
        path = tmp_path / f"{zipped}.pth"
        torch.save(
            {"model": module.state_dict(), "optimizer": optimiser.state_dict()},
            path,
            _use_new_zipfile_serialization=zipped,
        )
        expected, found = torch.load(path, weights_only=True), read_published(path)
        assert list(found["model"]) == list(expected["model"])
        assert all(torch.equal(found["model"][key], value) for key, value in expected["model"].items())
        for number, state in expected["optimizer"]["state"].items():
            assert all(torch.equal(found["optimizer"]["state"][number][k], v) for k, v in state.items())
        assert found["optimizer"]["param_groups"] == expected["optimizer"]["param_groups"]


def test_a_big_endian_file(tmp_path):
    path, other = tmp_path / "little.pth", tmp_path / "big.pth"
    torch.save(WEIGHTS, path)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(other, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("/byteorder"):
                data = b"big"
            elif name.endswith("/data/0"):
                data = np.frombuffer(data, "<f4").astype(">f4").tobytes()
            elif name.endswith("/data/1"):
                data = np.frombuffer(data, "<i8").astype(">i8").tobytes()
            target.writestr(name, data)
    assert_weights(read_published(other))


@pytest.mark.parametrize(
    "names, expected",
    [
        (["module.a", "module.b"], ["a", "b"]),
        (["_orig_mod.a", "_orig_mod.b"], ["a", "b"]),
        (["module._orig_mod.a", "module._orig_mod.b"], ["a", "b"]),
        (["_orig_mod.module.a", "_orig_mod.module.b"], ["a", "b"]),
        (["module.module.a", "module.module.b"], ["a", "b"]),
        (["net.module.a", "net.module.b", "head.c"], ["net.a", "net.b", "head.c"]),
        (["net._orig_mod.a", "head.b"], ["net.a", "head.b"]),
        (["module.a", "b"], ["module.a", "b"]),
        (["modules.a", "modules.b"], ["modules.a", "modules.b"]),
        (["module", "a"], ["module", "a"]),
        (["_orig_mod.a", "a"], ["_orig_mod.a", "a"]),
    ],
)
def test_wrapper_names_are_removed(names, expected):
    weights = {name: torch.ones(2) for name in names}
    assert list(strip_wrapper_prefixes(weights)) == expected
    assert list(strip_wrapper_prefixes({"epoch": 3, **weights, "best": 0.5})) == ["epoch", *expected, "best"]
    nested = strip_wrapper_prefixes({"epoch": 3, "models": [{"net": weights}]})
    assert list(nested["models"][0]["net"]) == expected and nested["epoch"] == 3


def test_an_averaged_model(tmp_path):
    net = nn.Linear(2, 2)
    averaged = torch.optim.swa_utils.AveragedModel(net)
    torch.save(averaged.state_dict(), tmp_path / "a.pth")
    assert list(read_published(tmp_path / "a.pth")) == ["weight", "bias"]
    torch.save({"epoch": 1, "_orig_mod.weight": net.weight, "_orig_mod.bias": net.bias}, tmp_path / "b.pth")
    assert list(read_published(tmp_path / "b.pth")) == ["epoch", "weight", "bias"]


def test_checksums_are_verified_where_a_file_states_them(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"w": torch.randn(300)}, path)
    assert read_published_content(path).has_checksums
    data, damaged = path.read_bytes(), tmp_path / "damaged.pth"
    with zipfile.ZipFile(path) as archive:
        content = b"".join(archive.read(name) for name in archive.namelist() if name.endswith("/data/0"))
    start = data.index(content)
    for place in range(start, start + len(content), 13):
        damaged.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(CheckpointError, match="checksum of its member 'a/data/0' is wrong"):
            read_published(damaged)
    torch.save({"w": torch.randn(30)}, path, _use_new_zipfile_serialization=False)
    assert not read_published_content(path).has_checksums
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.randn(30)}, path)
    finally:
        torch.serialization.set_crc32_options(before)
    assert not read_published_content(path).has_checksums


def write_tar(path):
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("model.pth"), io.BytesIO())


def write_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.pth", b"x")


@pytest.mark.parametrize(
    "write, found",
    [
        (write_tar, "a tar archive.*unpack it"),
        (write_zip, r"zip archive of model\.pth.*unpack it"),
        (lambda path: torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path), "TorchScript program"),
        (lambda path: path.write_bytes(b""), "an empty file"),
        (lambda path: path.write_bytes(b"<!DOCTYPE html><html>"), "a web page"),
        (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "Git LFS"),
        (lambda path: path.write_bytes(pickle.dumps({"w": 1})), "a pickle, but no file of torch.save"),
        (lambda path: np.savez(path.open("wb"), w=np.ones(3)), r"zip archive of w\.npy"),
        (lambda path: os.mkfifo(path), "a named pipe"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_other_files_are_called_what_they_are(tmp_path, write, found):
    path = tmp_path / "model.pth.tar"
    write(path)
    with pytest.raises(CheckpointError, match=found) as raised:
        read_published(path)
    if "pickle" not in found:  # one remedy, and the right one
        assert str(raised.value).startswith(str(path)) and "corrupt" not in str(raised.value)


def torch_zip(path, pickled, storages=(), **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("a/data.pkl", pickled)
        archive.writestr("a/version", "3")
        for number, data in enumerate(storages):
            archive.writestr(f"a/data/{number}", data)
    return path


def doubling(first, step, times):
    return b"\x80\x02" + first + b"q\x00" + step * times + b"."


TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n(("
TENSOR += b"X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ"


def tensor(offset, size, stride):
    pickled = [pickle.dumps(value, 2)[2:-1] for value in (offset, size, stride)]
    return b"\x80\x02" + TENSOR + b"".join(pickled) + b"\x89}tR."


def persistent_dict(count):
    return b"\x80\x02]" + b"(" + b"K\x01" * count + b"e."


BOMBS = {
    "lists": doubling(b"]K\x01a", b"0](h\x00h\x00eq\x00", 60),
    "dicts": doubling(b"}", b"0}(X\x01\x00\x00\x00xh\x00X\x01\x00\x00\x00yh\x00uq\x00", 60),
    "tuples": doubling(b"K\x01\x85", b"0h\x00h\x00\x86q\x00", 60),
    "hashes": doubling(b"K\x01\x85", b"0h\x00h\x00\x86q\x00", 45)[:-1] + b"0}h\x00K\x01s.",
    "keys of a set": doubling(b"K\x01\x85", b"0h\x00h\x00\x86q\x00", 45)[:-1] + b"0(h\x00\x91.",
    "many containers": b"\x80\x02](" + b"]" * 4_000_000 + b"e.",
    "many sets": b"\x80\x04](" + b"\x8f" * 4_000_000 + b"e.",
    "copies": b"\x80\x02c_codecs\nencode\nq\x00X\x00\x00\x10\x00" + b"x" * 2**20 + b"\x85q\x01("
    + b"h\x00h\x01R" * 20_000 + b"t.",
    "colliding keys": b"\x80\x02}("
    + b"".join(b"\x8a\x10" + (n * (2**61 - 1)).to_bytes(16, "little") + b"N" for n in range(1, 60_000))
    + b"u.",
    "itself": b"\x80\x02]q\x00h\x00a.",
    "deep": b"\x80\x02" + b"]" * 300 + b"a" * 299 + b".",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("form", ["pickle", "zip", "legacy"])
def test_bombs_are_refused_within_a_second(tmp_path, name, form):
    path = tmp_path / "bomb"
    read, error = (read_pickle, ArrayFileError) if form == "pickle" else (read_published, CheckpointError)
    if form == "zip":
        torch_zip(path, BOMBS[name])
    elif form == "pickle":
        path.write_bytes(BOMBS[name])
    else:
        head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
        path.write_bytes(b"".join(pickle.dumps(each, 2) for each in head) + BOMBS[name] + pickle.dumps([], 2))
    begin = time.process_time()
    with pytest.raises(error, match="bomb"):
        read(path)
    assert time.process_time() - begin < 3  # about a second; the machine of the test may be slow
    if name in ("lists", "dicts", "tuples", "hashes"):
        tracemalloc.start()
        with pytest.raises(error):
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20e6


@pytest.mark.parametrize(
    "parts",
    [
        (0, (2,), (1,)),
        (1, (1,), (1,)),
        (-1, (1,), (1,)),
        (0, (-1,), (1,)),
        (0, (10**12,), (0,)),
        (0, (1, 1), (1,)),
        (0, (True,), (1,)),
        (0, (2**62, 2**62), (0, 0)),
        (0, ("x",), (1,)),
        (0, (1,) * 65, (1,) * 65),
    ],
)
def test_tensors_stay_inside_their_storage(tmp_path, parts):
    good = torch_zip(
        tmp_path / "good", b"\x80\x02}X\x01\x00\x00\x00w" + tensor(0, (1,), (1,))[2:-1] + b"s.", [bytes(4)]
    )
    assert read_published(good)["w"].shape == (1,)
    bad = torch_zip(tmp_path / "bad", tensor(*parts), [bytes(4)])
    with pytest.raises(CheckpointError, match="bad is corrupt"):
        read_published(bad)
    for size in (0, 3, 8):
        torch_zip(tmp_path / "bad", tensor(0, (1,), (1,)), [bytes(size)])
        with pytest.raises(CheckpointError, match="bad is corrupt"):
            read_published(tmp_path / "bad")


def test_archives_that_expand_are_refused(tmp_path):
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as member:
        for _ in range(80):
            member.write(bytes(2**20))
    assert path.stat().st_size < 2**18
    with pytest.raises(ArrayFileError, match="it expands to 83,886,080 bytes"):
        read_npz(path)
    with pytest.raises(CheckpointError, match="it expands to 83,886,080 bytes"):
        read_published(path)


@pytest.mark.parametrize("packed", [True, False])
def test_every_damage_of_an_npz_is_told(tmp_path, packed):
    arrays = {"w": np.arange(40.0).reshape(5, 8), "names": np.array(["a", "bc"]), "one": np.array(3)}
    path = tmp_path / "a.npz"
    (np.savez_compressed if packed else np.savez)(path, **arrays)
    found = read_npz(path)
    assert all(np.array_equal(found[name], value) for name, value in arrays.items())
    found["w"][0, 0] = 7  # writeable
    assert list(read_npz(path, names=("one",))) == ["one"]
    data = path.read_bytes()
    for length in range(0, len(data), 11):
        path.write_bytes(data[:length])
        with pytest.raises(ArrayFileError, match=r"a\.npz is"):
            read_npz(path)
    for place in range(0, len(data), 5):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
        try:
            found = read_npz(path)
        except ArrayFileError as error:
            assert "a.npz is" in str(error)
        else:
            assert all(np.array_equal(found[name], value) for name, value in arrays.items()), place


HEADERS = [
    "{'descr': '<f8', 'fortran_order': False, 'shape': (3",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (4,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (-3,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }",
    "{'descr': '<f9', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '<U99999999', 'fortran_order': False, 'shape': (3,), }",
    "((((" * 3000,
    "{'descr': ''', 'fortran_order': False, 'shape': (3,), }",
    "\x00" * 60,
]


@pytest.mark.parametrize("header", HEADERS)
def test_wrong_headers_of_npy(tmp_path, header):
    path, text = tmp_path / "a.npy", header.encode() + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + np.arange(3.0).tobytes())
    with pytest.raises(ArrayFileError, match=r"a\.npy is corrupt"):
        read_npy(path)
