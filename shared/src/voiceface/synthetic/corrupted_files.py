"""Unusual files of the quirks preset that loaders and checks must handle; no other preset has them."""

from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.io.atomic import write_bytes, write_text

if TYPE_CHECKING:
    from voiceface.synthetic.layout import PopulationSettings

__all__ = ["add_corrupted_files", "has_no_images", "is_grayscale"]

# Identities of the training range. Identity 310 has the unusual name.
SHORT_CLIP_ID, EMPTY_VIDEO_ID, GRAYSCALE_ID, FOREIGN_FILES_ID, NO_IMAGES_ID = 309, 311, 312, 313, 314


def is_grayscale(identity: int, image_index: int) -> bool:
    """Return whether an image is stored in greyscale."""
    return identity == GRAYSCALE_ID and image_index == 0


def has_no_images(identity: int) -> bool:
    """Return whether an identity's image folder is empty."""
    return identity == NO_IMAGES_ID


def add_corrupted_files(root: Path, settings: "PopulationSettings", identity: int) -> None:
    """Add the unusual files of an identity to the folder.

    They are a clip of 1/20 s, an empty video folder, files that are neither sound nor image, and an empty
    image folder. The greyscale image and the unusual name belong to the ordinary files.
    """
    import numpy as np

    from voiceface.audio.loading import write_wav
    from voiceface.synthetic.identities import num_videos, video_id, voice_id
    from voiceface.synthetic.layout import clip_path, get_face_name

    voice = root / "wav" / voice_id(identity)
    face = root / "faces" / get_face_name(identity, settings)
    if identity == SHORT_CLIP_ID:
        wave = 4000.0 * np.sin(np.arange(800) * (2 * np.pi * 150 / 16_000))
        folder = (root / "wav" / clip_path(identity, 0, settings)).parent
        write_wav(folder / "90000.wav", np.rint(wave).astype(np.int16))
    if identity == EMPTY_VIDEO_ID:
        unused = video_id(identity, num_videos(identity, seed=settings.seed), seed=settings.seed)
        (voice / unused).mkdir(parents=True, exist_ok=True)
    if identity == FOREIGN_FILES_ID:
        write_text(voice / "notes.txt", "This file is neither a clip nor an image.\n")
        write_bytes(face / "Thumbs.db", bytes(16))
    if has_no_images(identity):
        face.mkdir(parents=True, exist_ok=True)
