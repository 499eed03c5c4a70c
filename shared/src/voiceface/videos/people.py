"""The people of a video: tracks of one person joined, and the best image of each."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from voiceface.faces.finding import FaceFinder
from voiceface.metrics.linkage import average_linkage
from voiceface.real.face_detector import box_overlaps
from voiceface.real.face_encoder import SAME_PERSON_DISTANCE, FaceEncoder
from voiceface.videos.track_images import TrackedFace
from voiceface.videos.tracks import TRACK_RATE, FaceTrack, find_face_tracks

__all__ = ["VideoPerson", "best_faces", "embed_tracks", "join_tracks", "join_tracks_by_place"]

IMAGES_PER_TRACK = 3  # that are embedded
MAX_PAUSE = 2.0  # seconds between two tracks at one place
SAME_PLACE = 0.3  # intersection over union


@dataclass(frozen=True, eq=False)
class VideoPerson:
    """A person in a video.

    Attributes:
        face: the best image.
        tracks: numbers of the tracks, ascending.
        seconds: in which the face is followed.
    """

    face: TrackedFace
    tracks: tuple[int, ...]
    seconds: float


def best_faces(
    path: str | os.PathLike[str],
    finder: FaceFinder,
    encoder: FaceEncoder | None = None,
    *,
    rate: float = TRACK_RATE,
    max_distance: float = SAME_PERSON_DISTANCE,
    start: float = 0.0,
    end: float | None = None,
) -> list[VideoPerson]:
    """Find the best image of every person in a video.

    Args:
        path: a video.
        finder: such as `voiceface.faces.load_face_finder()`.
        encoder: tells whether two tracks are of one person, such as `voiceface.real.load_face_encoder()`.
            None: tracks are joined only where one goes on at the place of another, within a shot.
        rate: images a second that are examined.
        max_distance: mean Euclidean distance of embeddings up to which tracks are of one person.
        start: seconds.
        end: seconds; None: to the end.

    Returns:
        People, those who are seen longest first; empty if there is no face.

    Raises:
        FileNotFoundError: no such file.
        VideoError: as `voiceface.videos.decoding.probe_video`.
    """
    faces = find_face_tracks(path, finder, rate=rate, max_images=IMAGES_PER_TRACK, start=start, end=end)
    if encoder is None:
        groups = join_tracks_by_place(faces.tracks)
    else:
        groups = join_tracks(faces.tracks, embed_tracks(faces.tracks, encoder), max_distance)
    people = []
    for group in groups:
        best = max((image for k in group for image in faces.tracks[k].images), key=lambda each: each.score)
        seconds = sum(len(faces.tracks[k].times) for k in group) / faces.rate
        people.append(VideoPerson(best, tuple(group), seconds))
    return sorted(people, key=lambda person: (-person.seconds, person.tracks))


def embed_tracks(tracks: Sequence[FaceTrack], encoder: FaceEncoder) -> NDArray[np.float32]:
    """Mean embedding of the best images of each track, (N, 128).

    Args:
        tracks: with at least one image each.
        encoder: see `best_faces`.
    """
    rows = []
    for track in tracks:
        images = track.images[:IMAGES_PER_TRACK]
        rows.append(
            encoder.embed(np.stack([each.face.encoder_chip(each.picture) for each in images])).mean(0)
        )
    return np.stack(rows) if rows else np.zeros((0, 128), np.float32)


def join_tracks(
    tracks: Sequence[FaceTrack],
    embeddings: npt.ArrayLike,
    max_distance: float = SAME_PERSON_DISTANCE,
) -> list[list[int]]:
    """Join tracks of one person: average linkage; tracks that are seen at the same time are never joined.

    Args:
        tracks: N tracks of one video.
        embeddings: (N, D) of `embed_tracks`.
        max_distance: mean Euclidean distance up to which two groups are joined.

    Returns:
        Groups of numbers of tracks, each ascending, ordered by the first.
    """
    starts, ends = (np.array([getattr(track, side) for track in tracks]) for side in ("start", "end"))
    together = (starts[:, None] <= ends) & (starts <= ends[:, None])
    np.fill_diagonal(together, False)
    numbers = average_linkage(embeddings, max_distance, together)
    return [np.flatnonzero(numbers == number).tolist() for number in range(numbers.max(initial=-1) + 1)]


def join_tracks_by_place(tracks: Sequence[FaceTrack]) -> list[list[int]]:
    """Join tracks where one goes on at the place of another within a shot, for lack of a face encoder.

    Args:
        tracks: of one video, by beginning.

    Returns:
        As `join_tracks`.
    """
    groups: list[list[int]] = []
    for k, track in enumerate(tracks):
        for group in groups:
            last = tracks[max(group, key=lambda each: tracks[each].end)]
            pause = track.start - last.end
            near = box_overlaps(last.boxes[-1], track.boxes[:1])[0] > SAME_PLACE
            if last.shot == track.shot and 0 < pause <= MAX_PAUSE and near:
                group.append(k)
                break
        else:
            groups.append([k])
    return groups
