"""Headers of uncompressed recordings: WAV, RF64, BW64, W64, AIFF, AU and CAF, with corrected sizes."""

import struct
from dataclasses import dataclass
from typing import BinaryIO, Literal

from voiceface.audio.byte_ranges import read_at
from voiceface.audio.parts import AudioPart, PlainSamples, is_placeholder, judge_length

__all__ = ["examine_aiff", "examine_au", "examine_caf", "examine_riff", "examine_w64"]

ByteOrder = Literal["little", "big"]
Decoder = Literal["soundfile", "pyav"]
RIFF_IDS = (b"RIFF", b"RIFX", b"RF64", b"BW64")
SNDFILE_WAV_TAGS = {1: 0, 3: 0, 6: 1, 7: 1}  # PCM, float, A-law, mu-law; bytes of a sample, 0 as stated
AU_SAMPLE_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}
AIFC_SAMPLE_BYTES = {b"ulaw": 1, b"ULAW": 1, b"alaw": 1, b"ALAW": 1, b"fl32": 4, b"FL32": 4, b"fl64": 8}
AIFC_PLAIN = (b"NONE", b"twos", b"sowt", b"raw ", b"in24", b"in32", b"42ni", b"23ni")
W64_TAIL = {
    b"riff": bytes.fromhex("2e91cf11a5d628db04c10000"),
    b"wave": bytes.fromhex("f3acd3118cd100c04f8edb8a"),
}
MIN_REPORTED_BYTES = 16  # behind the samples; fewer are padding
MAX_CHUNKS = 10_000


@dataclass(frozen=True)
class _Format:
    """Fields of a WAV format chunk."""

    tag: int
    channels: int
    rate: int
    byte_rate: float
    is_plain: bool

    @property
    def decoder(self) -> Decoder:
        return "soundfile" if self.tag in SNDFILE_WAV_TAGS else "pyav"


def examine_riff(file: BinaryIO, start: int, size: int) -> AudioPart | None:
    """Examine a WAV file (RIFF, RIFX, RF64 or BW64); None if it holds something else.

    Args:
        file: open for reading.
        start: place of "RIFF".
        size: of the file, bytes.
    """
    head = read_at(file, start, 12)
    if head[:4] not in RIFF_IDS or head[8:] != b"WAVE":
        return None
    order: ByteOrder = "big" if head[:4] == b"RIFX" else "little"
    wide = head[:4] in (b"RF64", b"BW64")
    form, data64, riff_size, place = None, 0, int.from_bytes(head[4:8], order), start + 12
    for _ in range(MAX_CHUNKS):
        chunk = read_at(file, place, 8)
        if len(chunk) < 8:
            break
        name, length, body = chunk[:4], int.from_bytes(chunk[4:], order), place + 8
        if name == b"ds64" and wide:
            riff_size, data64 = struct.unpack("<QQ", read_at(file, body, 16).ljust(16, b"\0"))
        elif name == b"fmt ":
            form = _read_format(read_at(file, body, 40), order)
        elif name == b"data":
            if form is None:  # libsndfile and FFmpeg decide about other orders
                break
            return _riff_part(
                file, start, size, order, form, body, length, riff_size, data64 if wide else None, head[:4]
            )
        place = body + length + length % 2
    if form is None:
        return AudioPart("wav", start, size)
    return AudioPart("wav", start, size, form.decoder, sample_rate=form.rate)


