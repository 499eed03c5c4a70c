"""A corpus: identities with their clips and images, from folders or a manifest."""

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from voiceface.datasets.identities import SPLITS, Identity, class_indices
from voiceface.datasets.layouts import (
    PUBLISHED_AUDIO_SUFFIXES,
    PUBLISHED_IMAGE_SUFFIXES,
    find_face_root,
    find_faces,
    find_voice_root,
    find_voices,
    get_voice_folder,
    is_manifest,
    read_identities,
)
from voiceface.datasets.manifest import read_manifest
from voiceface.io.mirrored_folders import local_folder
from voiceface.io.packed_folders import RECORD_FILE, folder_exists
from voiceface.io.shard_folders import UNFINISHED_FILE

__all__ = [
    "Corpus",
    "CorpusError",
    "IdentityRecord",
    "abbreviate",
    "corpus_from_manifest",
    "discover_corpus",
    "open_corpus",
]

log = logging.getLogger(__name__)


class CorpusError(ValueError):
    """A corpus whose files and tables are inconsistent."""


@dataclass(frozen=True)
class IdentityRecord:
    """One row of an identity table with its files.

    Attributes:
        identity: the row.
        label: class index, from 0; shared by rows with one face name.
        voices: clips, paths relative to the voice root with forward slashes, sorted.
        faces: images, paths relative to the face root with forward slashes, sorted.
    """

    identity: Identity
    label: int
    voices: tuple[str, ...]
    faces: tuple[str, ...]


@dataclass(frozen=True)
class Corpus:
    """Identities and their files; items of trial lists are paths relative to one of the two roots.

    Attributes:
        records: one per row used, in table order.
        voice_root: folder of the clips.
        face_root: folder of the images.
        missing_folders: missing folders of identities that were skipped on request.
        voice_folder: naming of the voice folders, see `discover_corpus`.
    """

    records: tuple[IdentityRecord, ...]
    voice_root: Path
    face_root: Path
    missing_folders: tuple[str, ...] = ()
    voice_folder: str = "voxceleb1_id"

    def __len__(self) -> int:
        return len(self.records)

    def voice_path(self, item: str) -> Path:
        """Return the file of a clip."""
        return self.voice_root / item

    def face_path(self, item: str) -> Path:
        """Return the file of an image."""
        return self.face_root / item

    def get_identity_index(self, item: str) -> int:
        """Return the index in `records` of the identity of a clip or image; of several rows, the last.

        Raises:
            CorpusError: no identity has this file.
        """
        try:
            return self.item_to_identity[item]
        except KeyError:
            raise CorpusError(
                f"{item} is not in this corpus (voices below {self.voice_root}, faces below {self.face_root})"
            ) from None

    @cached_property
    def item_to_identity(self) -> dict[str, int]:
        """Clip or image -> index in `records`; the last one where rows share a folder."""
        table: dict[str, int] = {}
        for index, record in enumerate(self.records):
            table.update(dict.fromkeys(record.voices, index))
            table.update(dict.fromkeys(record.faces, index))
        return table

    @property
    def names(self) -> list[str]:
        """Names of the identities, in order."""
        return [record.identity.name for record in self.records]

    @property
    def identities(self) -> list[Identity]:
        """Table rows of the identities, in order."""
        return [record.identity for record in self.records]

    @property
    def labels(self) -> list[int]:
        """Class indices of the identities, in order."""
        return [record.label for record in self.records]

    @property
    def num_classes(self) -> int:
        """Number of classes of a classifier over this corpus."""
        return max(self.labels, default=-1) + 1

    @property
    def voices(self) -> list[str]:
        """Every clip once, identity after identity."""
        return list(dict.fromkeys(item for record in self.records for item in record.voices))

    @property
    def faces(self) -> list[str]:
        """Every image once, identity after identity."""
        return list(dict.fromkeys(item for record in self.records for item in record.faces))

    @property
    def without_voices(self) -> list[str]:
        """Names of identities that have no clip."""
        return [record.identity.name for record in self.records if not record.voices]

    @property
    def without_faces(self) -> list[str]:
        """Names of identities that have no image."""
        return [record.identity.name for record in self.records if not record.faces]

    def subset(self, indices: Iterable[int]) -> "Corpus":
        """Keep the identities at `indices`, in that order; class indices do not change."""
        return replace(self, records=tuple(self.records[index] for index in indices))

    def with_both_modalities(self) -> "Corpus":
        """Keep the identities with at least one clip and one image; class indices do not change."""
        return self.subset(i for i, record in enumerate(self.records) if record.voices and record.faces)


