"""Archetype-agnostic voice-face association (Chen et al., ACM Multimedia 2023), in three lines:

    import archetype_agnostic

    model = archetype_agnostic.load()                             # bundled weights, or a checkpoint
    voices, faces = model.embed_voices(["a.wav"]), model.embed_faces(["b.jpg", "c.jpg"])
    scores = model.score(voices, faces)                           # cosine, shape (1, 2)

`archetype_agnostic --help` lists the commands.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.association.loading import load_embedder

from archetype_agnostic.system import SPEC

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder
    from voiceface.audio.loading import OnCorrupt

__version__ = "0.2.0"
__all__ = ["__version__", "load"]


def load(
    weights: str | Path | None = None,
    *,
    device: str = "cpu",
    resample: bool | None = True,
    on_corrupt: "OnCorrupt | None" = None,
) -> "Embedder":
    """Load a trained model; for arguments and errors see `voiceface.association.loading.load_embedder`."""
    return load_embedder(SPEC, weights, device=device, resample=resample, on_corrupt=on_corrupt)
