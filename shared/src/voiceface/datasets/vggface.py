"""Where face sets keep their pictures: ROOT/<face root>/<Face_Name>/<8 digits>.jpg."""

from collections.abc import Collection
from pathlib import Path

from voiceface.datasets.scan import find_files

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
    """Give the folder that holds a corpus's face folders; ROOT/faces when no known one exists."""
    places = [Path(root) / name for name in FACE_ROOTS]
    return next((place for place in places if place.is_dir()), places[0])


def find_faces(
    face_root: str | Path, folder: str, suffixes: Collection[str] = PUBLISHED_IMAGE_SUFFIXES
) -> list[str] | None:
    """List the pictures of one face folder, sorted, relative to the face root; None without such a folder."""
    return find_files(face_root, folder, suffixes)


def is_face(item: str) -> bool:
    """Tell a picture from a clip by its ending (case does not matter)."""
    return item[item.rfind(".") :].lower() in _ENDINGS


_ENDINGS = frozenset(IMAGE_SUFFIXES)
