"""Networks trained on real people, fetched by `voiceface models get real` (docs/real_encoders.md).

`load_voice_encoder().embed_files(["a.wav"])` gives embeddings (1, 256) that are compared by cosine.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voiceface.real.face_detector import FaceDetector, load_face_detector
    from voiceface.real.face_encoder import FaceEncoder, align_faces, load_face_encoder
    from voiceface.real.face_mesh import FaceMesh, load_face_mesh
    from voiceface.real.installation import MissingModelError
    from voiceface.real.voice_encoder import VoiceEncoder, load_voice_encoder

_LAZY_IMPORTS = {
    "FaceDetector": "face_detector",
    "FaceEncoder": "face_encoder",
    "FaceMesh": "face_mesh",
    "MissingModelError": "installation",
    "VoiceEncoder": "voice_encoder",
    "align_faces": "face_encoder",
    "load_face_detector": "face_detector",
    "load_face_encoder": "face_encoder",
    "load_face_mesh": "face_mesh",
    "load_voice_encoder": "voice_encoder",
}
__all__ = [
    "FaceDetector",
    "FaceEncoder",
    "FaceMesh",
    "MissingModelError",
    "VoiceEncoder",
    "align_faces",
    "load_face_detector",
    "load_face_encoder",
    "load_face_mesh",
    "load_voice_encoder",
]


def __getattr__(name: str) -> Any:
    """Import names that need PyTorch on first use."""
    if name in _LAZY_IMPORTS:
        return getattr(import_module(f"voiceface.real.{_LAZY_IMPORTS[name]}"), name)
    raise AttributeError(f"module 'voiceface.real' has no attribute {name!r}")
