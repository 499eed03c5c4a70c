"""Training videos: which clips and pictures belong to one video, found on the disk or in a population.

A video is what CMPC learns from: its voice and its face are a positive pair, and nobody's name is used.
Names are kept beside them for one purpose, to tell whether people of a test took part in training.
"""

import json
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cmpc2.prototype_retrieval import TrainingVideo

if TYPE_CHECKING:
    from voiceface.datasets.corpus import Corpus
    from voiceface.synthetic.layout import PopulationSettings

log = logging.getLogger(__name__)
VOICE_SUFFIXES = frozenset({".wav", ".flac", ".m4a", ".mp3", ".ogg", ".pkl", ".npy"})
FACE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
FACE_SCALE_FOLDER = "1.6"


class VideoError(ValueError):
    """Data that give no training videos; the message says what is absent and what helps."""


@dataclass(frozen=True)
class Video:
    """One training video.

    Attributes:
        identity: face name of whoever it shows.
        voice_id: voice id of the same person.
        video: id of the video.
        voices: clips, paths below the voice root (or any keys).
        faces: pictures, paths below the face root (or any keys).
        gender: m or f, or empty.
        nationality: or empty.
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
        """Its row of a training table."""
        return TrainingVideo(
            self.identity, "1", self.voice_id, self.gender, self.nationality, "dev", self.video_id
        )


@dataclass(frozen=True)
class VideoSet:
    """Training videos and where their files are; row number = row of the banks.

    Attributes:
        videos: in the order of the banks.
        voice_root: folder of the clips; None where they are in memory.
        face_root: folder of the pictures.
    """

    videos: tuple[Video, ...]
    voice_root: Path | None = None
    face_root: Path | None = None

    def __len__(self) -> int:
        return len(self.videos)

    @property
    def identity_names(self) -> list[str]:
        """Everybody's name once, in order."""
        return list(dict.fromkeys(video.identity for video in self.videos))

    @property
    def table_rows(self) -> list[TrainingVideo]:
        """The training table."""
        return [video.table_row for video in self.videos]


def videos_from_corpus(corpus: "Corpus", root: Path | None = None) -> VideoSet:
    """The videos of a corpus: voices `<id>/<video>/...`, faces `<name>/1.6/<video>/...`.

    Videos that have clips or pictures only are left out, with a warning; order is that of people and ids.

    Args:
        corpus: people and files.
        root: data folder; a population's own, numbered pictures are told apart by its settings there.

    Raises:
        VideoError: nobody has a video with both.
    """
    settings = read_population_settings(root) if root else None
    found: list[Video] = []
    lonely: list[str] = []
    for person in corpus.records:
        who = person.identity
        voices = _group_by_video(
            person.voices, lambda path: path.split("/")[1] if path.count("/") >= 2 else ""
        )
        if settings is not None and person.faces and person.faces[0].count("/") == 1:
            faces = _group_synthetic(person.faces, who.voice_id, settings)
        else:
            faces = _group_by_video(
                person.faces, lambda path: path.split("/")[-2] if path.count("/") >= 2 else ""
            )
        both = sorted(voices.keys() & faces.keys() - {""})
        lonely += sorted((voices.keys() ^ faces.keys()) - {""})
        found += [
            Video(
                who.face_id or who.name,
                who.voice_id,
                video,
                tuple(voices[video]),
                tuple(faces[video]),
                who.gender,
                who.nationality,
            )
            for video in both
        ]
    _warn_unpaired(lonely)
    if not found:
        raise VideoError(
            f"no video has clips and pictures: expected {corpus.voice_root}/<id>/<video>/<clip> and "
            f"{corpus.face_root}/<name>/{FACE_SCALE_FOLDER}/<video>/<frame> (a population: "
            "`voiceface population --second-view`, or its own folder)"
        )
    return VideoSet(tuple(found), corpus.voice_root, corpus.face_root)


def videos_from_table(
    rows: Sequence[TrainingVideo], voice_root: Path, face_root: Path, *, skip_missing: bool = False
) -> VideoSet:
    """The videos that a training table names, in its order.

    Args:
        rows: of the table.
        voice_root: folder of `<voice id>/<video>/` with recordings or stored features.
        face_root: folder of `<name>/1.6/<video>/` with pictures.
        skip_missing: leave out rows without files; the banks then have other rows than the table.

    Raises:
        VideoError: rows without files, with how many and the first.
    """
    found, absent = [], []
    for row in rows:
        voices = _list_files(voice_root, f"{row.voice_id}/{row.video_id}", VOICE_SUFFIXES)
        faces = _list_files(face_root, row.image_folder, FACE_SUFFIXES)
        if voices and faces:
            found.append(
                Video(row.identity, row.voice_id, row.video_id, voices, faces, row.gender, row.nationality)
            )
        else:
            absent.append(f"{row.identity}/{row.video_id}")
    if absent and (not skip_missing or not found):
        raise VideoError(
            f"{len(absent)} of {len(rows)} videos of the table have no clips below {voice_root} or no "
            f"pictures below {face_root}, the first is {absent[0]}; complete the data, or leave them out "
            "(--missing skip)"
        )
    if absent:
        log.warning("skipped %d of %d videos without files", len(absent), len(rows))
    return VideoSet(tuple(found), voice_root, face_root)


def exchange_images(videos: VideoSet, fraction: float, seed: int) -> VideoSet:
    """The same videos, a share of which has the pictures of another: wrong pairs, for experiments.

    Args:
        videos: all of them.
        share: 0...1; of so many videos, drawn at random, the pictures move round by one.
        seed: of the draw.
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
    """Settings of the population in a folder; None where it is none."""
    from voiceface.synthetic.layout import POPULATION_FILE, PopulationSettings

    marker = root / POPULATION_FILE
    if not marker.is_file():
        return None
    stored = json.loads(marker.read_text("utf-8"))["settings"]
    return PopulationSettings(
        **{key: stored[key] for key in PopulationSettings.__dataclass_fields__ if key in stored}
    )


def _group_synthetic(
    faces: Iterable[str], voice_id: str, settings: "PopulationSettings"
) -> dict[str, list[str]]:
    """A population's numbered pictures by video; the rule of `voiceface.synthetic.identities`."""
    from voiceface.synthetic.identities import get_image_video, video_id

    k = int(voice_id[3:]) - 1  # id1 and four digits, or id2 and seven

    def video_of(path: str) -> str:
        stem = Path(path).stem
        if not stem.isdigit():
            return ""
        return video_id(k, get_image_video(k, int(stem) - 1, seed=settings.seed), seed=settings.seed)

    return _group_by_video(faces, video_of)


def _group_by_video(paths: Iterable[str], get_video_id: Callable[[str], str]) -> dict[str, list[str]]:
    """Paths by video, sorted inside."""
    groups: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        groups[get_video_id(path)].append(path)
    return {video: sorted(found) for video, found in groups.items()}


def _list_files(root: Path, folder: str, suffixes: Collection[str]) -> tuple[str, ...]:
    """Files of a folder below a root, sorted, relative to the root."""
    place = root / folder
    if not place.is_dir():
        return ()
    return tuple(
        f"{folder}/{path.name}" for path in sorted(place.iterdir()) if path.suffix.lower() in suffixes
    )


def _warn_unpaired(one_sided: Sequence[str]) -> None:
    """Tell of videos that have one side only."""
    if one_sided:
        shown = ", ".join(one_sided[:3]) + (" ..." if len(one_sided) > 3 else "")
        log.warning("skipped %d videos that have clips or images only: %s", len(one_sided), shown)
