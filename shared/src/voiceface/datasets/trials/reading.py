"""Reading and writing of trial lists in their published formats: matching, verification, retrieval."""

import csv
import gzip
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from voiceface.datasets.corpus import Corpus
from voiceface.datasets.identities import STRATA, Identity
from voiceface.datasets.layouts import is_face_file, is_inside_root, is_voice_file
from voiceface.datasets.trials import cmpc
from voiceface.datasets.trials.coverage import (
    attribute_groups,
    check_trial_items,
    find_missing_items,
    find_obstacle,
    shared_attribute_rates,
)
from voiceface.datasets.trials.trial_list import (
    TrialList,
    TrialListError,
    factorize,
    identity_indices,
    read_list_text,
    split_lines,
    trial_list_from_columns,
    trial_list_name,
    with_labels,
)
from voiceface.io.atomic import write_bytes, write_json
from voiceface.io.foreign_files import read_file_text

__all__ = [
    "GENERATED_NOTE",
    "KINDS",
    "SIDECAR_FILE",
    "STRATA",
    "TrialList",
    "TrialListError",
    "attribute_groups",
    "check_trial_items",
    "factorize",
    "find_missing_items",
    "find_obstacle",
    "identity_indices",
    "read_trial_list",
    "shared_attribute_rates",
    "to_published_bytes",
    "trial_list_from_columns",
    "with_identities",
    "with_labels",
    "write_trial_list",
    "write_trial_lists",
]

KINDS = {"match": "match", "verify": "verify", "reterival": "retrieval", "retrieval": "retrieval"}
SIDECAR_FILE = "lists.json"
GENERATED_NOTE = (
    "Generated, not published. Metrics on these lists must be labelled as metrics on generated lists."
)

_NAME_PATTERN = re.compile(
    r"(?P<kind>match|verify|reterival|retrieval)(?:_(?P<stratum>gna|gn|ga|na|g|n|a))?_(?P<direction>v2f|f2v)(?:_.*)?"
)


def read_trial_list(
    path: str | Path, identity_source: Corpus | Sequence[Identity] | None = None
) -> TrialList:
    """Read a trial list in any of the published formats, optionally compressed by gzip.

    Lists are UTF-8, with or without a byte order mark, or UTF-16 with one; blanks at the ends of lines and
    empty lines at the end do not count.

    Text lists contain one trial per line, items separated by one blank (quoted if they contain blanks):
    `match` probe, target, impostors; `verify` probe, candidate; `reterival` two lines, queries and gallery.
    Kind, direction and stratum follow from the name (`verify_g_f2v_test`), else from the content. The tables
    of CMPC (`.csv`, `veriflist_*.txt`) are read by `voiceface.datasets.trials.cmpc`.

    Args:
        path: the list.
        identity_source: a corpus or the rows of an identity table; needed for the labels of `verify` lists
            without labels, and for the names in CMPC's verification lists.

    Returns:
        The list; `labels` is None for a `verify` list without `identity_source`.

    Raises:
        TrialListError: a line with another number of items than the first, an empty item, a path outside the
            root, or a name that contradicts the content; names file and line.
        FileNotFoundError: there is no such file.
    """
    source = Path(path)
    text, data = read_list_text(source)
    name = trial_list_name(source)
    if cmpc.is_cmpc_list(name, text):
        return cmpc.parse_cmpc_list(source, name, text, identity_source)
    lines = split_lines(text)
    if not lines or not lines[0]:
        raise TrialListError(f"{source}: {'the first line' if lines else 'the list'} is empty")
    found = _parse_lines(source, name, lines)
    found = replace(found, sha256=hashlib.sha256(data).hexdigest(), source=source)
    if identity_source is not None:
        found = with_identities(found, identity_source)
    return replace(found, provenance=_find_provenance(source, found))


def with_identities(trial_list: TrialList, identity_source: Corpus | Sequence[Identity]) -> TrialList:
    """Add the labels of a verification list and, for names without one, the stratum.

    Raises:
        TrialListError: items without an identity.
    """
    found = with_labels(trial_list, identity_source)
    if _NAME_PATTERN.fullmatch(found.name):
        return found
    shares = shared_attribute_rates(found, identity_source)
    return replace(found, stratum="".join(key[0].upper() for key in shares if shares[key] == 1) or "U")


