"""What a file is by its first bytes, and how its name is printed."""

import re
import unicodedata
from typing import NamedTuple

__all__ = ["HEAD_SIZE", "FileKind", "printable", "printable_lines", "recognise"]

HEAD_SIZE = 1024
"""Bytes from the beginning of a file that `recognise` needs."""
_JOINERS = "\u200c\u200d"  # parts of names in some scripts and of emoji


class FileKind(NamedTuple):
    """Kind of a file.

    Attributes:
        key: short name, such as "zip".
        title: for messages, with an article.
        remedy: what to do with such a file, or "".
    """

    key: str
    title: str
    remedy: str = ""


_UNPACK = "unpack it and give the file inside"
_IMAGE_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide")
_DTS_WORDS = ("7ffe8001", "fe7f0180", "1fffe800", "ff1f00e8")
_SIGNATURES: tuple[tuple[int, bytes, FileKind], ...] = (
    (
        0,
        b"version https://git-lfs.github.com/spec",
        FileKind(
            "lfs",
            "a Git LFS pointer instead of the file that it stands for",
            "run `git lfs pull` in its folder",
        ),
    ),
    (0, b"PK\x03\x04", FileKind("zip", "a zip archive", _UNPACK)),
    (0, b"PK\x05\x06", FileKind("zip", "an empty zip archive")),
    (257, b"ustar", FileKind("tar", "a tar archive", _UNPACK)),
    (0, b"\x1f\x8b", FileKind("gzip", "a gzip file", _UNPACK)),
    (0, b"BZh", FileKind("bzip2", "a bzip2 file", _UNPACK)),
    (0, b"\xfd7zXZ\x00", FileKind("xz", "an xz file", _UNPACK)),
    (0, b"\x28\xb5\x2f\xfd", FileKind("zstd", "a Zstandard file", _UNPACK)),
    (0, b"7z\xbc\xaf\x27\x1c", FileKind("7z", "a 7-Zip archive", _UNPACK)),
    (0, b"Rar!\x1a\x07", FileKind("rar", "a RAR archive", _UNPACK)),
    (0, b"%PDF-", FileKind("pdf", "a PDF document")),
    (0, b"\x89HDF\r\n\x1a\n", FileKind("hdf5", "an HDF5 file")),
    (0, b"\x93NUMPY", FileKind("npy", "a NumPy array (.npy)")),
    (0, b"PAR1", FileKind("parquet", "a Parquet table")),
    (0, b"ARROW1", FileKind("arrow", "an Arrow table")),
    (0, b"MATLAB 5.0", FileKind("mat", "a MATLAB file")),
    (0, b"SQLite format 3\x00", FileKind("sqlite", "an SQLite database")),
    (0, b"\x7fELF", FileKind("program", "a program (ELF)")),
    (0, b"MZ", FileKind("program", "a program (Windows)")),
    (0, b"\x89PNG\r\n\x1a\n", FileKind("image", "a PNG image")),
    (0, b"\xff\xd8\xff", FileKind("image", "a JPEG image")),
    (0, b"GIF8", FileKind("image", "a GIF image")),
    (8, b"WEBP", FileKind("image", "a WebP image")),
    (0, b"II*\x00", FileKind("image", "a TIFF image")),
    (0, b"MM\x00*", FileKind("image", "a TIFF image")),
    (0, b"\x00\x00\x00\x0cjP  \r\n\x87\n", FileKind("image", "a JPEG 2000 image")),
    (0, b"\xff\x4f\xff\x51", FileKind("image", "a JPEG 2000 image")),
    (0, b"8BPS\x00\x01", FileKind("image", "a Photoshop image")),
    (0, b"DDS \x7c\x00\x00\x00", FileKind("image", "a DDS image")),
    (0, b"qoif", FileKind("image", "a QOI image")),
    *((4, b"ftyp" + brand, FileKind("image", "a HEIC or AVIF image")) for brand in _IMAGE_BRANDS),
    (8, b"WAVE", FileKind("audio", "a WAV recording")),
    (0, b"riff\x2e\x91\xcf\x11", FileKind("audio", "a W64 recording")),
    (8, b"AIFF", FileKind("audio", "an AIFF recording")),
    (8, b"AIFC", FileKind("audio", "an AIFF recording")),
    (0, b".snd", FileKind("audio", "an AU recording")),
    (0, b"caff", FileKind("audio", "a CAF recording")),
    (0, b"#!AMR", FileKind("audio", "an AMR recording")),
    (0, b"\x0b\x77", FileKind("audio", "an AC-3 recording")),
    (0, b"wvpk", FileKind("audio", "a WavPack recording")),
    (0, b"TTA1", FileKind("audio", "a TTA recording")),
    (0, b"MAC ", FileKind("audio", "a Monkey's Audio recording")),
    (0, b"Creative Voice File", FileKind("audio", "a VOC recording")),
    (0, b"NIST_1A", FileKind("audio", "a SPHERE recording")),
    *((0, bytes.fromhex(word), FileKind("audio", "a DTS recording")) for word in _DTS_WORDS),
    (0, b".SoX", FileKind("audio", "a SoX recording")),
    (0, b"XoS.", FileKind("audio", "a SoX recording")),
    (0, b"MPCK", FileKind("audio", "a Musepack recording")),
    (0, b"MP+", FileKind("audio", "a Musepack recording")),
    (0, b"tBaK", FileKind("audio", "a TAK recording")),
    (0, b"DSD ", FileKind("audio", "a DSF recording")),
    (0, b"FRM8", FileKind("audio", "a DSDIFF recording")),
    (8, b"8SVX", FileKind("audio", "an 8SVX recording")),
    (0, b".ra\xfd", FileKind("audio", "a RealAudio recording")),
    (0, b".RMF", FileKind("video", "a RealMedia file")),
    (0, bytes.fromhex("060e2b34020501010d0102"), FileKind("video", "an MXF file")),
    (0, b"nut/multimedia container\x00", FileKind("video", "a NUT file")),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", FileKind("video", "a Windows Media file")),
    (8, b"AVI ", FileKind("video", "an AVI file")),
    (0, b"FLV\x01", FileKind("video", "an FLV file")),
    (0, b"\x00\x00\x01\xba", FileKind("video", "an MPEG file")),
    (0, b"fLaC", FileKind("audio", "a FLAC recording")),
    (0, b"OggS", FileKind("audio", "an Ogg recording")),
    (0, b"ID3", FileKind("audio", "an MP3 recording")),
    *((4, box, FileKind("video", "an MP4 or QuickTime file")) for box in _FIRST_BOXES),
    (0, b"\x1aE\xdf\xa3", FileKind("video", "a Matroska or WebM file")),
    (0, b"ply\n", FileKind("ply", "a PLY mesh")),
    (0, b"ply\r\n", FileKind("ply", "a PLY mesh")),
    (0, b"glTF", FileKind("glb", "a glTF mesh")),
)
_HTML = re.compile(rb"<!doctype html|<html|<head|<body", re.IGNORECASE)
_DAMAGED_PAGE = FileKind(
    "html", "a web page (HTML) instead of the file", "open its address in a browser and save the file itself"
)


