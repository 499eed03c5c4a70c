"""Identities of a corpus, read from the published tables."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from voiceface.io.foreign_files import read_file_text

__all__ = [
    "CSV_HEADER",
    "META_HEADER",
    "SPLITS",
    "SPLIT_BY_SET_NUMBER",
    "STRATA",
    "Identity",
    "IdentityError",
    "check_spelling",
    "class_indices",
    "find_second_spelling",
    "parse_folder_name",
    "parse_gender",
    "read_identity_csv",
    "read_identity_splits",
    "read_table_rows",
    "read_vox1_meta",
    "split_from_name",
]

SPLITS = ("train", "val", "test")
STRATA = ("U", "G", "N", "A", "GN", "GA", "NA", "GNA")  # attributes that impostors share with the probe
SPLIT_BY_SET_NUMBER = {"1": "train", "2": "val", "4": "test"}
CSV_HEADER = ("VoxCeleb1_ID", "VGGFace1_ID", "Gender", "Nationality", "Set")
MAX_NAME_BYTES = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x80-\x9f\u2028\u2029]")
_LINE_END = re.compile(r"\r\n|\r|\n")
META_HEADER = ("VoxCeleb1 ID", "VGGFace1 ID", "Gender", "Nationality", "Set")


class IdentityError(ValueError):
    """An invalid identity table; the message names file, line and column."""


@dataclass(frozen=True)
class Identity:
    """One row of an identity table.

    Attributes:
        name: in reports.
        voice_id: folder of the clips below the voice root.
        face_id: folder of the images below the face root; rows with one face_id share a class index.
        gender: "m", "f" or "" (unknown).
        nationality: country, may contain blanks; "" if unknown.
        split: "train", "val", "test" or "" (not stated).
        age: years; None if unknown.
    """

    name: str
    voice_id: str
    face_id: str
    gender: str = ""
    nationality: str = ""
    split: str = ""
    age: float | None = None


def read_identity_csv(
    path: str | Path, split: str | None = None, *, include_unused: bool = False
) -> list[Identity]:
    """Read a published split table (`vox1_train.csv`), in file order.

    Args:
        path: comma-separated, header `VoxCeleb1_ID,VGGFace1_ID,Gender,Nationality,Set`, LF or CRLF.
        split: split of every row; None takes it from the file name (`vox1_test.csv` -> "test", else "").
        include_unused: include the rows whose Set is `none`, which the published programs skip.

    Returns:
        One Identity per row; rows that share a face name stay separate.

    Raises:
        IdentityError: the table is invalid; names file, line and column.
        FileNotFoundError: there is no such file.
    """
    table = Path(path)
    if split is None:
        found = re.fullmatch(r"(?:.*_)?(train|val|test)", table.stem)
        split = found.group(1) if found else ""
    return list(_read_rows(table, CSV_HEADER, ",", split, include_unused))


def read_vox1_meta(
    path: str | Path, splits: dict[str, str] | None = None, *, include_unused: bool = False
) -> list[Identity]:
    """Read `vox1_meta.csv` (tab-separated, header with blanks), in file order.

    Args:
        path: the table.
        splits: face name -> split; None uses the rule by the first letter of the name (`split_from_name`).
        include_unused: include the rows whose Set is `none`.

    Returns:
        One Identity per row. A name that `splits` lacks has the split "".

    Raises:
        IdentityError: the table is invalid; names file, line and column.
        FileNotFoundError: there is no such file.
    """
    rows = _read_rows(Path(path), META_HEADER, "\t", "", include_unused)
    if splits is None:
        return [replace(row, split=split_from_name(row.face_id)) for row in rows]
    return [replace(row, split=splits.get(row.face_id, "")) for row in rows]


def read_identity_splits(path: str | Path) -> dict[str, str]:
    """Read `identity_splits.txt`: `<face name> <set number>` per line, trailing blanks allowed.

    Returns:
        Face name -> "train" (set 1), "val" (2) or "test" (4).

    Raises:
        IdentityError: another form of line, an unknown set, or a name with two sets.
    """
    splits: dict[str, str] = {}
    for number, line in enumerate(_LINE_END.split(_read_text(Path(path))), 1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2:
            raise IdentityError(
                f"{path}, line {number}: expected a name and a set number, found {line.strip()!r}"
            )
        name, number_of_set = words
        parse_folder_name(name, f"{path}, line {number}, column 1")
        if number_of_set not in SPLIT_BY_SET_NUMBER:
            raise IdentityError(
                f"{path}, line {number}, column 2: set {number_of_set!r} is none of "
                f"{', '.join(f'{key} ({value})' for key, value in SPLIT_BY_SET_NUMBER.items())}"
            )
        split = SPLIT_BY_SET_NUMBER[number_of_set]
        if splits.setdefault(name, split) != split:
            raise IdentityError(f"{path}, line {number}: {name} is in two sets, {splits[name]} and {split}")
    return splits


def class_indices(identities: Sequence[Identity]) -> list[int]:
    """Return the class index of every identity: the order in which its face_id first appears, from 0."""
    first: dict[str, int] = {}
    return [first.setdefault(identity.face_id, len(first)) for identity in identities]


def split_from_name(face_id: str) -> str:
    """Split by first letter, as in the published tables: A-B val, C-E test, the rest train."""
    letter = face_id[:1].upper()
    return "val" if letter in ("A", "B") else "test" if letter in ("C", "D", "E") else "train"


def read_table_rows(
    path: Path, header: Sequence[str], delimiter: str, num_optional: int = 0
) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) of a table, checking header and width.

    Args:
        path: UTF-8 text, with or without a byte order mark, or UTF-16 with one; LF or CRLF; empty lines are
            skipped. Quoted cells may contain line ends.
        header: names of the first line, in this order.
        delimiter: between the cells.
        num_optional: number of last columns that may be missing; their cells are "".

    Raises:
        IdentityError: names file, line and column, what was found and what was expected.
    """
    reader = csv.reader(io.StringIO(_read_text(path), newline=""), delimiter=delimiter, strict=True)
    wanted = delimiter.join(header).replace("\t", "<tab>")
    try:
        first = next(reader, None)
        if first is None:
            raise IdentityError(f"{path}: the file is empty, expected the header {wanted}")
        names = [cell.strip() for cell in first]
        width = len(names)
        if width < len(header) - num_optional or width > len(header) or names != list(header[:width]):
            column = next((i for i, pair in enumerate(zip(names, header)) if pair[0] != pair[1]), width) + 1
            found = delimiter.join(names)[:200]
            raise IdentityError(f"{path}, line 1, column {column}: header {found!r}, expected {wanted}")
        for row in reader:
            if not row or not any(cell.strip() for cell in row):
                continue
            line = reader.line_num
            if len(row) != width:
                where = f"{path}, line {line}, column {min(len(row), width) + 1}"
                raise IdentityError(f"{where}: {len(row)} cells, expected {width}")
            yield line, [cell.strip() for cell in row] + [""] * (len(header) - width)
    except csv.Error as error:
        raise IdentityError(f"{path}, line {reader.line_num}: not a table ({error})") from error


