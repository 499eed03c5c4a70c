"""Archetype-agnostic voice-face association (Chen et al., ACM Multimedia 2023), in three lines:

    import archetype_agnostic

    model = archetype_agnostic.load()                             # bundled weights, or a file of your own
    voices, faces = model.embed_voices(["a.wav"]), model.embed_faces(["b.jpg", "c.jpg"])
    scores = model.score(voices, faces)                           # cosine, shape (1, 2)

`archetype_agnostic --help` names the commands.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder

    from archetype_agnostic.embedder import load

__version__ = "0.2.0"
__all__ = ["Embedder", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import what needs PyTorch only when it is asked for."""
    if name in ("Embedder", "load"):
        from archetype_agnostic import embedder

        return getattr(embedder, name)
    raise AttributeError(f"module 'archetype_agnostic' has no attribute {name!r}")
