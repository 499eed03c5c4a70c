"""Build a dataset from AVSpeech's table and the user's own copies of its videos.

AVSpeech (Ephrat et al., "Looking to Listen at the Cocktail Party", 2018) names stretches of online videos,
each with one visible speaker, and where the face is; it does not say who speaks. Here an identity is a video
(docs/data.md, AVSpeech): a stand-in, since one identity may be in several. Nothing is downloaded; what is
not there is listed.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from voiceface.datasets.avspeech.table import (
    DEFAULT_NAME_PATTERNS,
    VIDEO_SUFFIXES,
    AvspeechError,
    Segment,
    VideoIndex,
    read_segments,
)
from voiceface.datasets.identities import SPLITS, Identity
from voiceface.datasets.layouts import find_files
from voiceface.datasets.manifest import ManifestRow, read_manifest, write_manifest
from voiceface.io.atomic import compute_sha256, write_bytes, write_json, write_text

__all__ = [
    "IMAGE_FORMATS",
    "JPEG_QUALITY",
    "AvspeechSettings",
    "SegmentJob",
    "assign_split",
    "build_corpus",
    "output_paths",
]

MANIFEST_FILE, RECORD_FILE, MISSING_FILE, FAILURES_FILE = (
    "manifest.csv",
    "avspeech.json",
    "missing.csv",
    "failures.json",
)

IMAGE_FORMATS = ("jpg", "png")

JPEG_QUALITY = 95


@dataclass(frozen=True)
class AvspeechSettings:
    """Settings that determine the files of a corpus.

    Attributes:
        images_per_segment: images per stretch, evenly spaced in time.
        face_fraction: side of the square around the face's centre, as a fraction of the height of the video.
            The table says nothing of the size; the default is a choice made here, not AVSpeech's [inferred].
        image_size: of the images, pixels.
        image_format: "jpg" or "png".
        seed: of the draw that puts a video into a split.
        split_fractions: of the videos in train, val and test; the sum is 1.
    """

    images_per_segment: int = 4
    face_fraction: float = 0.4
    image_size: int = 128
    image_format: str = "jpg"
    seed: int = 0
    split_fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        if not 1 <= self.images_per_segment <= 99 or self.image_size < 8:
            raise AvspeechError(
                f"{self.images_per_segment} images of {self.image_size} pixels, expected 1 to 99 of 8 "
                "pixels or more"
            )
        if not 0 < self.face_fraction <= 1:
            raise AvspeechError(
                f"a face's share of the height of {self.face_fraction}, expected 0 < share <= 1"
            )
        if self.image_format not in IMAGE_FORMATS:
            raise AvspeechError(f"images as {self.image_format!r}, expected {' or '.join(IMAGE_FORMATS)}")
        if self.seed < 0:
            raise AvspeechError(f"the seed is {self.seed}, expected 0 or more")
        if not min(self.split_fractions) >= 0 or not math.isclose(sum(self.split_fractions), 1, abs_tol=1e-6):
            raise AvspeechError(
                f"split fractions {', '.join(map(str, self.split_fractions))}, expected three numbers "
                "from 0 on with the sum 1"
            )


@dataclass(frozen=True)
class SegmentJob:
    """One stretch to be cut: out of which file, from which second of it on, into which folder."""

    segment: Segment
    video_dir: str
    video_file: str
    start: float
    out: str
    settings: AvspeechSettings


def build_corpus(
    table: str | Path,
    video_dir: str | Path,
    out: str | Path,
    settings: AvspeechSettings | None = None,
    *,
    name_patterns: Sequence[str] = DEFAULT_NAME_PATTERNS,
    workers: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Cut every stretch whose video is there, and write clips, images and the manifest that names them.

    Clips are `wav/<id>/<start ms>-<end ms>.wav`, 16 kHz, 16 bit, mono; images are in `faces/<id>`, with the
    same name and a number. A stretch that is there already is not made again, even when its video has gone
    since: a second run finishes an interrupted one, and adds what was obtained meanwhile. What could not be
    done is in `missing.csv` (rows of the table without a video) and `failures.json` (with the reason). The
    manifest is written anew; gender, nationality and age that a user filled in since are taken over.

    Args:
        table: see `read_segments`.
        video_dir: folder of the videos, see `Media`.
        out: folder of the corpus; new, empty, or begun with the same table and settings.
        settings: None takes the defaults.
        name_patterns: names of the videos, see `Media`.
        workers: processes; None takes every core. The result does not depend on it.
        progress: show a bar on standard error.

    Returns:
        What `avspeech.json` in `out` holds: settings, table, counts; `with_both_modalities` is False after
        failures.

    Raises:
        AvspeechError: the table cannot be used, no video of it is there, or `out` holds something else.
        FileNotFoundError: no table, or no folder of videos.
    """
    from voiceface.runtime.process_pool import map_unordered

    settings, root, media = settings or AvspeechSettings(), Path(out), VideoIndex(video_dir, name_patterns)
    segments = list(read_segments(table))
    wanted = list({(segment.video, segment.name): segment for segment in reversed(segments)}.values())[::-1]
    record: dict[str, Any] = {
        "complete": False,
        "settings": {**asdict(settings), "split_fractions": list(settings.split_fractions)},
        "table": {"name": Path(table).name, "sha256": compute_sha256(table), "rows": len(segments)},
    }
    present = _find_existing_outputs(root, record)
    known = read_manifest(root / MANIFEST_FILE) if present and (root / MANIFEST_FILE).is_file() else []
    identities = {row.identity.name: row.identity for row in known}
    done, jobs, missing = [], [], []
    for segment in wanted:
        if present.issuperset(output_paths(segment, settings)):
            done.append(segment)
        elif source := media.find(segment):
            jobs.append(SegmentJob(segment, str(video_dir), *source, str(root), settings))
        else:
            missing.append(segment)
    if not done and not jobs:
        found = f"{len(media.files)} videos" + (f", such as {media.files[0]}" if media.files else "")
        raise AvspeechError(
            f"{video_dir}: holds no video of the {len(wanted)} stretches in {table}; found {found}, expected "
            f"names such as {' or '.join(name_patterns)} with an ending such as "
            f"{', '.join(VIDEO_SUFFIXES[:3])}; "
            "other names need --pattern"
        )
    write_json(root / RECORD_FILE, record)
    for leftover in root.rglob(".*.part*"):
        leftover.unlink(missing_ok=True)
    failures = []
    for job, reason in map_unordered(_cut_segment, jobs, workers, "avspeech", "clip", progress=progress):
        if reason:
            failures.append({**job.segment._asdict(), "file": job.video_file, "reason": reason})
        else:
            done.append(job.segment)
    done.sort()
    failures.sort(key=lambda failure: (failure["video"], failure["start"]))
    if done:
        write_manifest(root / MANIFEST_FILE, list(_manifest_rows(done, settings, identities)))
    _write_or_remove(root / MISSING_FILE, "".join(segment.row for segment in missing))
    _write_or_remove(root / FAILURES_FILE, json.dumps(failures, indent=2) + "\n" if failures else "")
    record |= {
        "complete": not failures,
        "identity": "a video; one identity in several videos counts as several",
        "counts": {
            "stretches": len(wanted),
            "repeated rows": len(segments) - len(wanted),
            "written": _count_by_split(done, settings),
            "videos of known gender": len(
                {s.video for s in done if s.video in identities and identities[s.video].gender}
            ),
            "missing stretches": len(missing),
            "failed stretches": len(failures),
        },
    }
    write_json(root / RECORD_FILE, record)
    return record


