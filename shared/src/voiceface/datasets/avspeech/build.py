"""Build a dataset from AVSpeech's table and the user's own copies of its videos.

AVSpeech (Ephrat et al., "Looking to Listen at the Cocktail Party", 2018) lists segments of online videos with
one visible speaker each, and the position of the face, without identities. Here every video is an identity
(docs/data.md, AVSpeech), an approximation, since a speaker may appear in several videos. Nothing is
downloaded; missing videos are listed.
"""

import json
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
from voiceface.datasets.splits import assign_split as split_by_hash
from voiceface.datasets.splits import check_fractions
from voiceface.io.atomic import compute_sha256, write_bytes, write_json, write_text
from voiceface.io.foreign_files import read_json

__all__ = [
    "IMAGE_FORMATS",
    "JPEG_QUALITY",
    "AvspeechSettings",
    "SegmentJob",
    "assign_split",
    "build_corpus",
    "output_paths",
]

MANIFEST_FILE = "manifest.csv"
RECORD_FILE = "avspeech.json"
MISSING_FILE = "missing.csv"
FAILURES_FILE = "failures.json"
REPEATS_FILE = "near_duplicates.csv"
IMAGE_FORMATS = ("jpg", "png")
JPEG_QUALITY = 95


@dataclass(frozen=True)
class AvspeechSettings:
    """Settings that determine the files of a corpus.

    Attributes:
        images_per_segment: images per segment, evenly spaced in time.
        face_fraction: side of the square around the centre of the face, as a fraction of the height of the
            video. AVSpeech does not state the size; the default is a choice of this package.
        image_size: of the images, pixels.
        image_format: "jpg" or "png".
        seed: of the split.
        split_fractions: fractions of the videos in train, val and test; the sum is 1.
    """

    images_per_segment: int = 4
    face_fraction: float = 0.4
    image_size: int = 128
    image_format: str = "jpg"
    seed: int = 0
    split_fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)

    def __post_init__(self) -> None:
        """Check the values."""
        if not 1 <= self.images_per_segment <= 99 or self.image_size < 8:
            raise AvspeechError(
                f"{self.images_per_segment} images of {self.image_size} pixels, expected 1 to 99 of 8 "
                "pixels or more"
            )
        if not 0 < self.face_fraction <= 1:
            raise AvspeechError(f"face fraction {self.face_fraction}, expected 0 < fraction <= 1")
        if self.image_format not in IMAGE_FORMATS:
            raise AvspeechError(f"image format {self.image_format!r}, expected {' or '.join(IMAGE_FORMATS)}")
        if self.seed < 0:
            raise AvspeechError(f"seed {self.seed}, expected 0 or more")
        if problem := check_fractions(self.split_fractions):
            raise AvspeechError(problem)


@dataclass(frozen=True)
class SegmentJob:
    """One segment to cut: its video file, start in that file (seconds) and output folder."""

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
    keep_near_duplicates: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Cut every segment whose video exists, and write clips, images and a manifest.

    Clips are `wav/<id>/<start ms>-<end ms>.wav`, 16 kHz, 16 bit, mono; images are in `faces/<id>`, with the
    same name and a number. Existing segments are kept, even without their video: a second run completes an
    interrupted one and adds new videos. `missing.csv` lists rows without a video, `failures.json` failed
    segments and reasons, `near_duplicates.csv` clips and images that repeat another one of their video: they
    are not in the manifest. The manifest is rewritten; gender, nationality and age that a user filled in are
    kept.

    Args:
        table: see `read_segments`.
        video_dir: folder of the videos, see `VideoIndex`.
        out: folder of the corpus; new, empty, or of a run with the same table and settings.
        settings: None for the defaults.
        name_patterns: names of the videos, see `VideoIndex`.
        keep_near_duplicates: the manifest names all clips and images.
        workers: processes; None for all cores. The result does not depend on it.
        progress: show a bar on standard error.

    Returns:
        Content of `avspeech.json` in `out`: settings, table, counts; `complete` is False after failures.

    Raises:
        AvspeechError: an invalid table, none of its videos exists, or `out` belongs to another run.
        FileNotFoundError: no table, or no video folder.
    """
    from voiceface.runtime.process_pool import map_unordered

    settings, root = settings or AvspeechSettings(), Path(out)
    index = VideoIndex(video_dir, name_patterns)
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
        elif video := index.find(segment):
            jobs.append(SegmentJob(segment, str(video_dir), *video, str(root), settings))
        else:
            missing.append(segment)
    if not done and not jobs:
        found = f"{len(index.files)} videos" + (f", such as {index.files[0]}" if index.files else "")
        raise AvspeechError(
            f"{video_dir}: contains no video of the {len(wanted)} segments in {table}; found {found}, "
            f"expected names such as {' or '.join(name_patterns)} with a suffix such as "
            f"{', '.join(VIDEO_SUFFIXES[:3])}; for other names use --pattern"
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
    repeats: dict[str, str] = {}
    if done and not keep_near_duplicates:
        from voiceface.datasets.avspeech.repeats import SegmentFiles, find_repeats  # numpy

        cut = [SegmentFiles(each, *_split_paths(output_paths(each, settings))) for each in done]
        repeats = find_repeats(root, cut, workers=workers, progress=progress)
    rows = [row for row in _manifest_rows(done, settings, identities) if row.path not in repeats]
    if rows:
        write_manifest(root / MANIFEST_FILE, rows)
    lines = [f"{path},{kept}\n" for path, kept in repeats.items()]
    _write_or_remove(root / REPEATS_FILE, "".join(["file,repeats\n", *lines]) if lines else "")
    _write_or_remove(root / MISSING_FILE, "".join(segment.row for segment in missing))
    _write_or_remove(root / FAILURES_FILE, json.dumps(failures, indent=2) + "\n" if failures else "")
    record |= {
        "complete": not failures,
        "identity": "a video; a speaker in several videos counts as several identities",
        "counts": {
            "segments": len(wanted),
            "repeated rows": len(segments) - len(wanted),
            "written": _count_by_split(rows),
            "near duplicates": {
                "clips": sum(path.startswith("wav/") for path in repeats),
                "images": sum(path.startswith("faces/") for path in repeats),
            },
            "videos of known gender": len(
                {s.video for s in done if s.video in identities and identities[s.video].gender}
            ),
            "missing segments": len(missing),
            "failed segments": len(failures),
        },
    }
    write_json(root / RECORD_FILE, record)
    return record


def output_paths(segment: Segment, settings: AvspeechSettings) -> list[str]:
    """Paths of a segment's clip and its images, relative to the corpus."""
    name = f"{segment.video}/{segment.name}"
    return [f"wav/{name}.wav"] + [
        f"faces/{name}_{k:02d}.{settings.image_format}" for k in range(settings.images_per_segment)
    ]


