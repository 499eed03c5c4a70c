"""Tracks of faces in a video: who is where and when, how far the mouth is open, and the best images.

Times are seconds from the beginning of the file. Memory does not grow with the length of a video, except by
the numbers of each track: of videos with many tracks fewer and smaller images are kept.
"""

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from voiceface.faces.finding import FaceFinder
from voiceface.videos.decoding import VideoInfo, iterate_images, probe_video
from voiceface.videos.shots import DISSOLVE_SPANS, ShotDetector
from voiceface.videos.track_images import MAX_PICTURE_SIDE, TrackedFace, shrink_image
from voiceface.videos.tracker import FaceTracker, OpenTrack

__all__ = [
    "DETECTION_INTERVAL",
    "MIN_TRACK_SECONDS",
    "TRACK_RATE",
    "FaceTrack",
    "VideoFaces",
    "find_face_tracks",
]

Array = NDArray[np.float32]
TRACK_RATE = 12.5
"""Images a second in which faces are followed: syllables come at up to 6 Hz."""
DETECTION_INTERVAL = 0.4
MIN_TRACK_SECONDS = 0.3
MAX_FACES = 10
MAX_PICTURE_BYTES = 512 * 2**20
"""Memory for the images of all tracks of a video."""
SMALLEST_SIDE = 128


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """One face from when it appears to when it is lost, within one shot.

    Attributes:
        shot: number of the shot, from 0.
        times: (K,) seconds, ascending.
        boxes: (K, 4) left, top, right, bottom of the mesh (of finders without a mesh: of the face), pixels of
            the video as shown.
        points: (K, 5, 2) as of `voiceface.faces.finding.FoundFace`.
        mouth: (K,) opening, see `voiceface.videos.mouth.mouth_opening`; NaN for finders without a mesh: who
            speaks cannot be told then.
        images: the best, best first, spread over the track.
    """

    shot: int
    times: NDArray[np.float64]
    boxes: Array
    points: Array
    mouth: NDArray[np.float64]
    images: tuple[TrackedFace, ...]

    @property
    def start(self) -> float:
        """Seconds."""
        return float(self.times[0])

    @property
    def end(self) -> float:
        """Seconds."""
        return float(self.times[-1])


@dataclass(frozen=True, eq=False)
class VideoFaces:
    """The faces of a video.

    Attributes:
        info: of the video.
        rate: images a second that were examined, at most.
        cuts: seconds of the first image after each cut.
        tracks: by beginning; of equal ones the larger face first.
        damaged_frames: of the video, that were left out.
    """

    info: VideoInfo
    rate: float
    cuts: tuple[float, ...]
    tracks: tuple[FaceTrack, ...]
    damaged_frames: int


def find_face_tracks(
    path: str | os.PathLike[str],
    finder: FaceFinder,
    *,
    rate: float = TRACK_RATE,
    max_images: int = 8,
    start: float = 0.0,
    end: float | None = None,
    detection_interval: float = DETECTION_INTERVAL,
    max_faces: int = MAX_FACES,
    min_seconds: float = MIN_TRACK_SECONDS,
) -> VideoFaces:
    """Follow the faces of a video.

    With a `voiceface.faces.MeshFaceFinder` the detector runs at intervals, after cuts and where a face was
    lost, and the mesh alone in between. Other finders search every image; without a mesh they tell nothing
    of the mouth.

    Args:
        path: a video.
        finder: such as `voiceface.faces.load_face_finder()`.
        rate: images a second that are examined.
        max_images: images that are kept of each track, if all of them fit into 512 MB.
        start: seconds.
        end: seconds; None: to the end.
        detection_interval: seconds between runs of the detector.
        max_faces: faces that are followed at a time, the largest first.
        min_seconds: shorter tracks are dropped.

    Returns:
        Tracks and cuts; the same for the same file, networks and settings.

    Raises:
        FileNotFoundError: no such file.
        VideoError: as `voiceface.videos.decoding.probe_video`.
    """
    info = probe_video(path)
    shots = ShotDetector()
    tracker = FaceTracker(finder, detection_interval, max_faces, max_images)
    cuts: list[float] = []
    album = _Album(max_images, min_seconds - 1 / min(rate, info.frame_rate or rate))
    doubt: float | None = None
    times: deque[float] = deque(maxlen=max(DISSOLVE_SPANS) + 1)  # of the shot
    with iterate_images(path, rate=rate, start=start, end=end) as images:
        for time, image in images:
            cut = shots.add(image)
            if cut:
                cuts.append(time if doubt is None else doubt)
            if shots.in_doubt:  # nobody is followed through a flash that may be a cut
                doubt = time if doubt is None else doubt
                continue
            doubt = None
            if cut:
                album.add(tracker.finish(), _last_time(times, shots.mixed_images))
                times.clear()
            times.append(time)
            album.add(tracker.add(time, image, cut=cut))
        damaged = images.damaged_frames
    album.add(tracker.finish())
    tracks = album.tracks
    tracks.sort(
        key=lambda track: (track.start, -float(np.ptp(track.boxes[0, ::2])), float(track.boxes[0, 0]))
    )
    return VideoFaces(info, min(rate, info.frame_rate or rate), tuple(cuts), tuple(tracks), damaged)


def _last_time(times: Sequence[float], mixed: int) -> float | None:
    """Time of the last image of a shot before those that show the next picture, too."""
    return times[max(0, len(times) - 1 - mixed)] if times and mixed else None


class _Album:
    """The tracks that ended, with images that fit into `MAX_PICTURE_BYTES`.

    Args:
        max_images: of each track.
        min_seconds: between the first and the last image of a track that is kept.
    """

    def __init__(self, max_images: int, min_seconds: float) -> None:
        self.tracks: list[FaceTrack] = []
        self._limit, self._min_seconds = max_images, min_seconds
        self._side = MAX_PICTURE_SIDE

    def add(self, ended: Sequence[OpenTrack], end: float | None = None) -> None:
        """Add tracks, up to an end in seconds; short ones are dropped."""
        for track in ended:
            if end is not None:
                track.cut_off(end)
        least = self._min_seconds - 1e-6
        long = [each for each in ended if each.times and each.times[-1] - each.times[0] >= least]
        self.tracks += [self._trim(_close(each)) for each in long]
        while long and self._count_bytes() > MAX_PICTURE_BYTES:
            if self._limit > 1:
                self._limit -= 1
            elif self._side > SMALLEST_SIDE:
                self._side //= 2
            else:
                return
            self.tracks = [self._trim(track) for track in self.tracks]

    def _trim(self, track: FaceTrack) -> FaceTrack:
        images = tuple(shrink_image(image, self._side) for image in track.images[: self._limit])
        return replace(track, images=images)

    def _count_bytes(self) -> int:
        return sum(image.picture.nbytes for track in self.tracks for image in track.images)


def _close(track: OpenTrack) -> FaceTrack:
    return FaceTrack(
        track.shot,
        np.array(track.times),
        np.stack(track.boxes),
        np.stack(track.points),
        np.array(track.mouth),
        track.images.best(),
    )
