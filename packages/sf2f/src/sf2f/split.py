"""Metadata tables of VoxCeleb, the published split rule and `split.json`; `sf2f split ROOT` writes it.

A corpus is one of the two parts of the data: vox1 or vox2.
"""

import argparse
import csv
import io
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from voiceface.datasets.identities import Identity, IdentityError, parse_folder_name
from voiceface.io.atomic import write_json
from voiceface.io.foreign_files import read_file_text

__all__ = [
    "CORPORA",
    "METADATA_TABLES",
    "SPLITS",
    "SPLIT_FILE",
    "MetadataTable",
    "Split",
    "build_split",
    "find_conflicting_names",
    "find_metadata",
    "main",
    "normalise_name",
    "read_metadata",
    "read_split",
    "split_by_row",
    "write_split",
]

CORPORA = ("vox1", "vox2")
SPLITS = ("train", "val", "test")
SPLIT_FILE = "split.json"
Split = dict[str, dict[str, list[str]]]
"""Corpus -> train, val, test -> names."""


@dataclass(frozen=True)
class MetadataTable:
    """Format of a metadata table: file name, delimiter, columns of voice ID, name and gender."""

    file: str
    delimiter: str
    voice_column: str
    name_column: str
    gender_column: str


METADATA_TABLES = {
    "vox1": MetadataTable("vox1_meta.csv", "\t", "VoxCeleb1 ID", "VGGFace1 ID", "Gender"),
    "vox2": MetadataTable("full_vox2_meta.csv", ",", "VoxCeleb2ID", "Name", "Gender_x"),
}


def normalise_name(name: str) -> str:
    """Normalise a name to NFC; archives unpacked on some systems decompose accents."""
    return unicodedata.normalize("NFC", name)


def find_metadata(root: str | Path, corpus: str) -> Path | None:
    """Path of the metadata table of a corpus below a data folder, or None."""
    base, file = Path(root), METADATA_TABLES[corpus].file
    candidates = (base / corpus / file, base / file, base / "meta_info" / file)
    return next((path for path in candidates if path.is_file()), None)


def read_metadata(path: str | Path, corpus: str) -> list[Identity]:
    """Read a metadata table, in file order; other columns are ignored.

    Args:
        path: `vox1_meta.csv` (tabs) or `full_vox2_meta.csv` (commas).
        corpus: "vox1" or "vox2".

    Returns:
        One Identity per row: `voice_id`, and the name as `name` and `face_id`, in NFC.

    Raises:
        FileNotFoundError: no such file.
        IdentityError: not such a table, a cell that is no valid folder name, or a duplicate name or ID.
    """
    path, form = Path(path), METADATA_TABLES[corpus]
    text = read_file_text(path, IdentityError, "a metadata table")
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=form.delimiter, strict=True))
    except csv.Error as error:
        raise IdentityError(f"{path} is not a table ({error}); download it again") from None
    header = [cell.strip() for cell in rows[0]] if rows else []
    missing = [column for column in (form.voice_column, form.name_column) if column not in header]
    if missing:
        separator = "tabs" if form.delimiter == "\t" else "commas"
        raise IdentityError(
            f"{path}, line 1: lacks {', '.join(missing)}; expected a header row separated by {separator}, "
            f"found {form.delimiter.join(header)[:200]!r}"
        )
    identities: list[Identity] = []
    seen: dict[str, int] = {}
    for line, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            raise IdentityError(f"{path}, line {line}: {len(row)} cells, expected {len(header)}")
        cells = dict(zip(header, (cell.strip() for cell in row)))
        voice = parse_folder_name(cells[form.voice_column], f"{path}, line {line}, {form.voice_column}")
        name = parse_folder_name(
            normalise_name(cells[form.name_column]), f"{path}, line {line}, {form.name_column}"
        )
        for value in (voice, name):
            if seen.setdefault(value, line) != line:
                raise IdentityError(f"{path}, line {line}: {value} is already on line {seen[value]}")
        gender = cells.get(form.gender_column, "").lower()
        identities.append(Identity(name, voice, name, gender if gender in ("m", "f") else ""))
    return identities


def split_by_row(names: Iterable[str]) -> dict[str, list[str]]:
    """Split by the published rule: row i (from 0) with i mod 10 = 8 is test, 9 val, the others train."""
    parts: dict[str, list[str]] = {name: [] for name in SPLITS}
    for row, name in enumerate(names):
        parts[{8: "test", 9: "val"}.get(row % 10, "train")].append(name)
    return parts


