"""Attributed speech of rendered videos, compared with the truth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voiceface.synthetic.talking_heads.truth import TalkingVideo
from voiceface.videos.active_speaker import Attribution
from voiceface.videos.tracks import FaceTrack, VideoFaces

__all__ = ["SpeechScore", "find_identity", "score_speech"]


@dataclass(frozen=True)
class SpeechScore:
    """Speech of one video: (what, right or wrong).

    Attributes:
        visible: true segments of people who are seen. One is right if half of it or more is attributed to
            this face.
        attributed: attributed segments. One is wrong if less than half of it is speech of this face, or more
            than a fifth that of another voice.
    """

    visible: tuple[tuple[str, bool], ...]
    attributed: tuple[tuple[str, bool], ...]


def find_identity(track: FaceTrack, video: TalkingVideo) -> int | None:
    """Identity that is rendered where a track is, in the middle of its time."""
    middle = len(track.times) // 2
    time, box = track.times[middle], track.boxes[middle]
    for face in video.faces:
        if face.times[0] - 0.1 <= time <= face.times[-1] + 0.1:
            true = face.boxes[np.abs(face.times - time).argmin()]
            away = np.hypot(*((true[:2] + true[2:] - box[:2] - box[2:]) / 2))
            if away < (true[2] - true[0]) / 2:
                return face.identity
    return None


def score_speech(found: Sequence[Attribution], faces: VideoFaces, video: TalkingVideo) -> SpeechScore:
    """Compare attributed speech with the truth.

    Args:
        found: of `voiceface.videos.active_speaker.attribute_speech`.
        faces: tracks that it was attributed to.
        video: the truth.
    """
    spans = [
        (each.segment.start, each.segment.end, find_identity(faces.tracks[each.track], video))
        for each in found
        if each.track is not None
    ]
    name, visible, attributed = video.path.stem, [], []
    for true in video.segments:
        if true.identity is not None:
            covered = sum(
                max(0.0, min(last, true.end) - max(first, true.start))
                for first, last, identity in spans
                if identity == true.identity
            )
            label = f"{name} {true.start:.1f}-{true.end:.1f} s of {true.identity}"
            visible.append((label, covered >= 0.5 * (true.end - true.start)))
    for first, last, identity in spans:
        own, other = (_overlap(first, last, video, identity, same=same) for same in (True, False))
        right = identity is not None and own >= 0.5 * (last - first) and other <= 0.2 * (last - first)
        attributed.append((f"{name} {first:.1f}-{last:.1f} s as {identity}", right))
    return SpeechScore(tuple(visible), tuple(attributed))


def _overlap(first: float, last: float, video: TalkingVideo, identity: int | None, *, same: bool) -> float:
    """Seconds from `first` to `last` in which this identity, or another voice, speaks."""
    return sum(
        max(0.0, min(last, segment.end) - max(first, segment.start))
        for segment in video.segments
        if (segment.identity == identity) == same
    )
