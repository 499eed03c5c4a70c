"""Features of a data set: what small models are trained on, with identities and what is known about them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
from numpy.typing import NDArray

from voiceface.datasets.identities import Identity, IdentityError
from voiceface.datasets.manifest import ManifestRow, read_manifest, write_manifest
from voiceface.embeddings.table import EmbeddingTable
from voiceface.encoders.fop_csv import FopRows, read_fop_csv
from voiceface.encoders.interface import EncoderError, EncoderInfo, Modality
from voiceface.encoders.records import format_encoders, stated_encoder
from voiceface.io.file_kinds import printable

if TYPE_CHECKING:
    from voiceface.datasets.corpus import Corpus
    from voiceface.encoders.interface import Encoder

__all__ = ["FACES_FILE", "IDENTITIES_FILE", "VOICES_FILE", "FeatureSet", "FopRows", "read_fop_csv"]

VOICES_FILE, FACES_FILE, IDENTITIES_FILE = "voices.npz", "faces.npz", "identities.csv"
Array = NDArray[np.float32]
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features of the voices and faces of a data set.

    Attributes:
        voices: (N, Dv) float32.
        faces: (M, Df) float32.
        voice_identities: (N,) int64, index of the identity in `people`.
        face_identities: (M,) int64.
        people: the identities, with gender, nationality, age and split where these are known.
        voice_files: N names of files.
        face_files: M names of files.
        voice_encoder: what made `voices`.
        face_encoder: what made `faces`.
        failed: files that could not be encoded -> reason (not saved).
    """

    voices: Array
    faces: Array
    voice_identities: Indices
    face_identities: Indices
    people: tuple[Identity, ...]
    voice_files: tuple[str, ...]
    face_files: tuple[str, ...]
    voice_encoder: EncoderInfo
    face_encoder: EncoderInfo
    failed: "dict[str, str] | None" = None

    def __post_init__(self) -> None:
        """Check that rows, names and indices agree."""
        for what, vectors, owners, files, info in (
            ("voices", self.voices, self.voice_identities, self.voice_files, self.voice_encoder),
            ("faces", self.faces, self.face_identities, self.face_files, self.face_encoder),
        ):
            if vectors.ndim != 2 or not len(vectors) == len(owners) == len(files):
                raise EncoderError(
                    f"{what}: {vectors.shape} features, {len(owners)} identities and {len(files)} files, "
                    "expected one of each per row"
                )
            if vectors.shape[1] != info.dimension:
                raise EncoderError(
                    f"{what}: features of length {vectors.shape[1]}, but {info.name} gives {info.dimension}"
                )
            if len(owners) and not 0 <= owners.min() <= owners.max() < len(self.people):
                raise EncoderError(f"{what}: an identity index outside 0...{len(self.people) - 1}")

    @property
    def identities(self) -> tuple[str, ...]:
        """Names of the identities."""
        return tuple(person.name for person in self.people)

    @property
    def genders(self) -> tuple[str, ...]:
        """Gender of every identity: "m", "f" or ""."""
        return tuple(person.gender for person in self.people)

    @property
    def nationalities(self) -> tuple[str, ...]:
        """Nationality of every identity, or ""."""
        return tuple(person.nationality for person in self.people)

    @property
    def ages(self) -> tuple[float | None, ...]:
        """Age of every identity in years, or None."""
        return tuple(person.age for person in self.people)

    @property
    def splits(self) -> tuple[str, ...]:
        """Split of every identity: "train", "val", "test" or ""."""
        return tuple(person.split for person in self.people)

    @property
    def encoders(self) -> tuple[str, str]:
        """Names of the voice and of the face encoder."""
        return self.voice_encoder.name, self.face_encoder.name

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Data sets that one of the two encoders was trained on, each once; empty: not known."""
        return tuple(dict.fromkeys((*self.voice_encoder.trained_on, *self.face_encoder.trained_on)))

    @property
    def disclaimers(self) -> tuple[str, ...]:
        """Texts of the encoders to show with every output, each once."""
        texts = (self.voice_encoder.disclaimer, self.face_encoder.disclaimer)
        return tuple(text for text in dict.fromkeys(texts) if text)

    def subset(self, identities: Iterable[int]) -> "FeatureSet":
        """Keep the identities at these indices, in that order, renumbered from 0; rows keep their order."""
        chosen = list(dict.fromkeys(identities))
        renumbered = np.full(len(self.people), -1, np.int64)
        renumbered[chosen] = np.arange(len(chosen))
        voices = np.flatnonzero(renumbered[self.voice_identities] >= 0)
        faces = np.flatnonzero(renumbered[self.face_identities] >= 0)
        return FeatureSet(
            self.voices[voices],
            self.faces[faces],
            renumbered[self.voice_identities[voices]],
            renumbered[self.face_identities[faces]],
            tuple(self.people[index] for index in chosen),
            tuple(self.voice_files[row] for row in voices),
            tuple(self.face_files[row] for row in faces),
            self.voice_encoder,
            self.face_encoder,
        )

    def split(self, name: str) -> "FeatureSet":
        """Keep the identities of a split.

        Raises:
            EncoderError: it is empty; names the splits that there are.
        """
        chosen = [index for index, split in enumerate(self.splits) if split == name]
        if not chosen:
            known = sorted({split for split in self.splits if split})
            raise EncoderError(f"no identity is in the split {name!r} (found: {', '.join(known) or 'none'})")
        return self.subset(chosen)

    def with_both_modalities(self) -> "FeatureSet":
        """Keep the identities with a voice and a face at least."""
        has_voice, has_face = np.zeros((2, len(self.people)), bool)
        has_voice[self.voice_identities] = has_face[self.face_identities] = True
        return self.subset(np.flatnonzero(has_voice & has_face).tolist())

    def voice_table(self) -> EmbeddingTable:
        """Features of the voices as a table, for `voiceface evaluate` and other programs."""
        return _table(self.voices, self.voice_files, self.voice_encoder)

    def face_table(self) -> EmbeddingTable:
        """Features of the faces as a table."""
        return _table(self.faces, self.face_files, self.face_encoder)

    def save(self, folder: str | Path) -> None:
        """Write `voices.npz`, `faces.npz` and `identities.csv` (a manifest), each whole or not at all.

        The manifest comes last: a folder without it is incomplete.

        Raises:
            OSError: they cannot be written.
        """
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        (target / IDENTITIES_FILE).unlink(missing_ok=True)
        self.voice_table().save(target / VOICES_FILE)
        self.face_table().save(target / FACES_FILE)
        rows = [
            ManifestRow(self.people[owner], modality, file)
            for modality, owners, files in (
                ("voice", self.voice_identities.tolist(), self.voice_files),
                ("face", self.face_identities.tolist(), self.face_files),
            )
            for owner, file in zip(owners, files)
        ]
        write_manifest(target / IDENTITIES_FILE, rows)

    @classmethod
    def load(cls, folder: str | Path) -> "FeatureSet":
        """Read a folder of `save`. Identities without any file are not in it.

        Args:
            folder: with `voices.npz`, `faces.npz` (or .parquet, .arrow, .feather) and `identities.csv`.

        Raises:
            EncoderError: a file is missing or corrupt, or the three do not belong together.
        """
        source = Path(folder)
        tables = {modality: _read_table(source, modality) for modality in get_args(Modality)}
        identities = source / IDENTITIES_FILE
        if not identities.is_file():
            raise EncoderError(f"no {IDENTITIES_FILE} in {printable(source)}; run `voiceface encode` again")
        try:
            rows = read_manifest(identities)
        except IdentityError as error:
            raise EncoderError(str(error)) from None
        people: dict[str, Identity] = {}
        owners: dict[str, dict[str, int]] = {"voice": {}, "face": {}}
        for row in rows:
            split = people.setdefault(row.identity.name, row.identity).split
            if split != row.identity.split:
                raise EncoderError(
                    f"{printable(identities)}: {printable(row.identity.name)} is in the splits {split!r} and "
                    f"{row.identity.split!r}, expected one split for all files of an identity; correct it"
                )
        index = {name: number for number, name in enumerate(people)}
        for row in rows:
            owners[row.modality][row.path] = index[row.identity.name]
        found = {}
        for modality, (path, table) in tables.items():
            encoder = _encoder_of(path, table, modality)
            unknown = [item for item in table.items if item not in owners[modality]]
            if unknown:
                raise EncoderError(
                    f"{len(unknown)} of {len(table)} files of {printable(path)} are not in "
                    f"{IDENTITIES_FILE}, the first is {printable(unknown[0])}; run `voiceface encode` again"
                )
            numbers = np.fromiter((owners[modality][item] for item in table.items), np.int64, len(table))
            found[modality] = (table, numbers, encoder)
        (voices, of_voices, voice_encoder), (faces, of_faces, face_encoder) = found["voice"], found["face"]
        return cls(
            voices.vectors,
            faces.vectors,
            of_voices,
            of_faces,
            tuple(people.values()),
            tuple(voices.items),
            tuple(faces.items),
            voice_encoder,
            face_encoder,
        )

    @classmethod
    def from_corpus(
        cls,
        corpus: "Corpus",
        voice_encoder: "Encoder",
        face_encoder: "Encoder",
        *,
        cache: str | Path | None = None,
        workers: int = 2,
        on_error: str = "error",
        progress: bool = True,
        encode: "Callable[[Encoder, Sequence[str], Callable[[str], Path]], EmbeddingTable] | None" = None,
    ) -> "FeatureSet":
        """Encode all clips and images of a corpus.

        Args:
            corpus: the data set.
            voice_encoder: encodes its clips.
            face_encoder: encodes its images.
            cache: folder of finished features, from which a stopped run is resumed; None: no cache.
            workers: threads that load files, each with a decoding process.
            on_error: files that cannot be read: "error", or "skip" to list them in `failed`.
            progress: show progress bars.
            encode: (encoder, items, file of an item) -> table, in place of
                `voiceface.encoders.corpus_features.encode_items` with the options above.

        Returns:
            Features; of rows of the identity table with the same folder, the last has its files.

        Raises:
            EncoderError: an encoder of the other modality, files failed, or none is left.
        """
        from voiceface.encoders.corpus_features import encode_items

        for encoder, modality in ((voice_encoder, "voice"), (face_encoder, "face")):
            if encoder.info.modality != modality:
                raise EncoderError(
                    f"{encoder.info.name} encodes {encoder.info.modality}s, expected {modality}s"
                )
        encode = encode or partial(
            encode_items, cache=cache, workers=workers, on_error=on_error, progress=progress
        )
        voices = encode(voice_encoder, corpus.voices, corpus.voice_path)
        faces = encode(face_encoder, corpus.faces, corpus.face_path)
        owners = corpus.item_to_identity
        return cls(
            voices.vectors,
            faces.vectors,
            np.fromiter((owners[item] for item in voices.items), np.int64, len(voices)),
            np.fromiter((owners[item] for item in faces.items), np.int64, len(faces)),
            tuple(corpus.identities),
            tuple(voices.items),
            tuple(faces.items),
            voice_encoder.info,
            face_encoder.info,
            {**voices.failed, **faces.failed},
        )


def _table(vectors: Array, files: Sequence[str], info: EncoderInfo) -> EmbeddingTable:
    return EmbeddingTable(list(files), vectors, info.fingerprint, encoder=format_encoders([info]))


def _read_table(folder: Path, modality: str) -> tuple[Path, EmbeddingTable]:
    """Table of one modality in a folder."""
    names = [f"{modality}s{suffix}" for suffix in (".npz", ".parquet", ".arrow", ".feather")]
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise EncoderError(
            f"no {names[0]} in {printable(folder)}, expected a folder that `voiceface encode --data` wrote"
        )
    try:
        return path, EmbeddingTable.load(path)
    except ValueError as error:
        raise EncoderError(str(error)) from None


def _encoder_of(path: Path, table: EmbeddingTable, modality: Modality) -> EncoderInfo:
    """Encoder that a table states; without a statement one named after the table."""
    stated = stated_encoder(table, modality)
    if stated is None:
        return EncoderInfo(f"table:{path}", modality, table.vectors.shape[1], fingerprint=table.fingerprint)
    if stated.modality != modality:
        raise EncoderError(f"{printable(path)} has features of {stated.modality}s, expected {modality}s")
    return stated
