"""Units of files: here, at addresses, or in tar shards at addresses; they are brought where the work is done.

Files in packed folders of this machine are read where they are, like all others.
"""

import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from voiceface.engines.units import describe_error
from voiceface.io.file_kinds import printable
from voiceface.io.locations import is_url, join_location, location_exists, open_file_system
from voiceface.io.packed_folders import stamp_of
from voiceface.io.shard_index import INDEX_SUFFIX
from voiceface.io.shards import SHARD_SUFFIX, Shard, ShardError, open_shard

__all__ = ["FileItem", "FileUnit", "LocalFiles", "TarUnit", "brought_here", "cut_units"]

Modality = Literal["voice", "face"]
DOWNLOADS = 8  # at once, of a unit
_ABSENT = "is not there on {}: every machine that works needs the file under this path"


@dataclass(frozen=True)
class FileItem:
    """One file.

    Attributes:
        name: in the table.
        given: as messages name it.
        source: absolute path or address.
        state: of its content: size and time, or a checksum.
    """

    name: str
    given: str
    source: str
    state: str


@dataclass(frozen=True)
class FileUnit:
    """Some files of one modality.

    Attributes:
        modality: "voice" or "face".
        items: at least one.
    """

    modality: Modality
    items: tuple[FileItem, ...]

    @property
    def key(self) -> str:
        """Names and states of the files."""
        return "\n".join([self.modality, *(f"{item.state} {item.name}" for item in self.items)])

    def split(self) -> list["FileUnit"]:
        """Two halves; nothing if there is one file."""
        half = len(self.items) // 2
        parts = (self.items[:half], self.items[half:])
        return [replace(self, items=items) for items in parts] if half else []

    def list_items(self) -> list[FileItem]:
        """The files."""
        return list(self.items)


@dataclass(frozen=True)
class TarUnit:
    """Files of one modality in a tar archive at an address.

    Attributes:
        modality: "voice" or "face".
        archive: the archive; its name is that of the folder of its files.
        suffixes: endings of the files.
        start: of the files with these endings, the first.
        stop: the one behind the last; None: the end.
    """

    modality: Modality
    archive: FileItem
    suffixes: tuple[str, ...]
    start: int = 0
    stop: int | None = None

    @property
    def key(self) -> str:
        """Name and state of the archive, and which of its files."""
        archive = f"{self.archive.state} {self.archive.name} {PurePosixPath(self.archive.source).name}"
        return f"{self.modality} {archive} {self.start} {self.stop}"

    def rows(self, shard: Shard) -> list[int]:
        """Numbers of the files in the archive."""
        names = shard.index.names
        found = [row for row, name in enumerate(names) if name.lower().endswith(self.suffixes)]
        return found[self.start : self.stop]

    def split(self) -> list["TarUnit"]:
        """Two halves; nothing if there is one file, or the archive cannot be opened."""
        try:
            with open_shard(self.archive.source) as shard:
                stop = self.start + len(self.rows(shard))
        except (ValueError, OSError):
            return []
        half = (self.start + stop) // 2
        if half == self.start:
            return []
        return [replace(self, stop=half), replace(self, start=half, stop=stop)]

    def list_items(self) -> list[FileItem]:
        """The archive in place of its files: what is known of them without opening it."""
        return [self.archive]


@dataclass(frozen=True)
class LocalFiles:
    """Files of a unit on this machine.

    Attributes:
        paths: of the files that can be read, with their items.
        failed: item -> reason.
    """

    paths: dict[Path, FileItem]
    failed: dict[str, str]


def cut_units(modality: Modality, items: Sequence[FileItem], size: int) -> list[FileUnit]:
    """Cut files into units of `size`, the last one smaller."""
    return [FileUnit(modality, tuple(items[start : start + size])) for start in range(0, len(items), size)]


@contextmanager
def brought_here(unit: FileUnit | TarUnit) -> Iterator[LocalFiles]:
    """Bring the files of a unit to this machine; copies are removed afterwards.

    Raises:
        ShardError, FileNotFoundError: an archive that cannot be opened.
    """
    with tempfile.TemporaryDirectory(prefix="voiceface-") as folder:
        if isinstance(unit, TarUnit):
            yield _unpack(unit, Path(folder))
            return
        remote = [item for item in unit.items if is_url(item.source)]
        absent = [item for item in unit.items if not is_url(item.source) and _is_absent(item.source)]
        copies = {
            item: Path(folder) / str(number) / PurePosixPath(item.source.partition("?")[0]).name
            for number, item in enumerate(remote)
        }
        with ThreadPoolExecutor(DOWNLOADS) as pool:
            reasons = dict(zip(remote, pool.map(_download, remote, copies.values())))
        host = socket.gethostname()
        reasons |= {item: f"{printable(item.given)}: {_ABSENT.format(host)}" for item in absent}
        paths = {copies.get(item, Path(item.source)): item for item in unit.items if not reasons.get(item)}
        yield LocalFiles(paths, {item.name: reason for item, reason in reasons.items() if reason})


def _is_absent(path: str) -> bool:
    """Whether this machine has no such file, in a packed folder or outside."""
    try:
        stamp_of(path)
    except FileNotFoundError:
        return True
    except (OSError, ValueError):  # for whoever reads it
        return False
    return False


def _download(item: FileItem, target: Path) -> str:
    """Copy a file; return the reason why not, "" on success."""
    target.parent.mkdir()
    try:
        _fetch(item.source, target)
    except Exception as error:  # of any library below fsspec
        return f"{printable(item.given)}: cannot be fetched ({describe_error(error)})"
    return ""


def _fetch(url: str, target: Path) -> None:
    file_system, path = open_file_system(url)
    file_system.get_file(path, str(target))


def _unpack(unit: TarUnit, folder: Path) -> LocalFiles:
    """Fetch an archive in one piece, and write its files below a folder."""
    archive = unit.archive
    paths: dict[Path, FileItem] = {}
    failed: dict[str, str] = {}
    copy = folder / f"archive{SHARD_SUFFIX}"
    _fetch(archive.source, copy)
    if location_exists(archive.source + INDEX_SUFFIX):
        _fetch(archive.source + INDEX_SUFFIX, Path(f"{copy}{INDEX_SUFFIX}"))
    with open_shard(copy) as shard:
        for row in unit.rows(shard):
            member = shard.index.name(row)
            name, given = join_location(archive.name, member), join_location(archive.given, member)
            try:
                data = shard.read_row(row)
            except ShardError as error:
                failed[name] = str(error).replace(str(copy), archive.given)
                continue
            path = folder / str(row) / PurePosixPath(member).name
            path.parent.mkdir()
            path.write_bytes(data)
            paths[path] = FileItem(name, given, os.fspath(path), "")
    return LocalFiles(paths, failed)
