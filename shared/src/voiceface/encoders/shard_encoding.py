"""Encode files unit by unit, with any engine; see `voiceface.association.shard_embedding`."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.association.shard_embedding import (
    EmbedFiles,
    ShardWork,
    Unit,
    join_shards,
    make_parts,
    make_units,
)
from voiceface.embeddings.encoder_info import Modality
from voiceface.embeddings.table import EmbeddingError, EmbeddingTable
from voiceface.encoders.corpus_features import encode_items
from voiceface.encoders.interface import Encoder, EncoderError
from voiceface.encoders.table_encoders import TableEncoder
from voiceface.engines.file_sources import Sources
from voiceface.engines.file_units import FileItem
from voiceface.io.packed_folders import stamp_of

if TYPE_CHECKING:
    from voiceface.engines.interface import Engine

__all__ = ["EncoderLoader", "encode_corpus_items", "encode_sources", "encode_to_parts"]

ARGUMENTS = ("on_corrupt", "resample", "long_recordings", "crop", "face_finder", "every_face", "workers")
VOICE_LETTER = {"voice": "v", "face": "f"}


@dataclass(frozen=True)
class EncoderLoader:
    """Opens an encoder as the command `encode` asks for it, in any process.

    Attributes:
        name: of the encoder.
        modality: "voice" or "face".
        own_files: people's own files pass their door; False: files of a data folder.
        values: further arguments of the command, by name.
    """

    name: str
    modality: Modality
    own_files: bool
    values: tuple[tuple[str, Any], ...]

    @classmethod
    def from_arguments(
        cls, args: argparse.Namespace, name: str, modality: Modality, *, own_files: bool
    ) -> "EncoderLoader":
        """Take the arguments of `voiceface encode`."""
        return cls(name, modality, own_files, tuple((each, getattr(args, each)) for each in ARGUMENTS))

    def open(self, device: str) -> Encoder:
        """Load the encoder.

        Raises:
            EncoderError, OSError, ValueError: as `voiceface.encoders.registry.load_encoder` and
                `voiceface.faces.own_pictures.PictureReader.from_arguments`.
        """
        from voiceface.encoders.registry import load_encoder
        from voiceface.faces.own_pictures import PictureReader

        args = argparse.Namespace(**dict(self.values))
        encoder = load_encoder(self.name, self.modality, device=device)
        if encoder.is_voice and args.on_corrupt is not None:
            encoder.on_corrupt = args.on_corrupt
        if encoder.is_voice and args.resample is not None:
            encoder.resample = args.resample == "auto"
        if self.own_files:
            encoder.long_recordings = args.long_recordings
            if not encoder.is_voice:
                encoder.use_pictures(PictureReader.from_arguments(args))
        return encoder

    def for_workers(self) -> "EncoderLoader":
        """The same with absolute paths."""
        kind, mark, place = self.name.partition(":")
        file, sharp, rest = place.partition("#")
        if mark and Path(file).exists():
            kind, place = f"{kind}{mark}{Path(file).absolute()}", f"{sharp}{rest}"
            return replace(self, name=kind + place, values=self._absolute_values())
        return replace(self, values=self._absolute_values())

    def _absolute_values(self) -> tuple[tuple[str, Any], ...]:
        return tuple(
            (name, value.absolute() if isinstance(value, Path) else value) for name, value in self.values
        )

    def __call__(self, device: str) -> EmbedFiles:
        """Build the function of `ShardWork`."""
        encoder, workers = self.open(device), dict(self.values)["workers"]
        if self.own_files:
            return partial(_encode_own, encoder, workers)
        return partial(_encode_plain, encoder, workers)

    def plan(self, encoder: Encoder, **options: str | None) -> ShardWork:
        """What is done with each unit."""
        text = f"{encoder.on_corrupt} {encoder.resample}"
        if self.own_files:
            text = f"own {text} {encoder.long_recordings} {encoder.pictures.identity}"
        return ShardWork(self.for_workers(), encoder.dimension, encoder.fingerprint, text, **options)  # type: ignore[arg-type]


Loaded = tuple[EncoderLoader, Encoder, Sources]
"""How the encoder of a modality is opened, the encoder, and the files of the modality."""


def encode_sources(engine: "Engine", loaders: Sequence[Loaded], place: str) -> EmbeddingTable:
    """Encode people's own files, voices first, into one table.

    Args:
        engine: runs the work.
        loaders: of each modality that has files: how its encoder is opened, the encoder, and the files.
        place: path or address of the parts.

    Raises:
        EmbeddingError: no file can be encoded.
        EncoderError: the encoders have features of different lengths.
    """
    table = join_shards(engine, _plan_jobs(loaders), place)
    return replace(table, encoder=_describe(loaders))


def encode_to_parts(engine: "Engine", loaders: Sequence[Loaded], place: str) -> int:
    """Encode people's own files, voices first, into parts that stay in a folder.

    Args:
        engine, loaders: as of `encode_sources`.
        place: path or address of the folder.

    Returns:
        Number of parts; files that failed are rows of theirs.

    Raises:
        EmbeddingError: the folder holds parts of another encoder.
        EncoderError: the encoders have features of different lengths.
    """
    return make_parts(engine, _plan_jobs(loaders), place, _describe(loaders))


def _describe(loaders: Sequence[Loaded]) -> str:
    from voiceface.encoders.records import format_encoders

    return format_encoders(encoder.info for _, encoder, _ in loaders)


def _plan_jobs(loaders: Sequence[Loaded]) -> list[tuple[ShardWork, Sequence[Unit]]]:
    """Work and units of each modality."""
    from voiceface.audio.recording_quality import choose_speech_finder
    from voiceface.encoders.own_files import require_one_length

    require_one_length([encoder for _, encoder, _ in loaders])
    finder = choose_speech_finder()
    jobs: list[tuple[ShardWork, Sequence[Unit]]] = []
    for loader, encoder, sources in loaders:
        units = make_units(
            sources,
            batch_sizes=(encoder.batch_size, encoder.batch_size),
            finds_faces=encoder.pictures.finds_faces,
            modalities=VOICE_LETTER[loader.modality],
        )
        work = replace(loader.plan(encoder, speech_finder=finder), encoder=_describe(loaders))
        jobs.append((work, units))
    return jobs


def encode_corpus_items(
    encoder: Encoder,
    items: Sequence[str],
    resolve_path: Callable[[str], Path],
    *,
    engine: "Engine",
    loader: EncoderLoader,
    place: str,
    on_error: str,
) -> EmbeddingTable:
    """Encode files of a data folder, as `voiceface.encoders.corpus_features.encode_items`.

    Args:
        encoder: of their modality.
        items: distinct names.
        resolve_path: file of an item.
        engine: runs the work.
        loader: how workers open the encoder.
        place: path or address of the parts.
        on_error: files that cannot be read: "error", or "skip".

    Raises:
        EncoderError: files failed.
    """
    if isinstance(encoder, TableEncoder):
        return encode_items(encoder, items, resolve_path, on_error=on_error)
    files = [_corpus_file(item, resolve_path(item)) for item in items]
    sources = Sources(sounds=files) if encoder.is_voice else Sources(pictures=files)
    sizes = (encoder.batch_size, encoder.batch_size)
    units = make_units(
        sources, batch_sizes=sizes, finds_faces=False, modalities=VOICE_LETTER[loader.modality]
    )
    try:
        table = join_shards(engine, [(loader.plan(encoder), units)], place)
    except EmbeddingError as error:
        raise EncoderError(str(error)) from None
    if table.failed and on_error == "error":
        shown = "; ".join(list(table.failed.values())[:5])
        raise EncoderError(
            f"{len(table.failed)} of {len(items)} files could not be encoded ({shown}); repair them, or skip "
            "them (--missing skip)"
        )
    return table


def _corpus_file(item: str, path: Path) -> FileItem:
    try:
        state = " ".join(map(str, stamp_of(path)))
    except (OSError, ValueError) as error:
        state = str(error)
    return FileItem(item, str(path), str(path.absolute()), state)


def _encode_own(
    encoder: Encoder, workers: int, voices: Sequence[Path], faces: Sequence[Path]
) -> EmbeddingTable:
    """Encode people's own files, named by their paths."""
    from voiceface.encoders.own_files import encode_own_files

    pair = (encoder, None) if encoder.is_voice else (None, encoder)
    return encode_own_files(voices, faces, *pair, workers=workers, progress=False)


def _encode_plain(
    encoder: Encoder, workers: int, voices: Sequence[Path], faces: Sequence[Path]
) -> EmbeddingTable:
    """Encode files of a data folder, named by their paths."""
    from voiceface.embeddings.encoding import encode_files

    paths = [path.as_posix() for path in (*voices, *faces)]
    return encode_files(
        paths,
        Path,
        encoder.load_file,
        encoder.encode_batch,
        fingerprint=encoder.fingerprint,
        batch_size=encoder.batch_size,
        workers=workers,
        on_error="skip",
        progress=False,
        log_failures=False,
    )