def _split_paths(paths: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    return paths[0], tuple(paths[1:])


def assign_split(video_id: str, settings: AvspeechSettings) -> str:
    """Assign a video to a split by a hash of seed and id, independent of other videos."""
    return split_by_hash(video_id, settings.seed, settings.split_fractions)


def _cut_segment(job: SegmentJob) -> str:
    """Cut one segment; return the reason of a failure, "" on success."""
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
    """Clips and images of an earlier run with the same table and settings."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return set()
    if not (root / RECORD_FILE).is_file():
        raise AvspeechError(
            f"{root} is not empty and contains no {RECORD_FILE}; choose a new folder or empty this one"
        )
    state = read_json(root / RECORD_FILE, AvspeechError, "a record of a run")
    try:
        found = {**state["settings"], "table (SHA-256)": state["table"]["sha256"]}
    except (ValueError, KeyError, TypeError) as error:
        raise AvspeechError(
            f"{root / RECORD_FILE} cannot be read ({error!r}); start again in a new folder"
        ) from error
    expected = {**record["settings"], "table (SHA-256)": record["table"]["sha256"]}
    differ = [name for name in expected if found.get(name) != expected[name]]
    if differ:
        what = "; ".join(f"{name} is {found.get(name)} there and {expected[name]} here" for name in differ)
        raise AvspeechError(f"{root} belongs to another run: {what}; use the same settings or another folder")
    ending = f".{record['settings']['image_format']}"
    return {*(find_files(root, "wav", (".wav",)) or ()), *(find_files(root, "faces", (ending,)) or ())}


def _manifest_rows(
    segments: Sequence[Segment], settings: AvspeechSettings, identities: dict[str, Identity]
) -> Iterator[ManifestRow]:
    """Manifest rows of the files, in the order of the segments; `identities` have known attributes."""
    for segment in segments:
        video = segment.video
        identity = replace(
            identities.get(video, Identity(video, video, video)), split=assign_split(video, settings)
        )
        voice, *faces = output_paths(segment, settings)
        yield ManifestRow(identity, "voice", voice)
        for face in faces:
            yield ManifestRow(identity, "face", face)


def _count_by_split(rows: Sequence[ManifestRow]) -> dict[str, dict[str, int]]:
    """Count videos, clips and images of every split."""
    counts = {name: {"videos": 0, "clips": 0, "images": 0} for name in SPLITS}
    for split in {row.identity.name: row.identity.split for row in rows}.values():
        counts[split]["videos"] += 1
    for row in rows:
        counts[row.identity.split]["clips" if row.modality == "voice" else "images"] += 1
    return counts


def _write_or_remove(path: Path, text: str) -> None:
    """Write a list, or remove that of an earlier run if it is empty now."""
    if text:
        write_text(path, text)
    else:
        path.unlink(missing_ok=True)
