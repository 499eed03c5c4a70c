"""Members of zip archives (.npz, files of `torch.save`), read within budgets and with their checksums."""

import os
import struct
import zipfile
import zlib
from typing import BinaryIO

from voiceface.io.foreign_files import expansion_limit

__all__ = ["ZipMembers"]

_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_END_RECORD = struct.Struct("<4s4H2LH")
_MAX_END = _END_RECORD.size + 0xFFFF
_ZIP64_RECORDS = 76  # bytes between directory and end record in archives of the 64-bit format
_CHUNK = 16 * 2**20


class ZipMembers:
    """Reader of the members of one archive.

    The sizes that the directory states are checked before anything is read: uncompressed members cannot have
    more bytes than the archive, and all members together not more than `expansion_limit`.

    Args:
        file: the archive, open for reading.

    Attributes:
        names: of all members, in the order of the directory.
        has_checksums: whether the archive states checksums; PyTorch can write archives without.

    Raises:
        ValueError, zipfile.BadZipFile: no archive, damaged, or beyond the budgets; to be called inside
            `voiceface.io.foreign_files.reading`.
    """

    def __init__(self, file: BinaryIO) -> None:
        size = os.fstat(file.fileno()).st_size if _has_descriptor(file) else len(file.getbuffer())  # type: ignore[attr-defined]
        self._file, self._size = file, size
        entries = zipfile.ZipFile(file).infolist()
        self._check_directory(len(entries))
        self._entries = {entry.filename: entry for entry in entries}
        if len(self._entries) != len(entries):
            raise ValueError("two members have the same name")
        stored = sum(entry.file_size for entry in entries if entry.compress_type == zipfile.ZIP_STORED)
        total = sum(entry.file_size for entry in entries)
        if stored > size:
            raise ValueError(f"its members have {stored:,} bytes, more than the archive")
        if total > expansion_limit(size):
            raise ValueError(f"it expands to {total:,} bytes, more than {expansion_limit(size):,}")
        self.names = list(self._entries)
        self.has_checksums = any(entry.CRC for entry in entries if entry.file_size)

    def size_of(self, name: str) -> int:
        """Bytes of a member, decompressed."""
        return self._entries[name].file_size

    def read(self, name: str) -> bytearray:
        """Read a member and compare it with its checksum.

        Raises:
            KeyError: no such member.
            ValueError: damaged, encrypted or of an unknown compression.
        """
        entry = self._entries[name]
        self._file.seek(entry.header_offset)
        fields = _LOCAL_HEADER.unpack(self._file.read(_LOCAL_HEADER.size))
        if fields[0] != b"PK\x03\x04" or fields[3] != entry.compress_type or entry.flag_bits & 0x1:
            raise ValueError(f"the member {name!r} is damaged or encrypted")
        local_name = self._file.read(fields[9])
        if local_name.decode("utf-8" if entry.flag_bits & 0x800 else "cp437") != entry.orig_filename:
            raise ValueError(f"the member {name!r} has another name in its own header")
        self._file.seek(fields[10], os.SEEK_CUR)
        if entry.compress_type == zipfile.ZIP_STORED:
            data = self._read_stored(entry)
        elif entry.compress_type == zipfile.ZIP_DEFLATED:
            data = self._read_deflated(entry)
        else:
            raise ValueError(f"the member {name!r} has the compression {entry.compress_type}")
        if self.has_checksums and zlib.crc32(data) != entry.CRC:
            raise ValueError(f"the checksum of its member {name!r} is wrong")
        return data

    def verify(self, names: list[str] | None = None) -> None:
        """Read members (all by default) and compare them with their checksums; errors as `read`."""
        for name in self.names if names is None else names:
            if not name.endswith("/"):
                self.read(name)

    def _check_directory(self, num_entries: int) -> None:
        """Compare the directory that was found with the end record, which `zipfile` only follows."""
        self._file.seek(max(0, self._size - _MAX_END))
        tail = self._file.read(_MAX_END)
        place = tail.rfind(b"PK\x05\x06")
        _, _, _, _, count, length, offset, _ = _END_RECORD.unpack_from(tail, place)
        gap = max(0, self._size - _MAX_END) + place - offset - length
        if count not in (num_entries, 0xFFFF) or (offset != 0xFFFFFFFF and gap not in (0, _ZIP64_RECORDS)):
            raise ValueError("the directory at its end is damaged")

    def _read_stored(self, entry: zipfile.ZipInfo) -> bytearray:
        """Read an uncompressed member."""
        if entry.compress_size != entry.file_size or self._file.tell() + entry.file_size > self._size:
            raise ValueError(f"the member {entry.filename!r} does not fit the archive")
        data = bytearray(entry.file_size)
        if self._file.readinto(data) != entry.file_size:  # type: ignore[attr-defined]
            raise ValueError(f"the member {entry.filename!r} is truncated")
        return data

    def _read_deflated(self, entry: zipfile.ZipInfo) -> bytearray:
        """Read a compressed member, never more than its stated size."""
        data, rest = bytearray(), entry.compress_size
        stream = zlib.decompressobj(-zlib.MAX_WBITS)
        while rest and not stream.eof:
            packed = self._file.read(min(rest, _CHUNK))
            if not packed:
                break
            rest -= len(packed)
            data += stream.decompress(packed, entry.file_size - len(data) + 1)
            if len(data) > entry.file_size:
                break
        if not stream.eof or len(data) != entry.file_size:
            raise ValueError(f"the member {entry.filename!r} is damaged")
        return data


def _has_descriptor(file: BinaryIO) -> bool:
    """Whether a file is one of the system, not of memory."""
    try:
        file.fileno()
    except OSError:
        return False
    return True