def output_paths(segment: Segment, settings: AvspeechSettings) -> list[str]:
    """Paths below the corpus of a stretch's clip, and then of its images."""
    name = f"{segment.video}/{segment.name}"
    return [f"wav/{name}.wav"] + [
        f"faces/{name}_{k:02d}.{settings.image_format}" for k in range(settings.images_per_segment)
    ]


def assign_split(video_id: str, settings: AvspeechSettings) -> str:
    """Put a video into a split by a hash of seed and id alone: other videos and their order do not matter."""
    digest = hashlib.sha256(f"{settings.seed}:{video_id}".encode()).digest()
    place = int.from_bytes(digest[:6], "big") / 2**48  # uniform in [0, 1), exact
    train, val, test = settings.split_fractions
    if place < train or not (val or test):
        return "train"
    return "val" if place < train + val or not test else "test"


def _cut_segment(job: SegmentJob) -> str:
    """Cut one stretch; returns why it could not be done, "" when it is there."""
    import cv2

    from voiceface.audio.loading import write_wav
    from voiceface.datasets.avspeech.video_segments import (
        MediaError,
        crop_square,
        read_audio_segment,
        read_images_at,
    )

    segment, settings, root = job.segment, job.settings, Path(job.out)
    path, length = Path(job.video_dir) / job.video_file, segment.end - segment.start
    times = [
        job.start + (k + 0.5) / settings.images_per_segment * length
        for k in range(settings.images_per_segment)
    ]
    try:
        wave = read_audio_segment(path, job.start, job.start + length)
        images = read_images_at(path, times)
    except MediaError as error:
        return str(error).replace(f"{path}: ", "", 1)
    voice, *faces = output_paths(segment, settings)
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if settings.image_format == "jpg" else []
    for image, place in zip(images, faces):
        face = crop_square(image, segment.x, segment.y, settings.face_fraction, settings.image_size)
        ok, data = cv2.imencode(f".{settings.image_format}", face, quality)
        assert ok, "image encoder failed"
        write_bytes(root / place, data.tobytes())
    write_wav(root / voice, wave)
    return ""


