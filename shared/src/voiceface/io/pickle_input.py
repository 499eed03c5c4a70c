"""The bytes of a pickle: numbers, lines and blocks, never beyond the size of the file."""

import codecs
import struct
from typing import Any, BinaryIO

from voiceface.io.pickle_plain import PickleRefusedError

__all__ = ["PickleInput"]

_MAX_LINE = 65_536


class PickleInput:
    """Reader of the parts of instructions.

    Args:
        file: positioned at the pickle.
        size: bytes of the whole file.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size

    def read_code(self) -> bytes:
        """The next instruction, one byte; empty at the end."""
        return self._file.read(1)

    def read(self, count: int) -> bytes:
        """Read a block of bytes.

        Raises:
            PickleRefusedError: the file has fewer.
        """
        if not 0 <= count <= self._size:
            raise PickleRefusedError(f"it promises {count:,} bytes, more than the file has")
        data = self._file.read(count)
        if len(data) != count:
            raise PickleRefusedError("its pickle has no end")
        return data

    def unpack(self, form: str) -> Any:
        """Read one number in a format of `struct`; errors as `read`."""
        return struct.unpack(form, self.read(struct.calcsize(form)))[0]

    def line(self, limit: int = _MAX_LINE) -> bytes:
        """Read a line, without its end.

        Raises:
            PickleRefusedError: longer than `limit`, or without an end.
        """
        line = self._file.readline(limit)
        if not line.endswith(b"\n"):
            raise PickleRefusedError("a line without end")
        return line[:-1]

    def long_line(self) -> bytes:
        """Read a line of any length; errors as `line`."""
        return self.line(self._size + 1)

    def integer(self) -> int | bool:
        """Read a line with an integer; 00 and 01 are the old spellings of False and True."""
        line = self.line()
        return line == b"01" if line in (b"00", b"01") else int(line)

    def quoted(self) -> str:
        """Read a line with quoted text of Python 2, as Latin-1.

        Raises:
            PickleRefusedError: no quotes, or wrong escapes.
        """
        line = self.long_line()
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
            raise PickleRefusedError("text without quotes")
        try:
            return codecs.escape_decode(line[1:-1])[0].decode("latin-1")  # type: ignore[attr-defined]
        except ValueError:
            raise PickleRefusedError("text with wrong escapes") from None

    def check_protocol(self) -> None:
        """Read the protocol.

        Raises:
            PickleRefusedError: above 5.
        """
        if (number := self.unpack("<B")) > 5:
            raise PickleRefusedError(f"the protocol {number}, expected 0 to 5")

    def check_frame(self) -> None:
        """Read the size of a frame.

        Raises:
            PickleRefusedError: larger than the file.
        """
        if (size := self.unpack("<Q")) > self._size:
            raise PickleRefusedError(f"it promises {size:,} bytes, more than the file has")
