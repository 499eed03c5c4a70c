"""Embed files unit by unit, with any engine: the function of the workers, and the join of what they made."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voiceface.audio.recording_quality import FINDER_VARIABLE
from voiceface.embeddings.parts import (
    INDEX_FILE,
    format_index,
    join_fingerprints,
    merge_parts,
    read_part,
    to_part,
)
from voiceface.embeddings.table import EmbeddingError, EmbeddingTable
from voiceface.engines.file_sources import VIDEO_SUFFIXES, Sources
from voiceface.engines.file_units import FileItem, FileUnit, LocalFiles, TarUnit, brought_here, cut_units
from voiceface.engines.parts import PartStore, Rows, run_parts
from voiceface.io.file_kinds import printable
from voiceface.io.own_files import PICTURE_SUFFIXES, SOUND_SUFFIXES

if TYPE_CHECKING:
    import pyarrow as pa

    from voiceface.engines.interface import Engine

__all__ = ["EmbedFiles", "ShardWork", "join_shards", "make_parts", "make_units"]

log = logging.getLogger(__name__)

UNIT_FILES = 256  # at least; a multiple of the batch
FORMAT = "shards-1"

EmbedFiles = Callable[[Sequence[Path], Sequence[Path]], EmbeddingTable]
"""(recordings, sources of faces) -> table of `voiceface.association.embedding.embed`."""
Unit = FileUnit | TarUnit


@dataclass(frozen=True)
class ShardWork:
    """What is done with each unit, as engines get it.

    Attributes:
        load: device -> function that embeds files.
        dimension: length of an embedding.
        fingerprint: of the models.
        options: text of all else that decides the rows.
        speech_finder: value of VOICEFACE_SPEECH_FINDER; None: that of the worker.
        encoder: JSON about the encoders, which the parts state.
    """

    load: Callable[[str], EmbedFiles]
    dimension: int
    fingerprint: str
    options: str = ""
    encoder: str = ""
    speech_finder: str | None = None

    def __call__(self, device: str) -> Callable[[Unit], Rows]:
        """Build the function of a unit."""
        if self.speech_finder is not None:
            os.environ[FINDER_VARIABLE] = self.speech_finder
        return partial(self.run, self.load(device))

    @property
    def identity(self) -> str:
        """Digest of all that decides the rows of a unit."""
        text = "\n".join([FORMAT, self.fingerprint, self.options, self.speech_finder or ""])
        return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()

    def run(self, embed_files: EmbedFiles, unit: Unit) -> Rows:
        """Embed the files of a unit; those that fail become rows with the reason."""
        with brought_here(unit) as files:
            paths = list(files.paths)
            table = self._embed(embed_files, unit, paths) if paths else self._empty({})
            failed = _rename_failed(table, files) | files.failed
            facts = {
                _rename(item, files.paths): replace(each, file=_given(each.file, files.paths))
                for item, each in table.facts.items()
            }
            items = [_rename(item, files.paths) for item in table.items]
        named = EmbeddingTable(items, table.vectors, self.fingerprint, failed, facts, self.encoder)
        return Rows(to_part(named), complete=not files.failed)

    def describe_failure(self, unit: Unit, reason: str) -> "pa.Table":
        """Rows of a unit of one file that cannot be processed at all."""
        failed = {item.name: f"{printable(item.given)}: {reason}" for item in unit.list_items()}
        return to_part(self._empty(failed))

    def _embed(self, embed_files: EmbedFiles, unit: Unit, paths: Sequence[Path]) -> EmbeddingTable:
        try:
            return embed_files(paths, ()) if unit.modality == "voice" else embed_files((), paths)
        except EmbeddingError as error:
            if not error.failures:
                raise
            return self._empty(error.failures)

    def _empty(self, failed: dict[str, str]) -> EmbeddingTable:
        vectors = np.zeros((0, self.dimension), np.float32)
        return EmbeddingTable([], vectors, self.fingerprint, failed, encoder=self.encoder)


def make_units(
    sources: Sources,
    *,
    batch_sizes: tuple[int, int],
    finds_faces: bool,
    modalities: str = "vf",
    unit_files: int = UNIT_FILES,
) -> list[Unit]:
    """Units of files and of tar shards: voices first, then faces.

    Units of files hold whole batches, so that the networks see the batches of `embed`.

    Args:
        sources: the files.
        batch_sizes: of voices and of faces.
        finds_faces: faces are looked for, in videos too.
        modalities: "v", "f" or "vf": which to make.
        unit_files: least number of files of a unit.
    """
    voice_size, face_size = (-(-unit_files // size) * size for size in batch_sizes)
    units: list[Unit] = []
    if "v" in modalities:
        units += cut_units("voice", sources.sounds, voice_size)
        units += [TarUnit("voice", archive, SOUND_SUFFIXES) for archive in sources.archives]
    if "f" in modalities:
        faces = list(sources.pictures)
        if finds_faces:
            faces += [item for item in sources.sounds if _is_video(item)]
        endings = (*PICTURE_SUFFIXES, *(VIDEO_SUFFIXES if finds_faces else ()))
        units += cut_units("face", faces, face_size)
        units += [TarUnit("face", archive, endings) for archive in sources.archives]
    return units


def join_shards(
    engine: "Engine", jobs: Sequence[tuple[ShardWork, Sequence[Unit]]], place: str
) -> EmbeddingTable:
    """Embed all units and join the rows to one table, in their order; parts that are there are kept.

    Args:
        engine: runs the work.
        jobs: work and its units.
        place: path or address of the parts. Damaged ones are made again.

    Raises:
        EmbeddingError: none of the files can be embedded.
        EngineError: no worker starts, or nothing succeeds.
        StoreError: a part cannot be read or written.
    """
    store = PartStore(place)
    return merge_parts([table for job in jobs for table in _make_tables(engine, *job, store)])


def make_parts(
    engine: "Engine", jobs: Sequence[tuple[ShardWork, Sequence[Unit]]], place: str, encoder: str
) -> int:
    """Embed all units and leave the rows in parts, named in order by `parts.json`; memory does not grow.

    Args:
        engine: runs the work.
        jobs: work and its units; all give embeddings of one length.
        place: path or address of the folder.
        encoder: JSON about the encoders.

    Returns:
        Number of parts.

    Raises:
        EngineError: no worker starts, or nothing succeeds.
        StoreError: a part cannot be read or written.
        EmbeddingError: the folder holds parts of another model.
    """
    store = PartStore(place)
    fingerprint = join_fingerprints([work.fingerprint for work, _ in jobs])
    dimension = jobs[0][0].dimension
    if INDEX_FILE in store.names():
        known = json.loads(store.read(INDEX_FILE))
        if known.get("fingerprint") != fingerprint:
            raise EmbeddingError(f"{printable(place)} holds parts of another model; choose another --out")
    names = [
        name
        for work, units in jobs
        for name in run_parts(engine, work, units, store, work.identity, work.describe_failure)
    ]
    store.write(INDEX_FILE, format_index(names, fingerprint, dimension, encoder))
    return len(names)


def _make_tables(
    engine: "Engine", work: ShardWork, units: Sequence[Unit], store: PartStore
) -> list[EmbeddingTable]:
    """Tables of all units; damaged parts are made again, once."""
    for attempt in range(2):
        tables: list[EmbeddingTable] = []
        damaged: list[str] = []
        for name in run_parts(engine, work, units, store, work.identity, work.describe_failure):
            try:
                tables.append(read_part(store.read(name), f"{printable(store.place)}/{name}"))
            except EmbeddingError as error:
                if attempt:
                    raise
                log.warning("%s; it is made again", error)
                damaged.append(name)
        if not damaged:
            break
        for name in damaged:
            store.remove(name)
    return tables


def _is_video(item: FileItem) -> bool:
    from voiceface.io.locations import is_url
    from voiceface.videos.own_videos import is_video

    if is_url(item.source):
        return item.source.partition("?")[0].lower().endswith(VIDEO_SUFFIXES)
    return is_video(item.source)


def _rename(item: str, paths: dict[Path, FileItem]) -> str:
    """Name in the table of an item that `embed` named by its path, such as "photos/a.jpg#2"."""
    if (found := paths.get(Path(item))) is not None:
        return found.name
    path, _, number = item.rpartition("#")
    return f"{paths[Path(path)].name}#{number}"


def _given(file: str, paths: dict[Path, FileItem]) -> str:
    found = paths.get(Path(file))
    return file if found is None else found.given


def _rename_failed(table: EmbeddingTable, files: LocalFiles) -> dict[str, str]:
    """Failures by the names of the table; their reasons name the files as they were given."""
    failed: dict[str, str] = {}
    for item, reason in table.failed.items():
        found: Any = files.paths.get(Path(item)) or files.paths.get(Path(item.rpartition("#")[0]))
        for path, given in ((item, found.given), (printable(item), printable(found.given))):
            reason = reason.replace(path, given)
        failed[_rename(item, files.paths)] = reason
    return failed