def _read_format(data: bytes, order: ByteOrder) -> _Format | None:
    """Read a WAV format chunk."""
    if len(data) < 16:
        return None
    tag, channels, rate, byte_rate, block, bits = struct.unpack(
        (">" if order == "big" else "<") + "HHIIHH", data[:16]
    )
    is_plain = tag == 1 and bits == 16 and block == 2 * channels > 0 and order == "little"
    if tag == 0xFFFE and len(data) >= 26:
        tag = int.from_bytes(data[24:26], order)
    if tag in SNDFILE_WAV_TAGS:
        byte_rate = rate * channels * (SNDFILE_WAV_TAGS[tag] or -(-bits // 8))
    return _Format(tag, channels, rate, byte_rate, is_plain)


def _riff_part(
    file: BinaryIO,
    start: int,
    size: int,
    order: ByteOrder,
    form: _Format,
    body: int,
    length: int,
    riff_size: int,
    data64: int | None,
    name: bytes,
) -> AudioPart:
    """Judge the length of the samples, and look at what is behind them."""
    stated, width = length, 4
    if data64 is not None and length == 0xFFFFFFFF:
        stated, width = data64, 8
    present = size - body
    fits = abs(start + riff_size + 8 - size) <= 1
    if not stated and present and _follow_chunks(file, body, size, order)[0] == size:
        return AudioPart("wav", start, size, sample_rate=form.rate)  # empty, with other chunks behind
    verdict = judge_length(stated, present, form.byte_rate, width=width, container_fits=fits)
    notes, end = list(verdict.notes), size
    behind = body + verdict.used_bytes
    if verdict.used_bytes == stated and behind < size:
        end, note = _look_behind(file, behind, size, order, form.byte_rate)
        notes += [note] if note else []
    patches: list[tuple[int, bytes]] = []
    if verdict.used_bytes != stated or name == b"BW64":
        used = min(verdict.used_bytes, 0xFFFFFF00)
        total = min(behind - start - 8, 0xFFFFFFF0)
        if name in (b"RF64", b"BW64"):
            patches.append((start, b"RIFF"))
        patches += [(start + 4, _field(total, order)), (body - 4, _field(used, order))]
    plain = None
    if form.is_plain and name == b"RIFF" and not patches:
        plain = PlainSamples(body, form.channels, stated // (2 * form.channels))
    return AudioPart(
        "wav",
        start,
        end,
        form.decoder,
        tuple(patches),
        verdict.cut,
        verdict.missing_seconds,
        sample_rate=form.rate,
        notes=tuple(notes),
        plain=plain,
    )


def _look_behind(
    file: BinaryIO, behind: int, size: int, order: ByteOrder, byte_rate: float
) -> tuple[int, str]:
    """Where the next WAV file begins behind the samples, or the file's end; a note about other bytes."""
    best = behind
    for place in (behind + behind % 2, behind, behind + 1):
        reached, joined, more = _follow_chunks(file, place, size, order)
        if joined:
            return reached, ""
        if more:
            return size, f"{more} bytes of samples in another chunk, behind the first; they are not read"
        best = max(best, reached) if reached > place else best
    rest = size - best
    if rest < MIN_REPORTED_BYTES or (rest == 128 and read_at(file, best, 3) == b"TAG"):
        return size, ""
    if rest <= 1 << 16 and not any(read_at(file, best, rest)):
        return size, ""  # padding
    seconds = f", as much as {rest / byte_rate:.3f} s of sound" if byte_rate and best == behind else ""
    return size, f"{rest} bytes behind the samples form no chunk{seconds}; they are not read"


def _follow_chunks(file: BinaryIO, place: int, size: int, order: ByteOrder) -> tuple[int, bool, int]:
    """Follow chunks; (where they end, whether another WAV file begins there, bytes of samples in them)."""
    more = 0
    for _ in range(MAX_CHUNKS):
        head = read_at(file, place, 12)
        if head[:4] in RIFF_IDS and head[8:] == b"WAVE":
            return place, True, more
        length = int.from_bytes(head[4:8], order)
        text = all(32 <= byte < 127 for byte in head[:4])
        if len(head) < 8 or not text or place + 8 + length > size:
            break
        more += length if head[:4] == b"data" else 0
        place = min(place + 8 + length + length % 2, size)
    return place, False, more


def _field(value: int, order: ByteOrder) -> bytes:
    return value.to_bytes(4, order)


def examine_w64(file: BinaryIO, start: int, size: int) -> AudioPart | None:
    """Examine a Sony Wave64 file; arguments and result as of `examine_riff`."""
    head = read_at(file, start, 40)
    if head[:16] != b"riff" + W64_TAIL[b"riff"] or head[24:] != b"wave" + W64_TAIL[b"wave"]:
        return None
    form, place = None, start + 40
    for _ in range(MAX_CHUNKS):
        chunk = read_at(file, place, 24)
        if len(chunk) < 24:
            break
        length, body = int.from_bytes(chunk[16:], "little"), place + 24
        if chunk[:4] == b"fmt ":
            form = _read_format(read_at(file, body, 40), "little")
        elif chunk[:4] == b"data" and form:
            stated = max(0, length - 24) if length < 2**62 else length
            total = int.from_bytes(head[16:24], "little")
            verdict = judge_length(
                stated, size - body, form.byte_rate, width=8, container_fits=abs(start + total - size) <= 8
            )
            used = verdict.used_bytes
            patches = (
                ()
                if used == stated
                else (
                    (start + 16, struct.pack("<Q", body + used - start)),
                    (body - 8, struct.pack("<Q", used + 24)),
                )
            )
            return AudioPart(
                "w64",
                start,
                size,
                form.decoder,
                patches,
                verdict.cut,
                verdict.missing_seconds,
                sample_rate=form.rate,
                notes=verdict.notes,
            )
        place = body + max(0, length - 24)
        place += -(place - start) % 8
    return AudioPart("w64", start, size)


def examine_aiff(file: BinaryIO, start: int, size: int) -> AudioPart | None:
    """Examine an AIFF or AIFF-C file; arguments and result as of `examine_riff`."""
    head = read_at(file, start, 12)
    if head[:4] != b"FORM" or head[8:] not in (b"AIFF", b"AIFC"):
        return None
    common, common_place, sound, place = b"", 0, None, start + 12
    for _ in range(MAX_CHUNKS):
        chunk = read_at(file, place, 8)
        if len(chunk) < 8:
            break
        length, body = int.from_bytes(chunk[4:], "big"), place + 8
        if chunk[:4] == b"COMM":
            common, common_place = read_at(file, body, 22), body
        elif chunk[:4] == b"SSND":
            sound = (body, length)
            if common:
                break
        place = body + length + length % 2
    if len(common) < 18 or sound is None:
        return AudioPart("aiff", start, size)
    channels, frames, bits = struct.unpack(">HIH", common[:8])
    exponent, mantissa = struct.unpack(">HQ", common[8:18])  # an 80-bit float
    rate = int(mantissa * 2.0 ** ((exponent & 0x7FFF) - 16383 - 63)) if exponent < 0x7FFF else 0
    codec = common[18:22] if head[8:] == b"AIFC" else b"NONE"
    sample_bytes = AIFC_SAMPLE_BYTES.get(codec, -(-bits // 8) if codec in AIFC_PLAIN else 0)
    if not sample_bytes or not channels:
        return AudioPart("aiff", start, size, sample_rate=rate)
    body, length = sound
    offset = int.from_bytes(read_at(file, body, 4), "big")
    first, block = body + 8 + (offset if offset < 1 << 20 else 0), channels * sample_bytes
    total = int.from_bytes(head[4:8], "big")
    stated = length if is_placeholder(length) else max(0, length - (first - body))
    verdict = judge_length(
        stated, max(0, size - first), block * rate, container_fits=abs(start + total + 8 - size) <= 1
    )
    used, notes = verdict.used_bytes, list(verdict.notes)
    patches: list[tuple[int, bytes]] = []
    if used != stated or used // block != frames:
        if not verdict.notes and not verdict.cut:
            notes.append(f"the header counts {frames} samples, its data hold {used // block}")
        patches = [
            (start + 4, struct.pack(">I", min(first + used - start - 8, 0xFFFFFFF0))),
            (common_place + 2, struct.pack(">I", used // block)),
            (body - 4, struct.pack(">I", min(used + first - body, 0xFFFFFF00))),
        ]
    return AudioPart(
        "aiff",
        start,
        size,
        "soundfile",
        tuple(patches),
        verdict.cut,
        verdict.missing_seconds,
        sample_rate=rate,
        notes=tuple(notes),
    )


def examine_au(file: BinaryIO, start: int, size: int) -> AudioPart | None:
    """Examine a Sun AU file; arguments and result as of `examine_riff`."""
    head = read_at(file, start, 24)
    if head[:4] not in (b".snd", b"dns.") or len(head) < 24:
        return None
    order = ">" if head[:4] == b".snd" else "<"
    offset, stated, encoding, rate, channels = struct.unpack(order + "5I", head[4:])
    byte_rate = AU_SAMPLE_BYTES.get(encoding, 0) * channels * rate
    present = max(0, size - start - offset)
    verdict = judge_length(stated, present, byte_rate)
    notes = () if stated == 0xFFFFFFFF else verdict.notes  # the format's own value for an unknown length
    patches = ((start + 8, struct.pack(order + "I", min(verdict.used_bytes, 0xFFFFFF00))),)
    return AudioPart(
        "au",
        start,
        size,
        "soundfile",
        () if verdict.used_bytes == stated else patches,
        verdict.cut,
        verdict.missing_seconds,
        sample_rate=rate,
        notes=notes,
    )


def examine_caf(file: BinaryIO, start: int, size: int) -> AudioPart | None:
    """Examine a Core Audio file; arguments and result as of `examine_riff`."""
    if read_at(file, start, 4) != b"caff":
        return None
    byte_rate, rate, place = 0.0, 0, start + 8
    for _ in range(MAX_CHUNKS):
        chunk = read_at(file, place, 12)
        if len(chunk) < 12:
            break
        length, body = int.from_bytes(chunk[4:], "big"), place + 12
        if chunk[:4] == b"desc":
            fields = read_at(file, body, 32)
            if len(fields) < 32:
                break
            sampling, packet_bytes, packet_frames = struct.unpack(">d8xII", fields[:24])
            rate = int(sampling) if 0 < sampling < 2**31 else 0
            byte_rate = sampling * packet_bytes / packet_frames if rate and packet_frames else 0.0
        elif chunk[:4] == b"data":
            edits = 0 if is_placeholder(length, 8) else 4  # bytes of the edit count
            verdict = judge_length(length - edits, size - body - edits, byte_rate, width=8)
            notes = (
                () if length == 2**64 - 1 else verdict.notes
            )  # -1: the format's own value for "to the end"
            used = verdict.used_bytes + edits
            return AudioPart(
                "caf",
                start,
                size,
                "soundfile",
                () if used == length else ((body - 8, struct.pack(">Q", used)),),
                verdict.cut,
                verdict.missing_seconds,
                sample_rate=rate,
                notes=notes,
            )
        place = body + length
    return AudioPart("caf", start, size, sample_rate=rate)
