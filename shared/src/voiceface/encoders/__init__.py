"""Frozen encoders of voices and faces behind one interface, and tables of their features (docs/encoders.md).

`load_encoder("real", "voice").encode(["a.wav"])` gives features (1, 256).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voiceface.encoders.interface import Encoder, EncoderError, EncoderInfo
    from voiceface.encoders.registry import EncoderStatus, list_encoders, load_encoder
    from voiceface.encoders.tables import FeatureSet, read_fop_csv

_LAZY_IMPORTS = {
    "Encoder": "interface",
    "EncoderError": "interface",
    "EncoderInfo": "interface",
    "EncoderStatus": "registry",
    "FeatureSet": "tables",
    "list_encoders": "registry",
    "load_encoder": "registry",
    "read_fop_csv": "tables",
}
__all__ = [
    "Encoder",
    "EncoderError",
    "EncoderInfo",
    "EncoderStatus",
    "FeatureSet",
    "list_encoders",
    "load_encoder",
    "read_fop_csv",
]


def __getattr__(name: str) -> Any:
    """Import names on first use."""
    if name in _LAZY_IMPORTS:
        return getattr(import_module(f"voiceface.encoders.{_LAZY_IMPORTS[name]}"), name)
    raise AttributeError(f"module 'voiceface.encoders' has no attribute {name!r}")
