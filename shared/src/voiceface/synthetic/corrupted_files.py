"""Rare odd files of the quirks preset, which loaders and checks must survive; never in other presets."""

from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.io.atomic import write_bytes, write_text

if TYPE_CHECKING:
    from voiceface.synthetic.layout import Settings

# By place in the training range: which identity has which oddity. The one at 1 has the odd name.
SHORT_CLIP, EMPTY_VIDEO, GREY, FOREIGN, FACELESS = 309, 311, 312, 313, 314


def is_grey(k: int, picture: int) -> bool:
    """Whether this picture is stored in grey."""
    return k == GREY and picture == 0


def is_faceless(k: int) -> bool:
    """Whether this identity's picture folder is empty."""
    return k == FACELESS


def add_quirks(root: Path, settings: "Settings", k: int) -> None:
    """Add the odd files of identity k to the tree.

    A clip of 1/20 s; an empty video folder; files that are neither sound nor picture; an empty picture
    folder.
    (The grey picture and the odd name are made with the ordinary files.)
    """
    import numpy as np

    from voiceface.audio.loading import write_wav
    from voiceface.synthetic.identities import video_count, video_id, voice_id
    from voiceface.synthetic.layout import clip_path, name_of

    voice = root / "wav" / voice_id(k)
    face = root / "faces" / name_of(k, settings)
    if k == SHORT_CLIP:
        wave = 4000.0 * np.sin(np.arange(800) * (2 * np.pi * 150 / 16_000))
        folder = (root / "wav" / clip_path(k, 0, settings)).parent
        write_wav(folder / "90000.wav", np.rint(wave).astype(np.int16))
    if k == EMPTY_VIDEO:
        unused = video_id(k, video_count(k, seed=settings.seed), seed=settings.seed)
        (voice / unused).mkdir(parents=True, exist_ok=True)
    if k == FOREIGN:
        write_text(voice / "notes.txt", "This file is neither a clip nor a picture.\n")
        write_bytes(face / "Thumbs.db", bytes(16))
    if is_faceless(k):
        face.mkdir(parents=True, exist_ok=True)
