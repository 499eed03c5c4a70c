"""Adaptive voice-face association (Wen et al., "Seeking the Shape of Sound", CVPR 2021), in three lines:

    import seeking_shape

    model = seeking_shape.load()                                  # bundled weights, or a file of your own
    voices, faces = model.embed_voices(["a.wav"]), model.embed_faces(["b.jpg", "c.jpg"])
    scores = model.score(voices, faces)                           # cosine, shape (1, 2)

`seeking_shape --help` names the commands.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder

    from seeking_shape.embedder import load

__version__ = "0.2.0"
__all__ = ["Embedder", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import what needs PyTorch only when it is asked for."""
    if name in ("Embedder", "load"):
        from seeking_shape import embedder

        return getattr(embedder, name)
    raise AttributeError(f"module 'seeking_shape' has no attribute {name!r}")
