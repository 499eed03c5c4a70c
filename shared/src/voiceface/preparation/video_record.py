"""What was taken out of one video: a record, images, clips and embeddings in a folder of its own.

The folder `DATA/.prepare/<content>-<settings>` is written under another name and renamed, so that it exists
whole or not at all. It depends on the bytes of the video and on the settings alone.
"""

import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voiceface.io.atomic import compute_sha256, write_bytes, write_json, write_png
from voiceface.io.foreign_files import read_json
from voiceface.preparation.settings import FORMAT, PreparationError

__all__ = [
    "ClipRecord",
    "ImageRecord",
    "TrackRecord",
    "UnusedSpeech",
    "VideoContent",
    "VideoRecord",
    "WorkFolder",
]

RECORD, FACES, VOICES, SOUNDS = "record.json", "faces.npy", "voices.npy", "fingerprints.npy"
PART = ".part-"


@dataclass(frozen=True)
class ImageRecord:
    """One crop of a face.

    Attributes:
        file: name in the folder of the video.
        time: seconds from the beginning of the video.
        hash: perceptual hash, 16 hexadecimal digits.
        problems: what makes it doubtful, from `FaceQuality.problems`.
    """

    file: str
    time: float
    hash: str
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class TrackRecord:
    """A face from its first to its last picture in one shot.

    Attributes:
        shot: number of the shot in the video, from 0.
        start: seconds from the beginning of the video.
        end: the same.
        images: best first; empty if the face does not speak.
    """

    shot: int
    start: float
    end: float
    images: list[ImageRecord]


@dataclass(frozen=True)
class ClipRecord:
    """Speech of the person of a track.

    Attributes:
        file: name in the folder of the video.
        track: number of the track.
        start: seconds from the beginning of the video.
        end: the same.
        correlation: of the mouth with the sound, -1...1.
        frames: rows of its fingerprint, 40 a second.
    """

    file: str
    track: int
    start: float
    end: float
    correlation: float
    frames: int


@dataclass(frozen=True)
class UnusedSpeech:
    """Speech that became no clip.

    Attributes:
        start: seconds from the beginning of the video.
        end: the same.
        reason: why, in words.
        track: number of the track; None where no face speaks.
    """

    start: float
    end: float
    reason: str
    track: int | None = None


@dataclass(frozen=True)
class VideoRecord:
    """Record of one video; images and clips are those of speaking tracks.

    Attributes:
        seconds: duration.
        width, height: pixels, as shown.
        frame_rate: images per second of the file.
        damaged_frames: frames that could not be decoded.
        cuts: seconds.
        tracks: all face tracks; those that do not speak have no images.
        clips: by time.
        unused: speech that became no clip.
    """

    seconds: float
    width: int
    height: int
    frame_rate: float
    damaged_frames: int
    cuts: list[float]
    tracks: list[TrackRecord]
    clips: list[ClipRecord]
    unused: list[UnusedSpeech]

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "VideoRecord":
        """Build the record from its JSON value.

        Args:
            value: as `dataclasses.asdict` gives it; tracks, images, clips and speech are dicts.

        Raises:
            KeyError: a value is missing.
            TypeError: a value is of another kind.
        """
        tracks = [
            TrackRecord(**{**track, "images": [ImageRecord(**image) for image in track["images"]]})
            for track in value["tracks"]
        ]
        clips = [ClipRecord(**clip) for clip in value["clips"]]
        unused = [UnusedSpeech(**each) for each in value["unused"]]
        return cls(**{**value, "tracks": tracks, "clips": clips, "unused": unused})


@dataclass(frozen=True)
class VideoContent:
    """A record with its arrays.

    Attributes:
        record: the record.
        faces: embeddings of the N images, in the order of the tracks, (N, 128).
        voices: embeddings of the M clips, unit length, (M, 256).
        fingerprints: of the M clips, (frames, 16) each, see
            `voiceface.datasets.near_duplicates.compute_fingerprint`.
        folder: where images and clips lie.
    """

    record: VideoRecord
    faces: NDArray[np.float32]
    voices: NDArray[np.float32]
    fingerprints: list[NDArray[np.float16]]
    folder: Path


