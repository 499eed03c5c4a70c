"""Evaluation lists: matching, verification and retrieval, read from and written to their published forms."""

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
from voiceface.datasets.layouts import inside, is_face, is_voice
from voiceface.datasets.trials import cmpc
from voiceface.datasets.trials.coverage import absent_items, attribute_groups, check_items, wrong_shares
from voiceface.datasets.trials.trial_list import (
    EvaluationList,
    ListError,
    from_columns,
    indexed,
    list_bytes,
    list_name,
    owners_of,
    with_labels,
)
from voiceface.io.atomic import write_bytes, write_json

__all__ = [
    "KINDS",
    "NOTE",
    "SIDECAR",
    "STRATA",
    "EvaluationList",
    "ListError",
    "absent_items",
    "attribute_groups",
    "check_items",
    "from_columns",
    "indexed",
    "owners_of",
    "published_bytes",
    "read_list",
    "with_labels",
    "with_people",
    "write_list",
    "write_lists",
    "wrong_shares",
]

KINDS = {"match": "match", "verify": "verify", "reterival": "retrieval", "retrieval": "retrieval"}
SIDECAR = "lists.json"
NOTE = "Drawn here, not published. Figures on these lists must be labelled as figures on own lists."

_NAME = re.compile(
    r"(?P<kind>match|verify|reterival|retrieval)(?:_(?P<stratum>gna|gn|ga|na|g|n|a))?_(?P<direction>v2f|f2v)(?:_.*)?"
)


def read_list(path: str | Path, people: Corpus | Sequence[Identity] | None = None) -> EvaluationList:
    """Read an evaluation list in any of the published forms, packed with gzip or not.

    Text lists hold one line per question, items separated by one blank: `match` anchor, right candidate,
    wrong candidates; `verify` anchor, candidate; `reterival` two lines, queries and gallery. Kind, direction
    and stratum come from the name (`verify_g_f2v_test`), or from the content where the name does not say.
    The tables of CMPC (`.csv`, `veriflist_*.txt`) are handled by `voiceface.datasets.trials.cmpc`.

    Args:
        path: the list.
        people: who is who, a corpus or the rows of an identity table; needed for the labels of `verify` lists
            that do not hold them, and for the names in CMPC's verification lists.

    Returns:
        The list; `labels` is None for a `verify` list without `people`.

    Raises:
        ListError: names file and line of what is wrong: another number of items than the first line has, an
            empty item, a path that leaves the root, a name that contradicts the content.
        FileNotFoundError: there is no such file.
    """
    source = Path(path)
    data = list_bytes(source)
    name = list_name(source)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ListError(f"{source}: not text (byte {error.start})") from error
    if cmpc.recognise(name, text):
        return cmpc.parse(source, name, text, people)
    lines = text.splitlines()
    if not lines or not lines[0]:
        raise ListError(f"{source}: {'the first line' if lines else 'the list'} is empty")
    found = _parse(source, name, lines)
    found = replace(found, sha256=hashlib.sha256(data).hexdigest(), source=source)
    if people is not None:
        found = with_people(found, people)
    return replace(found, provenance=_provenance(source, found))


def with_people(questions: EvaluationList, people: Corpus | Sequence[Identity]) -> EvaluationList:
    """Add what only people tell: labels of a verification list, and the stratum where no name says it.

    Raises:
        ListError: items that belong to nobody.
    """
    found = with_labels(questions, people)
    if _NAME.fullmatch(found.name):
        return found
    shares = wrong_shares(found, people)
    return replace(found, stratum="".join(key[0].upper() for key in shares if shares[key] == 1) or "U")


def write_list(path: str | Path, questions: EvaluationList) -> str:
    """Write a list in the published text form, atomically; a path that ends in .gz is packed.

    Labels are not part of that form: they follow from the identity table. A list that was drawn here is
    first recorded in the `lists.json` beside it, so that it never passes for a published one.

    Returns:
        SHA-256 of the unpacked bytes.

    Raises:
        ListError: an item holds a blank or leaves the root, or `lists.json` cannot be read.
    """
    data = published_bytes(questions)
    digest = hashlib.sha256(data).hexdigest()
    if questions.provenance is not None:
        _record(
            Path(path).parent / SIDECAR, {list_name(Path(path)): questions.provenance | {"sha256": digest}}
        )
    packed = gzip.compress(data, compresslevel=9, mtime=0) if str(path).endswith(".gz") else data
    write_bytes(path, packed)
    return digest


def write_lists(folder: str | Path, lists: Sequence[EvaluationList], *, packed: bool = False) -> list[Path]:
    """Write lists as `NAME.txt` (or `.txt.gz`) into one folder; see `write_list`.

    Returns:
        The files, in the order of the lists.
    """
    paths = [Path(folder) / f"{questions.name}.txt{'.gz' if packed else ''}" for questions in lists]
    for path, questions in zip(paths, lists):
        write_list(path, questions)
    return paths