def recognise(head: bytes) -> FileKind | None:
    """Recognise a file by its first bytes; None if they are of no known kind.

    Args:
        head: the first `HEAD_SIZE` bytes, or all of a shorter file.
    """
    if not head:
        return FileKind("empty", "an empty file", "copy or create it again")
    for offset, signature, kind in _SIGNATURES:
        if head.startswith(signature, offset):
            return kind
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return FileKind("utf-16", "text in UTF-16", "save it as UTF-8")
    if _is_mpeg_audio(head):
        return FileKind("audio", "an MP3 or AAC recording")
    if _is_bitmap(head):
        return FileKind("image", "a BMP image")
    if re.match(rb"P[1-6]\s+(#[^\n]*\n\s*)*[1-9]\d*\s+[1-9]\d*\s", head):
        return FileKind("image", "a PNM image")
    if head[:1] == b"G" and head[188:189] == b"G" and head[376:377] == b"G":
        return FileKind("video", "an MPEG transport stream")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _HTML.match(text):
        return _DAMAGED_PAGE
    if text.startswith(b"<?xml"):
        return _DAMAGED_PAGE if _HTML.search(text) else FileKind("xml", "an XML file")
    if re.match(rb'\{\s*["}]|\[\s*[\[{"\d\]]', text):
        return FileKind("json", "a JSON file")
    if head.count(0) == len(head):
        return FileKind("zeros", "filled with zeros, as interrupted downloads leave it", "fetch it again")
    return None


def _is_bitmap(head: bytes) -> bool:
    """Whether a file begins as a BMP image: place of the pixels and size of the header are possible."""
    place, size = (int.from_bytes(head[start : start + 4], "little") for start in (10, 14))
    return head[:2] == b"BM" and size in (12, 40, 52, 56, 64, 108, 124) and 14 + size <= place < 1 << 16


def _is_mpeg_audio(head: bytes) -> bool:
    """Whether a file begins with the header of a frame of MPEG audio: mp3, mp2 or AAC (ADTS)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    if head[1] & 0xF6 == 0xF0:  # ADTS
        return head[2] >> 2 & 15 < 13
    version_and_layer_exist = head[1] & 0x18 != 0x08 and head[1] & 0x06 != 0
    return version_and_layer_exist and head[2] >> 4 not in (0, 15) and head[2] & 0x0C != 0x0C


def printable(name: object) -> str:
    r"""Name of a file for messages: line ends, escape codes and bytes that are no text appear as ``\x1b``.

    Args:
        name: a path or text.

    Example:
        >>> printable("a\x1b[2Jb.wav")
        'a\\x1b[2Jb.wav'
    """
    text = str(name)
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_escape, text))


def printable_lines(text: object) -> str:
    """Text for a terminal: as `printable`, but its own line feeds and tabs stay."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in str(text).split("\n"))


def _escape(letter: str) -> str:
    """Escape a character that changes how a terminal shows the text around it, or that UTF-8 cannot hold."""
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") and letter not in _JOINERS:
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return letter
