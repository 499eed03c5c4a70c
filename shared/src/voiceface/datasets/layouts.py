"""Published and common layouts of a data folder: roots and files of voices and faces, identity tables."""

import os
from collections.abc import Collection
from pathlib import Path

from voiceface.datasets.identities import (
    SPLITS,
    Identity,
    read_identity_csv,
    read_identity_splits,
    read_vox1_meta,
)
from voiceface.io.input_files import AUDIO_FILE_SUFFIXES
from voiceface.io.packed_folders import folder_exists, list_packed_files, packed_folder

__all__ = [
    "AUDIO_SUFFIXES",
    "FACE_ROOTS",
    "IMAGE_SUFFIXES",
    "PUBLISHED_AUDIO_SUFFIXES",
    "PUBLISHED_IMAGE_SUFFIXES",
    "VOICE_FOLDERS",
    "VOICE_ROOTS",
    "VOXCELEB3D_FOLDERS",
    "find_face_root",
    "find_faces",
    "find_files",
    "find_voice_root",
    "find_voices",
    "get_voice_folder",
    "is_face_file",
    "is_inside_root",
    "is_manifest",
    "is_voice_file",
    "is_voxceleb3d",
    "read_identities",
]


def find_files(root: str | Path, folder: str, suffixes: Collection[str]) -> list[str] | None:
    """List the files with one of `suffixes` below root/folder, to any depth.

    Hidden files and files with other suffixes are skipped; packed files count as if they were unpacked.
    Links to folders are followed unless they lead to a parent folder.

    Args:
        root: folder that the paths are relative to.
        folder: name below root; "" takes root itself.
        suffixes: with the dot, case-sensitive.

    Returns:
        Sorted paths relative to root with forward slashes, or None without such a folder.
    """
    endings = tuple(suffixes)
    top = os.path.join(root, folder) if folder else str(root)  # noqa: PTH118 - text is faster, and paths are many
    if packed_folder(top) is not None:
        return list_packed_files(top, endings) or []
    found: list[str] = []
    pending = [(top, folder)]
    visited: set[str] = set()
    try:
        while pending:
            place, name = pending.pop()
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    item = f"{name}/{entry.name}" if name else entry.name
                    if entry.is_dir():
                        if entry.is_symlink():
                            target = os.path.realpath(entry.path)
                            if target in visited or f"{os.path.realpath(place)}/".startswith(f"{target}/"):
                                continue
                            visited.add(target)
                        pending.append((entry.path, item))
                    elif entry.name.endswith(endings):
                        found.append(item)
    except (FileNotFoundError, NotADirectoryError):
        if not Path(top).is_dir():
            names = list_packed_files(top, endings)
            return None if names is None else [f"{folder}/{name}" if folder else name for name in names]
        raise
    found.sort()
    return found


def is_inside_root(item: str) -> bool:
    """Return whether a relative path with forward slashes stays below the root it is relative to."""
    if not item or item[0] == "/" or item[1:2] == ":" or "\\" in item or "\0" in item:
        return False
    return ".." not in item or ".." not in item.split("/")


PUBLISHED_AUDIO_SUFFIXES = (".wav", ".npy")

AUDIO_SUFFIXES = (*AUDIO_FILE_SUFFIXES, ".npy")

VOICE_ROOTS = ("wav", "voxceleb/wav", "vox1/wav")

VOICE_FOLDERS = ("voxceleb1_id", "vggface1_id")


def find_voice_root(root: str | Path) -> Path:
    """Return the folder of a corpus's voice folders; ROOT/wav if no known one exists."""
    places = [Path(root) / name for name in VOICE_ROOTS]
    return next((place for place in places if folder_exists(place)), places[0])


def get_voice_folder(identity: Identity, voice_folder: str = "voxceleb1_id") -> str:
    """Return the folder name of an identity's clips: its id as published, or its name as in older archives.

    Raises:
        ValueError: `voice_folder` is not one of `VOICE_FOLDERS`.
    """
    if voice_folder not in VOICE_FOLDERS:
        raise ValueError(f"voice_folder is {voice_folder!r}, expected one of {', '.join(VOICE_FOLDERS)}")
    return identity.voice_id if voice_folder == "voxceleb1_id" else identity.face_id


def find_voices(
    voice_root: str | Path, folder: str, suffixes: Collection[str] = PUBLISHED_AUDIO_SUFFIXES
) -> list[str] | None:
    """List the clips of one voice folder, sorted, relative to the voice root; None without such a folder."""
    return find_files(voice_root, folder, suffixes)


