"""A 3-D face from a voice (Wu, Hsu, Neumann, "Cross-Modal Perceptionist", CVPR 2022).

In three lines:

    import perceptionist

    model = perceptionist.load()                          # bundled weights, or a run folder or file
    face = perceptionist.face(model, "a.wav")             # or stored features, .npy
    vertices, triangles = face.vertices, model.face_model.outward_triangles

`perceptionist --help` names the commands; `perceptionist.sim3dr` is the renderer.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perceptionist.inference import GeneratedFace, generate, load

__version__ = "0.1.0"
__all__ = ["GeneratedFace", "__version__", "generate", "load"]


def __getattr__(name: str) -> Any:
    """Import what needs PyTorch only when it is asked for."""
    if name in ("Face", "face", "load"):
        from perceptionist import inference

        return getattr(inference, name)
    raise AttributeError(f"module 'perceptionist' has no attribute {name!r}")
