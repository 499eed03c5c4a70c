"""Training videos: clips and images of one video, from a corpus, a training table or a population.

Voice and face of a video are a positive pair; training uses no identity labels. Identities are stored only to
determine whether evaluated identities took part in training.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from voiceface.io.foreign_files import read_json
from voiceface.io.packed_folders import list_packed_files

from cmpc2.prototype_retrieval import TrainingVideo

if TYPE_CHECKING:
    from voiceface.datasets.corpus import Corpus
    from voiceface.synthetic.layout import PopulationSettings

__all__ = [
    "FACE_SCALE_FOLDER",
    "FACE_SUFFIXES",
    "VOICE_SUFFIXES",
    "Video",
    "VideoError",
    "VideoSet",
    "exchange_images",
    "read_population_settings",
    "videos_from_corpus",
    "videos_from_table",
]

log = logging.getLogger(__name__)
VOICE_SUFFIXES = frozenset({".wav", ".flac", ".m4a", ".mp3", ".ogg", ".pkl", ".npy"})
FACE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
FACE_SCALE_FOLDER = "1.6"


class VideoError(ValueError):
    """Data without usable training videos; the message states what is missing and the remedy."""


@dataclass(frozen=True)
class Video:
    """Training video.

    Attributes:
        identity: face name of its identity.
        voice_id: voice id of the same identity.
        video_id: id of the video.
        voices: clips, paths below the voice root (or any keys).
        faces: images, paths below the face root (or any keys).
        gender: "m", "f" or empty.
        nationality: name, or empty.
    """

    identity: str
    voice_id: str
    video_id: str
    voices: tuple[str, ...]
    faces: tuple[str, ...]
    gender: str = ""
    nationality: str = ""

    @property
    def table_row(self) -> TrainingVideo:
        """Row of the video in a training table."""
        return TrainingVideo(
            self.identity, "1", self.voice_id, self.gender, self.nationality, "dev", self.video_id
        )


@dataclass(frozen=True)
class VideoSet:
    """Training videos and the folders of their files.

    Attributes:
        videos: in the order of the rows of the memory banks.
        voice_root: folder of the clips; None if they are in memory.
        face_root: folder of the images; None if they are in memory.
    """

    videos: tuple[Video, ...]
    voice_root: Path | None = None
    face_root: Path | None = None

    def __len__(self) -> int:
        return len(self.videos)

    @property
    def identity_names(self) -> list[str]:
        """Distinct identities in order."""
        return list(dict.fromkeys(video.identity for video in self.videos))

    @property
    def table_rows(self) -> list[TrainingVideo]:
        """The training table."""
        return [video.table_row for video in self.videos]


def videos_from_corpus(corpus: "Corpus", root: Path | None = None) -> VideoSet:
    """Collect the videos of a corpus: voices `<id>/<video>/...`, faces `<name>/1.6/<video>/...`.

    Videos with clips or images only are skipped, with a warning; videos are sorted by identity and id.

    Args:
        corpus: identities and files.
        root: data folder; in a synthetic population, its settings determine the videos of numbered images.

    Raises:
        VideoError: no video has clips and images.
    """
    settings = read_population_settings(root) if root else None
    videos: list[Video] = []
    unpaired: list[str] = []
    for record in corpus.records:
        identity = record.identity
        voices = _group_by_video(
            record.voices, lambda path: path.split("/")[1] if path.count("/") >= 2 else ""
        )
        if settings is not None and record.faces and record.faces[0].count("/") == 1:
            faces = _group_synthetic(record.faces, identity.voice_id, settings)
        else:
            faces = _group_by_video(
                record.faces, lambda path: path.split("/")[-2] if path.count("/") >= 2 else ""
            )
        unpaired += sorted((voices.keys() ^ faces.keys()) - {""})
        videos += [
            Video(
                identity.face_id or identity.name,
                identity.voice_id,
                video,
                tuple(voices[video]),
                tuple(faces[video]),
                identity.gender,
                identity.nationality,
            )
            for video in sorted(voices.keys() & faces.keys() - {""})
        ]
    _warn_unpaired(unpaired)
    if not videos:
        raise VideoError(
            f"no video has clips and images: expected {corpus.voice_root}/<id>/<video>/<clip> and "
            f"{corpus.face_root}/<name>/{FACE_SCALE_FOLDER}/<video>/<frame> (for a synthetic population: "
            "`voiceface population --second-view`, or its folder)"
        )
    return VideoSet(tuple(videos), corpus.voice_root, corpus.face_root)


def videos_from_table(
    rows: Sequence[TrainingVideo], voice_root: Path, face_root: Path, *, skip_missing: bool = False
) -> VideoSet:
    """Collect the videos of a training table, in its order.

    Args:
        rows: rows of the table.
        voice_root: folder of `<voice id>/<video>/` with utterances or stored features.
        face_root: folder of `<name>/1.6/<video>/` with images.
        skip_missing: skip rows without files; the rows of the banks then differ from those of the table.

    Raises:
        VideoError: files of rows are missing; the message states their number and the first one.
    """
    videos, missing = [], []
    for row in rows:
        voices = _list_files(voice_root, f"{row.voice_id}/{row.video_id}", VOICE_SUFFIXES)
        faces = _list_files(face_root, row.image_folder, FACE_SUFFIXES)
        if voices and faces:
            videos.append(
                Video(row.identity, row.voice_id, row.video_id, voices, faces, row.gender, row.nationality)
            )
        else:
            missing.append(f"{row.identity}/{row.video_id}")
    if missing and (not skip_missing or not videos):
        raise VideoError(
            f"{len(missing)} of {len(rows)} videos of the table have no clips below {voice_root} or no "
            f"images below {face_root}, the first is {missing[0]}; complete the data, or skip them "
            "(--missing skip)"
        )
    if missing:
        log.warning("skipped %d of %d videos without files", len(missing), len(rows))
    return VideoSet(tuple(videos), voice_root, face_root)


def exchange_images(videos: VideoSet, fraction: float, seed: int) -> VideoSet:
    """Exchange the images of a fraction of the videos: mismatched pairs, for experiments.

    Args:
        videos: training videos.
        fraction: 0...1; among this fraction of the videos, sampled at random, images move to the next video.
        seed: of the sampling.
    """
    count = round(fraction * len(videos))
    if count < 2:
        return videos
    rng = np.random.default_rng([seed, 77])
    rows = rng.permutation(len(videos))[:count].tolist()
    changed = list(videos.videos)
    for row, other in zip(rows, [*rows[1:], rows[0]]):
        changed[row] = replace(changed[row], faces=videos.videos[other].faces)
    return replace(videos, videos=tuple(changed))


def read_population_settings(root: Path) -> "PopulationSettings | None":
    """Read the settings of the synthetic population in a folder; None for other data."""
    from voiceface.synthetic.layout import POPULATION_FILE, PopulationSettings

    path = root / POPULATION_FILE
    if not path.is_file():
        return None
    stored = read_json(path, VideoError, "settings of a population").get("settings", {})
    return PopulationSettings(
        **{key: stored[key] for key in PopulationSettings.__dataclass_fields__ if key in stored}
    )


def _group_synthetic(
    faces: Iterable[str], voice_id: str, settings: "PopulationSettings"
) -> dict[str, list[str]]:
    """Group numbered synthetic images by video, by the rule of `voiceface.synthetic.identities`."""
    from voiceface.synthetic.identities import get_image_video, video_id

    k = int(voice_id[3:]) - 1  # id1 and four digits, or id2 and seven

    def video_of(path: str) -> str:
        stem = Path(path).stem
        if not stem.isdigit():
            return ""
        return video_id(k, get_image_video(k, int(stem) - 1, seed=settings.seed), seed=settings.seed)

    return _group_by_video(faces, video_of)


def _group_by_video(paths: Iterable[str], get_video_id: Callable[[str], str]) -> dict[str, list[str]]:
    """Group paths by video, each group sorted."""
    groups: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        groups[get_video_id(path)].append(path)
    return {video: sorted(group) for video, group in groups.items()}


def _list_files(root: Path, folder: str, suffixes: Collection[str]) -> tuple[str, ...]:
    """List the files of a folder below a root, sorted, relative to the root."""
    if (root / folder).is_dir():
        names = sorted(path.name for path in (root / folder).iterdir())
    else:
        names = [name for name in list_packed_files(root / folder) or () if "/" not in name]
    return tuple(f"{folder}/{name}" for name in names if Path(name).suffix.lower() in suffixes)


def _warn_unpaired(videos: Sequence[str]) -> None:
    """Warn of videos with clips or images only."""
    if videos:
        shown = ", ".join(videos[:3]) + (" ..." if len(videos) > 3 else "")
        log.warning("skipped %d videos that have clips or images only: %s", len(videos), shown)
