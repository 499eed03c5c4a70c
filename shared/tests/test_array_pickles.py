"""Safe unpickling: agreement with numpy and pickle, and refusal of files that request anything else."""

import os
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from voiceface.io.safe_pickle import ArrayFileError, read_npy, read_pickle

KINDS = st.sampled_from(["f4", "f8", ">f4", ">i4", "i1", "i8", "u1", "u2", "?", "f2"]).map(np.dtype)


def pickled(folder: Path, value: Any, protocol: int = 4) -> Path:
    path = folder / "a.pkl"
    path.write_bytes(value if isinstance(value, bytes) else pickle.dumps(value, protocol=protocol))
    return path


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    array=KINDS.flatmap(
        lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0))
    ),
    protocol=st.integers(0, 5),
    fortran=st.booleans(),
)
def test_arrays_come_back_from_every_protocol(
    tmp_path: Path, array: np.ndarray, protocol: int, fortran: bool
) -> None:
    array = np.asfortranarray(array) if fortran else array
    value = {"w": array, "list": [array, 3, "text", None, 2.5, array.dtype.type(1)], "same": array}
    back = read_pickle(pickled(tmp_path, value, protocol))
    for found in (back["w"], back["list"][0], back["same"]):
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype.newbyteorder("=")
        assert found.flags.writeable
    assert back["list"][1:5] == [3, "text", None, 2.5]
    assert back["list"][5] == 1


def test_python_2_wrote_bytes_as_text(tmp_path: Path) -> None:
    content = np.arange(3, dtype="<f4").tobytes()
    data = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    data += b"(K\x01K\x03\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R"
    data += b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    data += b"\x89U" + bytes([len(content)]) + content + b"tb."
    assert read_pickle(pickled(tmp_path, data)).tolist() == [0, 1, 2]


class Runs:
    """Pickles as a call."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.parts = call, arguments

    def __reduce__(self) -> Any:
        return self.parts


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "attack",
    [
        Runs(os.system, "touch RAN"),
        Runs(eval, "open('RAN', 'w')"),
        Runs(exec, "open('RAN', 'w')"),
        Runs(os.remove, "a.pkl"),
        Runs(np.load, "a.pkl"),
        Runs(np.save, "RAN", 1),
        Runs(getattr, "name", "upper"),
        Runs(np.memmap, "RAN", "u1", "w+", 0, 4),
        Runs(open, "RAN", "w"),
        {"w_shp": np.zeros(3), "more": [Runs(os.mkdir, "RAN")]},
        np.array([Runs(os.mkdir, "RAN")], object),
        {Runs(os.mkdir, "RAN"): 1},
    ],
)
def test_nothing_of_a_pickle_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attack: Any, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    path = pickled(tmp_path, attack, protocol)
    with pytest.raises(ArrayFileError, match=r"could run code|refused") as caught:
        read_pickle(path)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "RAN").exists()


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
TAMPERING = {
    "change of a function": b"\x80\x04" + RECONSTRUCT + b"N}(X\x04\x00\x00\x00callNu\x86b.",
    "new place of a function": b"\x80\x04" + RECONSTRUCT + b"}X\x08\x00\x00\x00__code__Nsb.",
    "instance by name": b"(ios\nsystem\n.",
    "object by class": b"(cos\nsystem\nX\x02\x00\x00\x00lso.",
    "persistent": b"P1\n.",
    "extension": b"\x80\x04\x82\x01.",
    "huge memo": b"]r\xff\xff\xff\x7f.",
    "huge bytes": b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\x00\x00.",
    "huge text": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\x00\x00.",
    "array without state": b"\x80\x04" + RECONSTRUCT + b"NNN\x87R.",
    "itself": b"\x80\x04]q\x00h\x00a.",
    "no stop": b"\x80\x04]",
    "empty": b"",
    "text": b"hello\n",
    "codec": b"\x80\x02c_codecs\nencode\nX\x02\x00\x00\x00hiX\x03\x00\x00\x00zip\x86R.",
    "the type itself": b"\x80\x04cnumpy\ndtype\n.",
}


@pytest.mark.parametrize("name", TAMPERING)
def test_crafted_pickles_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArrayFileError, match="a\\.pkl"):
        read_pickle(pickled(tmp_path, TAMPERING[name]))
    array = np.arange(4.0)
    assert read_pickle(pickled(tmp_path, array)).tolist() == array.tolist()  # and nothing stayed changed


@pytest.mark.parametrize(
    "array",
    [np.array(["a"]), np.array([b"a"]), np.zeros(2, "f4,i4"), np.zeros(2, "M8[s]"), np.zeros(2, complex)],
    ids=["text", "bytes", "record", "time", "complex"],
)
def test_only_plain_numbers(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(ArrayFileError, match="expected numbers"):
        read_pickle(pickled(tmp_path, array))


def test_wrong_sizes_are_refused(tmp_path: Path) -> None:
    data = pickle.dumps(np.arange(6.0), protocol=2)
    assert b"K\x06\x85" in data
    with pytest.raises(ArrayFileError):
        read_pickle(pickled(tmp_path, data.replace(b"K\x06\x85", b"K\x07\x85")))


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    data = pickle.dumps({"mean": np.arange(3.0), "std": np.ones(3)})
    for length in range(len(data)):
        with pytest.raises(ArrayFileError):
            read_pickle(pickled(tmp_path, data[:length]))


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_bytes_give_arrays_or_a_clear_error(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(
        pickle.dumps({"mean": np.arange(3.0), "more": [1, "a"]}, data.draw(st.integers(0, 5)))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_pickle(pickled(tmp_path, bytes(content)))
    except ArrayFileError as error:
        assert "a.pkl" in str(error)


def test_deep_nesting_ends(tmp_path: Path) -> None:
    value: Any = 1
    for _ in range(200):
        value = [value, value]  # 2^200 places if every one were walked
    with pytest.raises(ArrayFileError, match="deeply"):
        read_pickle(pickled(tmp_path, value))
    shallow: Any = 1
    for _ in range(12):
        shallow = [shallow, shallow]
    back = read_pickle(pickled(tmp_path, shallow))
    assert back[0] is back[1]


def test_npy_of_arrays_and_of_objects(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.arange(5))
    assert read_npy(path).tolist() == [0, 1, 2, 3, 4]
    both = np.empty(2, object)
    both[:] = [np.arange(3.0), np.arange(2.0)]
    np.save(path, both, allow_pickle=True)
    assert [part.tolist() for part in read_npy(path)] == [[0, 1, 2], [0, 1]]
    evil = np.empty(1, object)
    evil[0] = Runs(os.mkdir, str(tmp_path / "RAN"))
    np.save(path, evil, allow_pickle=True)
    with pytest.raises(ArrayFileError, match="could run code"):
        read_npy(path)
    assert not (tmp_path / "RAN").exists()
    path.write_bytes(b"no array")
    with pytest.raises(ArrayFileError, match=r"no \.npy"):
        read_npy(path)
    np.save(path, np.arange(500))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ArrayFileError, match="truncated"):
        read_npy(path)


def test_absent_files(tmp_path: Path) -> None:
    for read in (read_pickle, read_npy):
        with pytest.raises(FileNotFoundError, match="does not exist"):
            read(tmp_path / "none")
        with pytest.raises(FileNotFoundError, match="folder"):
            read(tmp_path)


def test_the_attacks_are_real() -> None:
    """The tampered pickles are sound to Python's own parser: they are refused, not merely broken."""
    for name in ("change of a function", "instance by name", "itself", "codec"):
        list(pickletools.genops(TAMPERING[name]))
