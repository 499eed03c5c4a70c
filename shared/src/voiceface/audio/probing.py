"""The first look at a sound file: what it is, which library reads it, whether it is whole."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from voiceface.audio.box_headers import examine_box_container
from voiceface.audio.byte_ranges import raw_file, read_at
from voiceface.audio.coded_headers import examine_flac, examine_ogg
from voiceface.audio.mpeg_headers import examine_mpeg, find_joined_mpeg
from voiceface.audio.parts import AudioPart
from voiceface.audio.pcm_headers import examine_aiff, examine_au, examine_caf, examine_riff, examine_w64
from voiceface.audio.samples import AudioError
from voiceface.io.file_kinds import HEAD_SIZE, printable, recognise
from voiceface.io.foreign_files import first_line, open_regular_file

__all__ = ["AudioProbe", "open_audio_file", "probe_audio_file", "probe_open_file", "undecodable_error"]

MPEG_KINDS = ("mp3", "mp2", "adts")  # what lies behind their frames is a further part only behind ID3v2 tags
MAX_PARTS = 1000  # of a file that consists of joined ones


@dataclass(frozen=True)
class AudioProbe:
    """What the headers of a sound file say.

    Attributes:
        parts: streams that lie one behind another, usually one.
    """

    parts: tuple[AudioPart, ...]

    @property
    def missing_seconds(self) -> float:
        """Sound that the headers state and the file does not hold."""
        return sum(part.missing_seconds for part in self.parts)

    @property
    def cut(self) -> str:
        """Evidence that bytes are missing; "" if there is none."""
        return next((part.cut for part in self.parts if part.cut), "")

    @property
    def notes(self) -> tuple[str, ...]:
        """Peculiarities by which nothing is lost."""
        if len(self.parts) == 1:
            return self.parts[0].notes
        joined = (f"{len(self.parts)} recordings joined in one file",)
        return (*joined, *dict.fromkeys(note for part in self.parts for note in part.notes))


@contextmanager
def open_audio_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a sound file; pipes, devices and folders are refused, and every error names the file.

    Raises:
        FileNotFoundError: no such file.
        AudioError: not a regular file; or anything else that goes wrong while it is open.
    """
    name = printable(path)
    try:
        file = open_regular_file(path, AudioError, "an audio file")
    except FileNotFoundError:
        if Path(path).is_dir():
            raise AudioError(f"{name}: is a folder, expected an audio file") from None
        raise FileNotFoundError(f"{name}: no such audio file; check the data folder") from None
    with file:
        try:
            yield file
        except AudioError:
            raise
        except Exception as error:  # libraries raise errors of any kind for damaged files
            raise undecodable_error(name, error, file) from error


def probe_audio_file(path: str | os.PathLike[str]) -> AudioProbe:
    """Examine the headers of a file: which library is needed, and whether the file is as long as they say.

    Raises:
        FileNotFoundError: no such file.
        AudioError: a folder, a pipe, or an empty file.
    """
    with open_audio_file(path) as file:
        return probe_open_file(path, file)


def probe_open_file(path: str | os.PathLike[str], file: BinaryIO, *, search: bool = True) -> AudioProbe:
    """Examine an open file; as `probe_audio_file`.

    Args:
        path: for messages.
        file: open for reading.
        search: look for FLAC files behind a first one, through all its bytes.
    """
    size = os.fstat(file.fileno()).st_size
    if not size:
        raise AudioError(f"{path}: empty file (0 bytes), expected audio; remove it or download it again")
    parts: list[AudioPart] = []
    place = 0
    while place < size and len(parts) < MAX_PARTS:
        parts += _examine(file, place, size, search)
        place = parts[-1].end
        if parts[-1].kind in MPEG_KINDS:
            place = find_joined_mpeg(file, parts[-1].start, place, size) or size
    return AudioProbe(tuple(parts))


def _examine(file: BinaryIO, start: int, size: int, search: bool) -> list[AudioPart]:
    """Examine what begins at a place."""
    for examine in (examine_riff, examine_box_container, examine_w64, examine_aiff, examine_au, examine_caf):
        if part := examine(file, start, size):
            return [part]
    if parts := examine_flac(file, start, size, search=search) or examine_ogg(file, start, size):
        return parts
    part = examine_mpeg(file, start, size)
    return [part or AudioPart("other", start, size)]


def undecodable_error(path: str | os.PathLike[str], error: Exception, file: BinaryIO) -> AudioError:
    """Build the error for a file that the libraries refuse, with the reason, or with what it really is."""
    kind = recognise(read_at(raw_file(file), 0, HEAD_SIZE))
    if kind is not None and kind.key not in ("audio", "video"):
        remedy = kind.remedy or "remove it"
        return AudioError(
            f"{path}: cannot be decoded (it is {kind.title}), expected an undamaged wav, flac, mp3, ogg, m4a "
            f"or other sound file; {remedy}"
        )
    reason = getattr(error, "error_string", None) or first_line(error)
    return AudioError(
        f"{path}: cannot be decoded ({str(reason).strip().rstrip('.') or 'damaged data'}), expected an "
        "undamaged wav, flac, mp3, ogg, m4a or other sound file; copy it again or remove it"
    )
