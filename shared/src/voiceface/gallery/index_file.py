"""The file `gallery.json` in the folder of a gallery, which says what is there."""

import json
from pathlib import Path
from typing import Any

from voiceface.gallery.interface import GalleryError, GalleryFacts
from voiceface.io.atomic import write_json
from voiceface.io.file_kinds import printable
from voiceface.io.foreign_files import reading

__all__ = ["INDEX_FILE", "read_index", "require_new_folder", "write_index"]

INDEX_FILE = "gallery.json"
MAX_BYTES = 256 * 2**20


def require_new_folder(folder: Path) -> None:
    """Check that a folder is new or empty.

    Raises:
        GalleryError: there is something in it, or a file is in its place.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise GalleryError(f"{printable(folder)} is there already, expected a new or empty folder")


def write_index(folder: Path, facts: GalleryFacts, **more: Any) -> None:
    """Write the index of a gallery, atomically.

    Args:
        folder: of the gallery.
        facts: what it states.
        more: further entries.
    """
    write_json(folder / INDEX_FILE, {**facts.to_values(), **more})


def read_index(folder: Path) -> dict[str, Any]:
    """Read the index of a gallery.

    Raises:
        FileNotFoundError: there is none.
        GalleryError: it is damaged.
    """
    path = folder / INDEX_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"no gallery at {printable(folder)}: expected a folder with {INDEX_FILE}, see `voiceface gallery "
            "build`"
        )
    with reading(path, GalleryError, "the index of a gallery", max_bytes=MAX_BYTES) as file:
        values = json.load(file)
        if not isinstance(values, dict):
            raise ValueError("no object")
        return values