def is_voice_file(item: str) -> bool:
    """Return whether an item has the suffix of a clip, in any case."""
    return item[item.rfind(".") :].lower() in _VOICE_SUFFIXES


_VOICE_SUFFIXES = frozenset(AUDIO_SUFFIXES) | {".pkl"}

PUBLISHED_IMAGE_SUFFIXES = (".jpg", ".png")  # seeking_shape reads the first alone, archetype_agnostic both

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

FACE_ROOTS = (
    "faces",
    "VGG_ALL_FRONTAL",
    "voxceleb/VGG_ALL_FRONTAL",
    "unzippedFaces",
    "voxceleb/unzippedFaces",
)


def find_face_root(root: str | Path) -> Path:
    """Return the folder of a corpus's face folders; ROOT/faces if no known one exists."""
    places = [Path(root) / name for name in FACE_ROOTS]
    return next((place for place in places if folder_exists(place)), places[0])


def find_faces(
    face_root: str | Path, folder: str, suffixes: Collection[str] = PUBLISHED_IMAGE_SUFFIXES
) -> list[str] | None:
    """List the images of one face folder, sorted, relative to the face root; None without such a folder."""
    return find_files(face_root, folder, suffixes)


def is_face_file(item: str) -> bool:
    """Return whether an item has the suffix of an image, in any case."""
    return item[item.rfind(".") :].lower() in _FACE_SUFFIXES


_FACE_SUFFIXES = frozenset(IMAGE_SUFFIXES)


def read_identities(
    root: str | Path, split: str | None, table: str | Path | None = None, *, include_unused: bool = False
) -> list[Identity]:
    """Read the identities of a split of a data folder, from the split tables or the meta table.

    Args:
        root: the data folder.
        split: "train", "val" or "test"; None for all (tables in the order train, val, test).
        table: this table instead of the usual ones.
        include_unused: include the rows whose Set is `none`.

    Raises:
        FileNotFoundError: no table; names the places searched.
    """
    base = Path(root)
    if table is not None and not _is_vox1_meta(Path(table)):
        rows = read_identity_csv(table, include_unused=include_unused)
        return [row for row in rows if split is None or row.split in (split, "")]
    if table is None:
        for folder in (base / "list_wav", base):
            tables = [folder / f"vox1_{name}.csv" for name in SPLITS if split in (name, None)]
            present = [place for place in tables if place.is_file()]
            if present:
                return [
                    row
                    for place in present
                    for row in read_identity_csv(place, include_unused=include_unused)
                ]
    meta = base / "vox1_meta.csv" if table is None else Path(table)
    if not meta.is_file():
        raise FileNotFoundError(
            "no identity table"
            + (f" for the split {split!r}" if split else "")
            + f" in {base}: looked for manifest.csv, "
            f"list_wav/vox1_{split or 'train'}.csv, vox1_{split or 'train'}.csv and vox1_meta.csv"
        )
    named = (base / "Splits" / "identity_splits.txt", base / "identity_splits.txt")
    splits = next((read_identity_splits(place) for place in named if place.is_file()), None)
    rows = read_vox1_meta(meta, splits, include_unused=include_unused)
    return [row for row in rows if split in (row.split, None)]


def is_manifest(path: Path) -> bool:
    """Return whether a file is a manifest, by the first word of its header."""
    return path.is_file() and _first_line(path).startswith("identity,")


VOXCELEB3D_FOLDERS = ("fbank", "val_sub", "AtoE_sub", "A2E_val", "preprocessed_MFCC")


def is_voxceleb3d(root: str | Path) -> bool:
    """Return whether a data folder has the layout of Voxceleb-3D: stored features and fitted meshes."""
    base = Path(root)
    if (base / "manifest.csv").is_file() or any(folder_exists(base / name) for name in VOICE_ROOTS):
        return False
    return any((base / name).is_dir() for name in VOXCELEB3D_FOLDERS)


def _is_vox1_meta(path: Path) -> bool:
    """Return whether a file is a meta table, which is separated by tabs."""
    return path.is_file() and "\t" in _first_line(path)


def _first_line(path: Path) -> str:
    """Read the first line of a text file."""
    with path.open("rb") as file:
        return file.readline(4096).decode("utf-8-sig", "replace").strip()
