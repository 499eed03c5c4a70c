"""One guarded door for files of others: recordings, checkpoints, lists, tables, meshes, configurations.

Libraries that decode such files raise many types of errors when a file is corrupt. Every outside read
passes through `reading`, which turns all of them into the reader's own documented error: it names the file,
what was found, what was expected and the remedy.
"""

import hashlib
import io
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from voiceface.io.file_kinds import HEAD_SIZE, FileKind, printable, printable_lines, recognise
from voiceface.io.regular_files import first_line, open_system_file

__all__ = [
    "EXPANSION_FLOOR",
    "MAX_EXPANSION",
    "check_regular_file",
    "decode_text",
    "decompress_gzip",
    "digest_file",
    "expansion_limit",
    "find_file_kind",
    "first_line",
    "open_regular_file",
    "read_file_bytes",
    "read_file_text",
    "read_json",
    "reading",
]

MAX_EXPANSION = 100
"""Largest accepted ratio of decoded to stored bytes, for content above `EXPANSION_FLOOR`."""
EXPANSION_FLOOR = 64 * 2**20
"""Decoded bytes that every file may have, however small it is."""


@contextmanager
def reading(
    path: str | os.PathLike[str],
    error_type: type[Exception],
    what: str,
    *,
    own_kinds: tuple[str, ...] = (),
    passing: tuple[type[Exception], ...] = (),
    max_bytes: int | None = None,
    remedy: str = "fetch or create it again",
) -> Iterator[BinaryIO]:
    """Open a foreign file for a decoder; whatever the decoder raises becomes `error_type`.

    The file is opened only if it is a regular file, so that a pipe or a device cannot hang the reader.
    Errors of `error_type` (unless it is one of Python's own classes) are the reader's and stay as they are,
    as do `KeyboardInterrupt`, `SystemExit` and the `FileNotFoundError` of this file.

    Args:
        path: the file.
        error_type: documented error of the reader, built from one message.
        what: what the reader expects, with an article: "an embedding table".
        own_kinds: keys of `voiceface.io.file_kinds.FileKind` that the reader's own files have, such as
            "zip" for ``.npz``; a corrupt file of them is not called a zip archive.
        passing: further errors that stay as they are.
        max_bytes: largest accepted size of the file.
        remedy: end of the message for a corrupt file.

    Yields:
        The file, open for reading, at its beginning.

    Raises:
        FileNotFoundError: no such file, or a folder.
        Exception: `error_type` for everything else; the message names the file.
    """
    name = printable(path)
    kept = (*passing, *(() if error_type.__module__ == "builtins" else (error_type,)))
    with open_regular_file(path, error_type, what) as file:
        size = os.fstat(file.fileno()).st_size
        if max_bytes is not None and size > max_bytes:
            raise error_type(f"{name} has {size:,} bytes; {what} here has at most {max_bytes:,}")
        try:
            yield file
        except kept as error:
            text = printable_lines(error)
            if text != str(error) and len(error.args) == 1:  # it quotes the file
                error.args = (text,)
            raise
        except BaseException as error:
            # Errors inside compiled Rust code are no subclass of Exception.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            if str(error).startswith(name):  # a reader inside this one has found the words
                raise error_type(str(error)) from error
            kind = find_file_kind(path)
            if kind is not None and kind.key not in own_kinds:
                raise error_type(_wrong_kind_message(name, kind, what)) from error
            raise error_type(
                f"{name} is corrupt, truncated or not {what} ({size:,} bytes: {first_line(error)}); {remedy}"
            ) from error


def open_regular_file(
    path: str | os.PathLike[str], error_type: type[Exception], what: str
) -> io.BufferedReader:
    """Open a file for reading bytes, unless it is a pipe, a device, a socket or a folder.

    Of a packed folder the file of this name in its shards is opened (`voiceface.io.packed_folders`).

    Raises:
        FileNotFoundError: no such file, or a folder.
        Exception: `error_type`: not a regular file, it cannot be opened, or its shard is damaged.
    """
    try:
        return open_system_file(path, error_type, what)
    except FileNotFoundError as error:
        from voiceface.io.packed_folders import open_packed_file

        try:
            packed = open_packed_file(path)
        except ValueError as damage:
            raise error_type(str(damage)) from damage
        if packed is None:
            raise error from None
        return packed


def check_regular_file(path: str | os.PathLike[str], error_type: type[Exception], what: str) -> None:
    """Check a file as `reading` does, without reading it.

    Raises:
        FileNotFoundError: no such file, or a folder.
        Exception: `error_type`: not a regular file, or it cannot be opened.
    """
    open_regular_file(path, error_type, what).close()


def read_file_bytes(
    path: str | os.PathLike[str], error_type: type[Exception], what: str, *, max_bytes: int | None = None
) -> bytes:
    """Read a foreign file whole; arguments and errors as `reading`."""
    if not os.path.lexists(path):
        packed = _read_packed(path, error_type)
        if packed is not None and (max_bytes is None or len(packed) <= max_bytes):
            return packed
    with reading(path, error_type, what, max_bytes=max_bytes) as file:
        return file.read()


