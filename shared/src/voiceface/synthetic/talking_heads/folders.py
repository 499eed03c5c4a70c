"""Videos of all identities of a population: `videos/NAME/KIND_NN.mp4`, ground truth in `truth/videos/`.

A video depends on the settings of the population, its identity and its number only. The truth is written
after its video: an interrupted run goes on with the videos that have none.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from voiceface.runtime.process_pool import map_unordered
from voiceface.synthetic.layout import PopulationSettings, get_face_name
from voiceface.synthetic.talking_heads.rendering import render_talking_video
from voiceface.synthetic.talking_heads.scenes import VIDEO_KINDS, VideoKind, sample_scenes

__all__ = [
    "FIRST_GUEST",
    "TRUTH_FOLDER",
    "VIDEO_FOLDER",
    "VideoJob",
    "list_video_jobs",
    "write_talking_videos",
]

VIDEO_FOLDER, TRUTH_FOLDER = Path("videos"), Path("truth") / "videos"
FIRST_GUEST = 10_000_000
"""Identity number of the first guest, above those of every population."""
_VIDEOS_PER_IDENTITY = 100


@dataclass(frozen=True)
class VideoJob:
    """One video of a population.

    Attributes:
        identity: the main person.
        number: of the video, unique in the population.
        kind: one of `VIDEO_KINDS`.
        name: path below `videos/` without ending.
    """

    identity: int
    number: int
    kind: VideoKind
    name: str

    @property
    def people(self) -> tuple[int, int, int]:
        """The main person and two guests, who occur in no other video and in no folder of the population."""
        guest = FIRST_GUEST + 2 * self.number
        return self.identity, guest, guest + 1


class _Item(NamedTuple):
    root: Path
    settings: PopulationSettings
    job: VideoJob
    width: int
    height: int
    frame_rate: float


def list_video_jobs(settings: PopulationSettings, per_identity: int) -> list[VideoJob]:
    """List the videos of a population; the kinds follow each other.

    Args:
        settings: the population.
        per_identity: videos of each identity, 1 to 99.

    Raises:
        ValueError: another number.
    """
    if not 1 <= per_identity < _VIDEOS_PER_IDENTITY:
        raise ValueError(f"expected 1 to {_VIDEOS_PER_IDENTITY - 1} videos per identity, got {per_identity}")
    jobs = []
    for identity in settings.ids():
        for index in range(per_identity):
            kind = VIDEO_KINDS[(identity + index) % len(VIDEO_KINDS)]
            name = f"{get_face_name(identity, settings)}/{kind}_{index + 1:02d}"
            jobs.append(VideoJob(identity, _VIDEOS_PER_IDENTITY * identity + index, kind, name))
    return jobs


def write_talking_videos(
    root: str | Path,
    settings: PopulationSettings,
    per_identity: int,
    *,
    width: int = 320,
    height: int = 240,
    frame_rate: float = 25.0,
    workers: int | None = None,
    progress: bool = True,
) -> list[Path]:
    """Write videos of all identities, or those that are missing.

    Args:
        root: folder of the population.
        settings: the population.
        per_identity: videos of each identity, 1 to 99.
        width, height: of the pictures, as in `render_talking_video`.
        frame_rate: frames per second, at least 5.
        workers: processes; None uses every core. The result does not depend on it.
        progress: show a bar on standard error.

    Returns:
        All videos, by identity and number.

    Raises:
        ValueError: a value out of range.
    """
    root = Path(root)
    jobs = list_video_jobs(settings, per_identity)
    for partial in [*(root / VIDEO_FOLDER).rglob(".*.part*"), *(root / TRUTH_FOLDER).rglob(".*.part*")]:
        partial.unlink(missing_ok=True)
    items = [_Item(root, settings, job, width, height, frame_rate) for job in jobs]
    missing = [item for item in items if not (_video_path(item).is_file() and _truth_path(item).is_file())]
    if missing:
        for _ in map_unordered(_write_one, missing, workers, "videos", "video", progress=progress):
            pass
    return [_video_path(item) for item in items]


def _video_path(item: _Item) -> Path:
    return item.root / VIDEO_FOLDER / f"{item.job.name}.mp4"


def _truth_path(item: _Item) -> Path:
    return item.root / TRUTH_FOLDER / f"{item.job.name}.json"


def _write_one(item: _Item) -> None:
    """Write one video and its truth."""
    rng = np.random.default_rng([item.settings.seed, item.job.number, len(VIDEO_KINDS)])
    video = render_talking_video(
        _video_path(item),
        sample_scenes(item.job.kind, item.job.people, rng),
        number=item.job.number,
        population=item.settings,
        width=item.width,
        height=item.height,
        frame_rate=item.frame_rate,
    )
    video.save(_truth_path(item))
