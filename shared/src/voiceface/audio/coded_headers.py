"""FLAC and Ogg: streams joined one behind another, the last sample, the end."""

import struct
import zlib
from typing import BinaryIO

from voiceface.audio.byte_ranges import find_all, read_at
from voiceface.audio.mpeg_headers import skip_id3
from voiceface.audio.parts import AudioPart

__all__ = ["examine_flac", "examine_ogg"]

MAX_OGG_PAGE_BYTES = 65307
LAST_PAGE = 4  # flag in the header of an Ogg page
REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
FLAC_TAIL_BYTES = 1 << 16
FLAC_BLOCKS = {
    1: 192,
    **{i: 576 << (i - 2) for i in range(2, 6)},
    **{i: 256 << (i - 8) for i in range(8, 16)},
}
FLAC_STARTS = (b"\x00\x00\x00\x22", b"\x80\x00\x00\x22")  # type and length of the first block


def examine_flac(file: BinaryIO, start: int, size: int, *, search: bool = True) -> list[AudioPart] | None:
    """Examine a FLAC file, or several joined ones; None if none begins behind the tags at `start`.

    The number of samples in the header is believed if the last frame ends there.

    Args:
        file: open for reading.
        start: first byte.
        size: of the file, bytes.
        search: look for further files behind a first one whose header is right.
    """
    begin = skip_id3(file, start)
    if read_at(file, begin, 4) != b"fLaC":
        return None
    if not search and not (first := _flac_part(file, begin, size)).notes and not first.cut:
        return [first]
    found = [find_all(file, b"fLaC" + mark, begin + 42, size) for mark in FLAC_STARTS]
    marks = sorted(place for places in found for place in places)
    return [_flac_part(file, low, high) for low, high in zip([begin, *marks], [*marks, size])]


def _flac_part(file: BinaryIO, start: int, end: int) -> AudioPart:
    """Examine one FLAC stream."""
    info = read_at(file, start + 8, 34)
    if len(info) < 34:
        return AudioPart("flac", start, end)
    packed = int.from_bytes(info[10:18], "big")
    rate, stated = packed >> 44, packed & (1 << 36) - 1
    tail_bytes = min(end - start - 42, FLAC_TAIL_BYTES + int.from_bytes(info[7:10], "big"))
    last = _last_flac_sample(read_at(file, end - tail_bytes, tail_bytes), info) if tail_bytes > 0 else 0
    if stated and (last == stated or not last):
        return AudioPart("flac", start, end, num_samples=stated, sample_rate=rate)
    notes = () if stated else ("the header does not state its length; read to the end of the file",)
    if last > stated > 0:
        notes = (f"the header counts {stated} samples, but more follow; all are read",)
    if not last < stated or not rate:
        return AudioPart("flac", start, end, "pyav", num_samples=last, sample_rate=rate, notes=notes)
    seconds = (stated - last) / rate
    cut = f"the header counts {stated} samples, found {last} ({seconds:.3f} s missing)"
    return AudioPart("flac", start, end, "pyav", (), cut, seconds, stated, rate)


def _last_flac_sample(tail: bytes, info: bytes) -> int:
    """Number of the sample behind the last frame that begins in `tail`; 0 if no frame begins there."""
    place = len(tail)
    while (place := max(tail.rfind(b"\xff\xf8", 0, place), tail.rfind(b"\xff\xf9", 0, place))) >= 0:
        if found := _parse_flac_frame(tail[place : place + 16], info):
            return found
    return 0


