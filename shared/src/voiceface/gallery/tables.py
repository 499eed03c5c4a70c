"""Tables of embeddings as rows of galleries: modality, groups, and what is kept beside each vector."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voiceface.embeddings.table import EmbeddingTable
from voiceface.gallery.interface import Gallery, GalleryError, Metadata, Modality, Vectors
from voiceface.io.file_facts import FileFacts
from voiceface.io.own_files import PICTURE_SUFFIXES, SOUND_SUFFIXES

__all__ = [
    "GalleryRows",
    "add_rows",
    "find_modality",
    "format_source",
    "read_facts",
    "read_files",
    "rows_of_table",
    "select_modality",
]

BATCH_ROWS = 50_000
KINDS: dict[str, Modality] = {"recording": "voice", "picture": "face"}


@dataclass(frozen=True)
class GalleryRows:
    """Rows to be added to a gallery.

    Attributes:
        items: N names.
        vectors: (N, D).
        metadata: N mappings: "facts" and "files" are JSON texts, "resultant" is the length of the mean of a
            group's unit vectors.
    """

    items: list[str]
    vectors: Vectors
    metadata: list[Metadata]


def find_modality(table: EmbeddingTable, item: str) -> Modality:
    """Whether an item of a table is a voice or a face: by its record, else by the ending of its name."""
    if item in table.facts:
        return KINDS[table.facts[item].kind]
    name, of_picture = re.subn(r"#\d+$", "", item)
    suffix = Path(name).suffix.lower()
    if of_picture or suffix in PICTURE_SUFFIXES:
        return "face"
    return "voice" if suffix in SOUND_SUFFIXES else ""


def select_modality(table: EmbeddingTable, wanted: Modality, source: str) -> tuple[EmbeddingTable, Modality]:
    """Select the voices or the faces of a table.

    Args:
        table: the table.
        wanted: "voice", "face", or "": what the table holds, if it holds one modality.
        source: of the table, for messages.

    Returns:
        The rows, and their modality; "" where it is not known.

    Raises:
        GalleryError: none is left, or the table holds both and none is wanted.
    """
    found = [find_modality(table, item) for item in table.items]
    kinds = set(found)
    if not wanted:
        if {"voice", "face"} <= kinds:
            raise GalleryError(
                f"{source} holds {found.count('voice')} voices and {found.count('face')} faces, and a "
                "gallery holds one of both: give --only voices or --only faces"
            )
        return table, next((kind for kind in kinds if kind), "")
    other: Modality = "face" if wanted == "voice" else "voice"
    if other not in kinds:
        return table, wanted
    kept = [item for item, kind in zip(table.items, found) if kind != other]
    if not kept:
        raise GalleryError(f"{source} holds no {wanted}s")
    return table.take(kept), wanted


def rows_of_table(table: EmbeddingTable, *, by_folder: bool = False) -> GalleryRows:
    """Rows of a table.

    Args:
        table: the table.
        by_folder: one row per folder: the mean of the unit vectors of its items.
    """
    if not by_folder:
        return GalleryRows(table.items, table.vectors, [_metadata(table, [item]) for item in table.items])
    groups: dict[str, list[str]] = {}
    for item in table.items:
        groups.setdefault(str(Path(item).parent), []).append(item)
    members = list(groups.values())
    lengths = table.mean_resultant_lengths(members)
    metadata: list[Metadata] = [
        {**_metadata(table, items), "files": json.dumps(items), "resultant": float(length)}
        for items, length in zip(members, lengths)
    ]
    return GalleryRows(list(groups), table.group_means(members), metadata)


def add_rows(gallery: Gallery, rows: GalleryRows, *, skip_existing: bool = False) -> int:
    """Add rows in batches, each of which is stored for good before the next.

    Args:
        gallery: the gallery.
        rows: the rows.
        skip_existing: leave out items that are in the gallery; else they are an error.

    Returns:
        Number of rows that were added.

    Raises:
        GalleryError: as of `Gallery.add`.
    """
    added = 0
    for start in range(0, len(rows.items), BATCH_ROWS):
        items = rows.items[start : start + BATCH_ROWS]
        chosen = np.arange(start, start + len(items))
        if skip_existing:
            known = set(gallery.known(items))
            chosen = chosen[[item not in known for item in items]]
        gallery.add(
            [rows.items[row] for row in chosen], rows.vectors[chosen], [rows.metadata[row] for row in chosen]
        )
        added += len(chosen)
    return added


def read_facts(metadata: Metadata) -> tuple[FileFacts, ...]:
    """Records of the files behind a row.

    Raises:
        GalleryError: they cannot be read.
    """
    try:
        return tuple(FileFacts.from_values(each) for each in json.loads(str(metadata.get("facts", "[]"))))
    except (ValueError, TypeError) as error:
        raise GalleryError(f"the records of a row of the gallery cannot be read ({error})") from None


def read_files(item: str, metadata: Metadata) -> tuple[Path, ...]:
    """Files behind a row, as they were named when it was added.

    Raises:
        GalleryError: they cannot be read.
    """
    known = [each.file for each in read_facts(metadata)]
    try:
        items = json.loads(str(metadata["files"])) if "files" in metadata else [item]
        return tuple(map(Path, dict.fromkeys(known or items)))
    except (ValueError, TypeError) as error:
        raise GalleryError(f"the files of {item} cannot be read ({error})") from None


def format_source(gallery: Gallery) -> Iterator[str]:
    """Lines on what a gallery holds and who made it."""
    facts = gallery.facts
    kind = {"voice": "voices", "face": "faces", "": "vectors"}[facts.modality]
    yield f"{gallery.place}: {len(gallery):,} {kind} of length {facts.dimension}, engine {facts.engine}"
    yield f"model: {facts.fingerprint or 'not stated'}"
    for encoder in json.loads(facts.encoder) if facts.encoder else ():
        yield f"encoder: {encoder.get('name', '')} ({encoder.get('modality', '')})"


def _metadata(table: EmbeddingTable, items: Sequence[str]) -> dict[str, Any]:
    known = [table.facts[item].to_values() for item in items if item in table.facts]
    return {"facts": json.dumps(known, sort_keys=True)} if known else {}
