"""VoiceStyle (Chen et al., ACM TOMM 2024): StyleGAN2 faces guided by a voice.

    import voicestyle

    model = voicestyle.load()  # bundled weights, or your own
    result = model.generate("voice.wav")
    voicestyle.save_png(result.image, "face.png")

`voicestyle --help` lists the commands.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voicestyle.face_generator import FaceGenerator, load, save_png

__version__ = "0.2.0"
_LAZY_IMPORTS = {
    "FaceGenerator": "voicestyle.face_generator",
    "load": "voicestyle.face_generator",
    "save_png": "voicestyle.face_generator",
}
__all__ = ["FaceGenerator", "__version__", "load", "save_png"]


def __getattr__(name: str) -> Any:
    """Import what needs PyTorch on first use."""
    if name in _LAZY_IMPORTS:
        return getattr(import_module(_LAZY_IMPORTS[name]), name)
    raise AttributeError(f"module 'voicestyle' has no attribute {name!r}")
