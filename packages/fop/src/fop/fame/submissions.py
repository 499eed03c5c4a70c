"""Submission files of the FAME challenges: writing, reading, and checking one before it is sent.

A submission is one text file per pair of training and test language, with a line `KEY distance` (six
decimals) for every pair of the test list, in its order. Its name is `sub_score_VERSION_LANGUAGE_heard.txt` or
`..._unheard.txt`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from voiceface.datasets.mavceleb.layout import LANGUAGES
from voiceface.datasets.mavceleb.lists import PairList
from voiceface.io.atomic import write_bytes
from voiceface.io.foreign_files import read_file_bytes

__all__ = [
    "NamedBy",
    "Problem",
    "Submission",
    "SubmissionError",
    "SubmissionName",
    "check_submission",
    "format_problems",
    "list_language",
    "read_submission",
    "submission_name",
    "write_submission",
]

NamedBy = Literal["train", "test"]
"""Language in the name of a submission: the one that the model was trained on, or that of the test."""
MAX_SHOWN = 5
_NAME = re.compile(r"sub_score_(v\d+)_([A-Za-z]+)_(heard|unheard)\.txt")
_DISTANCE = re.compile(r"-?\d+\.\d{6}")
_WHAT = "a submission (lines `KEY distance`)"


class SubmissionError(ValueError):
    """A submission that cannot be read or written; the message names file and line."""


class SubmissionName(NamedTuple):
    """Parts of the name of a submission."""

    version: str
    language: str
    heard: bool


class Submission(NamedTuple):
    """Distances by key: P distinct keys in the order of the file, (P,) float64, smaller is more alike."""

    keys: tuple[str, ...]
    distances: NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """What is wrong with a submission.

    Attributes:
        kind: "name", "form", "missing", "foreign", "repeated", "not finite", "order" or "constant".
        count: lines or keys.
        detail: the first of them, and what was expected.
    """

    kind: str
    count: int
    detail: str


def submission_name(version: str, language: str, heard: bool) -> str:
    """Name of a submission.

    Example:
        >>> submission_name("v1", "Urdu", False)
        'sub_score_v1_Urdu_unheard.txt'
    """
    return f"sub_score_{version}_{language}_{'heard' if heard else 'unheard'}.txt"


def list_language(pairs: PairList) -> str:
    """Language of a test list, from its paths (`voices/LANGUAGE/...`); "" where they name none or several."""
    languages = {language for pair in LANGUAGES.values() for language in pair}
    found = {part for item in pairs.voices for part in item.split("/")[1:-1] if part in languages}
    return found.pop() if len(found) == 1 else ""


def write_submission(path: str | Path, keys: Sequence[str], distances: ArrayLike) -> None:
    r"""Write a submission atomically: UTF-8, LF after every line.

    Args:
        path: the file.
        keys: P distinct keys without blanks.
        distances: (P,) finite numbers; smaller is more alike.

    Raises:
        SubmissionError: numbers that are not finite, keys that occur twice or hold blanks, other lengths;
            nothing is written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "sub_score_v1_Urdu_heard.txt"
        >>> write_submission(path, ["ysuvkz41", "tog3zj45"], [1.1511118, 0.25])
        >>> path.read_text()
        'ysuvkz41 1.151112\ntog3zj45 0.250000\n'
    """
    values = np.asarray(distances, np.float64)
    if values.shape != (len(keys),):
        raise SubmissionError(
            f"{path}: {len(keys)} keys and distances of shape {values.shape}, expected one each"
        )
    if len(set(keys)) != len(keys) or any(not key or key.split() != [key] for key in keys):
        raise SubmissionError(f"{path}: the keys are not distinct, or one is empty or holds a blank")
    if not np.isfinite(values).all():
        key = keys[int(np.argmin(np.isfinite(values)))]
        raise SubmissionError(
            f"{path}: {int((~np.isfinite(values)).sum())} distances are not finite, first that of {key}"
        )
    lines = (f"{key} {value:.6f}\n" for key, value in zip(keys, values.tolist()))
    write_bytes(path, "".join(lines).encode())


def read_submission(path: str | Path) -> Submission:
    """Read a submission of any number of decimals.

    Raises:
        SubmissionError: no text, an empty file, a line of another form, a distance that is not finite, a key
            twice; names file and line.
        FileNotFoundError: there is no such file.
    """
    source = Path(path)
    values: dict[str, float] = {}
    for number, line in enumerate(_read_lines(source)[0], 1):
        row, where = line.split(), f"{source}, line {number}"
        distance = _parse(row)
        if distance is None:
            raise SubmissionError(f"{where}: {line[:80]!r}, expected a key and a distance")
        if not np.isfinite(distance):
            raise SubmissionError(f"{where}: the distance of {row[0]} is {row[1]}, expected a finite number")
        if row[0] in values:
            raise SubmissionError(f"{where}: the key {row[0]!r} occurs twice")
        values[row[0]] = distance
    if not values:
        raise SubmissionError(f"{source}: the file is empty, expected lines `KEY distance`")
    return Submission(tuple(values), np.fromiter(values.values(), np.float64, len(values)))


def check_submission(path: str | Path, pairs: PairList, *, named_by: NamedBy = "train") -> list[Problem]:
    """Find everything that is wrong with a submission.

    Args:
        path: the submission.
        pairs: the test list that it belongs to.
        named_by: language in its name: that of the training ("unheard" then names the other one than the
            list), or that of the test.

    Returns:
        Problems; empty if it can be sent.

    Raises:
        SubmissionError: the file is no text at all.
        FileNotFoundError: there is no such file.
    """
    source = Path(path)
    problems = _check_name(source.name, pairs, named_by)
    lines, form = _read_lines(source)
    problems += [Problem("form", 1, text) for text in form]
    rows = [line.split(" ") for line in lines]
    bad = [number for number, row in enumerate(rows, 1) if len(row) != 2 or not row[0] or _parse(row) is None]
    if bad:
        shown = f"line {bad[0]}: {lines[bad[0] - 1][:60]!r}"
        problems.append(Problem("form", len(bad), f"{shown}; expected KEY, one blank, distance"))
    wrong = set(bad)
    sound = [row for number, row in enumerate(rows, 1) if number not in wrong]
    infinite = [row[0] for row in sound if not np.isfinite(float(row[1]))]
    decimals = [row for row in sound if np.isfinite(float(row[1])) and not _DISTANCE.fullmatch(row[1])]
    if decimals:
        key, value = decimals[0]
        problems.append(Problem("form", len(decimals), f"{key} {value}; expected six decimals"))
    if infinite:
        problems.append(Problem("not finite", len(infinite), _shown(infinite)))
    keys = [row[0] for row in sound]
    problems += _check_keys(keys, pairs)
    finite = {row[1] for row in sound}
    if len(pairs) > 1 and len(sound) > 1 and len(finite) == 1:
        problems.append(Problem("constant", len(sound), f"every distance is {finite.pop()}"))
    return problems


def format_problems(problems: Sequence[Problem]) -> str:
    """Format problems as a table, one a line."""
    rows = [("what", "number", "detail"), *((p.kind, str(p.count), p.detail) for p in problems)]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c}" for a, b, c in rows)


def _check_name(name: str, pairs: PairList, named_by: NamedBy) -> list[Problem]:
    """Problems of the name of a file."""
    expected = "sub_score_VERSION_LANGUAGE_heard.txt or ..._unheard.txt"
    found = _NAME.fullmatch(name)
    if not found:
        return [Problem("name", 1, f"{name}, expected {expected}")]
    version, language, heard = found[1], found[2], found[3] == "heard"
    if version not in LANGUAGES:
        return [Problem("name", 1, f"version {version}, expected one of {', '.join(LANGUAGES)}")]
    if language not in LANGUAGES[version]:
        return [Problem("name", 1, f"language {language}, expected {' or '.join(LANGUAGES[version])}")]
    tested = list_language(pairs)
    if tested and tested not in LANGUAGES[version]:
        return [Problem("name", 1, f"the list is of {tested}, which {version} does not have")]
    if not tested:
        return []
    other = next(each for each in LANGUAGES[version] if each != tested)
    wanted = tested if heard or named_by == "test" else other
    if language == wanted:
        return []
    rule = "that of the test" if named_by == "test" else "that of the training"
    return [
        Problem("name", 1, f"the list is of {tested}, so expected {wanted} (the language named is {rule})")
    ]


def _check_keys(keys: Sequence[str], pairs: PairList) -> list[Problem]:
    """Problems of keys: missing, foreign, twice, in another order."""
    problems = []
    known, given = set(pairs.keys), set(keys)
    seen: set[str] = set()
    repeated = [key for key in keys if key in seen or seen.add(key)]  # type: ignore[func-returns-value]
    for kind, found in (
        ("missing", [key for key in pairs.keys if key not in given]),
        ("foreign", [key for key in dict.fromkeys(keys) if key not in known]),
        ("repeated", repeated),
    ):
        if found:
            problems.append(Problem(kind, len(found), _shown(found)))
    places = {key: place for place, key in enumerate(pairs.keys)}
    order = [places[key] for key in dict.fromkeys(keys) if key in places]
    moved = int((np.diff(order) < 0).sum()) if order else 0
    if moved:
        problems.append(Problem("order", moved, "keys stand before one that precedes them in the list"))
    return problems


def _shown(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - MAX_SHOWN} more" if len(keys) > MAX_SHOWN else ""
    return ", ".join(key[:40] for key in keys[:MAX_SHOWN]) + more


def _parse(row: Sequence[str]) -> float | None:
    """Distance of a line, or None for a line of another form."""
    try:
        return float(row[1]) if len(row) == 2 else None
    except ValueError:
        return None


def _read_lines(source: Path) -> tuple[list[str], list[str]]:
    """Lines of a submission without their ends, and what deviates from plain UTF-8 with LF."""
    data = read_file_bytes(source, SubmissionError, _WHAT)
    deviations = []
    if data[:3] == b"\xef\xbb\xbf":
        deviations.append("a byte order mark at the beginning; expected none")
        data = data[3:]
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SubmissionError(f"{source}: no UTF-8 text, expected {_WHAT}") from error
    if "\r" in text:
        deviations.append("lines end with a carriage return; expected LF alone")
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text and not text.endswith("\n"):
        deviations.append("the last line has no end")
    return text.removesuffix("\n").split("\n") if text else [], deviations
