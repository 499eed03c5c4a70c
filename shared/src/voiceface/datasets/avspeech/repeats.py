"""Near duplicates among the segments of a video: the same sound twice, pictures that look alike.

The rules are those of `voiceface prepare` (`voiceface.datasets.near_duplicates`). Since every video is an
identity, only segments of one video are compared; faces and voices need not be embedded for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from voiceface.datasets.avspeech.table import Segment
from voiceface.datasets.near_duplicates import (
    compute_fingerprint,
    find_near_duplicate_pictures,
    find_repeated_clips,
    hash_picture,
)

__all__ = ["SegmentFiles", "find_repeats"]


@dataclass(frozen=True)
class SegmentFiles:
    """A segment that was cut, and its files relative to the corpus: clip, and images by time."""

    segment: Segment
    voice: str
    faces: tuple[str, ...]


@dataclass(frozen=True)
class _VideoJob:
    """All segments of one video, by start, as worker processes get them."""

    root: str
    segments: tuple[SegmentFiles, ...]


def find_repeats(
    root: str | Path,
    segments: Sequence[SegmentFiles],
    *,
    workers: int | None = None,
    progress: bool = True,
) -> dict[str, str]:
    """Find clips and images that repeat another one of their video.

    Of clips with the same sound the longest counts, then the earliest. Of images that look alike the earliest
    counts; of a segment that looks like no other one, `KEPT_ALIKE` images.

    Args:
        root: folder of the corpus.
        segments: in any order.
        workers: processes; None for all cores. The result does not depend on it.
        progress: show a bar on standard error.

    Returns:
        File -> file that it repeats, both relative to the corpus, sorted.

    Raises:
        voiceface.audio.samples.AudioError, voiceface.images.loading.ImageError: a file of the corpus is
            damaged.
    """
    from voiceface.runtime.process_pool import map_unordered

    ordered = sorted(segments, key=lambda each: each.segment)
    jobs = [
        _VideoJob(str(root), tuple(group))
        for _, group in groupby(ordered, key=lambda each: each.segment.video)
    ]
    result: dict[str, str] = {}
    for _, found in map_unordered(
        _find_repeats_of_video, jobs, workers, "near duplicates", "video", progress=progress
    ):
        result |= found
    return dict(sorted(result.items()))


def _find_repeats_of_video(job: _VideoJob) -> dict[str, str]:
    from voiceface.audio.loading import load_audio
    from voiceface.images.loading import load_image

    root = Path(job.root)
    longest = sorted(job.segments, key=lambda each: each.segment.start - each.segment.end)
    prints = [compute_fingerprint(load_audio(root / each.voice, scale="unit")) for each in longest]
    faces = [(each.segment.name, path) for each in job.segments for path in each.faces]
    clips = find_repeated_clips(prints, np.ones((len(prints), 1), np.float32))
    images = find_near_duplicate_pictures(
        [hash_picture(load_image(root / path)) for _, path in faces], series=[name for name, _ in faces]
    )
    result = {each.voice: longest[k].voice for each, k in zip(longest, clips) if k is not None}
    return result | {path: faces[k][1] for (_, path), k in zip(faces, images) if k is not None}