def write_trial_list(path: str | Path, trial_list: TrialList) -> str:
    """Write a list in the published text format, atomically; compressed if the path ends in .gz.

    The format contains no labels: they follow from the identity table. Generated lists are first recorded in
    the `lists.json` beside them, so that they are not mistaken for published ones.

    Returns:
        SHA-256 of the uncompressed bytes.

    Raises:
        TrialListError: an item contains a tab or leaves the root, or `lists.json` cannot be read.
    """
    data = to_published_bytes(trial_list)
    digest = hashlib.sha256(data).hexdigest()
    if trial_list.provenance is not None:
        _update_sidecar(
            Path(path).parent / SIDECAR_FILE,
            {trial_list_name(Path(path)): trial_list.provenance | {"sha256": digest}},
        )
    packed = gzip.compress(data, compresslevel=9, mtime=0) if str(path).endswith(".gz") else data
    write_bytes(path, packed)
    return digest


def write_trial_lists(
    folder: str | Path, trial_lists: Sequence[TrialList], *, gzipped: bool = False
) -> list[Path]:
    """Write lists as `NAME.txt` (or `.txt.gz`) into one folder; see `write_trial_list`.

    Returns:
        The files, in the order of the lists.
    """
    paths = [Path(folder) / f"{trial_list.name}.txt{'.gz' if gzipped else ''}" for trial_list in trial_lists]
    for path, trial_list in zip(paths, trial_lists):
        write_trial_list(path, trial_list)
    return paths


def to_published_bytes(trial_list: TrialList) -> bytes:
    """Return the published text format of a list: items separated by one blank, LF after every line.

    Items with a blank are quoted as by the csv module; no published list has such items.
    """
    for item in (*trial_list.probes, *trial_list.gallery):
        if not is_inside_root(item) or any(sign.isspace() and sign != " " for sign in item):
            raise TrialListError(
                f"{trial_list.name}: {item!r} is not a path below the root without tabs and line "
                "ends; rename it"
            )
    probes, gallery = ([_quote(item) for item in items] for items in (trial_list.probes, trial_list.gallery))
    if trial_list.probe_index is None or trial_list.gallery_index is None:
        return "".join(" ".join(items) + "\n" for items in (probes, gallery)).encode()
    rows = np.array(probes, dtype=object)[trial_list.probe_index]
    candidates = np.array(gallery, dtype=object)[trial_list.gallery_index]
    return "".join(" ".join((probe, *row)) + "\n" for probe, row in zip(rows, candidates.tolist())).encode()


def _quote(item: str) -> str:
    """Quote an item that contains a blank or a quote, with quotes doubled."""
    return '"' + item.replace('"', '""') + '"' if " " in item or '"' in item else item


def _split_items(source: Path, lines: list[str]) -> list[list[str]]:
    """Split every line into items; published lists, which quote nothing, without a csv reader."""
    if not any('"' in line for line in lines):
        return [line.split(" ") for line in lines]
    try:
        return [next(csv.reader([line], delimiter=" ", strict=True)) for line in lines]
    except csv.Error as error:
        raise TrialListError(f"{source}: a quoted item does not end ({error})") from error


