"""The evaluation tables of CMPC: matching, verification with labels, and retrieval over two tables."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from voiceface.datasets.corpus import Corpus
from voiceface.datasets.identities import Identity
from voiceface.datasets.layouts import VOICE_FOLDERS, inside, voice_folder_of
from voiceface.datasets.trials.trial_list import EvaluationList, ListError, from_columns, list_bytes

VERIFICATION_HEADER = "id,voice-speaker-id,face-speaker-id,label,voice-path,face-path"
FACE_SCALE = "1.6"

_MATCHING = re.compile(r"matching_(?P<direction>v2f|f2v)_(?P<stratum>U|G|N|A|GN|GNA)")
_MATCHING_N = re.compile(r"matching_1_\d+")
_VERIFICATION = re.compile(r"veriflist_test_(?P<stratum>random|G|N|A|GNA)_(?:un)?seen(?:un)?heard")
_TABLE = re.compile(r"VoxCeleb1 ID\t(?P<what>wav|jpg)")


def recognise(name: str, text: str) -> bool:
    """Tell by name or header whether a list is one of CMPC's tables."""
    first = text.partition("\n")[0].rstrip("\r")
    return bool(
        first == VERIFICATION_HEADER
        or _TABLE.fullmatch(first)
        or _MATCHING.fullmatch(name)
        or _MATCHING_N.fullmatch(name)
    )


def parse(source: Path, name: str, text: str, people: Corpus | Sequence[Identity] | None) -> EvaluationList:
    """Read a table that `recognise` knows.

    A retrieval table holds one side only; the other (`wav_20k` and `jpg_20k`) is looked for beside it, and
    the SHA-256 is that of both, queries first.

    Args:
        source: the file, for messages and for finding the other retrieval table.
        name: name of the list.
        text: its content, unpacked.
        people: meta table or corpus; verification lists need it to turn names into voice ids (or, as the
            corpus may have it, into its folders of clips).

    Raises:
        ListError: names file and line of what is wrong.
    """
    lines = text.splitlines()
    first = lines[0]
    if first == VERIFICATION_HEADER:
        found = _verification(source, name, lines, people)
    elif table := _TABLE.fullmatch(first):
        return _retrieval(source, name, text, table["what"])
    else:
        found = _matching(source, name, lines)
    return replace(found, sha256=hashlib.sha256(text.encode()).hexdigest(), source=source)


def resolve_voice(entry: str, folder: str, suffix: str = ".wav") -> str:
    """Turn `<name>/<video: 11 characters>_<7 digits>.wav` into `<folder>/<video>/<5 digits>.wav`.

    Raises:
        ListError: the entry has another form.
    """
    found = re.fullmatch(r"[^/]+/(.{11})_00(\d{5})\.\w+", entry)
    if not found:
        raise ListError(f"{entry!r} is not <name>/<video, 11 characters>_<7 digits>.wav")
    return f"{folder}/{found[1]}/{found[2]}{suffix}"


def resolve_face(entry: str) -> str:
    """Turn `<name>/<video>/<frame>.jpg` into `<name>/1.6/<video>/<frame>.jpg`.

    Raises:
        ListError: the entry has another form.
    """
    name, _, rest = entry.partition("/")
    if not name or not rest:
        raise ListError(f"{entry!r} is not <name>/<video>/<frame>.jpg")
    return f"{name}/{FACE_SCALE}/{rest}"


def _matching(source: Path, name: str, lines: list[str]) -> EvaluationList:
    """Probe, right candidate, wrong candidates, separated by one blank."""
    rows = [line.split(" ") for line in lines]
    width = len(rows[0])
    if width < 3:
        raise ListError(f"{source}, line 1: {width} items, expected a probe and at least 2 candidates")
    for number, row in enumerate(rows, 1):
        if len(row) != width:
            raise ListError(f"{source}, line {number}: {len(row)} items, the first line has {width}")
        for item in row:
            if not inside(item):
                raise ListError(f"{source}, line {number}: {item!r} is not a path below the root")
    told = _MATCHING.fullmatch(name)
    direction, stratum = (told["direction"], told["stratum"]) if told else ("v2f", "U")
    if rows[0][0].endswith(".jpg") != (direction == "f2v"):
        raise ListError(f"{source}, line 1: {rows[0][0]} is no probe of a {direction} list")
    return from_columns(name, "match", direction, stratum, list(zip(*rows)))


