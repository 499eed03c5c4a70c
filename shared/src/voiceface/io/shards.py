"""Reader of one shard: a tar archive of WebDataset's form (files with one key are a sample), local or remote.

    with open_shard("data/train-000000.tar") as shard:
        for key, files in shard.iterate():
            files["wav"], files["json"]  # bytes

With its index (`voiceface.io.shard_index`) any file is read at once and compared with its checksum; archives
of others, which have none, are read by their headers, without checksums.
"""

import io
import os
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from voiceface.io.file_kinds import printable
from voiceface.io.locations import (
    file_size,
    is_url,
    location_exists,
    open_file_system,
    read_location,
    read_range,
)
from voiceface.io.regular_files import first_line, open_system_file
from voiceface.io.shard_index import INDEX_SUFFIX, ShardIndex, split_key
from voiceface.io.tar_members import scan_members

__all__ = ["SHARD_SUFFIX", "Shard", "ShardError", "load_index", "open_shard"]

SHARD_SUFFIX = ".tar"
MAX_INDEX_BYTES = 2**31
_HAS_PREAD = hasattr(os, "pread")
STREAM_BYTES = 2**22  # read ahead from an address
_WHAT = "a shard (tar archive) with its index"
_REMEDY = "copy the shard and its index again, or pack the data again (voiceface pack)"


class ShardError(ValueError):
    """A shard that cannot be read."""