def _parse_lines(source: Path, name: str, lines: list[str]) -> TrialList:
    """Parse and check the lines of a text list."""
    rows = _split_items(source, lines)
    match = _NAME_PATTERN.fullmatch(name)
    voices = [is_voice_file(item) for item in rows[0]]
    faces = [is_face_file(item) for item in rows[0]]
    if match:
        kind = KINDS[match["kind"]]
    elif len(lines) == 2 and (all(voices) or all(faces)):
        kind = "retrieval"
    else:
        kind = "verify" if len(rows[0]) == 2 else "match"
    first_direction = "v2f" if voices[0] else "f2v" if faces[0] else ""
    direction = match["direction"] if match else first_direction
    if not direction:
        raise TrialListError(
            f"{source}: neither the name nor the first item ({rows[0][0]}) determines the direction"
        )
    if first_direction and first_direction != direction:
        raise TrialListError(f"{source}, line 1: the name says {direction}, the first item is {rows[0][0]}")
    stratum = (match["stratum"] or "U").upper() if match else "U"
    if kind == "retrieval":
        if len(rows) != 2:
            raise TrialListError(f"{source}: {len(rows)} lines, expected two: queries and gallery")
        for number, row in enumerate(rows, 1):
            _check_line_items(source, row, number)
            if len(set(row)) != len(row):
                twice = next(item for item in row if row.count(item) > 1)
                raise TrialListError(f"{source}, line {number}: {twice} occurs more than once")
        _check_modalities(source, rows[0], rows[1], direction)
        return TrialList(name, kind, direction, stratum, rows[0], rows[1])
    width = len(rows[0])
    if (kind == "verify" and width != 2) or width < 2 or (kind == "match" and width < 3):
        expected = "2 items" if kind == "verify" else "a probe and at least 2 candidates"
        raise TrialListError(f"{source}, line 1: {width} items, expected {expected}")
    for number, row in enumerate(rows, 1):
        if len(row) != width:
            raise TrialListError(f"{source}, line {number}: {len(row)} items, the first line has {width}")
    found = trial_list_from_columns(name, kind, direction, stratum, list(zip(*rows)))
    if not all(map(_is_valid_item, found.probes)) or not all(map(_is_valid_item, found.gallery)):
        for number, row in enumerate(rows, 1):
            _check_line_items(source, row, number)
    _check_modalities(source, found.probes, found.gallery, direction)
    return found


def _check_modalities(source: Path, probes: list[str], gallery: list[str], direction: str) -> None:
    """Check that probes and candidates are of the modalities of the direction."""
    for items, side in ((probes, direction[0]), (gallery, direction[-1])):
        other, what = (is_face_file, "a clip") if side == "v" else (is_voice_file, "an image")
        stray = next((item for item in items if other(item)), None)
        if stray is not None:
            raise TrialListError(f"{source}: found {stray} where {what} is expected ({direction})")


def _is_valid_item(item: str) -> bool:
    """Return whether an item is valid in a list."""
    return is_inside_root(item) and not item.isspace() and "\t" not in item


def _check_line_items(source: Path, row: Sequence[str], number: int) -> None:
    """Check the items of one line."""
    for item in row:
        if not item:
            raise TrialListError(
                f"{source}, line {number}: an empty item (two blanks, or one at the end of the line)"
            )
        if not _is_valid_item(item):
            raise TrialListError(
                f"{source}, line {number}: {item!r} is not a path below the root with forward slashes"
            )


def _update_sidecar(sidecar: Path, entries: dict[str, dict[str, Any]]) -> None:
    """Add generated lists to a `lists.json`; digests of lists that they replace stay recorded."""
    records, earlier = _read_sidecar(sidecar)
    for name, entry in entries.items():
        earlier |= {records.get(name, entry)["sha256"]} - {entry["sha256"]}
        records[name] = entry
    ordered = {name: records[name] for name in sorted(records)}
    write_json(
        sidecar,
        {"note": GENERATED_NOTE, "lists": ordered} | ({"earlier": sorted(earlier)} if earlier else {}),
    )


def _read_sidecar(sidecar: Path) -> tuple[dict[str, dict[str, Any]], set[str]]:
    """Read a `lists.json`: records by list name, and digests of replaced lists."""
    if not sidecar.is_file():
        return {}, set()
    try:
        record = json.loads(read_file_text(sidecar, TrialListError, "a record of generated lists"))
        records, earlier = dict(record["lists"]), set(record.get("earlier", []))
        if all(isinstance(entry["sha256"], str) for entry in records.values()):
            return records, earlier
    except TrialListError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TrialListError(f"{sidecar}: not a record of generated lists ({error}); remove it") from error
    raise TrialListError(f"{sidecar}: not a record of generated lists; remove it")


def _find_provenance(source: Path, found: TrialList) -> dict[str, Any] | None:
    """Find the record of a list in the `lists.json` beside it; None unless its bytes were generated here."""
    records, earlier = _read_sidecar(source.parent / SIDECAR_FILE)
    entry = records.get(found.name)
    if entry and entry["sha256"] == found.sha256:
        return entry
    return {"generated_list": True, "sha256": found.sha256} if found.sha256 in earlier else None
