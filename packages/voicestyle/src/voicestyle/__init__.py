"""VoiceStyle (Chen et al., ACM TOMM 2024): StyleGAN2 faces guided by a voice, in three lines:

    import voicestyle

    maker = voicestyle.load()                                 # bundled weights, or files of your own
    result = maker.generate("voice.wav")                      # its bank: invented people, or yours
    voicestyle.save_png(result.picture, "face.png")

`voicestyle --help` names the commands.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voicestyle.face_generator import FaceGenerator, load, save_png

__version__ = "0.1.0"
_LAZY_IMPORTS = {
    "FaceMaker": ("voicestyle.face_generator", "FaceMaker"),
    "load": ("voicestyle.face_generator", "load"),
    "save_png": ("voicestyle.face_generator", "save_png"),
}
__all__ = ["FaceGenerator", "__version__", "load", "save_png"]


def __getattr__(name: str) -> Any:
    """Import what needs PyTorch only when it is asked for."""
    if name in _LAZY_IMPORTS:
        module, inner = _LAZY_IMPORTS[name]
        return getattr(import_module(module), inner)
    raise AttributeError(f"module 'voicestyle' has no attribute {name!r}")