class Shard:
    """Samples of one archive, in its order; `open_shard` opens one.

    It may be used by several threads, and be pickled: it is opened again in the other process.

    Args:
        place: path or address of the archive.
        index: of its files; None: the index beside it, or, where there is none, the headers of the archive.

    Raises:
        FileNotFoundError: no such archive.
        ShardError: archive or index are damaged, or are not of each other.
    """

    def __init__(self, place: str | os.PathLike[str], index: ShardIndex | None = None) -> None:
        self.place = os.fspath(place)
        self._file: io.BufferedReader | None = None
        self._lock = threading.Lock()
        if is_url(self.place):
            self.index = self._open_remote(index)
        else:
            self.index = self._open_local(index)

    def __len__(self) -> int:
        """Number of samples."""
        return self.index.num_samples

    def __getitem__(self, number: int) -> tuple[str, dict[str, bytes]]:
        """Sample `number`; see `read`."""
        return self.read(range(len(self))[number])

    def __enter__(self) -> "Shard":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return Shard, (self.place,)

    @property
    def keys(self) -> list[str]:
        """Keys of the samples, in the order of the archive."""
        return self.index.keys

    def close(self) -> None:
        """Close the archive."""
        if self._file is not None:
            self._file.close()

    def iterate(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[str, dict[str, bytes]]]:
        """Yield the samples one after the other; remote archives are streamed.

        Args:
            start: number of the first sample: where a reader continues that was stopped.
            stop: number behind the last sample; None: the end.

        Yields:
            The key, and extension -> bytes; extensions begin behind the first dot of a file's name.

        Raises:
            ShardError: a damaged file; names archive, file and remedy.
        """
        numbers = range(len(self))[start:stop]
        if self._file is not None:
            self._advise(numbers)
            for number in numbers:
                yield self.read(number)
            return
        yield from self._stream(numbers)

    def read(self, number: int) -> tuple[str, dict[str, bytes]]:
        """Read one sample, by its number from 0; see `iterate`."""
        rows = range(self.index.starts[number], self.index.starts[number + 1])
        names = [split_key(self.index.name(row)) for row in rows]
        return names[0][0], {ending: self.read_row(row) for (_, ending), row in zip(names, rows)}

    def read_file(self, name: str) -> bytes:
        """Read one file by its name in the archive.

        Raises:
            KeyError: no such file.
            ShardError: it is damaged.
        """
        return self.read_row(self.index.rows[name])

    def read_row(self, row: int) -> bytes:
        """Read one file by its number from 0, and compare it with its checksum.

        Raises:
            ShardError: it is damaged.
        """
        index = self.index
        start, length = index.offsets[row], index.lengths[row]
        try:
            if self._file is None:
                data = read_range(self.place, start, start + length) if length else b""
            elif _HAS_PREAD:
                data = os.pread(self._file.fileno(), length, start)
            else:
                with self._lock:
                    self._file.seek(start)
                    data = self._file.read(length)
        except Exception as error:  # of the system, or of any library below fsspec
            raise self._error(row, f"cannot be read ({first_line(error)})") from error
        self._check(row, data)
        return data

    def verify(self) -> None:
        """Read every file and compare all checksums.

        Raises:
            ShardError: the first file that is damaged.
        """
        for _ in self.iterate():
            pass

    def _check(self, row: int, data: bytes) -> None:
        """Compare a file with its checksum."""
        checksums = self.index.checksums
        if len(data) != self.index.lengths[row] or (
            checksums is not None and zlib.crc32(data) != checksums[row]
        ):
            raise self._error(row, "is damaged: its checksum is wrong")

    def _error(self, row: int, finding: str) -> ShardError:
        """Error of one file."""
        name = printable(self.index.name(row))
        return ShardError(f"{printable(self.place)}: the file {name} {finding}; {_REMEDY}")

    def _open_local(self, index: ShardIndex | None) -> ShardIndex:
        """Open an archive of this machine."""
        file = open_system_file(self.place, ShardError, _WHAT)
        size = os.fstat(file.fileno()).st_size
        try:
            index = index or self._find_index(file, size)
            if index.archive_size != size:
                raise ValueError(f"its index is of an archive of {index.archive_size:,} bytes")
        except BaseException as error:
            file.close()
            if isinstance(error, ShardError) or not isinstance(error, ValueError | OSError):
                raise
            found = f"({size:,} bytes: {first_line(error)})"
            name = printable(self.place)
            raise ShardError(f"{name} is corrupt, truncated or not {_WHAT} {found}; {_REMEDY}") from error
        self._file = file
        return index

    def _find_index(self, file: BinaryIO, size: int) -> ShardIndex:
        """Index beside an archive, or of its headers."""
        if Path(self.place + INDEX_SUFFIX).exists():
            return load_index(self.place)
        return ShardIndex.from_members(list(scan_members(file, size)), size)

    def _open_remote(self, index: ShardIndex | None) -> ShardIndex:
        """Read the index of an archive at an address."""
        name = printable(self.place)
        try:
            size = file_size(self.place)
            if index is None and location_exists(self.place + INDEX_SUFFIX):
                index = _parse_index(
                    self.place + INDEX_SUFFIX, read_location(self.place + INDEX_SUFFIX, MAX_INDEX_BYTES)
                )
            elif index is None:
                with self._open_stream() as file:
                    index = ShardIndex.from_members(list(scan_members(file, size)), size)
        except FileNotFoundError:
            raise FileNotFoundError(f"{name} does not exist, expected {_WHAT}; check the address") from None
        except (ShardError, ModuleNotFoundError):
            raise
        except Exception as error:  # of any library below fsspec
            raise ShardError(f"{name} cannot be read ({first_line(error)}); {_REMEDY}") from error
        if index.archive_size != size:
            raise ShardError(
                f"{name} has {size:,} bytes, its index is of {index.archive_size:,} bytes; {_REMEDY}"
            )
        return index

    def _open_stream(self) -> Any:
        """Open an archive at an address for reading one block after another."""
        file_system, path = open_file_system(self.place)
        return file_system.open(path, "rb", block_size=STREAM_BYTES, cache_type="readahead")

    def _stream(self, numbers: range) -> Iterator[tuple[str, dict[str, bytes]]]:
        """Read samples from an address in one pass."""
        index = self.index
        if not numbers:
            return
        with self._open_stream() as file:
            for number in numbers:
                found: dict[str, bytes] = {}
                for row in range(index.starts[number], index.starts[number + 1]):
                    try:
                        file.seek(index.offsets[row])
                        data = bytes(file.read(index.lengths[row]))
                    except Exception as error:  # of any library below fsspec
                        raise self._error(row, f"cannot be read ({first_line(error)})") from error
                    self._check(row, data)
                    found[split_key(index.name(row))[1]] = data
                yield index.key(number), found

    def _advise(self, numbers: range) -> None:
        """Let the system read ahead."""
        if self._file is None or not numbers or not hasattr(os, "posix_fadvise"):
            return
        first = self.index.offsets[self.index.starts[numbers[0]]]
        last = self.index.starts[numbers[-1] + 1] - 1
        end = self.index.offsets[last] + self.index.lengths[last]
        with suppress(OSError):
            os.posix_fadvise(self._file.fileno(), first, end - first, os.POSIX_FADV_WILLNEED)


def open_shard(place: str | os.PathLike[str]) -> Shard:
    """Open a shard at a path or address; arguments and errors as `Shard`."""
    return Shard(place)


def load_index(place: str) -> ShardIndex:
    """Read the index beside the place of an archive, which need not exist.

    Raises:
        FileNotFoundError, ShardError: there is none, or it is damaged.
    """
    path = Path(place + INDEX_SUFFIX)
    with open_system_file(path, ShardError, "the index of a shard") as stored:
        return _parse_index(str(path), stored.read(MAX_INDEX_BYTES))


def _parse_index(place: str, data: bytes) -> ShardIndex:
    """Parse the bytes of an index file."""
    try:
        return ShardIndex.from_bytes(data)
    except ValueError as error:
        raise ShardError(
            f"{printable(place)} is no index of a shard, or damaged: {error}; {_REMEDY}"
        ) from error
