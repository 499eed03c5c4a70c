"""Ranges of bytes of an open file, with corrections of the header: what the decoders are given to read."""

import io
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

__all__ = ["FileView", "find_all", "raw_file", "read_at"]

BLOCK_BYTES = 1 << 18  # stays in the cache


class FileView(io.RawIOBase):
    """Read-only view of a range of an open file; some bytes may be replaced.

    It has no name, so that no library takes one for an address to be opened.

    Args:
        file: open for reading; its position is changed.
        start: first byte of the range.
        end: the byte behind the range.
        patches: (place in the file, bytes that are read there instead), not overlapping.
    """

    def __init__(
        self, file: BinaryIO, start: int, end: int, patches: Sequence[tuple[int, bytes]] = ()
    ) -> None:
        super().__init__()
        self._file, self._start, self._end, self._patches = file, start, end, tuple(patches)
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position, relative to the range."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position; never before the range.

        Raises:
            OSError: another kind of `whence`.
        """
        if whence not in (io.SEEK_SET, io.SEEK_CUR, io.SEEK_END):
            raise OSError(f"cannot seek with whence={whence}")
        base = (0, self._position, self._end - self._start)[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer up to the end of the range; return the number of bytes."""
        target = memoryview(buffer).cast("B")
        place = self._start + self._position
        target = target[: max(0, min(len(target), self._end - place))]
        if not len(target):
            return 0
        self._file.seek(place)
        count = self._file.readinto(target)  # type: ignore[attr-defined]  # binary files have it
        for where, data in self._patches:
            low, high = max(where, place), min(where + len(data), place + count)
            if low < high:
                target[low - place : high - place] = data[low - where : high - where]
        self._position += count
        return count


def read_at(file: BinaryIO, place: int, count: int) -> bytes:
    """Read `count` bytes at a place, or fewer at the end of the file."""
    file.seek(place)
    return file.read(count)


def raw_file(file: BinaryIO) -> BinaryIO:
    """File below the buffer of an open one: a library that moves its position would confuse the buffer."""
    return getattr(file, "raw", file)


def find_all(file: BinaryIO, marker: bytes, start: int, end: int) -> Iterator[int]:
    """Yield every place of a marker within a range of a file, block by block.

    Args:
        file: open for reading.
        marker: the bytes.
        start: first byte of the range.
        end: the byte behind the range.
    """
    overlap = len(marker) - 1
    place = start
    while place < end:
        block = read_at(file, place, min(BLOCK_BYTES + overlap, end - place))
        found = block.find(marker)
        while found >= 0:
            yield place + found
            found = block.find(marker, found + 1)
        if len(block) < min(BLOCK_BYTES + overlap, end - place):
            return
        place += BLOCK_BYTES
