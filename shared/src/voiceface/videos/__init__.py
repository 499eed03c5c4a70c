"""People's own videos: frames, shots, tracks of faces, and who speaks (docs/own_files.md)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voiceface.videos.active_speaker import Attribution, attribute_speech, find_speech_segments
    from voiceface.videos.decoding import VideoError, VideoInfo, iterate_images, probe_video
    from voiceface.videos.people import VideoPerson, best_faces
    from voiceface.videos.shots import ShotDetector
    from voiceface.videos.sound import read_sound
    from voiceface.videos.track_images import TrackedFace
    from voiceface.videos.tracks import FaceTrack, VideoFaces, find_face_tracks

_LAZY_IMPORTS = {
    "Attribution": "active_speaker",
    "FaceTrack": "tracks",
    "ShotDetector": "shots",
    "TrackedFace": "track_images",
    "VideoError": "decoding",
    "VideoFaces": "tracks",
    "VideoInfo": "decoding",
    "VideoPerson": "people",
    "attribute_speech": "active_speaker",
    "best_faces": "people",
    "find_face_tracks": "tracks",
    "find_speech_segments": "active_speaker",
    "iterate_images": "decoding",
    "probe_video": "decoding",
    "read_sound": "sound",
}
__all__ = [
    "Attribution",
    "FaceTrack",
    "ShotDetector",
    "TrackedFace",
    "VideoError",
    "VideoFaces",
    "VideoInfo",
    "VideoPerson",
    "attribute_speech",
    "best_faces",
    "find_face_tracks",
    "find_speech_segments",
    "iterate_images",
    "probe_video",
    "read_sound",
]


def __getattr__(name: str) -> Any:
    """Import names that need PyAV, OpenCV or PyTorch on first use."""
    if name in _LAZY_IMPORTS:
        return getattr(import_module(f"voiceface.videos.{_LAZY_IMPORTS[name]}"), name)
    raise AttributeError(f"module 'voiceface.videos' has no attribute {name!r}")