class WorkFolder:
    """The folder `.prepare` of a data set.

    Args:
        root: the folder; it is created, and what an interrupted run left there is removed.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.root.mkdir(parents=True, exist_ok=True)

    def remove_leftovers(self) -> None:
        """Remove what interrupted runs left."""
        for leftover in self.root.glob(f"{PART}*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def place(self, content: str, settings: str) -> Path:
        """Folder of a video by its digest and that of the settings."""
        return self.root / f"{content[:24]}-{settings[:8]}"

    @staticmethod
    def write(
        place: Path,
        record: VideoRecord,
        images: Sequence[NDArray[np.uint8]],
        clips: Sequence[NDArray[np.int16]],
        faces: NDArray[np.float32],
        voices: NDArray[np.float32],
        fingerprints: Sequence[NDArray[np.float16]],
    ) -> None:
        """Write the folder of a video; a whole one that is there already is kept.

        Args:
            place: the folder, from `place`.
            record: names the images and the clips.
            images: (H, W, 3) uint8 RGB, N in the order of the record.
            clips: (T,) int16 at 16 kHz, M in the order of the record.
            faces: embeddings of the images, (N, 128).
            voices: embeddings of the clips, (M, 256).
            fingerprints: of the clips, (frames, 16) each.

        Raises:
            ValueError: another number of images or clips than in the record.
            OSError: the disk is full or the folder cannot be written; nothing of it is left.
        """
        from voiceface.audio.loading import write_wav

        temporary = Path(tempfile.mkdtemp(prefix=PART, dir=place.parent))
        try:
            names = [image.file for track in record.tracks for image in track.images]
            for name, image in zip(names, images, strict=True):
                write_png(temporary / name, image)
            for clip, wave in zip(record.clips, clips, strict=True):
                write_wav(temporary / clip.file, wave)
            bands = fingerprints[0].shape[1] if len(fingerprints) else 1
            sounds = np.concatenate([np.zeros((0, bands), np.float16), *fingerprints])
            for name, array in ((FACES, faces), (VOICES, voices), (SOUNDS, sounds)):
                _write_array(temporary / name, array)
            files = [*names, *(clip.file for clip in record.clips), FACES, VOICES, SOUNDS]
            digests = {name: compute_sha256(temporary / name) for name in files}
            value = {"format": FORMAT, "digests": digests, **asdict(record)}
            write_json(temporary / RECORD, {**value, "digest": _digest(value)})
            temporary.chmod(0o755)
            if WorkFolder.read(place) is None:  # else another process was faster
                shutil.rmtree(place, ignore_errors=True)
                temporary.rename(place)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    @staticmethod
    def read(place: Path, *, verify: bool = True) -> VideoContent | None:
        """Read the folder of a video.

        Args:
            place: the folder.
            verify: compare the digests of all files (about 400 MB a second), not only whether they are there.

        Returns:
            None if it is not there, not whole, or changed: the video is prepared anew.
        """
        try:
            return _read_content(place, verify)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError):
            return None


def _read_content(place: Path, verify: bool) -> VideoContent | None:
    value = read_json(place / RECORD, PreparationError, "a record of a video")
    if value.pop("digest") != _digest(value) or value.pop("format") != FORMAT:
        return None
    digests = value.pop("digests")
    record = VideoRecord.from_json(value)
    faces, voices, sounds = (np.load(place / name, allow_pickle=False) for name in (FACES, VOICES, SOUNDS))
    images = [image.file for track in record.tracks for image in track.images]
    clips = [clip.file for clip in record.clips]
    ends = np.cumsum([0, *(clip.frames for clip in record.clips)])
    lengths = (len(faces), len(voices), len(sounds))
    if lengths != (len(images), len(clips), int(ends[-1])):
        return None
    if not all(Path(name).name == name and (place / name).is_file() for name in (*images, *clips)):
        return None
    stored = (*images, *clips, FACES, VOICES, SOUNDS)
    if verify and any(compute_sha256(place / name) != digests[name] for name in stored):
        return None
    return VideoContent(record, faces, voices, np.split(sounds, ends[1:-1]) if clips else [], place)


def _digest(value: dict[str, Any]) -> str:
    """SHA-256 of a record, 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _write_array(path: Path, array: NDArray[Any]) -> None:
    data = io.BytesIO()
    np.save(data, array, allow_pickle=False)
    write_bytes(path, data.getvalue())
