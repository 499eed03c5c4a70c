"""Members of tar archives: strict headers for reading, the same bytes for the same files on writing."""

import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

__all__ = [
    "BLOCK_SIZE",
    "END_OF_ARCHIVE",
    "MAX_MEMBER_BYTES",
    "TarMember",
    "find_name_fault",
    "make_header",
    "padding_of",
    "scan_members",
]

BLOCK_SIZE = 512
END_OF_ARCHIVE = bytes(2 * BLOCK_SIZE)
MAX_MEMBER_BYTES = 2**32
"""Largest accepted file of an archive."""
MAX_NAME_BYTES = 4096
_MAX_EXTENSION_BYTES = 2**16  # a pax or GNU header that holds a long name
_FILE_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE)
_TYPE_TITLES = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
    tarfile.CONTTYPE: "a contiguous file",
}


class TarMember(NamedTuple):
    """A regular file of an archive: name, place of its first byte and number of bytes."""

    name: str
    offset: int
    length: int


def find_name_fault(name: str) -> str:
    """What is wrong with the name of a member, in words; "" for a relative path below the archive.

    Example:
        >>> find_name_fault("a/../../b.wav")
        'it leaves its folder'
    """
    if not name or name.endswith("/"):
        return "it names no file"
    if name[0] == "/" or name[1:2] == ":":
        return "it is absolute"
    if "\\" in name or any(ord(letter) < 32 for letter in name):
        return "it has a backslash or a control character"
    if len(name.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
        return f"it has more than {MAX_NAME_BYTES} bytes"
    if {"", ".", ".."} & set(name.split("/")):
        return "it leaves its folder" if ".." in name.split("/") else "it has empty parts"
    return ""


def make_header(name: str, length: int) -> bytes:
    """Header of a file that readers extract with ordinary permissions: a multiple of 512 bytes.

    Owner and time are left out, so that equal files give equal archives. Long names have a pax header
    (POSIX.1-2001).

    Args:
        name: relative path with forward slashes.
        length: bytes of the file.
    """
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = length, 0o644, 0
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def padding_of(length: int) -> int:
    """Zero bytes that follow a file of `length` bytes."""
    return -length % BLOCK_SIZE


def scan_members(file: BinaryIO, size: int) -> Iterator[TarMember]:
    """Yield the regular files of an archive from its headers; folders are skipped.

    Args:
        file: open for reading, able to seek.
        size: bytes of the archive.

    Raises:
        ValueError: a damaged header, no end, a link, device or sparse file, a name that is absolute or leaves
            its folder, two files of one name, or a file that is larger than the archive or
            `MAX_MEMBER_BYTES`; names the place or the member.
    """
    seen: set[str] = set()
    place, long_name = 0, ""
    while True:
        header = _read_at(file, place, BLOCK_SIZE, size)
        if not any(header):
            return
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise ValueError(f"the header at byte {place:,} is damaged ({error})") from None
        place += BLOCK_SIZE
        name = long_name or info.name
        if not 0 <= info.size <= size - place:
            raise ValueError(f"the member {name!r} has {info.size:,} bytes, more than the archive")
        if info.type in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME):
            if info.size > _MAX_EXTENSION_BYTES:
                raise ValueError(f"the extended header at byte {place:,} has {info.size:,} bytes")
            found = _long_name(info.type, _read_at(file, place, info.size, size))
            long_name = found if info.type != tarfile.XGLTYPE else long_name
            place += info.size + padding_of(info.size)
            continue
        long_name = ""
        if info.type == tarfile.DIRTYPE:
            place += info.size + padding_of(info.size)
            continue
        if info.type not in _FILE_TYPES:
            title = _TYPE_TITLES.get(info.type, f"of the unknown type {info.type!r}")
            raise ValueError(f"the member {name!r} is {title}, expected files")
        fault = find_name_fault(name) or ("another member has it too" if name in seen else "")
        if fault:
            raise ValueError(f"the name of the member {name!r} is refused: {fault}")
        if info.size > MAX_MEMBER_BYTES:
            raise ValueError(f"the member {name!r} has {info.size:,} bytes, more than {MAX_MEMBER_BYTES:,}")
        seen.add(name)
        yield TarMember(name, place, info.size)
        place += info.size + padding_of(info.size)


def _read_at(file: BinaryIO, place: int, count: int, size: int) -> bytes:
    """Read a block."""
    file.seek(place)
    data = file.read(count)
    if len(data) != count:
        raise ValueError(f"it ends at byte {min(size, place + len(data)):,} without an end mark")
    return data


def _long_name(kind: bytes, data: bytes) -> str:
    """Name in an extended header, "" if it holds none."""
    if kind == tarfile.GNUTYPE_LONGNAME:
        return data.rstrip(b"\0").decode("utf-8", "surrogateescape")
    name = ""
    while data:
        digits, _, rest = data.partition(b" ")
        if not digits.isdigit() or not len(digits) < int(digits) <= len(data):
            raise ValueError("an extended header is damaged")
        key, mark, value = rest[: int(digits) - len(digits) - 2].partition(b"=")
        if not mark or data[int(digits) - 1 : int(digits)] != b"\n":
            raise ValueError("an extended header is damaged")
        if key.startswith(b"GNU.sparse") or key in (b"size", b"linkpath"):
            raise ValueError(
                f"an extended header states {key.decode('ascii')}: sparse files and links are refused"
            )
        if key == b"path":
            name = value.decode("utf-8", "surrogateescape")
        data = data[int(digits) :]
    return name
