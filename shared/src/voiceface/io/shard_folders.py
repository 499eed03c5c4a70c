"""A folder of shards with its `shards.json`, or one archive, as the files in it."""

import json
import os
from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from voiceface.io.file_kinds import printable
from voiceface.io.locations import fetch_file, join_location
from voiceface.io.regular_files import open_system_file
from voiceface.io.shard_index import INDEX_SUFFIX, ShardIndex
from voiceface.io.shards import SHARD_SUFFIX, Shard, ShardError, load_index

__all__ = [
    "GENERATED_FORMAT",
    "MAX_RECORD_BYTES",
    "PACKING_SUFFIXES",
    "RECORD_FILE",
    "RECORD_FORMAT",
    "UNFINISHED_FILE",
    "PackedFolder",
    "VirtualFolder",
    "check_record",
    "read_record",
]

RECORD_FILE = "shards.json"
RECORD_FORMAT = "voiceface-shards-1"
UNFINISHED_FILE = "shards.unfinished.json"
"""Beside shards that are not all written."""
GENERATED_FORMAT = "voiceface-generated-1"
PACKING_SUFFIXES = (SHARD_SUFFIX, f"{SHARD_SUFFIX}{INDEX_SUFFIX}", RECORD_FILE)
"""Endings of the files that `voiceface pack` makes."""
MAX_OPEN_SHARDS = 64
MAX_RECORD_BYTES = 2**28


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
