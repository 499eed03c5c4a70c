"""Tracks to people: groups of similar faces, and the group that belongs to a given name.

Groups come from average linkage: two are joined while the mean Euclidean distance between their faces is
below a threshold (0.6 is that of the face encoder for two pictures). Two faces that are seen at the same time
in one video are never one person.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voiceface.metrics.linkage import average_linkage
from voiceface.preparation.tracks import SpeakingTrack

__all__ = [
    "MAX_TRACKS",
    "NamedTrack",
    "cluster_faces",
    "name_clusters",
    "name_tracks_by_video",
    "seen_together",
    "shared_people",
]

MAX_TRACKS = 20_000
"""Tracks that are clustered at most: the distances of all pairs need 1.6 GB."""


@dataclass(frozen=True)
class NamedTrack:
    """A track with the person that it was assigned to; `person` is "" if none, with reason and detail."""

    track: SpeakingTrack
    person: str
    reason: str = ""
    detail: str = ""


def seen_together(tracks: Sequence[SpeakingTrack]) -> NDArray[np.bool_]:
    """Pairs of tracks that are seen at the same time in one video, (N, N)."""
    videos = np.unique([track.video.digest for track in tracks], return_inverse=True)[1].reshape(-1)
    starts = np.array([track.start for track in tracks])
    ends = np.array([track.end for track in tracks])
    overlap = np.minimum(ends[:, None], ends) - np.maximum(starts[:, None], starts)
    together = (videos[:, None] == videos) & (overlap > 0.1)
    np.fill_diagonal(together, False)
    return np.asarray(together)


def cluster_faces(
    embeddings: NDArray[np.floating],
    max_distance: float,
    apart: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Group faces by average linkage.

    Args:
        embeddings: (N, D).
        max_distance: mean distance between two groups below which they are joined.
        apart: (N, N), pairs that are never joined.

    Returns:
        (N,) number of the group, in the order of first appearance.

    Raises:
        ValueError: more than `MAX_TRACKS`.
    """
    count = len(embeddings)
    if count > MAX_TRACKS:
        raise ValueError(f"{count} tracks to cluster, at most {MAX_TRACKS} are possible; give fewer videos")
    return average_linkage(embeddings, max_distance, apart)


def name_clusters(groups: NDArray[np.int64]) -> list[str]:
    """Name of the group of every track: person_001 and so on, in the order of first appearance."""
    width = max(3, len(str(int(groups.max(initial=0)) + 1)))
    return [f"person_{number + 1:0{width}d}" for number in groups.tolist()]


def name_tracks_by_video(
    tracks: Sequence[SpeakingTrack], groups: NDArray[np.int64], face_distance: float
) -> list[NamedTrack]:
    """Assign tracks to the names of their videos.

    The group of a name is the one that occurs under fewer other names (an interviewer occurs under many),
    then in more of its videos, then with more seconds of speech. The others are not used.

    Args:
        tracks: of named and unnamed videos.
        groups: of `cluster_faces`.
        face_distance: for the messages.
    """
    names_of_group: dict[int, set[str]] = {}
    for track, group in zip(tracks, groups.tolist()):
        if track.video.name:
            names_of_group.setdefault(group, set()).add(track.video.name)
    chosen: dict[str, int] = {}
    centres: dict[str, NDArray[np.float64]] = {}
    for name in sorted({track.video.name for track in tracks} - {""}):
        own = [(track, group) for track, group in zip(tracks, groups.tolist()) if track.video.name == name]
        weights = {
            group: (
                -len(names_of_group[group]),
                len({track.video.digest for track, each in own if each == group}),
                sum(track.seconds for track, each in own if each == group),
                -group,
            )
            for group in {group for _, group in own}
        }
        chosen[name] = max(weights, key=lambda group: weights[group])
        members = [track.embedding for track, group in own if group == chosen[name]]
        centres[name] = np.mean(np.stack(members), axis=0, dtype=np.float64)
    result: list[NamedTrack] = []
    for track, group in zip(tracks, groups.tolist()):
        name = track.video.name
        if not name:
            result.append(NamedTrack(track, "", "the video has no name", track.video.label))
        elif chosen[name] == group:
            result.append(NamedTrack(track, name))
        else:
            distance = float(np.linalg.norm(track.embedding - centres[name]))
            detail = f"distance {distance:.2f} from the mean face of {name}"
            if distance < face_distance:
                detail += ", but seen at the same time, or nearer to another face"
            else:
                detail += f", groups are joined below {face_distance:g}"
            others = sorted(names_of_group[group] - {name})
            detail += f"; also seen under {', '.join(others)}" if others else ""
            result.append(NamedTrack(track, "", "does not look like the rest of the named person", detail))
    return result


def shared_people(tracks: Sequence[NamedTrack], groups: NDArray[np.int64]) -> list[tuple[str, ...]]:
    """Names whose tracks are in one group: they may be one person."""
    names: dict[int, set[str]] = {}
    for named, group in zip(tracks, groups.tolist()):
        if named.person:
            names.setdefault(group, set()).add(named.person)
    return sorted(tuple(sorted(each)) for each in names.values() if len(each) > 1)
