"""Generate a 3-D face from a voice (Wu, Hsu, Neumann, "Cross-Modal Perceptionist", CVPR 2022).

    import perceptionist

    model = perceptionist.load()                          # bundled weights, or a run folder or checkpoint
    face = model.generate("a.wav")                        # or stored features, .npy
    vertices, triangles = face.vertices, model.face_model.outward_triangles

`perceptionist --help` lists the commands; `perceptionist.sim3dr` is the renderer.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perceptionist.inference import load
    from perceptionist.voice_to_mesh import GeneratedFace, VoiceToMesh

__version__ = "0.2.0"
__all__ = ["GeneratedFace", "VoiceToMesh", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import PyTorch only when a name that needs it is used."""
    if name == "load":
        from perceptionist.inference import load

        return load
    if name in ("GeneratedFace", "VoiceToMesh"):
        from perceptionist import voice_to_mesh

        return getattr(voice_to_mesh, name)
    raise AttributeError(f"module 'perceptionist' has no attribute {name!r}")
