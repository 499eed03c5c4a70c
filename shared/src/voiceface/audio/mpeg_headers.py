"""MPEG audio streams (mp3, mp2, ADTS): their tags, and how many frames they really hold."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from voiceface.audio.byte_ranges import read_at
from voiceface.audio.parts import SHORTFALL_SECONDS, AudioPart

__all__ = ["examine_mpeg", "find_joined_mpeg", "skip_id3"]

# kbit/s by bit-rate index 1...14; (MPEG 1, layer) and (MPEG 2, layer)
_RATES_LOW = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
KBITS = {
    (1, 1): tuple(range(32, 449, 32)),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): _RATES_LOW,
    (2, 3): _RATES_LOW,
}
SAMPLE_RATES = (44100, 48000, 32000)
BLOCK_BYTES = 1 << 20
MAX_FRAME_BYTES = 2881
SEARCH_BYTES = 1 << 16  # in which the first frame is looked for
ADTS_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)


@dataclass(frozen=True)
class _Frame:
    """Header of a frame of MPEG audio: its length in bytes, samples, rate, layer, bytes before its data."""

    length: int
    samples: int
    rate: int
    layer: int
    exact_length: float
    side_bytes: int


def skip_id3(file: BinaryIO, start: int) -> int:
    """Return the place behind all ID3v2 tags that begin at `start`."""
    while len(head := read_at(file, start, 10)) == 10 and head[:3] == b"ID3" and max(head[6:]) < 128:
        length = 0
        for byte in head[6:]:
            length = length << 7 | byte
        start += 10 + length + (10 if head[5] & 0x10 else 0)
    return start


def examine_mpeg(file: BinaryIO, start: int, size: int) -> AudioPart | None:
    """Examine an mp3, mp2 or ADTS stream behind its ID3 tags; None if none begins there.

    A number of frames in an Xing or Info frame is believed if the file holds exactly so many; then
    libsndfile, which needs the number, decodes the file. Every other stream is decoded by PyAV to its end.

    Args:
        file: open for reading.
        start: first byte.
        size: of the file, bytes.
    """
    begin = skip_id3(file, start)
    head = read_at(file, begin, 16)
    end = _before_tags(file, begin, size)
    if len(head) > 8 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        samples, rate = _count_adts(file, begin, end)
        return AudioPart("adts", begin, end, "pyav", num_samples=samples, sample_rate=rate)
    tagged = begin > start
    if not tagged and not (len(head) > 3 and _parse(head)):
        return None
    window = read_at(file, begin, SEARCH_BYTES)
    found = _find_first(window)
    if found is None:
        return AudioPart("mp3", start, size, "pyav") if tagged else None
    place, frame = found
    first = begin + place
    stated = _read_xing(window[place : place + frame.length], frame)
    num_frames, num_bytes, trimmed = stated or (0, 0, 0)
    if not num_frames:
        count, reached = _count_frames(file, first, end)
        end, notes = _without_rest(file, first, reached, end, size)
        samples = max(0, (count - (stated is not None)) * frame.samples - trimmed)
        return AudioPart(
            "mp3",
            begin,
            end,
            "pyav",
            num_samples=samples if end == reached else 0,
            sample_rate=frame.rate,
            notes=notes,
        )
    samples = max(0, num_frames * frame.samples - trimmed)
    part = AudioPart("mp3", begin, size, num_samples=samples, sample_rate=frame.rate)
    if (
        num_bytes
        and abs(end - first - num_bytes) <= 1
        and abs((num_frames + 1) * frame.exact_length - num_bytes) <= 2
    ):
        return part  # constant bit rate
    count, reached = _count_frames(file, first, end)
    end, notes = _without_rest(file, first, reached, end, size)
    missing = num_frames - (count - 1)  # the frame with the number is not sound
    if missing == 0 and end == reached:
        is_joined = find_joined_mpeg(file, first, reached, size) > 0
        return replace(part, notes=notes, end=reached if is_joined else size)
    if end < reached:
        count, reached = count - 1, end
        missing += 1
    part = replace(part, decoder="pyav", end=end)
    if missing <= 0 or end > reached:
        note = f"the header counts {num_frames} frames, but more follow; all are read"
        return replace(part, num_samples=0 if end > reached else (count - 1) * frame.samples, notes=(note,))
    seconds = missing * frame.samples / frame.rate
    finding = f"the header counts {num_frames} frames, found {count - 1}"
    if seconds <= SHORTFALL_SECONDS:
        note = f"{finding} ({1000 * seconds:.1f} ms fewer)"
        return replace(part, num_samples=(count - 1) * frame.samples, notes=(note,))
    return replace(part, cut=f"{finding} ({seconds:.3f} s missing)", missing_seconds=seconds)


def find_joined_mpeg(file: BinaryIO, begin: int, end: int, size: int) -> int:
    """Place of the ID3v2 tag of another stream behind one from `begin` to `end`; 0 if there is none.

    An ID3v1 tag or a part of a frame may lie between; of a stream that is cut, the tag lies within the last
    frame.
    """
    start = max(begin + 1, end - MAX_FRAME_BYTES)
    found = read_at(file, start, end - start + MAX_FRAME_BYTES).find(b"ID3")
    place = start + found
    behind = skip_id3(file, place) if found >= 0 else place
    return place if place < behind < size and _find_first(read_at(file, behind, SEARCH_BYTES)) else 0


def _without_rest(
    file: BinaryIO, first: int, reached: int, end: int, size: int
) -> tuple[int, tuple[str, ...]]:
    """End of the stream without bytes behind its last whole frame in which no other frame begins; a note."""
    rest = end - reached
    if rest > 0 and (place := find_joined_mpeg(file, first, reached, size)):
        return min(place, reached), ()
    if not 0 < rest <= SEARCH_BYTES:
        return end, ()
    window = read_at(file, reached, rest)
    found = _find_first(window)
    if found is not None and (found[0] or found[1].length < rest):
        return end, ()
    whole = found is not None or rest <= MAX_FRAME_BYTES or not any(window)
    return reached, () if whole else (f"{rest} bytes behind the sound are no frames; they are not read",)


def _parse(head: bytes) -> _Frame | None:
    """Parse four bytes as the header of a frame of layer 1, 2 or 3 with a stated bit rate."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    index, rate_index = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or index in (0, 15) or rate_index == 3:
        return None
    generation = 1 if version == 3 else 2
    rate = SAMPLE_RATES[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
    samples = 384 if layer == 1 else 1152 if layer == 2 or generation == 1 else 576
    kbits, padding = KBITS[generation, layer][index - 1], head[2] >> 1 & 1
    exact = samples / 8 * 1000 * kbits / rate
    length = int(exact / 4) * 4 + 4 * padding if layer == 1 else int(exact) + padding
    mono = head[3] >> 6 == 3
    side = (17 if mono else 32) if generation == 1 else (9 if mono else 17)
    return _Frame(length, samples, rate, layer, exact, side)


def _find_first(window: bytes) -> tuple[int, _Frame] | None:
    """Find the first frame that another of the same rate and layer follows, or the end of the data."""
    place = window.find(b"\xff")
    while place >= 0:
        frame = _parse(window[place : place + 4])
        if frame:
            after = place + frame.length
            follower = _parse(window[after : after + 4])
            if follower is None and place == 0 and after >= len(window) - 4:
                return place, frame
            if follower and (follower.rate, follower.layer) == (frame.rate, frame.layer):
                return place, frame
        place = window.find(b"\xff", place + 1)
    return None


def _read_xing(data: bytes, frame: _Frame) -> tuple[int, int, int] | None:
    """Read (frames or 0, bytes or 0, samples that are trimmed) from an Xing or Info frame."""
    place = 4 + frame.side_bytes
    if data[place : place + 4] not in (b"Xing", b"Info") or len(data) < place + 16:
        return None
    flags = int.from_bytes(data[place + 4 : place + 8], "big")
    num_frames = int.from_bytes(data[place + 8 : place + 12], "big") if flags & 1 else 0
    num_bytes = int.from_bytes(data[place + 12 : place + 16], "big") if flags & 3 == 3 else 0
    extra = place + 8 + 4 * (flags & 1) + 2 * (flags & 2) + 25 * (flags & 4) + (flags & 8) // 2
    tag = data[extra : extra + 24]
    trimmed = 0
    if len(tag) == 24 and tag[:4] in (b"LAME", b"Lavf", b"Lavc"):
        trimmed = (tag[21] << 4 | tag[22] >> 4) + ((tag[22] & 15) << 8 | tag[23])  # delay and padding
    return num_frames, num_bytes, trimmed


def _count_frames(file: BinaryIO, place: int, end: int) -> tuple[int, int]:
    """Follow whole frames from one to the next; return their number and the place behind the last."""
    count = 0
    lengths: dict[bytes, int] = {}  # by the three bytes that decide; a stream uses few
    while place < end:
        block = read_at(file, place, min(BLOCK_BYTES, end - place))
        inside, last = 0, place + len(block) >= end
        limit = len(block) if last else len(block) - MAX_FRAME_BYTES
        while inside < limit:
            key = block[inside : inside + 3]
            length = lengths.get(key)
            if length is None:
                frame = _parse(block[inside : inside + 4])
                length = lengths[key] = frame.length if frame else 0
            if not length or inside + length > len(block):
                return count, place + inside
            inside += length
            count += 1
        place += inside
    return count, place


def _adts_lengths(file: BinaryIO, place: int, end: int) -> Iterator[int]:
    """Yield the number of raw blocks of every whole ADTS frame."""
    while place < end:
        block = read_at(file, place, min(BLOCK_BYTES, end - place))
        inside, limit = 0, len(block) - 7
        while inside <= limit:
            head = block[inside : inside + 7]
            length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
            if head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or length < 7 or place + inside + length > end:
                return
            yield 1 + (head[6] & 3)
            inside += length
        if not inside:
            return
        place += inside


def _count_adts(file: BinaryIO, place: int, end: int) -> tuple[int, int]:
    """Count the samples of an ADTS stream; (samples, rate), (0, 0) for unknown rates."""
    index = read_at(file, place, 3)[2] >> 2 & 15
    if index >= len(ADTS_RATES):
        return 0, 0
    return 1024 * sum(_adts_lengths(file, place, end)), ADTS_RATES[index]


def _before_tags(file: BinaryIO, start: int, size: int) -> int:
    """Place in front of the tags (ID3v1, APE) at the end of a file."""
    end = size
    if end - 128 > start and read_at(file, end - 128, 3) == b"TAG":
        end -= 128
    footer = read_at(file, end - 32, 32) if end - 32 > start else b""
    if footer[:8] == b"APETAGEX":
        length, _, flags = struct.unpack("<III", footer[12:24])
        end = max(start, end - length - (32 if flags & 0x80000000 else 0))
    return end