def _verification(
    source: Path, name: str, lines: list[str], people: Corpus | Sequence[Identity] | None
) -> EvaluationList:
    """Labels as the file states them; paths resolved through the meta table."""
    if people is None:
        raise ListError(f"{source}: its voices are given by name; pass the identities of vox1_meta.csv")
    identities = people.identities if isinstance(people, Corpus) else people
    called = people.voice_folder if isinstance(people, Corpus) else VOICE_FOLDERS[0]
    folder_of = {identity.face_id: voice_folder_of(identity, called) for identity in identities}
    voices: list[str] = []
    faces: list[str] = []
    labels: list[int] = []
    for number, line in enumerate(lines[1:], 2):
        cells = line.split(",")
        if len(cells) != 6 or cells[3] not in ("0", "1"):
            raise ListError(f"{source}, line {number}: {line!r} is not {VERIFICATION_HEADER}")
        *_, label, voice, face = cells
        speaker = voice.partition("/")[0]
        if speaker not in folder_of:
            raise ListError(f"{source}, line {number}: {speaker} is not in the identity table")
        voices.append(_at(source, number, partial(resolve_voice, folder=folder_of[speaker]), voice))
        faces.append(_at(source, number, resolve_face, face))
        labels.append(int(label))
    if not labels:
        raise ListError(f"{source}: no line below the header")
    told = _VERIFICATION.fullmatch(name)
    stratum = told["stratum"].replace("random", "U") if told else "U"
    found = from_columns(name, "verify", "v2f", stratum, [voices, faces])
    return replace(found, labels=np.array(labels, np.int8))


def _at(source: Path, number: int, resolve: Callable[[str], str], entry: str) -> str:
    """Resolve one entry; say where it stands when that fails or leads out of the root."""
    try:
        item = resolve(entry)
    except ListError as error:
        raise ListError(f"{source}, line {number}: {error}") from error
    if not inside(item):
        raise ListError(f"{source}, line {number}: {entry!r} is not a path below the root")
    return item


def _retrieval(source: Path, name: str, text: str, what: str) -> EvaluationList:
    """This table's items are the queries, the other table's the gallery."""
    other = "jpg" if what == "wav" else "wav"
    twin = source.with_name(source.name.replace(what, other, 1))
    if twin == source or not twin.is_file():
        raise ListError(f"{source}: a retrieval table needs its other half, looked for {twin.name} beside it")
    data = list_bytes(twin)
    queries = _table_items(source, text, what)
    gallery = _table_items(twin, data.decode("utf-8"), other)
    digest = hashlib.sha256(text.encode() + data).hexdigest()
    direction = "v2f" if what == "wav" else "f2v"
    return EvaluationList(name, "retrieval", direction, "U", queries, gallery, sha256=digest, source=source)


def _table_items(source: Path, text: str, what: str) -> list[str]:
    """Second column of a retrieval table."""
    lines = text.splitlines()
    if not lines or lines[0] != f"VoxCeleb1 ID\t{what}":
        raise ListError(f"{source}, line 1: expected the header 'VoxCeleb1 ID<tab>{what}'")
    items: list[str] = []
    for number, line in enumerate(lines[1:], 2):
        cells = line.split("\t")
        if len(cells) != 2 or not inside(cells[1]):
            raise ListError(f"{source}, line {number}: {line!r} is not a voice id and a path below the root")
        items.append(cells[1])
    if len(set(items)) != len(items):
        raise ListError(f"{source}: an item stands there more than once")
    return items
