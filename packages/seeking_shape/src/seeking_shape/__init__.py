"""Adaptive voice-face association (Wen et al., "Seeking the Shape of Sound", CVPR 2021), in three lines:

    import seeking_shape

    model = seeking_shape.load()                                  # bundled weights, or a checkpoint
    voices, faces = model.embed_voices(["a.wav"]), model.embed_faces(["b.jpg", "c.jpg"])
    scores = model.score(voices, faces)                           # cosine, shape (1, 2)

`seeking_shape --help` lists the commands.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.association.loading import load_embedder

from seeking_shape.system import SPEC

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
