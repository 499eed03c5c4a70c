"""Who trains and who is asked: metadata tables, the split rule, `split.json`. `sf2f split ROOT` writes it.

Sources: specification, sections 2.2 and 2.3. A corpus is one of the two parts of the data: vox1 or vox2.
"""

import argparse
import csv
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from voiceface.datasets.identities import Identity, IdentityError, parse_folder_name
from voiceface.io.atomic import write_json

CORPORA = ("vox1", "vox2")
SPLITS = ("train", "val", "test")
SPLIT_FILE = "split.json"
Split = dict[str, dict[str, list[str]]]
"""Corpus -> train, val, test -> names."""


@dataclass(frozen=True)
class MetadataTable:
    """Form of a metadata table: file name, delimiter, columns of voice id, name and gender."""

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
    """A name in the one spelling that is compared: archives unpacked on other systems spell accents apart."""
    return unicodedata.normalize("NFC", name)


def find_metadata(root: str | Path, corpus: str) -> Path | None:
    """The metadata table of a corpus below a data folder, or None."""
    base, file = Path(root), METADATA_TABLES[corpus].file
    places = (base / corpus / file, base / file, base / "meta_info" / file)
    return next((place for place in places if place.is_file()), None)


def read_metadata(path: str | Path, corpus: str) -> list[Identity]:
    """Read a metadata table, in file order; columns beside the needed ones are passed over.

    Args:
        path: `vox1_meta.csv` (tabs) or `full_vox2_meta.csv` (commas).
        corpus: "vox1" or "vox2".

    Returns:
        One Identity a row: `voice_id`, and the name as `name` and `face_id`, in NFC.

    Raises:
        FileNotFoundError: no such file.
        IdentityError: no such table, a cell that names no folder, or a name or id that stands twice.
    """
    path, form = Path(path), METADATA_TABLES[corpus]
    if not path.is_file():
        raise FileNotFoundError(f"no metadata table at {path}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        rows = list(csv.reader(text.splitlines(), delimiter=form.delimiter, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise IdentityError(f"{path} is no UTF-8 table ({error}); fetch it again") from None
    header = [cell.strip() for cell in rows[0]] if rows else []
    absent = [column for column in (form.voice_column, form.name_column) if column not in header]
    if absent:
        sign = "tabs" if form.delimiter == "\t" else "commas"
        raise IdentityError(
            f"{path}, line 1: lacks {', '.join(absent)}; expected a header of names with {sign} between "
            f"them, found {form.delimiter.join(header)[:200]!r}"
        )
    people: list[Identity] = []
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
        for what in (voice, name):
            if seen.setdefault(what, line) != line:
                raise IdentityError(f"{path}, line {line}: {what} stands already on line {seen[what]}")
        gender = cells.get(form.gender_column, "").lower()
        people.append(Identity(name, voice, name, gender if gender in ("m", "f") else ""))
    return people


def split_by_row(names: Iterable[str]) -> dict[str, list[str]]:
    """The published rule: row i (from 0) with i mod 10 = 8 tests, 9 validates, the others train."""
    parts: dict[str, list[str]] = {name: [] for name in SPLITS}
    for row, name in enumerate(names):
        parts[{8: "test", 9: "val"}.get(row % 10, "train")].append(name)
    return parts


def build_split(tables: Mapping[str, Sequence[Identity]]) -> Split:
    """The split of both corpora; one without a table has nobody."""
    return {corpus: split_by_row(row.name for row in tables.get(corpus, ())) for corpus in CORPORA}


def read_split(path: str | Path) -> Split:
    """Read `split.json`; names come back in NFC.

    Raises:
        FileNotFoundError: no such file.
        IdentityError: not of the form {corpus: {"train": [names], "val": [...], "test": [...]}}, or somebody
            is in two parts of one corpus.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no split at {path}; make it: sf2f split {path.parent}")
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise IdentityError(f"{path} is no JSON text ({error}); make it again: sf2f split") from None
    form = 'expected {"vox1": {"train": [names], "val": [...], "test": [...]}, "vox2": {...}}'
    if not isinstance(found, dict) or not all(isinstance(parts, dict) for parts in found.values()):
        raise IdentityError(f"{path}: {form}")
    split: Split = {}
    for corpus, parts in found.items():
        parse_folder_name(corpus, f"{path}: corpus")
        if set(parts) != set(SPLITS):
            raise IdentityError(f"{path}: {corpus} has {', '.join(parts) or 'nothing'}; {form}")
        owner: dict[str, str] = {}
        for part, names in parts.items():
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise IdentityError(f"{path}: {corpus}, {part} is no list of names; {form}")
            for name in names:
                plain = normalise_name(parse_folder_name(name, f"{path}: {corpus}, {part}"))
                if owner.setdefault(plain, part) != part:
                    raise IdentityError(f"{path}: {name} is in both {owner[plain]} and {part} of {corpus}")
        split[corpus] = {part: [normalise_name(name) for name in parts[part]] for part in SPLITS}
    return split


def write_split(path: str | Path, split: Split) -> None:
    """Write `split.json` atomically."""
    write_json(path, split)


def find_conflicting_names(split: Split) -> list[str]:
    """Names that train in one corpus and are judged in another, as words; they may be one person."""
    where: dict[str, list[tuple[str, str]]] = {}
    for corpus, parts in split.items():
        for part, names in parts.items():
            for name in names:
                where.setdefault(name, []).append((corpus, part))
    return [
        f"{name} ({', '.join(f'{corpus} {part}' for corpus, part in places)})"
        for name, places in where.items()
        if len({part for _, part in places}) > 1
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """`sf2f split`."""
    parser = argparse.ArgumentParser(
        prog="sf2f split",
        description="Write split.json by the published rule from vox1_meta.csv and full_vox2_meta.csv: of "
        "every ten rows the ninth tests, the tenth validates, the others train.",
    )
    add = parser.add_argument
    add("root", type=Path, help="data folder; tables are looked for in vox1/, vox2/, itself and meta_info/")
    add("--vox1-meta", type=Path, metavar="CSV", help="vox1_meta.csv, where it lies elsewhere")
    add("--vox2-meta", type=Path, metavar="CSV", help="full_vox2_meta.csv, where it lies elsewhere")
    add("--out", type=Path, metavar="FILE", help=f"default: ROOT/{SPLIT_FILE}")
    args = parser.parse_args(argv)
    given = {"vox1": args.vox1_meta, "vox2": args.vox2_meta}
    places = {corpus: given[corpus] or find_metadata(args.root, corpus) for corpus in CORPORA}
    if not any(places.values()):
        files = " or ".join(table.file for table in METADATA_TABLES.values())
        raise FileNotFoundError(f"no {files} below {args.root}; give --vox1-meta or --vox2-meta")
    split = build_split({corpus: read_metadata(path, corpus) for corpus, path in places.items() if path})
    out = args.out or args.root / SPLIT_FILE
    write_split(out, split)
    for corpus, parts in split.items():
        counts = ", ".join(f"{len(names)} {part}" for part, names in parts.items())
        print(
            f"{corpus}: {counts}" + ("" if places[corpus] else f" ({METADATA_TABLES[corpus].file} not found)")
        )
    for words in find_conflicting_names(split):
        print(f"note: one name, two parts: {words}")
    print(f"split: {out}")
    return 0


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("sf2f.split", None))
