"""AVSpeech's table, and which of the user's own videos its rows speak of."""

import csv
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from voiceface.datasets.layouts import find_files

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
    """A table, folder or option that cannot be used; the message names it, what was found and expected."""


class Segment(NamedTuple):
    """One row of the table: a video, a stretch of it in seconds, and the face's centre in 0...1."""

    video: str
    start: float
    end: float
    x: float
    y: float

    @property
    def name(self) -> str:
        """Start and end in milliseconds, such as 00030030-00036670; sorts by time."""
        return f"{round(self.start * 1000):08d}-{round(self.end * 1000):08d}"

    @property
    def row(self) -> str:
        """The row as the public table writes it, line end included."""
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
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            for number, row in enumerate(reader):
                cells = [cell.strip() for cell in row]
                if not any(cells) or (number == 0 and _is_header(cells)):
                    continue
                yield _parse_segment(cells, f"{table}, line {reader.line_num}")
        except csv.Error as error:
            raise AvspeechError(f"{table}, line {reader.line_num}: not a table ({error})") from error
        except UnicodeDecodeError as error:
            raise AvspeechError(f"{table}, after line {reader.line_num}: not UTF-8 text") from error


class VideoIndex:
    """The user's videos, by what their names say.

    A name without its ending is held against the patterns in turn: the file's name alone, or the whole path
    below the folder when the pattern holds a slash. `{id}` alone stands for a whole video; with `{start}` and
    `{end}` in seconds, or `{start_ms}` and `{end_ms}` in milliseconds, for a clip that was cut from it. A
    time in a name is the row's when they agree but for rounding; of several clips the nearest is taken.

    Attributes:
        files: every video below the folder, relative to it, sorted.
    """

    files: list[str]

    def __init__(self, folder: str | Path, name_patterns: Sequence[str] = DEFAULT_NAME_PATTERNS) -> None:
        """Look through a folder, to any depth; of files that say the same the first by name is taken.

        Raises:
            AvspeechError: a pattern of another form.
            FileNotFoundError: there is no such folder.
        """
        forms = [(_compile_pattern(pattern), "/" in pattern) for pattern in name_patterns]
        endings = [*VIDEO_SUFFIXES, *(suffix.upper() for suffix in VIDEO_SUFFIXES)]
        found = find_files(folder, "", endings)
        if found is None:
            raise FileNotFoundError(f"no folder of videos at {folder}")
        self.files = found
        self._whole_videos: list[dict[str, str]] = [{} for _ in forms]
        self._cut_clips: list[dict[str, list[tuple[float, float, float, str]]]] = [{} for _ in forms]
        for item in found:
            path = item.rpartition(".")[0]
            for place, (form, with_folders) in enumerate(forms):
                named = form.fullmatch(path if with_folders else path.rpartition("/")[2])
                if named is None:
                    continue
                words = named.groupdict()
                if len(words) == 1:
                    self._whole_videos[place].setdefault(words["id"], item)
                else:
                    self._cut_clips[place].setdefault(words["id"], []).append((*_parse_times(words), item))

    def find(self, segment: Segment) -> tuple[str, float] | None:
        """Return (file relative to the folder, second of it at which the stretch begins); None: not there."""
        for whole, cut in zip(self._whole_videos, self._cut_clips):
            if segment.video in whole:
                return whole[segment.video], segment.start
            near = [
                (off, item)
                for start, end, precision, item in cut.get(segment.video, ())
                if (off := max(abs(start - segment.start), abs(end - segment.end))) <= precision + 1e-6
            ]
            if near:
                return min(near)[1], 0.0
        return None


def _is_header(cells: Sequence[str]) -> bool:
    """Tell names of columns from a row: five words, none of the last four a number."""
    return len(cells) == 5 and all(_parse_number(cell) is None for cell in cells[1:])


def _parse_segment(cells: Sequence[str], where: str) -> Segment:
    """Check the cells of a row."""
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
    """A finite number, or None."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _compile_pattern(pattern: str) -> re.Pattern[str]:
    """Turn a pattern of names into a regular expression with one group per word."""
    parts = re.split(r"\{(\w+)\}", pattern)
    words = parts[1::2]
    usable = words.count("id") == 1 and sorted(words) in (
        ["id"],
        ["end", "id", "start"],
        ["end_ms", "id", "start_ms"],
    )
    if not usable or any(sign in literal for literal in parts[::2] for sign in "{}"):
        raise AvspeechError(
            f"the pattern {pattern!r} has the words {', '.join(words) or 'none'}, expected {{id}} alone, "
            "or with {start} and {end}, or with {start_ms} and {end_ms}"
        )
    pieces = [
        f"(?P<{part}>{PLACEHOLDER_PATTERNS[part]})" if place % 2 else re.escape(part)
        for place, part in enumerate(parts)
    ]
    return re.compile("".join(pieces))


def _parse_times(words: dict[str, str]) -> tuple[float, float, float]:
    """Start and end in seconds as a name gives them, and how far they may be off for its digits."""
    if "start_ms" in words:
        return int(words["start_ms"]) / 1000, int(words["end_ms"]) / 1000, 1e-3
    digits = min(len(words[key].partition(".")[2]) for key in ("start", "end"))
    return float(words["start"]), float(words["end"]), 10.0**-digits
