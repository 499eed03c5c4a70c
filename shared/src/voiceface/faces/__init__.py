"""Faces in people's own pictures: found, checked, cut out as a system expects them (docs/own_files.md)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voiceface.faces.arcface import ArcFaceEncoder, load_arcface
    from voiceface.faces.crops import CROP_CONVENTIONS, CropConvention, crop_face
    from voiceface.faces.finder_files import open_face_finder
    from voiceface.faces.finding import FaceFinder, FoundFace, MeshFaceFinder, load_face_finder
    from voiceface.faces.own_face import OwnFace
    from voiceface.faces.own_pictures import PictureReader
    from voiceface.faces.quality import FaceQuality

_LAZY_IMPORTS = {
    "ArcFaceEncoder": "arcface",
    "CROP_CONVENTIONS": "crops",
    "CropConvention": "crops",
    "FaceFinder": "finding",
    "FaceQuality": "quality",
    "FoundFace": "finding",
    "MeshFaceFinder": "finding",
    "OwnFace": "own_face",
    "PictureReader": "own_pictures",
    "crop_face": "crops",
    "load_arcface": "arcface",
    "load_face_finder": "finding",
    "open_face_finder": "finder_files",
}
__all__ = [
    "CROP_CONVENTIONS",
    "ArcFaceEncoder",
    "CropConvention",
    "FaceFinder",
    "FaceQuality",
    "FoundFace",
    "MeshFaceFinder",
    "OwnFace",
    "PictureReader",
    "crop_face",
    "load_arcface",
    "load_face_finder",
    "open_face_finder",
]


def __getattr__(name: str) -> Any:
    """Import names that need OpenCV or PyTorch on first use."""
    if name in _LAZY_IMPORTS:
        return getattr(import_module(f"voiceface.faces.{_LAZY_IMPORTS[name]}"), name)
    raise AttributeError(f"module 'voiceface.faces' has no attribute {name!r}")