def build_split(tables: Mapping[str, Sequence[Identity]]) -> Split:
    """Split both corpora; one without a table is empty."""
    return {corpus: split_by_row(row.name for row in tables.get(corpus, ())) for corpus in CORPORA}


def read_split(path: str | Path) -> Split:
    """Read `split.json`; names are normalised to NFC.

    Raises:
        FileNotFoundError: no such file.
        IdentityError: not of the form {corpus: {"train": [names], "val": [...], "test": [...]}}, or a name is
            in two parts of one corpus.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no split at {path}; create it: sf2f split {path.parent}")
    try:
        content = json.loads(read_file_text(path, IdentityError, "a split"))
    except IdentityError:
        raise
    except (ValueError, RecursionError) as error:
        raise IdentityError(f"{path} is not JSON ({error}); create it again: sf2f split") from None
    form = 'expected {"vox1": {"train": [names], "val": [...], "test": [...]}, "vox2": {...}}'
    if not isinstance(content, dict) or not all(isinstance(parts, dict) for parts in content.values()):
        raise IdentityError(f"{path}: {form}")
    split: Split = {}
    for corpus, parts in content.items():
        parse_folder_name(corpus, f"{path}: corpus")
        if set(parts) != set(SPLITS):
            raise IdentityError(f"{path}: {corpus} has {', '.join(parts) or 'nothing'}; {form}")
        owner: dict[str, str] = {}
        for part, names in parts.items():
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise IdentityError(f"{path}: {corpus}, {part} is not a list of names; {form}")
            for name in names:
                normalised = normalise_name(parse_folder_name(name, f"{path}: {corpus}, {part}"))
                if owner.setdefault(normalised, part) != part:
                    raise IdentityError(
                        f"{path}: {name} is in both {owner[normalised]} and {part} of {corpus}"
                    )
        split[corpus] = {part: [normalise_name(name) for name in parts[part]] for part in SPLITS}
    return split


def write_split(path: str | Path, split: Split) -> None:
    """Write `split.json` atomically."""
    write_json(path, split)


def find_conflicting_names(split: Split) -> list[str]:
    """Names that are in different parts of two corpora, as text; they may be the same identity."""
    occurrences: dict[str, list[tuple[str, str]]] = {}
    for corpus, parts in split.items():
        for part, names in parts.items():
            for name in names:
                occurrences.setdefault(name, []).append((corpus, part))
    return [
        f"{name} ({', '.join(f'{corpus} {part}' for corpus, part in parts)})"
        for name, parts in occurrences.items()
        if len({part for _, part in parts}) > 1
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run `sf2f split`."""
    parser = argparse.ArgumentParser(
        prog="sf2f split",
        description="Write split.json by the published rule from vox1_meta.csv and full_vox2_meta.csv: of "
        "every ten rows the ninth goes to test, the tenth to val, the others to train.",
    )
    add = parser.add_argument
    add(
        "root",
        type=Path,
        help="data folder; tables are searched in vox1/, vox2/, the folder itself and meta_info/",
    )
    add("--vox1-meta", type=Path, metavar="CSV", help="vox1_meta.csv, if it is elsewhere")
    add("--vox2-meta", type=Path, metavar="CSV", help="full_vox2_meta.csv, if it is elsewhere")
    add("--out", type=Path, metavar="FILE", help=f"default: ROOT/{SPLIT_FILE}")
    args = parser.parse_args(argv)
    explicit = {"vox1": args.vox1_meta, "vox2": args.vox2_meta}
    tables = {corpus: explicit[corpus] or find_metadata(args.root, corpus) for corpus in CORPORA}
    if not any(tables.values()):
        files = " or ".join(table.file for table in METADATA_TABLES.values())
        raise FileNotFoundError(f"no {files} below {args.root}; give --vox1-meta or --vox2-meta")
    split = build_split({corpus: read_metadata(path, corpus) for corpus, path in tables.items() if path})
    out = args.out or args.root / SPLIT_FILE
    write_split(out, split)
    for corpus, parts in split.items():
        counts = ", ".join(f"{len(names)} {part}" for part, names in parts.items())
        print(
            f"{corpus}: {counts}" + ("" if tables[corpus] else f" ({METADATA_TABLES[corpus].file} not found)")
        )
    for conflict in find_conflicting_names(split):
        print(f"note: the same name is in two splits: {conflict}")
    print(f"split: {out}")
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("sf2f.split", None))