def digest_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, of a packed one too; 64 hexadecimal digits.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a regular file, or its shard is damaged.
    """
    with open_regular_file(path, ValueError, "a file") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_file_text(
    path: str | os.PathLike[str], error_type: type[Exception], what: str, *, max_bytes: int | None = None
) -> str:
    """Read a foreign text file whole, line ends as they are; see `decode_text`. Errors as `reading`."""
    return decode_text(read_file_bytes(path, error_type, what, max_bytes=max_bytes), path, error_type, what)


def read_json(
    path: str | os.PathLike[str],
    error_type: type[Exception],
    what: str,
    *,
    remedy: str = "fetch or create it again",
) -> dict[str, Any]:
    """Read a JSON file that holds an object; arguments and errors as `reading`."""
    with reading(path, error_type, what, own_kinds=("json",), remedy=remedy) as file:
        value = json.loads(decode_text(file.read(), path, error_type, what))
        if not isinstance(value, dict):
            raise ValueError(f"it holds a {type(value).__name__}, expected an object")
        return value


def decode_text(data: bytes, path: object, error_type: type[Exception], what: str) -> str:
    """Decode the bytes of a text file: UTF-8, or UTF-16 and UTF-32 with a byte order mark.

    Args:
        data: all bytes of the file.
        path: its name, for messages.
        error_type: documented error of the reader.
        what: what the reader expects, with an article.

    Returns:
        The text without byte order marks at its beginning and at those of its lines, where joined files have
        them.

    Raises:
        Exception: `error_type`: another encoding, or no text (states the first byte that is none); a web page
            or a pointer of Git LFS.
    """
    name = printable(path)
    kind = recognise(data[:HEAD_SIZE])
    if kind is not None and kind.key in ("html", "lfs"):
        raise error_type(_wrong_kind_message(name, kind, what))
    encoding = "utf-8-sig"
    if data[:4] in (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff"):
        encoding = "utf-32"
    elif data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if kind is not None and kind.key != "utf-16":
            raise error_type(_wrong_kind_message(name, kind, what)) from None
        shown = "UTF-8" if encoding == "utf-8-sig" else encoding.upper()
        raise error_type(
            f"{name} is not {shown} text (byte {error.start}: {error.reason}), expected {what}; "
            "save it as UTF-8"
        ) from None
    if "\0" in text:
        if kind is not None:
            raise error_type(_wrong_kind_message(name, kind, what))
        hint = "; it looks like UTF-16 without a byte order mark" if data.count(0) * 3 > len(data) else ""
        raise error_type(
            f"{name} is not text (byte {data.index(0)} is zero{hint}), expected {what}; save it as UTF-8"
        )
    return text.replace("\n\ufeff", "\n").replace("\r\ufeff", "\r")


def decompress_gzip(data: bytes, path: object, error_type: type[Exception], what: str) -> bytes:
    """Decompress a gzip file of one or more members, within `expansion_limit`; checksums are verified.

    Args:
        data: all bytes of the file.
        path: its name, for messages.
        error_type: documented error of the reader.
        what: what the reader expects, with an article.

    Raises:
        Exception: `error_type`: corrupt, truncated, or it expands beyond the limit.
    """
    name, limit = printable(path), expansion_limit(len(data))
    parts: list[bytes] = []
    total = 0
    try:
        while data:
            member = zlib.decompressobj(wbits=31)
            parts.append(member.decompress(data, limit - total + 1))
            total += len(parts[-1])
            if total > limit:
                raise error_type(
                    f"{name} expands beyond {limit:,} bytes, more than {what} of this size can hold"
                )
            if not member.eof:
                raise error_type(f"{name} is truncated: its gzip data have no end; fetch or create it again")
            data = member.unused_data.lstrip(b"\0")
    except zlib.error as error:
        raise error_type(
            f"{name} is a corrupt gzip file ({first_line(error)}); fetch or create it again"
        ) from None
    return b"".join(parts)


def _read_packed(path: str | os.PathLike[str], error_type: type[Exception]) -> bytes | None:
    """Content of a file of a packed folder; None: there is no such file.

    Raises:
        Exception: `error_type`: its shard is damaged.
    """
    from voiceface.io.packed_folders import read_packed_file

    try:
        return read_packed_file(path)
    except ValueError as damage:
        raise error_type(str(damage)) from damage


def expansion_limit(stored: int) -> int:
    """Largest number of decoded bytes that a file of `stored` bytes may have."""
    return max(EXPANSION_FLOOR, MAX_EXPANSION * stored)


def find_file_kind(path: str | os.PathLike[str]) -> FileKind | None:
    """Recognise a regular file by its content; None if it is unknown or cannot be read."""
    try:
        with open_system_file(path, ValueError, "a file") as file:
            return recognise(file.read(HEAD_SIZE))
    except FileNotFoundError:
        from voiceface.io.packed_folders import read_packed_head

        try:
            head = read_packed_head(path, HEAD_SIZE)
        except ValueError:  # reported when the file is read
            return None
        return None if head is None else recognise(head)
    except (OSError, ValueError):
        return None


def _wrong_kind_message(name: str, kind: FileKind, what: str) -> str:
    """Message for a file of another kind."""
    return f"{name} is {kind.title}, expected {what}" + (f"; {kind.remedy}" if kind.remedy else "")
