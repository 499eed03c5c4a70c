"""AVSpeech's table of segments, and the index of local videos."""

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from voiceface.datasets.layouts import find_files
from voiceface.io.foreign_files import reading

__all__ = [
    "COLUMNS_HELP",
    "DEFAULT_NAME_PATTERNS",
    "PLACEHOLDER_PATTERNS",
    "VIDEO_SUFFIXES",
    "AvspeechError",
    "Segment",
    "VideoIndex",
    "read_segments",
]

COLUMNS_HELP = "video id, start in s, end in s, x and y of the face's centre in 0...1"
VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".mov", ".m4v", ".avi", ".flv", ".ts")
DEFAULT_NAME_PATTERNS = ("{id}_{start}_{end}", "{id}")
PLACEHOLDER_PATTERNS = {
    "id": r"[A-Za-z0-9_-]+",
    "start": r"\d+(?:\.\d+)?",
    "end": r"\d+(?:\.\d+)?",
    "start_ms": r"\d+",
    "end_ms": r"\d+",
}


class AvspeechError(ValueError):
    """An invalid table, folder or option; the message states what was found and what was expected."""


class Segment(NamedTuple):
    """One row of the table: video, start and end in seconds, and centre of the face in 0...1."""

    video: str
    start: float
    end: float
    x: float
    y: float

    @property
    def name(self) -> str:
        """Start and end in milliseconds, such as 00030030-00036670, sortable by time."""
        return f"{round(self.start * 1000):08d}-{round(self.end * 1000):08d}"

    @property
    def row(self) -> str:
        """The row as in the public table, line end included."""
        return f"{self.video},{self.start:.6f},{self.end:.6f},{self.x:.6f},{self.y:.6f}\n"


def read_segments(path: str | Path) -> Iterator[Segment]:
    """Read AVSpeech's table row by row.

    Args:
        path: comma-separated UTF-8 text of five columns, LF or CRLF; the public files have no header, one is
            passed over.

    Raises:
        AvspeechError: names file, line, what was found and what was expected.
        FileNotFoundError: there is no such file.
    """
    table = Path(path)
    if not table.is_file():
        raise FileNotFoundError(
            f"no table at {table}, expected a file with AVSpeech's columns: {COLUMNS_HELP}"
        )
    with reading(table, AvspeechError, "a table of AVSpeech") as binary:
        encoding = "utf-16" if binary.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        binary.seek(0)
        reader = csv.reader(io.TextIOWrapper(binary, encoding, newline=""), strict=True)
        try:
            for number, row in enumerate(reader):
                cells = [cell.strip() for cell in row]
                if not any(cells) or (number == 0 and _is_header(cells)):
                    continue
                yield _parse_segment(cells, f"{table}, line {reader.line_num}")
        except csv.Error as error:
            raise AvspeechError(f"{table}, line {reader.line_num}: not a table ({error})") from error
        except UnicodeError as error:
            raise AvspeechError(f"{table}, after line {reader.line_num}: not UTF-8 text") from error


