"""CMPC (Zhu et al., IJCAI 2022) with the Python API of the published package `cmpc2`, in three lines:

    import cmpc2

    model = cmpc2.load()                                          # bundled weights, or a checkpoint
    voices, faces = model.encode_voice(["a.wav"]), model.encode_face(["b.jpg", "c.jpg"])
    scores = model.score(voices, faces)                           # cosine, shape (1, 2)

Code written for the published package runs unchanged: `load`, `audio_preprocess`, `visual_preprocess`,
`load_voice`, `getKNearestSamples`, `FV_Wrapper`, `load_model`, `MFCC`, `get_fbank`. `cmpc2 --help` lists the
commands.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmpc2.audio_frontend import audio_preprocess, load_voice
    from cmpc2.embedder import Embedder, available_models, load, load_embedder
    from cmpc2.embedder import load_model_file as load_model
    from cmpc2.image_frontend import visual_preprocess
    from cmpc2.model import FV_Wrapper
    from cmpc2.prototype_retrieval import getKNearestSamples, nearest_videos
    from cmpc2.sphinx import MFCC, get_fbank

__version__ = "0.2.0"
_LAZY_IMPORTS = {
    "Embedder": ("embedder", "Embedder"),
    "FV_Wrapper": ("model", "FV_Wrapper"),
    "MFCC": ("sphinx", "MFCC"),
    "audio_preprocess": ("audio_frontend", "audio_preprocess"),
    "available_models": ("embedder", "available_models"),
    "getKNearestSamples": ("prototype_retrieval", "getKNearestSamples"),
    "get_fbank": ("sphinx", "get_fbank"),
    "load": ("embedder", "load"),
    "load_embedder": ("embedder", "load_embedder"),
    "load_model": ("embedder", "load_model_file"),
    "load_voice": ("audio_frontend", "load_voice"),
    "nearest_videos": ("prototype_retrieval", "nearest_videos"),
    "visual_preprocess": ("image_frontend", "visual_preprocess"),
}
__all__ = [
    "MFCC",
    "Embedder",
    "FV_Wrapper",
    "__version__",
    "audio_preprocess",
    "available_models",
    "getKNearestSamples",
    "get_fbank",
    "load",
    "load_embedder",
    "load_model",
    "load_voice",
    "nearest_videos",
    "visual_preprocess",
]


def __getattr__(name: str) -> Any:
    """Import names that need PyTorch on first use."""
    if name in _LAZY_IMPORTS:
        module, attribute = _LAZY_IMPORTS[name]
        return getattr(import_module(f"cmpc2.{module}"), attribute)
    raise AttributeError(f"module 'cmpc2' has no attribute {name!r}")
