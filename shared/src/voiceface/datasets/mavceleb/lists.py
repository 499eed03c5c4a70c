"""Lists of the FAME challenges: test pairs with and without labels, older truth files, training pairs.

A test list holds one pair a line, `KEY voices/LANG/NNNNN.wav faces/LANG/NNNNN.jpg`; where labels are known, 1
(one person) or 0 stands behind the key. Older truth files hold a bare 1 or 0 a line, in the order of the
list. Lists are UTF-8, with or without a byte order mark, or UTF-16 with one, with any line ends; blanks at
the ends of lines and empty lines at the end do not count.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from voiceface.datasets.layouts import is_face_file, is_inside_root, is_voice_file
from voiceface.datasets.trials.trial_list import read_list_text, split_lines
from voiceface.io.atomic import write_text

__all__ = [
    "MavCelebError",
    "PairList",
    "TrainingPair",
    "read_labels",
    "read_pair_list",
    "read_training_list",
    "with_truth",
    "write_pair_list",
]


class MavCelebError(ValueError):
    """A list or folder of MAV-Celeb that cannot be used; the message names file and line, and the remedy."""


@dataclass(frozen=True)
class PairList:
    """Test pairs of one language.

    Attributes:
        name: file name without folder and ending, such as `English_test`.
        keys: (P,) distinct keys, in the order of the list.
        voices: (P,) clips, relative to the root of the version; may repeat.
        faces: (P,) images, likewise.
        labels: (P,) int8, 1 where clip and image show one person, else 0; None if hidden.
        sha256: of the bytes of the file; "" for lists made here.
        source: the file.
    """

    name: str
    keys: tuple[str, ...]
    voices: tuple[str, ...]
    faces: tuple[str, ...]
    labels: npt.NDArray[np.int8] | None = None
    sha256: str = ""
    source: Path | None = None

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.keys)


@dataclass(frozen=True)
class TrainingPair:
    """One line of a training list: a clip and an image of one identity."""

    identity: str
    voice: str
    face: str


def read_pair_list(path: str | Path) -> PairList:
    """Read a test list, with or without labels.

    Args:
        path: text, one pair a line: `KEY VOICE FACE` or `KEY LABEL VOICE FACE`, separated by blanks or tabs.

    Raises:
        MavCelebError: an empty list, a line of another form than the first, a label other than 0 or 1, a key
            twice, a path that leaves the root or is no recording or image; names file and line.
        FileNotFoundError: there is no such file.
    """
    source = Path(path)
    lines, digest = _read_lines(source)
    fields = [line.split() for line in lines]
    width = len(fields[0])
    if width not in (3, 4):
        raise MavCelebError(
            f"{source}, line 1: {width} fields, expected KEY VOICE FACE or KEY LABEL VOICE FACE: {lines[0]!r}"
        )
    seen: dict[str, int] = {}
    for number, row in enumerate(fields, 1):
        where = f"{source}, line {number}"
        if len(row) != width:
            found = f"{len(row)} fields" if row else "an empty line"
            raise MavCelebError(f"{where}: {found}, expected {width} as in line 1")
        if seen.setdefault(row[0], number) != number:
            raise MavCelebError(f"{where}: the key {row[0]!r} is already on line {seen[row[0]]}")
        if width == 4:
            _check_label(row[1], where)
        _check_paths(row[-2], row[-1], where)
    labels = np.array([int(row[1]) for row in fields], np.int8) if width == 4 else None
    keys, voices, faces = (tuple(row[column] for row in fields) for column in (0, -2, -1))
    return PairList(source.stem, keys, voices, faces, labels, digest, source)


def read_labels(path: str | Path) -> npt.NDArray[np.int8] | dict[str, int]:
    """Read the labels of a test list from a file of their own.

    Args:
        path: a bare 1 or 0 a line (older files), or `KEY LABEL` with or without the paths behind it.

    Returns:
        (P,) int8 in the order of the file, or key -> label.

    Raises:
        MavCelebError: an empty file, another label, a line of another form than the first, a key twice.
        FileNotFoundError: there is no such file.
    """
    source = Path(path)
    lines, _ = _read_lines(source)
    fields = [line.split() for line in lines]
    width = len(fields[0])
    labels: dict[str, int] = {}
    for number, row in enumerate(fields, 1):
        where = f"{source}, line {number}"
        if not row or len(row) != width:
            found = f"{len(row)} fields" if row else "an empty line"
            raise MavCelebError(f"{where}: {found}, expected {width} as in line 1")
        if width == 3:
            raise MavCelebError(f"{where}: no label; expected a bare 1 or 0, or KEY LABEL: {lines[0]!r}")
        _check_label(row[min(1, width - 1)], where)
        if width > 1:
            if row[0] in labels:
                raise MavCelebError(f"{where}: the key {row[0]!r} occurs twice")
            labels[row[0]] = int(row[1])
    return labels if width > 1 else np.array([int(row[0]) for row in fields], np.int8)


def with_truth(pairs: PairList, path: str | Path) -> PairList:
    """Add labels from a file of their own; see `read_labels`.

    Raises:
        MavCelebError: labels of another number of pairs, or of other keys; or labels that contradict those of
            the list.
        FileNotFoundError: there is no such file.
    """
    found = read_labels(path)
    if isinstance(found, dict):
        absent = [key for key in pairs.keys if key not in found]
        if absent or len(found) != len(pairs):
            raise MavCelebError(
                f"{path}: {len(absent)} of {len(pairs)} keys of {pairs.name} have no label"
                + (f" ({', '.join(absent[:3])})" if absent else f", and it has {len(found)} keys")
                + "; use the truth file of this list"
            )
        labels = np.array([found[key] for key in pairs.keys], np.int8)
    else:
        labels = found
    if len(labels) != len(pairs):
        raise MavCelebError(
            f"{path}: {len(labels)} labels for the {len(pairs)} pairs of {pairs.name}; use the truth file of "
            "this list"
        )
    if pairs.labels is not None and (different := np.flatnonzero(pairs.labels != labels)).size:
        raise MavCelebError(
            f"{path}: {len(different)} labels differ from those of {pairs.name}, the first of "
            f"{pairs.keys[different[0]]}; remove one of the two"
        )
    return replace(pairs, labels=labels)


def read_training_list(path: str | Path) -> list[TrainingPair]:
    """Read a training list: `IDENTITY VOICE FACE` a line, or `VOICE FACE` below folders of identities.

    Without a column of identities, the identity is the folder below `voices/` and `faces/`.

    Raises:
        MavCelebError: an empty list, a line of another form than the first, a path that leaves the root or is
            no recording or image, clip and image of different identities; names file and line.
        FileNotFoundError: there is no such file.
    """
    source = Path(path)
    lines, _ = _read_lines(source)
    pairs: list[TrainingPair] = []
    width = len(lines[0].split())
    for number, line in enumerate(lines, 1):
        row, where = line.split(), f"{source}, line {number}"
        if len(row) != width or width not in (2, 3):
            raise MavCelebError(
                f"{where}: {len(row)} fields, expected IDENTITY VOICE FACE or VOICE FACE on every line"
            )
        _check_paths(row[-2], row[-1], where)
        identity = row[0]
        if width == 2:
            parts = [item.split("/") for item in row]
            if min(map(len, parts)) < 3 or parts[0][1] != parts[1][1]:
                raise MavCelebError(
                    f"{where}: {row[0]} and {row[1]} do not lie in the folders of one identity "
                    "(voices/IDENTITY/..., faces/IDENTITY/...); put the identity before them"
                )
            identity = parts[0][1]
        pairs.append(TrainingPair(identity, row[-2], row[-1]))
    return pairs


def write_pair_list(path: str | Path, pairs: PairList, *, labelled: bool = False) -> None:
    """Write a test list atomically, LF after every line.

    Args:
        path: the file.
        pairs: the list.
        labelled: write the labels behind the keys.

    Raises:
        ValueError: labels are asked for and unknown.
    """
    if labelled and pairs.labels is None:
        raise ValueError(f"{pairs.name} has no labels")
    columns: list[Sequence[object]] = [pairs.keys, pairs.voices, pairs.faces]
    if labelled and pairs.labels is not None:
        columns.insert(1, pairs.labels.tolist())
    write_text(path, "".join(" ".join(map(str, row)) + "\n" for row in zip(*columns, strict=True)))


def _read_lines(source: Path) -> tuple[list[str], str]:
    """Lines of a list and the SHA-256 of its bytes."""
    try:
        text, data = read_list_text(source)
    except ValueError as error:
        raise MavCelebError(str(error)) from error
    lines = split_lines(text)
    if not lines:
        raise MavCelebError(f"{source}: the list is empty")
    if not lines[0].strip():
        raise MavCelebError(f"{source}: the first line is empty")
    return lines, hashlib.sha256(data).hexdigest()


def _check_label(value: str, where: str) -> None:
    """Raise unless a label is 0 or 1."""
    if value not in ("0", "1"):
        raise MavCelebError(f"{where}: the label is {value!r}, expected 1 (one person) or 0")


def _check_paths(voice: str, face: str, where: str) -> None:
    """Raise unless the two paths are a recording and an image below the root."""
    for item, holds, what in ((voice, is_voice_file, "recording"), (face, is_face_file, "image")):
        if not is_inside_root(item):
            raise MavCelebError(f"{where}: {item!r} is not a path below the root with forward slashes")
        if not holds(item):
            order = "; the recording comes first" if is_face_file(voice) and is_voice_file(face) else ""
            raise MavCelebError(f"{where}: {item!r} is no {what}{order}")