def discover_corpus(
    identities: Sequence[Identity],
    voice_root: str | Path,
    face_root: str | Path,
    *,
    on_missing: str = "error",
    voice_folder: str = "voxceleb1_id",
    audio_suffixes: Collection[str] = PUBLISHED_AUDIO_SUFFIXES,
    image_suffixes: Collection[str] = PUBLISHED_IMAGE_SUFFIXES,
) -> Corpus:
    """Find the clips and images of every identity below the two roots, to any depth.

    Args:
        identities: rows in table order.
        voice_root: folder with a folder per voice id.
        face_root: folder with a folder per face name.
        on_missing: "error" raises one error for all missing folders; "skip" skips their identities and lists
            the folders in `missing_folders`.
        voice_folder: naming of the folders below voice_root: "voxceleb1_id", or "vggface1_id" for face names
            (archetype_agnostic's first release). Trial lists then name clips by these folders, too.
        audio_suffixes: suffixes of clips, case-sensitive.
        image_suffixes: suffixes of images, case-sensitive.

    Returns:
        The corpus. Identities with empty folders stay in it, and a warning names them.

    Raises:
        FileNotFoundError: a root or, with "error", folders are missing; states their number and the first
            names.
    """
    if on_missing not in ("error", "skip"):
        raise ValueError(f"on_missing is {on_missing!r}, expected 'error' or 'skip'")
    voice_root, face_root = Path(voice_root), Path(face_root)
    for root, what in ((voice_root, "voices"), (face_root, "faces")):
        if not folder_exists(root):
            raise FileNotFoundError(f"no folder of {what} at {root}")
    voices_in: dict[str, list[str] | None] = {}
    faces_in: dict[str, list[str] | None] = {}
    records: list[IdentityRecord] = []
    missing: list[str] = []
    for identity, label in zip(identities, class_indices(identities)):
        voice, face = get_voice_folder(identity, voice_folder), identity.face_id
        if voice not in voices_in:
            voices_in[voice] = find_voices(voice_root, voice, audio_suffixes)
        if face not in faces_in:
            faces_in[face] = find_faces(face_root, face, image_suffixes)
        voices, faces = voices_in[voice], faces_in[face]
        if voices is None or faces is None:
            missing += [str(voice_root / voice)] * (voices is None) + [str(face_root / face)] * (
                faces is None
            )
            continue
        records.append(IdentityRecord(identity, label, tuple(voices), tuple(faces)))
    missing = list(dict.fromkeys(missing))
    if missing and on_missing == "error":
        raise FileNotFoundError(
            f"{len(missing)} folders of the identity table are missing: {abbreviate(missing)}. "
            "Complete the data, or skip these identities (--missing skip, on_missing='skip')"
        )
    if missing:
        log.warning("skipped identities: %d folders are missing: %s", len(missing), abbreviate(missing))
    return _warn_incomplete(Corpus(tuple(records), voice_root, face_root, tuple(missing), voice_folder))


