"""Folders whose files are in shards, and single archives: their files are named as if they were unpacked.

`voiceface pack` writes a folder of shards with `shards.json` beside them. Of ``DATA/wav/p1/1.wav`` in such a
folder there is no file, but every reader of the project that opens it gets the file of this name in a shard;
so does ``x.tar/wav/p1/1.wav`` for one archive. Readers find the folder by themselves, in every process.
"""

import io
import json
import os
import tempfile
from bisect import bisect_left
from collections.abc import Collection, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from voiceface.io.file_kinds import printable
from voiceface.io.locations import fetch_file, join_location
from voiceface.io.regular_files import open_system_file
from voiceface.io.shard_index import INDEX_SUFFIX, ShardIndex
from voiceface.io.shards import SHARD_SUFFIX, Shard, ShardError, load_index

__all__ = [
    "GENERATED_FORMAT",
    "GENERATED_SCHEME",
    "PACKING_SUFFIXES",
    "RECORD_FILE",
    "RECORD_FORMAT",
    "PackedFolder",
    "VirtualFolder",
    "check_record",
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

RECORD_FILE = "shards.json"
RECORD_FORMAT = "voiceface-shards-1"
GENERATED_FORMAT = "voiceface-generated-1"
GENERATED_SCHEME = "population:"
"""Begin of names that stand for folders whose files are generated when they are opened."""
_GENERATOR = "voiceface.synthetic.generated_folder"  # above this floor: imported when it is needed
PACKING_SUFFIXES = (SHARD_SUFFIX, f"{SHARD_SUFFIX}{INDEX_SUFFIX}", RECORD_FILE)
"""Endings of the files that `voiceface pack` makes."""
MAX_OPEN_SHARDS = 64
MAX_RECORD_BYTES = 2**28
_opened: dict[str, tuple[tuple[int, int], "VirtualFolder"]] = {}
_recent = [""]  # the folder that was found last, with a separator at its end


class VirtualFolder(Protocol):
    """Files that are no files of the system.

    Attributes:
        is_generated: a file is known by its name, and opening it is expensive.
        shard_names: archives of the folder, in order.
    """

    is_generated: bool
    shard_names: tuple[str, ...]

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""

    def below(self, folder: str) -> Sequence[str]:
        """Names of the files below a folder, "" for all, sorted."""

    def read(self, name: str) -> bytes:
        """Content of a file."""

    def stamp(self, name: str) -> tuple[int, str]:
        """Bytes of a file, 0 if that is not known, and what changes with its content."""


class PackedFile(NamedTuple):
    """A file of a packed folder, by its name in it."""

    folder: VirtualFolder
    name: str


class PackedFolder:
    """Files of all shards of a folder, or of one archive.

    Args:
        place: the folder, or the archive.
        record: content of `shards.json` of a folder; None: an archive.

    Attributes:
        shard_names: of the folder, in order.

    Raises:
        ShardError: record, index or archive are damaged.
    """

    is_generated = False

    def __init__(self, place: str, record: dict[str, Any] | None = None) -> None:
        self._location = ""
        if record is None:
            self.shard_names: tuple[str, ...] = ("",)
            self._sources = [place]
        else:
            self._location = record.get("location") or ""
            self.shard_names = tuple(each["name"] for each in record["shards"])
            self._sources = [str(Path(place) / name) for name in self.shard_names]
        self._shards: dict[int, Shard] = {}
        self._indices: dict[int, ShardIndex] = {}

    def shard(self, number: int) -> Shard:
        """A shard, opened when it is needed; the ones that were opened last stay open."""
        found = self._shards.get(number)
        if found is None:
            found = self._open(number)
            while len(self._shards) >= MAX_OPEN_SHARDS:  # threads that read one keep it open
                self._shards.pop(next(iter(self._shards)), None)
            self._shards[number] = found
        return found

    def _open(self, number: int) -> Shard:
        """Open a shard; one that is elsewhere is fetched where there is room for it, else read from there."""
        source, index = self._sources[number], self._indices.get(number)
        if not self._location or os.path.exists(source):  # noqa: PTH110
            return Shard(source, index)
        url = join_location(self._location, self.shard_names[number])
        return Shard(source if fetch_file(url, source) else url, self.index(number))

    def index(self, number: int) -> ShardIndex:
        """Index of a shard."""
        if number not in self._indices:
            is_single = self.shard_names == ("",)
            source = self._sources[number]
            self._indices[number] = self.shard(number).index if is_single else load_index(source)
        return self._indices[number]

    @cached_property
    def rows(self) -> dict[str, tuple[int, int]]:
        """Name -> number of the shard, number of the file in it.

        Raises:
            ShardError: two shards have one name.
        """
        found: dict[str, tuple[int, int]] = {}
        for number in range(len(self._sources)):
            names = self.index(number).names
            count = len(found) + len(names)
            found |= {name: (number, row) for row, name in enumerate(names)}
            if len(found) != count:
                raise ShardError(f"{printable(self._sources[number])} has files of another shard; pack again")
        return found

    @cached_property
    def names(self) -> list[str]:
        """Names of all files, sorted."""
        return sorted(self.rows)

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return name in self.rows

    def read(self, name: str) -> bytes:
        """Read a file.

        Raises:
            KeyError: no such file.
            ShardError: it is damaged.
        """
        number, row = self.rows[name]
        return self.shard(number).read_row(row)

    def stamp(self, name: str) -> tuple[int, str]:
        """Bytes of a file, and what changes with its content."""
        number, row = self.rows[name]
        index = self.index(number)
        checksum = index.checksums[row] if index.checksums is not None else index.offsets[row]
        return index.lengths[row], f"{checksum:08x}"

    def below(self, folder: str) -> Sequence[str]:
        """Names of the files below a folder, "" for all, sorted."""
        if not folder:
            return self.names
        first = bisect_left(self.names, f"{folder}/")
        return self.names[first : bisect_left(self.names, f"{folder}0")]  # "0" follows "/"


def read_record(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read and check `shards.json`.

    Raises:
        ShardError: damaged, or of another version.
        FileNotFoundError: there is none.
    """
    path = Path(folder) / RECORD_FILE
    with open_system_file(path, ShardError, "the record of a packed folder") as file:
        try:
            record = json.loads(file.read(MAX_RECORD_BYTES))
        except (ValueError, RecursionError) as error:
            raise ShardError(f"{printable(path)} is corrupt or truncated ({error}); pack again") from error
    check_record(record, printable(path))
    return record


def check_record(record: Any, path: str) -> None:
    """Check the content of `shards.json`.

    Raises:
        ShardError: of another kind or version, or names that are refused; begins with `path`.
    """
    if not isinstance(record, dict):
        raise ShardError(f"{path} is no record of a packed folder; pack again")
    shards = record.get("shards")
    if record.get("format") == GENERATED_FORMAT:
        return
    if record.get("format") != RECORD_FORMAT or not isinstance(shards, list):
        found = record.get("format")
        raise ShardError(f"{path} has the format {found!r}, expected {RECORD_FORMAT!r}; pack again")
    for each in shards:
        name = each.get("name") if isinstance(each, dict) else None
        if not isinstance(name, str) or not name.endswith(SHARD_SUFFIX) or "/" in name or "\\" in name:
            raise ShardError(f"{path} names the shard {name!r}, expected NAME.tar; pack again")


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
    if found.folder.is_generated:
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
