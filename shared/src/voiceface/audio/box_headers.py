"""Containers of sound and video (MP4, Matroska, AVI, ASF): whether they end where they say."""

from typing import BinaryIO

from voiceface.audio.byte_ranges import read_at
from voiceface.audio.parts import AudioPart, is_placeholder

__all__ = ["examine_box_container"]

EBML_ID = b"\x1a\x45\xdf\xa3"
SEGMENT_ID = 0x18538067
ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
SLACK_BYTES = 2048  # less is missing than one packet; whether it can be decoded, the decoder says
MAX_ITEMS = 100_000


def examine_box_container(file: BinaryIO, start: int, size: int) -> AudioPart | None:
    """Examine an MP4, QuickTime, 3GP, Matroska, WebM, AVI or ASF file; None for others.

    Args:
        file: open for reading.
        start: first byte.
        size: of the file, bytes.
    """
    head = read_at(file, start, 16)
    kind, stated, last = "", None, b""
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"skip", b"free", b"pnot"):
        kind = "mp4"
        stated, last = _mp4_end(file, start, size)
    elif head[:4] == EBML_ID:
        kind, stated = "matroska", _matroska_end(file, start)
    elif head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"AVIX"):
        length = int.from_bytes(head[4:8], "little")
        kind, stated = "avi", None if is_placeholder(length) else start + 8 + length
    elif head == ASF_HEADER:
        kind, stated = "asf", _asf_end(file, start)
    if not kind:
        return None
    missing = stated - size if stated is not None else 0
    counts = f"the header states {(stated or size) - start} bytes, found {size - start}"
    return AudioPart(
        kind,
        start,
        size,
        "pyav",
        cut=counts if missing > SLACK_BYTES else "",
        notes=(counts,) if 0 < missing <= SLACK_BYTES else (),
        missing_bytes=missing if last == b"mdat" and 0 < missing <= SLACK_BYTES else 0,
    )


def _mp4_end(file: BinaryIO, start: int, size: int) -> tuple[int | None, bytes]:
    """Place behind the last box, and its name; None if it is not stated."""
    place = start
    for _ in range(MAX_ITEMS):
        head = read_at(file, place, 16)
        if len(head) < 8 or not all(32 <= byte < 127 or byte == 0xA9 for byte in head[4:8]):
            return None, b""  # the end, or something that is no box
        length = int.from_bytes(head[:4], "big")
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:16], "big")
        if length < 8 or length >= 2**62:
            return None, b""  # to the end of the file, or damaged
        place += length
        if place >= size:
            return place, head[4:8]
    return None, b""


def _matroska_end(file: BinaryIO, start: int) -> int | None:
    """Place behind the segment; None if it is not stated."""
    _, place = _read_vint(file, start, keep_marker=True)
    length, place = _read_vint(file, place)
    if length is None:
        return None
    name, place = _read_vint(file, place + length, keep_marker=True)
    if name != SEGMENT_ID:
        return None
    length, place = _read_vint(file, place)
    return None if length is None else place + length


def _read_vint(file: BinaryIO, place: int, *, keep_marker: bool = False) -> tuple[int | None, int]:
    """Read an EBML number; (value, place behind it), None if it is unknown or not one."""
    data = read_at(file, place, 8)
    if not data or not data[0]:
        return None, place
    width = 9 - data[0].bit_length()
    value = int.from_bytes(data[:width], "big")
    bits = 7 * width
    if len(data) < width or (not keep_marker and value & (1 << bits) - 1 == (1 << bits) - 1):
        return None, place + width
    return (value if keep_marker else value & (1 << bits) - 1), place + width


def _asf_end(file: BinaryIO, start: int) -> int | None:
    """Place behind the data object; None if it is not stated."""
    length = int.from_bytes(read_at(file, start + 16, 8), "little")
    head = read_at(file, start + length, 24)
    stated = int.from_bytes(head[16:], "little")
    if head[:16] != ASF_DATA or stated <= 50 or stated >= 2**62:
        return None
    return start + length + stated
