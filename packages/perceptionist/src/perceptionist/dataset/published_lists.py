"""Training files of the published layout: who is in a split, which voices and faces belong to whom."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from voiceface.datasets.identities import read_vox1_meta
from voiceface.datasets.layouts import find_files

TRAINING_INITIALS = "FGHIJKLMNOPQRSTUVWXYZ"
HELD_OUT_INITIALS = "ABCDE"


class DataError(ValueError):
    """Files and tables that do not fit together."""


@dataclass(frozen=True)
class LabelledFile:
    """One file of one person: path relative to its root, name of the person, class number."""

    path: str
    identity: str
    label: int


@dataclass(frozen=True)
class TrainingLists:
    """Voices and faces of the people who have both.

    Attributes:
        identities: people in alphabetical order; the place is the class number.
        voices: voice files, sorted. faces: pictures, sorted.
    """

    identities: tuple[str, ...]
    voices: tuple[LabelledFile, ...]
    faces: tuple[LabelledFile, ...]


def read_identity_names(meta: str | Path) -> dict[str, str]:
    """Name of the person behind each voice id, from `vox1_meta.csv`; every row counts.

    Raises:
        FileNotFoundError, IdentityError: absent or not such a table.
    """
    return {row.voice_id: row.face_id for row in read_vox1_meta(meta, include_unused=True)}


def is_in_split(name: str, initials: Collection[str]) -> bool:
    """Whether a name begins with one of the (upper case) letters; others belong to no split."""
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
    """Find the files of the people of a split who have a voice and a face (specification, section 2).

    The first folder below a root says whose a file is: an id of the table, or the name itself.

    Args:
        voice_root: such as `data/fbank`. face_root: such as `data/VGG_ALL_FRONTAL`.
        identity_names: name by voice id, from `read_identity_names`.
        initials: first letters of the names in the split.
        voice_suffixes: endings of voice files. face_suffixes: endings of pictures.

    Raises:
        FileNotFoundError: a root is absent.
        DataError: nobody has both.
    """
    found = []
    for root, suffixes in ((voice_root, voice_suffixes), (face_root, face_suffixes)):
        files = find_files(root, "", suffixes)
        if files is None:
            raise FileNotFoundError(f"no folder {root}; check the data settings")
        owned = [(path, path.partition("/")[0]) for path in files if "/" in path]
        named = [(path, identity_names.get(folder, folder)) for path, folder in owned]
        found.append([(path, name) for path, name in named if is_in_split(name, initials)])
    voices, faces = found
    both = sorted({name for _, name in voices} & {name for _, name in faces})
    if not both:
        raise DataError(
            f"nobody with a first letter in {''.join(sorted(initials))} has files in both {voice_root} "
            f"({len(voices)} of that split) and {face_root} ({len(faces)})"
        )
    label = {name: number for number, name in enumerate(both)}
    kept = [tuple(LabelledFile(p, n, label[n]) for p, n in side if n in label) for side in (voices, faces)]
    return TrainingLists(tuple(both), *kept)
