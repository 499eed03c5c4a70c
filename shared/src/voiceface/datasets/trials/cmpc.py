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
from voiceface.datasets.layouts import VOICE_FOLDERS, get_voice_folder, is_inside_root
from voiceface.datasets.trials.trial_list import (
    TrialList,
    TrialListError,
    read_list_text,
    split_lines,
    trial_list_from_columns,
)

__all__ = [
    "FACE_CROP_SCALE",
    "VERIFICATION_HEADER",
    "is_cmpc_list",
    "parse_cmpc_list",
    "resolve_face",
    "resolve_voice",
]

VERIFICATION_HEADER = "id,voice-speaker-id,face-speaker-id,label,voice-path,face-path"
FACE_CROP_SCALE = "1.6"

_MATCHING_NAME = re.compile(r"matching_(?P<direction>v2f|f2v)_(?P<stratum>U|G|N|A|GN|GNA)")
_MATCHING_N_NAME = re.compile(r"matching_1_\d+")
_VERIFICATION_NAME = re.compile(r"veriflist_test_(?P<stratum>random|G|N|A|GNA)_(?:un)?seen(?:un)?heard")
_RETRIEVAL_HEADER = re.compile(r"VoxCeleb1 ID\t(?P<what>wav|jpg)")


def is_cmpc_list(name: str, text: str) -> bool:
    """Return whether a list is one of CMPC's tables, by its name or header."""
    first = text.partition("\n")[0].rstrip()
    return bool(
        first == VERIFICATION_HEADER
        or _RETRIEVAL_HEADER.fullmatch(first)
        or _MATCHING_NAME.fullmatch(name)
        or _MATCHING_N_NAME.fullmatch(name)
    )


def parse_cmpc_list(
    source: Path, name: str, text: str, identity_source: Corpus | Sequence[Identity] | None
) -> TrialList:
    """Parse a table of CMPC.

    A retrieval table contains one modality; the other table (of `wav_20k` and `jpg_20k`) is read from the
    same folder, and the SHA-256 is that of both, queries first.

    Args:
        source: the file, for messages and to find the other retrieval table.
        name: name of the list.
        text: its content, decompressed.
        identity_source: meta table or corpus; maps the names of verification lists to voice folders.

    Raises:
        TrialListError: the list is invalid; names file and line.
    """
    lines = split_lines(text)
    if not lines:
        raise TrialListError(f"{source}: the list is empty")
    first = lines[0]
    if first == VERIFICATION_HEADER:
        found = _parse_verification(source, name, lines, identity_source)
    elif table := _RETRIEVAL_HEADER.fullmatch(first):
        return _parse_retrieval(source, name, text, table["what"])
    else:
        found = _parse_matching(source, name, lines)
    return replace(found, sha256=hashlib.sha256(text.encode()).hexdigest(), source=source)


def resolve_voice(entry: str, folder: str, suffix: str = ".wav") -> str:
    """Turn `<name>/<video: 11 characters>_<7 digits>.wav` into `<folder>/<video>/<5 digits>.wav`.

    Raises:
        TrialListError: the entry has another form.
    """
    found = re.fullmatch(r"[^/]+/(.{11})_00(\d{5})\.\w+", entry)
    if not found:
        raise TrialListError(f"{entry!r} is not <name>/<video, 11 characters>_<7 digits>.wav")
    return f"{folder}/{found[1]}/{found[2]}{suffix}"


def resolve_face(entry: str) -> str:
    """Turn `<name>/<video>/<frame>.jpg` into `<name>/1.6/<video>/<frame>.jpg`.

    Raises:
        TrialListError: the entry has another form.
    """
    name, _, rest = entry.partition("/")
    if not name or not rest:
        raise TrialListError(f"{entry!r} is not <name>/<video>/<frame>.jpg")
    return f"{name}/{FACE_CROP_SCALE}/{rest}"


