"""Where VoxCeleb-like corpora keep their clips: ROOT/wav/<voice id>/<video>/<clip>.wav."""

from collections.abc import Collection
from pathlib import Path

from voiceface.datasets.identities import Identity
from voiceface.datasets.scan import find_files

PUBLISHED_AUDIO_SUFFIXES = (".wav", ".npy")
AUDIO_SUFFIXES = (".wav", ".npy", ".flac", ".mp3", ".m4a", ".ogg", ".oga", ".opus", ".aac", ".mp4")
VOICE_ROOTS = ("wav", "voxceleb/wav", "vox1/wav")
VOICE_FOLDERS = ("voxceleb1_id", "vggface1_id")


def find_voice_root(root: str | Path) -> Path:
    """Give the folder that holds a corpus's voice folders; ROOT/wav when no known one exists."""
    places = [Path(root) / name for name in VOICE_ROOTS]
    return next((place for place in places if place.is_dir()), places[0])


def voice_folder_of(identity: Identity, voice_folder: str = "voxceleb1_id") -> str:
    """Name the folder of a person's clips: by id as published, or by name as older archives have it.

    Raises:
        ValueError: `voice_folder` is neither of the two.
    """
    if voice_folder not in VOICE_FOLDERS:
        raise ValueError(f"voice_folder is {voice_folder!r}, expected one of {', '.join(VOICE_FOLDERS)}")
    return identity.voice_id if voice_folder == "voxceleb1_id" else identity.face_id


def find_voices(
    voice_root: str | Path, folder: str, suffixes: Collection[str] = PUBLISHED_AUDIO_SUFFIXES
) -> list[str] | None:
    """List the clips of one voice folder, sorted, relative to the voice root; None without such a folder."""
    return find_files(voice_root, folder, suffixes)


def is_voice(item: str) -> bool:
    """Tell a clip from a picture by its ending (case does not matter)."""
    return item[item.rfind(".") :].lower() in _ENDINGS


def video_of(item: str) -> str:
    """Give the recording that a clip belongs to: everything before its last part.

    Clips of one recording share channel, room and day, so a fair test may have to keep them together.
    """
    return item.rpartition("/")[0]


_ENDINGS = frozenset(AUDIO_SUFFIXES) | {".pkl"}