def find_second_spelling(names: Iterable[str]) -> tuple[str, str] | None:
    """Find two names that differ only in their Unicode spelling (composed or decomposed accents)."""
    found: dict[str, str] = {}
    for name in names:
        if not name.isascii() and found.setdefault(unicodedata.normalize("NFC", name), name) != name:
            return found[unicodedata.normalize("NFC", name)], name
    return None


def check_spelling(spelled: dict[str, str], name: str, where: str) -> None:
    """Check that a name was not spelled with other Unicode characters before.

    Args:
        spelled: spellings so far by composed form; the name is added.
        name: the name.
        where: file, line and column.

    Raises:
        IdentityError: two spellings of one name, which would be two people.
    """
    if name.isascii():
        return
    before = spelled.setdefault(unicodedata.normalize("NFC", name), name)
    if before != name:
        raise IdentityError(
            f"{where}: {name!r} is spelled with other Unicode characters before ({before!a} and "
            f"{name!a}); write both in the same form (NFC)"
        )


def parse_folder_name(value: str, where: str) -> str:
    """Check that a cell names a folder directly below a root.

    Raises:
        IdentityError: the cell is invalid; `where` names file, line and column.
    """
    if not value:
        raise IdentityError(f"{where}: empty, expected the name of a folder")
    if value in (".", "..") or "/" in value or "\\" in value or _CONTROL.search(value):
        raise IdentityError(f"{where}: {value!r} is not the name of a folder below the root")
    if (size := len(value.encode("utf-8", "surrogateescape"))) > MAX_NAME_BYTES:
        raise IdentityError(f"{where}: a name of {size} bytes, expected at most {MAX_NAME_BYTES}")
    return value


def parse_gender(value: str, where: str, *, optional: bool = False) -> str:
    """Check a gender cell: m or f, or empty if `optional`.

    Raises:
        IdentityError: the cell is invalid; `where` names file, line and column.
    """
    if value in ("m", "f") or (optional and not value):
        return value
    raise IdentityError(f"{where}: gender {value!r}, expected m or f")


def _read_rows(
    path: Path, header: Sequence[str], delimiter: str, split: str, include_unused: bool
) -> Iterable[Identity]:
    """Read identities from the five published columns."""
    spelled: dict[str, str] = {}
    for line, (voice, face, gender, nationality, subset) in read_table_rows(path, header, delimiter):
        check_spelling(spelled, face, f"{path}, line {line}, column 2 ({header[1]})")
        where = f"{path}, line {line}, column "
        parse_folder_name(voice, f"{where}1 ({header[0]})")
        parse_folder_name(face, f"{where}2 ({header[1]})")
        parse_gender(gender, f"{where}3 ({header[2]})")
        if subset not in ("dev", "test", "none"):
            raise IdentityError(f"{where}5 ({header[4]}): {subset!r}, expected dev, test or none")
        if subset != "none" or include_unused:
            yield Identity(face, voice, face, gender, nationality, split)


def _read_text(path: Path) -> str:
    """Read the text of a table."""
    return read_file_text(path, IdentityError, "an identity table")