def _find_existing_outputs(root: Path, record: dict[str, Any]) -> set[str]:
    """Clips and images that an earlier run with the same table and settings made; none in a new folder."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return set()
    if not (root / RECORD_FILE).is_file():
        raise AvspeechError(
            f"{root} is not empty and holds no {RECORD_FILE}; choose a new folder or empty this one"
        )
    try:
        state = json.loads((root / RECORD_FILE).read_text())
        found = {**state["settings"], "table (SHA-256)": state["table"]["sha256"]}
    except (ValueError, KeyError, TypeError) as error:
        raise AvspeechError(
            f"{root / RECORD_FILE} cannot be read ({error!r}); start again in a new folder"
        ) from error
    expected = {**record["settings"], "table (SHA-256)": record["table"]["sha256"]}
    differ = [name for name in expected if found.get(name) != expected[name]]
    if differ:
        what = "; ".join(f"{name} is {found.get(name)} there and {expected[name]} here" for name in differ)
        raise AvspeechError(f"{root} was begun with something else: {what}; use the same or another folder")
    ending = f".{record['settings']['image_format']}"
    return {*(find_files(root, "wav", (".wav",)) or ()), *(find_files(root, "faces", (ending,)) or ())}


def _manifest_rows(
    segments: Sequence[Segment], settings: AvspeechSettings, identities: dict[str, Identity]
) -> Iterator[ManifestRow]:
    """A row per file, in the order of the segments; `identities` are those of whom something is known."""
    for segment in segments:
        video = segment.video
        identity = replace(
            identities.get(video, Identity(video, video, video)), split=assign_split(video, settings)
        )
        voice, *faces = output_paths(segment, settings)
        yield ManifestRow(identity, "voice", voice)
        for face in faces:
            yield ManifestRow(identity, "face", face)


def _count_by_split(segments: Sequence[Segment], settings: AvspeechSettings) -> dict[str, dict[str, int]]:
    """Videos, clips and images of every split."""
    counts = {name: {"videos": 0, "clips": 0, "images": 0} for name in SPLITS}
    for video in {segment.video for segment in segments}:
        counts[assign_split(video, settings)]["videos"] += 1
    for segment in segments:
        count = counts[assign_split(segment.video, settings)]
        count["clips"] += 1
        count["images"] += settings.images_per_segment
    return counts


def _write_or_remove(path: Path, text: str) -> None:
    """Write a list, or take away the list of an earlier run when there is nothing to say any more."""
    if text:
        write_text(path, text)
    else:
        path.unlink(missing_ok=True)
