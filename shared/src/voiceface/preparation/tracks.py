"""Speaking faces of all videos as one list, and why some are not used."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from voiceface.preparation.sources import Video
from voiceface.preparation.video_record import ClipRecord, ImageRecord, VideoContent
from voiceface.preparation.video_step import SILENT_TRACK

__all__ = ["Dropped", "SpeakingTrack", "TrackClip", "TrackImage", "collect_tracks", "image_name"]


@dataclass(frozen=True)
class Dropped:
    """Something that is not in the data set.

    Attributes:
        kind: "video", "speech", "track", "image", "clip" or "person".
        item: its name.
        reason: short, the same for all items that are dropped for it.
        detail: figures and names.
        person: whose it would be; "" if unknown.
        file: image or clip below the work folder, for the page; "" without one.
    """

    kind: str
    item: str
    reason: str
    detail: str = ""
    person: str = ""
    file: str = ""


@dataclass(frozen=True, eq=False)
class TrackImage:
    """One image of a track: its record, embedding (128,) and file below the work folder."""

    record: ImageRecord
    embedding: NDArray[np.float32]
    file: str


@dataclass(frozen=True, eq=False)
class TrackClip:
    """One clip of a track: its record, embedding (256,), fingerprint and file below the work folder."""

    record: ClipRecord
    embedding: NDArray[np.float32]
    fingerprint: NDArray[np.float16]
    file: str

    @property
    def seconds(self) -> float:
        """Its duration."""
        return self.record.end - self.record.start


@dataclass(frozen=True, eq=False)
class SpeakingTrack:
    """A face that speaks.

    Attributes:
        key: name in `clusters.csv`: content of the video and number of the track.
        video: its video.
        number: of the track in the video.
        start: seconds from the beginning of the video.
        end: the same.
        images: best first, at least one.
        clips: by time, at least one.
    """

    key: str
    video: Video
    number: int
    start: float
    end: float
    images: list[TrackImage] = field(default_factory=list)
    clips: list[TrackClip] = field(default_factory=list)

    @property
    def embedding(self) -> NDArray[np.float32]:
        """Mean embedding of its images, (128,)."""
        rows = np.stack([image.embedding for image in self.images])
        return np.asarray(rows.mean(0, dtype=np.float64), np.float32)

    @property
    def seconds(self) -> float:
        """Seconds of speech."""
        return sum(clip.seconds for clip in self.clips)


def collect_tracks(
    videos: Sequence[tuple[Video, VideoContent]], face_distance: float
) -> tuple[list[SpeakingTrack], list[Dropped]]:
    """Collect the speaking tracks of videos; doubtful images are left out.

    Args:
        videos: with what was taken out of them.
        face_distance: images that are further than this from the median of their track show another face.

    Returns:
        (tracks by video and number, what was left out).
    """
    tracks: list[SpeakingTrack] = []
    dropped: list[Dropped] = []
    for video, content in videos:
        record, folder = content.record, content.folder.name
        dropped += [
            Dropped("speech", f"{video.label} {_span(each.start, each.end)}", each.reason)
            for each in record.unused
        ]
        first = 0
        for number, track in enumerate(record.tracks):
            key = f"{video.key}#{number}"
            rows = content.faces[first : first + len(track.images)]
            first += len(track.images)
            clips = [
                TrackClip(clip, content.voices[k], content.fingerprints[k], f"{folder}/{clip.file}")
                for k, clip in enumerate(record.clips)
                if clip.track == number
            ]
            where = f"{video.label} {_span(track.start, track.end)}"
            if not clips:
                dropped.append(Dropped("track", key, SILENT_TRACK, where))
                continue
            images = [
                TrackImage(image, row, f"{folder}/{image.file}") for image, row in zip(track.images, rows)
            ]
            good, bad = _choose_images(images, key, face_distance)
            dropped += bad
            if not good:
                file = images[0].file if images else ""
                dropped.append(Dropped("track", key, "no good image of the face", where, file=file))
                continue
            tracks.append(SpeakingTrack(key, video, number, track.start, track.end, good, clips))
    return tracks, dropped


def _choose_images(
    images: Sequence[TrackImage], key: str, face_distance: float
) -> tuple[list[TrackImage], list[Dropped]]:
    """Images without problems that look like the others of their track."""
    good: list[TrackImage] = []
    dropped: list[Dropped] = []
    for image in images:
        if image.record.problems:
            reason = image.record.problems[0].partition(":")[0]
            detail = "; ".join(image.record.problems)
            dropped.append(
                Dropped("image", image_name(key, image), f"face {reason}", detail, file=image.file)
            )
        else:
            good.append(image)
    if len(good) < 3:
        return good, dropped
    rows = np.stack([image.embedding for image in good]).astype(np.float64)
    distances = np.linalg.norm(rows - np.median(rows, axis=0), axis=1)
    kept = [image for image, distance in zip(good, distances) if distance < face_distance]
    for image, distance in zip(good, distances):
        if distance >= face_distance:
            dropped.append(
                Dropped(
                    "image",
                    image_name(key, image),
                    "another face than the rest of its track",
                    f"distance {distance:.2f}",
                    file=image.file,
                )
            )
    return kept, dropped


def image_name(key: str, image: TrackImage) -> str:
    """Name of an image in lists and messages, by the key of its track."""
    return f"{key} at {image.record.time:.2f} s"


def _span(start: float, end: float) -> str:
    return f"{start:.2f}-{end:.2f} s"
