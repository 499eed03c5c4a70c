"""Folders whose files are in shards, and single archives: their files are named as if they were unpacked.

`voiceface pack` writes a folder of shards with `shards.json` beside them. Of ``DATA/wav/p1/1.wav`` in such a
folder there is no file, but every reader of the project that opens it gets the file of this name in a shard;
so does ``x.tar/wav/p1/1.wav`` for one archive. Readers find the folder by themselves, in every process.
"""

import io
import os
import tempfile
from collections.abc import Collection
from importlib import import_module
from typing import Any, NamedTuple

from voiceface.io.file_kinds import printable
from voiceface.io.shard_folders import (
    GENERATED_FORMAT,
    PACKING_SUFFIXES,
    RECORD_FILE,
    PackedFolder,
    VirtualFolder,
    read_record,
)
from voiceface.io.shards import SHARD_SUFFIX

__all__ = [
    "GENERATED_SCHEME",
    "PACKING_SUFFIXES",
    "RECORD_FILE",
    "file_exists",
    "find_packed_file",
    "folder_exists",
    "list_packed_files",
    "open_packed_file",
    "packed_folder",
    "read_packed_file",
    "read_packed_head",
    "stamp_of",
]

GENERATED_SCHEME = "population:"
"""Begin of names that stand for folders whose files are generated when they are opened."""
_GENERATOR = "voiceface.synthetic.generated_folder"  # above this floor: imported when it is needed
_opened: dict[str, tuple[tuple[int, int], "VirtualFolder"]] = {}
_recent = [""]  # the folder that was found last, with a separator at its end


class PackedFile(NamedTuple):
    """A file of a packed folder, by its name in it."""

    folder: VirtualFolder
    name: str


def packed_folder(place: str | os.PathLike[str]) -> VirtualFolder | None:
    """The packed folder, archive or population at a place; None: it is neither."""
    text = os.path.abspath(os.fspath(place))  # noqa: PTH100 - text is faster, and paths are many
    name = text.rpartition(os.sep)[2]
    if name.startswith(GENERATED_SCHEME):
        if name not in _opened:
            _opened[name] = ((0, 0), import_module(_GENERATOR).open_population(name))
        return _opened[name][1]
    marker = text if text.endswith(SHARD_SUFFIX) else f"{text}/{RECORD_FILE}"
    try:
        state = os.stat(marker)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    stamp = (state.st_size, state.st_mtime_ns)
    known = _opened.get(text)
    if known is None or known[0] != stamp:
        if marker == text and not os.path.isfile(text):  # noqa: PTH113
            return None
        _opened[text] = known = (stamp, _open_folder(text, marker))
    return known[1]


def _open_folder(place: str, marker: str) -> VirtualFolder:
    """Open a folder or archive."""
    if marker == place:
        return PackedFolder(place)
    record = read_record(place)
    if record["format"] == GENERATED_FORMAT:
        folder: VirtualFolder = import_module(_GENERATOR).open_record(record)
        return folder
    return PackedFolder(place, record)


def find_packed_file(path: str | os.PathLike[str]) -> PackedFile | None:
    """Find the packed folder above a path that does not exist, whether or not it has this file."""
    text = os.path.abspath(os.fspath(path))  # noqa: PTH100
    recent = _recent[0]  # other threads may change it
    if recent and text.startswith(recent) and (folder := packed_folder(recent[:-1])):
        name = text[len(recent) :].replace(os.sep, "/")
        if folder.has(name):
            return PackedFile(folder, name)
    place = text
    while (parent := os.path.dirname(place)) != place:  # noqa: PTH120
        place = parent
        if folder := packed_folder(place):
            _recent[0] = place + os.sep
            return PackedFile(folder, text[len(place) + 1 :].replace(os.sep, "/"))
    return None


def read_packed_file(path: str | os.PathLike[str]) -> bytes | None:
    """Content of a file of a packed folder; None: there is no such file.

    Raises:
        ShardError: it is damaged.
    """
    found = find_packed_file(path)
    return found.folder.read(found.name) if found is not None and found.folder.has(found.name) else None


def open_packed_file(path: str | os.PathLike[str]) -> io.BufferedReader | None:
    """Open a file of a packed folder as a file of the system without a name; None: there is no such file.

    Raises:
        ShardError: it is damaged.
    """
    data = read_packed_file(path)
    if data is None:
        return None
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("packed")
        with os.fdopen(os.dup(handle), "wb", buffering=0) as file:
            while data:
                data = data[file.write(data) :]
        os.lseek(handle, 0, os.SEEK_SET)
        return os.fdopen(handle, "rb")
    temporary: Any = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    temporary.write(data)
    temporary.seek(0)
    return getattr(temporary, "file", temporary)


def read_packed_head(path: str | os.PathLike[str], count: int) -> bytes | None:
    """First bytes of a packed file, of a generated one those that its ending stands for; None: no such file.

    Raises:
        ShardError: it is damaged.
    """
    found = find_packed_file(path)
    if found is None or not found.folder.has(found.name):
        return None
    if found.folder.is_generated and found.name.endswith((".wav", ".jpg")):
        return b"RIFF\0\0\0\0WAVE" if found.name.endswith(".wav") else b"\xff\xd8\xff"
    return found.folder.read(found.name)[:count]


def file_exists(path: str | os.PathLike[str]) -> bool:
    """Whether there is a file, in a folder or packed."""
    if os.path.isfile(path):  # noqa: PTH113
        return True
    found = find_packed_file(path)
    return found is not None and found.folder.has(found.name)


def folder_exists(path: str | os.PathLike[str]) -> bool:
    """Whether there is a folder, or files are packed below this name."""
    if os.path.isdir(path):  # noqa: PTH112
        return True
    return bool(list_packed_files(path))


def list_packed_files(path: str | os.PathLike[str], suffixes: Collection[str] = ("",)) -> list[str] | None:
    """Names of the packed files below a path, relative to it, sorted; None: nothing is packed there.

    Args:
        path: a packed folder, an archive, or a name of a folder in one.
        suffixes: endings of the names, case-sensitive. Descriptions of samples (.json) are left out unless
            their ending is asked for.
    """
    whole = packed_folder(path)
    found = PackedFile(whole, "") if whole else find_packed_file(path)
    names = found.folder.below(found.name) if found else ()
    if found is None or not names:
        return None
    endings, start = tuple(suffixes), len(found.name) + bool(found.name)
    hidden = () if ".json" in endings else (".json",)
    return [name[start:] for name in names if name.endswith(endings) and not name.endswith(hidden)]


def stamp_of(path: str | os.PathLike[str]) -> tuple[int, str]:
    """Bytes of a file, and what changes when its content does: time of its last change, or its checksum.

    Raises:
        FileNotFoundError: no such file.
    """
    try:
        state = os.stat(path)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        found = find_packed_file(path)
        if found is None or not found.folder.has(found.name):
            raise FileNotFoundError(f"no file at {printable(path)}") from None
        return found.folder.stamp(found.name)
    return state.st_size, str(state.st_mtime_ns)
