"""Manifest: a corpus as one table `identity,modality,path,gender,nationality,age,split`, one row per file.

Two further columns, `voice_id` and `face_id`, keep names that other data sets give to the identities.
"""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from voiceface.datasets.identities import (
    SPLITS,
    Identity,
    IdentityError,
    check_spelling,
    parse_gender,
    read_table_rows,
)
from voiceface.datasets.layouts import is_inside_root
from voiceface.io.atomic import write_text

__all__ = [
    "HEADER",
    "MODALITIES",
    "ManifestRow",
    "read_manifest",
    "write_manifest",
]

HEADER = ("identity", "modality", "path", "gender", "nationality", "age", "split")
ID_COLUMNS = ("voice_id", "face_id")
MODALITIES = ("voice", "face")


@dataclass(frozen=True)
class ManifestRow:
    """One file of a manifest: its identity, modality "voice" or "face", path relative to the root."""

    identity: Identity
    modality: str
    path: str


def read_manifest(path: str | Path) -> list[ManifestRow]:
    """Read a manifest, in file order.

    Only the first three columns are required; `gender` is m, f or empty, `age` is years or a range ("30-39",
    its middle counts), `split` is train, val, test or empty; `voice_id` and `face_id` are ids of the identity
    elsewhere, such as that of VoxCeleb1. What belongs to an identity needs to be stated in one row only. The
    split of an identity may differ by row.

    Args:
        path: comma-separated text with a header, LF or CRLF. Cells with a comma or a quote are quoted as by
            the csv module; paths may contain blanks.

    Returns:
        One ManifestRow per line; voice_id and face_id of the identity are its name, the first cell, where the
        columns are empty or missing.

    Raises:
        IdentityError: an invalid cell, a path that is absolute or leaves the root, a file in two rows, or
            rows that contradict each other; names file, line and column.
        FileNotFoundError: there is no such file.
    """
    table = Path(path)
    facts: dict[str, list[str]] = {}
    header = (*HEADER, *ID_COLUMNS)
    rows: list[tuple[str, str, str, str]] = []
    seen: dict[tuple[str, str], int] = {}
    spelled: dict[str, str] = {}
    for line, (name, modality, item, *about, split, voice_id, face_id) in read_table_rows(
        table, header, ",", num_optional=6
    ):
        where = f"{table}, line {line}, column "
        if not name or "\n" in name or "\r" in name:
            raise IdentityError(f"{where}1 (identity): {name!r}, expected a name without line ends")
        check_spelling(spelled, name, f"{where}1 (identity)")
        if modality not in MODALITIES:
            raise IdentityError(f"{where}2 (modality): {modality!r}, expected voice or face")
        if not is_inside_root(item) or "\n" in item or "\r" in item:
            raise IdentityError(
                f"{where}3 (path): {item!r}, expected a path below the manifest's folder with forward slashes"
            )
        if seen.setdefault((modality, item), line) != line:
            raise IdentityError(f"{where}3 (path): {item} is already on line {seen[modality, item]}")
        parse_gender(about[0], f"{where}4 (gender)", optional=True)
        _parse_age(about[2], f"{where}6 (age)")
        if split not in (*SPLITS, ""):
            raise IdentityError(
                f"{where}7 (split): {split!r}, expected one of {', '.join(SPLITS)} or nothing"
            )
        about += [voice_id, face_id]
        known = facts.setdefault(name, [""] * len(about))
        for column, (old, new) in enumerate(zip(known, about)):
            if old and new and old != new:
                place = column + 4 + (column > 2)  # the split is between age and ids
                raise IdentityError(f"{where}{place}: {name} has {new!r} here and {old!r} before")
            known[column] = old or new
        rows.append((name, modality, item, split))
    return [
        ManifestRow(_make_identity(name, facts[name], split), modality, item)
        for name, modality, item, split in rows
    ]


def write_manifest(path: str | Path, rows: Sequence[ManifestRow]) -> None:
    """Write a manifest atomically, ages in years; the ids are written where they differ from a name.

    Raises:
        ValueError: a cell contains a line end, or begins or ends with a blank.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    has_ids = any({row.identity.voice_id, row.identity.face_id} != {row.identity.name} for row in rows)
    writer.writerow((*HEADER, *ID_COLUMNS) if has_ids else HEADER)
    for row in rows:
        name, *ids, gender, nationality, split, age = astuple(row.identity)
        cells = [name, row.modality, row.path, gender, nationality, "" if age is None else f"{age:g}", split]
        cells += ids if has_ids else []
        for cell in cells:
            if "\r" in cell or "\n" in cell or cell != cell.strip():
                raise ValueError(
                    f"{path}: {cell!r} contains a line end, or begins or ends with a blank; rename the file"
                )
        writer.writerow(cells)
    write_text(path, text.getvalue())


def _make_identity(name: str, facts: list[str], split: str) -> Identity:
    """Identity of gender, nationality, age, voice and face id; "": not stated."""
    gender, nationality, age, voice_id, face_id = facts
    return Identity(name, voice_id or name, face_id or name, gender, nationality, split, _parse_age(age, ""))


def _parse_age(value: str, where: str) -> float | None:
    """Parse an age in years, or the middle of a range of years; None for an empty cell."""
    if not value:
        return None
    found = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)(?:-(\d{1,3}))?", value)
    if not found:
        raise IdentityError(f"{where}: {value!r}, expected years such as 34 or a range such as 30-39")
    low, high = found.groups()
    return float(low) if high is None else (float(low) + float(high)) / 2
