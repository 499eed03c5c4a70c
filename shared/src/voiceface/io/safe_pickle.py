"""Read arrays from third-party pickles, .npy and .npz files without calling anything that they name.

Published face models and feature files are pickles, and Python's own reader runs any code that a pickle
requests; `voiceface.io.pickle_machine` builds plain values only. Arrays are built from their bytes after
their sizes have been compared with the size of the file.
"""

import io
import math
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from voiceface.io.file_kinds import printable
from voiceface.io.foreign_files import find_file_kind, reading
from voiceface.io.pickle_constructors import EMPTY_DICTS, PYTHON_CONSTRUCTORS, RECORDS, numpy_constructors
from voiceface.io.pickle_machine import PickleMachine
from voiceface.io.pickle_plain import PickleRefusedError
from voiceface.io.zip_members import ZipMembers

__all__ = ["ArrayFileError", "read_npy", "read_npz", "read_pickle"]

_CONSTRUCTORS = {**PYTHON_CONSTRUCTORS, **numpy_constructors()}


class ArrayFileError(ValueError):
    """A pickle, .npy or .npz file is corrupt or requests more than arrays; the message names the file."""


def read_pickle(path: str | Path) -> Any:
    """Read a pickle of dicts, lists, tuples, numbers, text and numpy arrays of plain numbers.

    Paths and dates become text, a deque a list, every kind of dict a dict.

    Args:
        path: written by Python 2 or later, any protocol.

    Returns:
        The pickled value; arrays are new and writeable.

    Raises:
        FileNotFoundError: no such file.
        ArrayFileError: corrupt, or it requests anything else; no code of the file has run.
    """
    with reading(path, ArrayFileError, "a pickle of plain arrays") as file:
        return _load_pickle(file, _size_of(file), path)


def read_npy(path: str | Path) -> Any:
    """Read a .npy file: an array, or for an array of objects the list of its elements.

    Raises:
        FileNotFoundError, ArrayFileError: as `read_pickle`.
    """
    with reading(path, ArrayFileError, "a .npy file", own_kinds=("npy",)) as file:
        return _read_array(file, _size_of(file), path, allow_objects=True)


def read_npz(path: str | Path, *, names: tuple[str, ...] | None = None) -> dict[str, NDArray[Any]]:
    """Read the arrays of a .npz file, none of which may be pickled; the archive's checksums are verified.

    Args:
        path: the file.
        names: arrays to read; None for all. The checksums of all are verified.

    Raises:
        FileNotFoundError: no such file.
        ArrayFileError: corrupt, truncated, no .npz file, or it holds pickles.
    """
    with reading(path, ArrayFileError, "a .npz file", own_kinds=("zip",)) as file:
        members = ZipMembers(file)
        found: dict[str, NDArray[Any]] = {}
        for member in members.names:
            data, name = members.read(member), member.removesuffix(".npy")
            if member == name:
                raise ValueError(f"its member {member!r} is no array")
            if names is None or name in names:
                found[name] = _read_array(io.BytesIO(data), len(data), path, allow_objects=False)
        return found


def _read_array(file: BinaryIO, size: int, path: str | Path, *, allow_objects: bool) -> Any:
    """Read one array in numpy's format."""
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise ValueError(f"version {version}")
        read_header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, kind = read_header(file)
    except Exception as error:
        raise ValueError(f"no .npy file: {str(error)[:100]}") from error
    rest = size - file.tell()
    if kind.hasobject:
        if not allow_objects:
            raise ValueError("it holds pickled objects")
        return _load_pickle(file, size, path)
    expected = math.prod(shape) * kind.itemsize
    if expected != rest or any(length < 0 for length in shape):
        raise ValueError(
            f"truncated or damaged: its header promises {expected:,} bytes of {kind}, {rest:,} follow"
        )
    data = bytearray(rest)
    if file.readinto(data) != rest:  # type: ignore[attr-defined]
        raise ValueError("truncated")
    if not math.prod(shape):
        return np.zeros(shape, kind)
    return np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C")


def _load_pickle(file: BinaryIO, size: int, path: str | Path) -> Any:
    """Read a pickle of plain arrays."""
    machine = PickleMachine(file, size, _CONSTRUCTORS, empty_dicts=EMPTY_DICTS, records=RECORDS)
    try:
        return machine.finish(machine.run())
    except PickleRefusedError as error:
        kind = find_file_kind(path)
        found = f" It is {kind.title}." if kind is not None and kind.key != "npy" else ""
        raise ArrayFileError(
            f"{printable(path)} is refused: {printable(error)[:200]}.{found} Expected a pickle of plain "
            "numpy arrays; if its source is trusted, load it there and save the arrays again"
        ) from None


def _size_of(file: BinaryIO) -> int:
    """Bytes of an open file."""
    return os.fstat(file.fileno()).st_size