def _parse_matching(source: Path, name: str, lines: list[str]) -> TrialList:
    """Parse probe, target, impostors, separated by one blank."""
    rows = [line.split(" ") for line in lines]
    width = len(rows[0])
    if width < 3:
        raise TrialListError(f"{source}, line 1: {width} items, expected a probe and at least 2 candidates")
    for number, row in enumerate(rows, 1):
        if len(row) != width:
            raise TrialListError(f"{source}, line {number}: {len(row)} items, the first line has {width}")
        for item in row:
            if not is_inside_root(item):
                raise TrialListError(f"{source}, line {number}: {item!r} is not a path below the root")
    match = _MATCHING_NAME.fullmatch(name)
    direction, stratum = (match["direction"], match["stratum"]) if match else ("v2f", "U")
    if rows[0][0].endswith(".jpg") != (direction == "f2v"):
        raise TrialListError(f"{source}, line 1: {rows[0][0]} is not a probe of a {direction} list")
    return trial_list_from_columns(name, "match", direction, stratum, list(zip(*rows)))


def _parse_verification(
    source: Path, name: str, lines: list[str], identity_source: Corpus | Sequence[Identity] | None
) -> TrialList:
    """Parse labels and paths; voice paths are resolved by the meta table."""
    if identity_source is None:
        raise TrialListError(
            f"{source}: its voices are given by face name; pass the identities of vox1_meta.csv"
        )
    identities = identity_source.identities if isinstance(identity_source, Corpus) else identity_source
    naming = identity_source.voice_folder if isinstance(identity_source, Corpus) else VOICE_FOLDERS[0]
    folder_of = {identity.face_id: get_voice_folder(identity, naming) for identity in identities}
    voices: list[str] = []
    faces: list[str] = []
    labels: list[int] = []
    for number, line in enumerate(lines[1:], 2):
        cells = line.split(",")
        if len(cells) != 6 or cells[3] not in ("0", "1"):
            raise TrialListError(f"{source}, line {number}: {line!r} is not {VERIFICATION_HEADER}")
        *_, label, voice, face = cells
        speaker = voice.partition("/")[0]
        if speaker not in folder_of:
            raise TrialListError(f"{source}, line {number}: {speaker} is not in the identity table")
        voices.append(_resolve_item(source, number, partial(resolve_voice, folder=folder_of[speaker]), voice))
        faces.append(_resolve_item(source, number, resolve_face, face))
        labels.append(int(label))
    if not labels:
        raise TrialListError(f"{source}: no line below the header")
    match = _VERIFICATION_NAME.fullmatch(name)
    stratum = match["stratum"].replace("random", "U") if match else "U"
    found = trial_list_from_columns(name, "verify", "v2f", stratum, [voices, faces])
    return replace(found, labels=np.array(labels, np.int8))


def _resolve_item(source: Path, number: int, resolve: Callable[[str], str], entry: str) -> str:
    """Resolve one entry; errors name file and line."""
    try:
        item = resolve(entry)
    except TrialListError as error:
        raise TrialListError(f"{source}, line {number}: {error}") from error
    if not is_inside_root(item):
        raise TrialListError(f"{source}, line {number}: {entry!r} is not a path below the root")
    return item


def _parse_retrieval(source: Path, name: str, text: str, modality: str) -> TrialList:
    """Parse a retrieval list: queries from this table, the gallery from the other one."""
    other = "jpg" if modality == "wav" else "wav"
    twin = source.with_name(source.name.replace(modality, other, 1))
    if twin == source or not twin.is_file():
        raise TrialListError(
            f"{source}: a retrieval list needs a second table; found no {twin.name} beside it"
        )
    other_text, data = read_list_text(twin)
    queries = _read_table_items(source, text, modality)
    gallery = _read_table_items(twin, other_text, other)
    digest = hashlib.sha256(text.encode() + data).hexdigest()
    direction = "v2f" if modality == "wav" else "f2v"
    return TrialList(name, "retrieval", direction, "U", queries, gallery, sha256=digest, source=source)


def _read_table_items(source: Path, text: str, modality: str) -> list[str]:
    """Read the second column of a retrieval table."""
    lines = split_lines(text)
    if not lines or lines[0] != f"VoxCeleb1 ID\t{modality}":
        raise TrialListError(f"{source}, line 1: expected the header 'VoxCeleb1 ID<tab>{modality}'")
    items: list[str] = []
    for number, line in enumerate(lines[1:], 2):
        cells = line.split("\t")
        if len(cells) != 2 or not is_inside_root(cells[1]):
            raise TrialListError(
                f"{source}, line {number}: {line!r} is not a voice id and a path below the root"
            )
        items.append(cells[1])
    if len(set(items)) != len(items):
        raise TrialListError(f"{source}: an item occurs more than once")
    return items