def _parse_flac_frame(head: bytes, info: bytes) -> int:
    """Number of the sample behind a frame, from its header; 0 if these bytes are not one (by its CRC-8)."""
    if len(head) < 6 or head[3] & 1:
        return 0
    block_code, rate_code, channels = head[2] >> 4, head[2] & 15, head[3] >> 4
    expected = (info[12] >> 1 & 7) + 1
    if not block_code or rate_code == 15 or (channels + 1 if channels < 8 else 2) != expected:
        return 0
    ones = 8 - (~head[4] & 0xFF).bit_length()  # of the first byte, as in UTF-8
    if ones in (1, 8):
        return 0
    length, number = max(1, ones), head[4] & (1 << 7 - ones) - 1
    for byte in head[5 : 4 + length]:
        number = number << 6 | byte & 63
    place = 4 + length
    if block_code in (6, 7):
        width = block_code - 5
        block, place = int.from_bytes(head[place : place + width], "big") + 1, place + width
    else:
        block = FLAC_BLOCKS[block_code]
    place += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if place >= len(head) or _crc8(head[:place]) != head[place]:
        return 0
    return (number if head[1] & 1 else number * int.from_bytes(info[:2], "big")) + block


def _crc8(data: bytes) -> int:
    """Cyclic redundancy check of FLAC's frame headers, polynomial x^8 + x^2 + x + 1."""
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ 0x07) & 0xFF if value & 0x80 else value << 1
    return value


def examine_ogg(file: BinaryIO, start: int, size: int) -> list[AudioPart] | None:
    """Examine an Ogg file, or a chain of several; None if none begins at `start`.

    A last page that is whole but not marked as the last one is no damage: voice notes end so. libsndfile
    reads single streams of Vorbis and Opus, PyAV all others.

    Args:
        file: open for reading.
        start: first byte.
        size: of the file, bytes.
    """
    if read_at(file, start, 4) != b"OggS":
        return None
    starts, firsts, behind = [start], [], start
    for place in sorted(
        {p for flag in (2, 6) for p in find_all(file, b"OggS\0" + bytes([flag]), start, size)}
    ):
        if place != behind and place > starts[-1]:  # not one of several streams that begin together
            starts.append(place)
        page = read_at(file, place, 27 + 255 + 64)
        if len(page) < 28:
            break
        behind = place + 27 + page[26] + sum(page[27 : 27 + page[26]])
        firsts.append((len(starts), page[27 + page[26] :]))
    parts = []
    for index, (low, high) in enumerate(zip(starts, [*starts[1:], size]), 1):
        heads = [head for chain, head in firsts if chain == index]
        plain = len(heads) == 1 and heads[0].startswith((b"\x01vorbis", b"OpusHead"))
        place, page = _last_ogg_page(file, low, high)
        cut = "" if page else "the last Ogg page is cut"
        patches: tuple[tuple[int, bytes], ...] = ()
        notes: tuple[str, ...] = ()
        if page and not page[5] & LAST_PAGE:
            notes = ("the last Ogg page is whole but not marked as the last",)
            patches = ((place, _mark_as_last(page)),)  # libsndfile insists on it
        rate = struct.unpack("<I", heads[0][12:16])[0] if plain and len(heads[0]) >= 16 else 0
        parts.append(
            AudioPart(
                "ogg",
                low,
                high,
                "soundfile" if plain else "pyav",
                patches,
                cut,
                sample_rate=rate if plain and heads[0][:1] == b"\x01" else 0,
                notes=notes,
            )
        )
    return parts


def _last_ogg_page(file: BinaryIO, start: int, end: int) -> tuple[int, bytes]:
    """Place and bytes of the last Ogg page; no bytes if it is cut."""
    low = max(start, end - 2 * MAX_OGG_PAGE_BYTES)
    tail = read_at(file, low, end - low)
    first = tail.rfind(b"OggS")
    page = tail[first:] if first >= 0 else b""
    length = 27 + page[26] + sum(page[27 : 27 + page[26]]) if len(page) >= 27 else 27
    return low + first, page[:length] if len(page) >= length else b""


def _mark_as_last(page: bytes) -> bytes:
    """Header of an Ogg page with the mark of the last one and the checksum that belongs to it."""
    marked = page[:5] + bytes([page[5] | LAST_PAGE]) + page[6:22] + bytes(4) + page[26:]
    # Ogg's CRC-32 is that of zlib with the bits of bytes and result in the other order, begun at 0
    value = zlib.crc32(marked.translate(REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    checksum = value.to_bytes(4, "little").translate(REVERSED_BITS)[::-1]
    return marked[:22] + checksum + marked[26:27]
