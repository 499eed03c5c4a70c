"""What the fuzz session knows of a reader, and the comparison of what readers return."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Reader", "digest", "write_seed"]


class Reader(NamedTuple):
    """A reader.

    Attributes:
        file: name of its file.
        write: writes a file.
        read: reads it.
        errors: documented errors.
        verified: whether its files have checksums, so that no other content may be accepted.
    """

    file: str
    write: Callable[[Path], Any]
    read: Callable[[Path], Any]
    errors: tuple[type[Exception], ...]
    verified: bool = False


def digest(value: Any) -> str:
    """Hash of nested content."""
    state = hashlib.sha256()
    _feed(value, state)
    return state.hexdigest()


def _feed(value: Any, state: Any) -> None:
    if hasattr(value, "numpy") and hasattr(value, "untyped_storage"):
        value = value.detach().contiguous().float().numpy() if value.is_floating_point() else value.numpy()
    if isinstance(value, np.ndarray):
        state.update(f"{value.dtype}{value.shape}".encode())
        state.update(repr(value.tolist()).encode() if value.dtype.hasobject else value.tobytes())
    elif isinstance(value, Mapping):
        for key, item in sorted(value.items(), key=lambda pair: repr(pair[0])):
            state.update(repr(key).encode())
            _feed(item, state)
    elif isinstance(value, list | tuple):
        state.update(f"{len(value)}".encode())
        for item in value:
            _feed(item, state)
    elif hasattr(value, "__dict__"):
        _feed({key: item for key, item in vars(value).items() if key not in ("source", "sha256")}, state)
    else:
        state.update(repr(value).encode())


def write_seed(reader: Reader, folder: Path) -> bytes:
    """Bytes of the reader's file."""
    path = folder / reader.file
    reader.write(path)
    return path.read_bytes()