class VideoIndex:
    """Index of local videos by their names.

    Names without suffix are matched with the patterns in turn: the file name, or the path below the folder if
    the pattern contains a slash. `{id}` alone denotes a complete video; with `{start}` and `{end}` in
    seconds, or `{start_ms}` and `{end_ms}` in milliseconds, a clip of it. Times match up to rounding; the
    nearest of several clips is used.

    Attributes:
        files: every video below the folder, relative to it, sorted.
    """

    files: list[str]

    def __init__(self, folder: str | Path, name_patterns: Sequence[str] = DEFAULT_NAME_PATTERNS) -> None:
        """Index a folder, to any depth; of files with the same id and times, the first by name is used.

        Raises:
            AvspeechError: an invalid pattern.
            FileNotFoundError: no such folder.
        """
        forms = [(_compile_pattern(pattern), "/" in pattern) for pattern in name_patterns]
        endings = [*VIDEO_SUFFIXES, *(suffix.upper() for suffix in VIDEO_SUFFIXES)]
        found = find_files(folder, "", endings)
        if found is None:
            raise FileNotFoundError(f"no video folder at {folder}")
        self.files = found
        self._videos: list[dict[str, str]] = [{} for _ in forms]
        self._clips: list[dict[str, list[tuple[float, float, float, str]]]] = [{} for _ in forms]
        for item in found:
            path = item.rpartition(".")[0]
            for place, (form, with_folders) in enumerate(forms):
                named = form.fullmatch(path if with_folders else path.rpartition("/")[2])
                if named is None:
                    continue
                words = named.groupdict()
                if len(words) == 1:
                    self._videos[place].setdefault(words["id"], item)
                else:
                    self._clips[place].setdefault(words["id"], []).append((*_parse_times(words), item))

    def find(self, segment: Segment) -> tuple[str, float] | None:
        """Return (file relative to the folder, start of the segment in it, seconds), or None if missing."""
        for videos, clips in zip(self._videos, self._clips):
            if segment.video in videos:
                return videos[segment.video], segment.start
            near = [
                (off, item)
                for start, end, precision, item in clips.get(segment.video, ())
                if (off := max(abs(start - segment.start), abs(end - segment.end))) <= precision + 1e-6
            ]
            if near:
                return min(near)[1], 0.0
        return None


def _is_header(cells: Sequence[str]) -> bool:
    """Return whether cells are column names: five, none of the last four a number."""
    return len(cells) == 5 and all(_parse_number(cell) is None for cell in cells[1:])


def _parse_segment(cells: Sequence[str], where: str) -> Segment:
    """Parse and check the cells of a row."""
    if len(cells) != 5:
        raise AvspeechError(f"{where}: {len(cells)} cells, expected 5: {COLUMNS_HELP}")
    if not re.fullmatch(PLACEHOLDER_PATTERNS["id"], cells[0]):
        raise AvspeechError(
            f"{where}, column 1: {cells[0]!r}, expected a video id of letters, digits, '-' and '_'"
        )
    numbers = []
    for column, cell in enumerate(cells[1:], 2):
        number = _parse_number(cell)
        if number is None:
            raise AvspeechError(f"{where}, column {column}: {cell!r}, expected a number ({COLUMNS_HELP})")
        numbers.append(number)
    start, end, x, y = numbers
    if not 0 <= start < end or round(start * 1000) == round(end * 1000):
        raise AvspeechError(
            f"{where}, columns 2 and 3: from {start:g} s to {end:g} s, expected 0 <= start < end"
        )
    for column, value in ((4, x), (5, y)):
        if not 0 <= value <= 1:
            raise AvspeechError(f"{where}, column {column}: {value:g}, expected a fraction from 0 to 1")
    return Segment(cells[0], start, end, x, y)


def _parse_number(cell: str) -> float | None:
    """Parse a finite number; None otherwise."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a name pattern to a regular expression with one group per placeholder."""
    parts = re.split(r"\{(\w+)\}", pattern)
    words = parts[1::2]
    usable = words.count("id") == 1 and sorted(words) in (
        ["id"],
        ["end", "id", "start"],
        ["end_ms", "id", "start_ms"],
    )
    if not usable or any(sign in literal for literal in parts[::2] for sign in "{}"):
        raise AvspeechError(
            f"the pattern {pattern!r} has the placeholders {', '.join(words) or 'none'}, expected "
            "{id} alone, or with {start} and {end}, or with {start_ms} and {end_ms}"
        )
    pieces = [
        f"(?P<{part}>{PLACEHOLDER_PATTERNS[part]})" if place % 2 else re.escape(part)
        for place, part in enumerate(parts)
    ]
    return re.compile("".join(pieces))


def _parse_times(words: dict[str, str]) -> tuple[float, float, float]:
    """Start and end of a name in seconds, and the tolerance that follows from its digits."""
    if "start_ms" in words:
        return int(words["start_ms"]) / 1000, int(words["end_ms"]) / 1000, 1e-3
    digits = min(len(words[key].partition(".")[2]) for key in ("start", "end"))
    return float(words["start"]), float(words["end"]), 10.0**-digits
