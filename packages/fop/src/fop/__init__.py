"""FOP (Saeed et al., ICASSP 2022), voice-face association on frozen voice and face encoders, in three lines:

    import fop

    model = fop.load()                                            # bundled weights, or a checkpoint
    voices, faces = model.embed_voices(["a.wav"]), model.embed_faces(["b.jpg", "c.jpg"])
    scores = model.score(voices, faces)                           # cosine, shape (1, 2)

`scores.T` ranks voices for a face. `fop --help` lists the commands.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.association.loading import load_embedder

from fop.system import SPEC

if TYPE_CHECKING:
    from voiceface.audio.loading import OnCorrupt

    from fop.embedder import FopEmbedder

__version__ = "0.2.0"
__all__ = ["__version__", "load"]


def load(
    weights: str | Path | None = None,
    *,
    device: str = "cpu",
    resample: bool | None = True,
    on_corrupt: "OnCorrupt | None" = None,
    voice_encoder: str | None = None,
    face_encoder: str | None = None,
) -> "FopEmbedder":
    """Load a trained model; its frozen encoders are loaded when the first file is embedded.

    Args:
        weights, device, resample, on_corrupt: see `voiceface.association.loading.load_embedder`.
        voice_encoder: name of the voice encoder, as `voiceface encoders` lists them; None: as in training.
        face_encoder: name of the face encoder; None: as in training.

    Raises:
        CheckpointError, ValueError: as of `load_embedder`.
    """
    embedder = load_embedder(SPEC, weights, device=device, resample=resample, on_corrupt=on_corrupt)
    return embedder.with_encoders(voice_encoder, face_encoder)  # type: ignore[attr-defined,no-any-return]