def published_bytes(questions: EvaluationList) -> bytes:
    """Give the published text form of a list: items by one blank, LF after every line."""
    for item in (*questions.anchors, *questions.candidates):
        if not inside(item) or any(sign.isspace() for sign in item):
            raise ListError(
                f"{questions.name}: {item!r} cannot stand in a list (a blank, or not below the root)"
            )
    if questions.anchor_index is None or questions.candidate_index is None:
        return "".join(" ".join(items) + "\n" for items in (questions.anchors, questions.candidates)).encode()
    anchors = np.array(questions.anchors, dtype=object)[questions.anchor_index]
    candidates = np.array(questions.candidates, dtype=object)[questions.candidate_index]
    return "".join(
        " ".join((anchor, *row)) + "\n" for anchor, row in zip(anchors, candidates.tolist())
    ).encode()


def _parse(source: Path, name: str, lines: list[str]) -> EvaluationList:
    """Turn the lines of a text list into arrays, checking every one of them."""
    rows = [line.split(" ") for line in lines]
    told = _NAME.fullmatch(name)
    voices = [is_voice(item) for item in rows[0]]
    faces = [is_face(item) for item in rows[0]]
    whole = len(lines) == 2 and (all(voices) or all(faces))
    kind = (
        KINDS[told["kind"]] if told else "retrieval" if whole else "verify" if len(rows[0]) == 2 else "match"
    )
    seen = "v2f" if voices[0] else "f2v" if faces[0] else ""
    direction = told["direction"] if told else seen
    if not direction:
        raise ListError(f"{source}: neither the name nor the first item ({rows[0][0]}) tells voice from face")
    if seen and seen != direction:
        raise ListError(f"{source}, line 1: the name says {direction}, the first item is {rows[0][0]}")
    stratum = (told["stratum"] or "U").upper() if told else "U"
    if kind == "retrieval":
        if len(rows) != 2:
            raise ListError(f"{source}: {len(rows)} lines, expected two: queries and gallery")
        for number, row in enumerate(rows, 1):
            _check_items(source, row, number)
            if len(set(row)) != len(row):
                twice = next(item for item in row if row.count(item) > 1)
                raise ListError(f"{source}, line {number}: {twice} stands there more than once")
        _check_sides(source, rows[0], rows[1], direction)
        return EvaluationList(name, kind, direction, stratum, rows[0], rows[1])
    width = len(rows[0])
    if (kind == "verify" and width != 2) or width < 2 or (kind == "match" and width < 3):
        expected = "2 items" if kind == "verify" else "an anchor and at least 2 candidates"
        raise ListError(f"{source}, line 1: {width} items, expected {expected}")
    for number, row in enumerate(rows, 1):
        if len(row) != width:
            raise ListError(f"{source}, line {number}: {len(row)} items, the first line has {width}")
    found = from_columns(name, kind, direction, stratum, list(zip(*rows)))
    if not all(map(_plain, found.anchors)) or not all(map(_plain, found.candidates)):
        for number, row in enumerate(rows, 1):
            _check_items(source, row, number)
    _check_sides(source, found.anchors, found.candidates, direction)
    return found


def _check_sides(source: Path, anchors: list[str], candidates: list[str], direction: str) -> None:
    """Check that anchors and candidates are of the modalities that the direction says."""
    for items, side in ((anchors, direction[0]), (candidates, direction[-1])):
        other, what = (is_face, "a clip") if side == "v" else (is_voice, "a picture")
        stray = next((item for item in items if other(item)), None)
        if stray is not None:
            raise ListError(f"{source}: {stray} stands where {what} is expected ({direction})")


def _plain(item: str) -> bool:
    """Whether an item may stand in a list."""
    return inside(item) and not item.isspace() and "\t" not in item


def _check_items(source: Path, row: Sequence[str], number: int) -> None:
    """Check the items of one line."""
    for item in row:
        if not item:
            raise ListError(
                f"{source}, line {number}: an empty item (two blanks, or one at the end of the line)"
            )
        if not _plain(item):
            raise ListError(
                f"{source}, line {number}: {item!r} is not a path below the root with forward slashes"
            )


def _record(sidecar: Path, entries: dict[str, dict[str, Any]]) -> None:
    """Add drawn lists to a `lists.json`; digests of lists they replace stay known as own ones."""
    records, earlier = _read_record(sidecar)
    for name, entry in entries.items():
        earlier |= {records.get(name, entry)["sha256"]} - {entry["sha256"]}
        records[name] = entry
    ordered = {name: records[name] for name in sorted(records)}
    write_json(sidecar, {"note": NOTE, "lists": ordered} | ({"earlier": sorted(earlier)} if earlier else {}))


def _read_record(sidecar: Path) -> tuple[dict[str, dict[str, Any]], set[str]]:
    """Read a `lists.json`: records by list name, and digests of lists that were replaced."""
    if not sidecar.is_file():
        return {}, set()
    try:
        record = json.loads(sidecar.read_text(encoding="utf-8"))
        records, earlier = dict(record["lists"]), set(record.get("earlier", []))
        if all(isinstance(entry["sha256"], str) for entry in records.values()):
            return records, earlier
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ListError(f"{sidecar}: not a record of drawn lists ({error}); remove it") from error
    raise ListError(f"{sidecar}: not a record of drawn lists; remove it")


def _provenance(source: Path, found: EvaluationList) -> dict[str, Any] | None:
    """Look the list up in the `lists.json` beside it; None unless its bytes were drawn here."""
    records, earlier = _read_record(source.parent / SIDECAR)
    entry = records.get(found.name)
    if entry and entry["sha256"] == found.sha256:
        return entry
    return {"own_list": True, "sha256": found.sha256} if found.sha256 in earlier else None