def corpus_from_manifest(
    path: str | Path, split: str | None = None, *, root: str | Path | None = None
) -> Corpus:
    """Build a corpus from a manifest, without checking that its files exist.

    Args:
        path: see `voiceface.datasets.manifest`.
        split: rows to keep; None keeps all. In a manifest without splits, every row belongs to every split.
        root: folder that the paths are relative to; None: the manifest's own.

    Returns:
        Identities in the order of their first row, which is also their class index.

    Raises:
        CorpusError: no row is left.
        IdentityError: the manifest cannot be used.
    """
    rows = read_manifest(path)
    if split is not None and any(row.identity.split for row in rows):
        rows = [row for row in rows if row.identity.split == split]
    if not rows:
        raise CorpusError(f"{path}: no row" + (f" of the split {split!r}" if split else ""))
    files: dict[str, dict[str, list[str]]] = {}
    identities: dict[str, Identity] = {}
    for row in rows:
        name = row.identity.name
        files.setdefault(name, {"voice": [], "face": []})[row.modality].append(row.path)
        known = identities.setdefault(name, row.identity)
        if known.split != row.identity.split:
            identities[name] = replace(known, split="")
    records = tuple(
        IdentityRecord(identities[name], label, tuple(sorted(found["voice"])), tuple(sorted(found["face"])))
        for label, (name, found) in enumerate(files.items())
    )
    base = Path(path).parent if root is None else Path(root)
    return _warn_incomplete(Corpus(records, base, base))


def open_corpus(
    root: str | Path,
    split: str | None,
    *,
    voice_root: str | Path | None = None,
    face_root: str | Path | None = None,
    identities: str | Path | None = None,
    on_missing: str = "error",
    voice_folder: str = "voxceleb1_id",
    audio_suffixes: Collection[str] = PUBLISHED_AUDIO_SUFFIXES,
    image_suffixes: Collection[str] = PUBLISHED_IMAGE_SUFFIXES,
) -> Corpus:
    """Open a data folder of any known layout.

    A `manifest.csv` has priority, then `list_wav/vox1_SPLIT.csv` or `vox1_SPLIT.csv`, then `vox1_meta.csv`
    with `Splits/identity_splits.txt` or, without it, the split by first letter. Clips are expected below
    `wav`, images below `faces`, `VGG_ALL_FRONTAL` or `unzippedFaces`.

    Args:
        root: the data folder, packed or not, or the address of a packed one.
        split: "train", "val" or "test"; None for all.
        voice_root: folder of the voice folders, if elsewhere.
        face_root: folder of the face folders, if elsewhere.
        identities: identity table: a split table, a meta table (.csv with tabs) or a manifest.
        on_missing: see `discover_corpus`.
        voice_folder: see `discover_corpus`.
        audio_suffixes: see `discover_corpus`.
        image_suffixes: see `discover_corpus`.

    Returns:
        The corpus of that split.

    Raises:
        FileNotFoundError: no table, root or folder; names the places searched.
        CorpusError: the split is empty.
    """
    base = local_folder(root)
    if split not in (*SPLITS, None):
        raise ValueError(f"split is {split!r}, expected one of {', '.join(SPLITS)} or None")
    if not base.is_dir():
        raise FileNotFoundError(f"no data folder at {base}")
    if (base / UNFINISHED_FILE).is_file() and not (base / RECORD_FILE).is_file():
        raise CorpusError(f"{base}: packing was stopped; run the same voiceface pack again")
    table = Path(identities) if identities is not None else base / "manifest.csv"
    if is_manifest(table):
        return corpus_from_manifest(
            table, split, root=voice_root if identities is None else voice_root or base
        )
    rows = read_identities(base, split, identities)
    if not rows:
        raise CorpusError(f"{base}: no identities" + (f" in the split {split!r}" if split else ""))
    return discover_corpus(
        rows,
        find_voice_root(base) if voice_root is None else voice_root,
        find_face_root(base) if face_root is None else face_root,
        on_missing=on_missing,
        voice_folder=voice_folder,
        audio_suffixes=audio_suffixes,
        image_suffixes=image_suffixes,
    )


def _warn_incomplete(corpus: Corpus) -> Corpus:
    """Warn about identities without clips or images; return the corpus."""
    for names, what in ((corpus.without_voices, "clips"), (corpus.without_faces, "images")):
        if names:
            log.warning("%d identities have no %s: %s", len(names), what, abbreviate(names))
    return corpus


def abbreviate(names: Sequence[str], max_shown: int = 5) -> str:
    """List the first names and the number of the others."""
    return ", ".join(names[:max_shown]) + (
        f" and {len(names) - max_shown} more" if len(names) > max_shown else ""
    )
