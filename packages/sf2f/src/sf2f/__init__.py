"""A face image from a voice (Bai, Ma, Wang, Zhang, "Speech Fusion to Face", ACM MM 2022).

In three lines:

    import sf2f

    model = sf2f.load()                            # bundled weights, or a run folder, file or published .pt
    face = sf2f.face(model, "a.wav")               # or several recordings of one person: ["a.wav", "b.m4a"]
    picture, embedding = face.picture, face.embedding

`sf2f --help` names the commands; `sf2f.export.export_onnx` writes a model for other programs.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sf2f.inference import GeneratedFace, generate, load

__version__ = "0.1.0"
__all__ = ["GeneratedFace", "__version__", "generate", "load"]


def __getattr__(name: str) -> Any:
    """Import what needs PyTorch only when it is asked for."""
    if name in ("Face", "face", "load"):
        from sf2f import inference

        return getattr(inference, name)
    raise AttributeError(f"module 'sf2f' has no attribute {name!r}")
