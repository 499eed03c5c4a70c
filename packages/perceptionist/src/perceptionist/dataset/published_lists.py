"""Training files of the published layout: identities of a split, and their voice and face files."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from voiceface.datasets.identities import read_vox1_meta
from voiceface.datasets.layouts import find_files

__all__ = [
    "HELD_OUT_INITIALS",
    "TRAINING_INITIALS",
    "DataError",
    "LabelledFile",
    "TrainingLists",
    "build_training_lists",
    "is_in_split",
    "read_identity_names",
]


TRAINING_INITIALS = "FGHIJKLMNOPQRSTUVWXYZ"
HELD_OUT_INITIALS = "ABCDE"


class DataError(ValueError):
    """Files and tables that do not fit together."""


@dataclass(frozen=True)
class LabelledFile:
    """One file of an identity: path relative to its root, name of the identity, class index."""

    path: str
    identity: str
    label: int


@dataclass(frozen=True)
class TrainingLists:
    """Voice and face files of the identities that have both.

    Attributes:
        identities: names in alphabetical order; the position is the class index.
        voices: voice files, sorted. faces: image files, sorted.
    """

    identities: tuple[str, ...]
    voices: tuple[LabelledFile, ...]
    faces: tuple[LabelledFile, ...]


def read_identity_names(meta: str | Path) -> dict[str, str]:
    """Read the name of the identity of each voice id from `vox1_meta.csv`; every row counts.

    Raises:
        FileNotFoundError, IdentityError: missing, or not such a table.
    """
    return {row.voice_id: row.face_id for row in read_vox1_meta(meta, include_unused=True)}


def is_in_split(name: str, initials: Collection[str]) -> bool:
    """Whether a name begins with one of the (upper case) letters; other names belong to no split."""
    return bool(name) and name[0] in initials


def build_training_lists(
    voice_root: str | Path,
    face_root: str | Path,
    identity_names: Mapping[str, str],
    initials: Collection[str] = TRAINING_INITIALS,
    *,
    voice_suffixes: Collection[str] = (".npy",),
    face_suffixes: Collection[str] = (".jpg",),
) -> TrainingLists:
    """Find the files of the identities of a split that have both a voice and a face.

    The first folder below a root names the identity of a file: by an id of the table, or by the name itself.

    Args:
        voice_root: such as `data/fbank`. face_root: such as `data/VGG_ALL_FRONTAL`.
        identity_names: name by voice id, from `read_identity_names`.
        initials: first letters of the names in the split.
        voice_suffixes: suffixes of voice files. face_suffixes: suffixes of image files.

    Raises:
        FileNotFoundError: a root is missing.
        DataError: no identity has both.
    """
    files_by_side = []
    for root, suffixes in ((voice_root, voice_suffixes), (face_root, face_suffixes)):
        files = find_files(root, "", suffixes)
        if files is None:
            raise FileNotFoundError(f"The folder {root} does not exist. Check --data.")
        with_folder = [(path, path.partition("/")[0]) for path in files if "/" in path]
        named = [(path, identity_names.get(folder, folder)) for path, folder in with_folder]
        files_by_side.append([(path, name) for path, name in named if is_in_split(name, initials)])
    voices, faces = files_by_side
    both = sorted({name for _, name in voices} & {name for _, name in faces})
    if not both:
        raise DataError(
            f"No identity with a first letter in {''.join(sorted(initials))} has files in both {voice_root} "
            f"({len(voices)} of that split) and {face_root} ({len(faces)})."
        )
    label = {name: number for number, name in enumerate(both)}
    kept = [tuple(LabelledFile(p, n, label[n]) for p, n in side if n in label) for side in (voices, faces)]
    return TrainingLists(tuple(both), *kept)
