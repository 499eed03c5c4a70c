"""`voiceface avspeech`: a corpus from AVSpeech's table and the user's own copies of its videos.

AVSpeech (Ephrat et al., "Looking to Listen at the Cocktail Party", 2018) names stretches of online videos,
each with one visible speaker, and where the face is; it does not say who speaks. Here an identity is a video
(specification, section 14): a stand-in, since one person may be in several. Nothing is downloaded; what is
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
    MEDIA_SUFFIXES,
    PATTERNS,
    AvspeechError,
    Media,
    Segment,
    read_segments,
)
from voiceface.datasets.identities import SPLITS, Identity
from voiceface.datasets.layouts import find_files
from voiceface.datasets.manifest import ManifestRow, read_manifest, write_manifest
from voiceface.io.atomic import sha256_of, write_bytes, write_json, write_text

MANIFEST, MARKER, MISSING, FAILURES = "manifest.csv", "avspeech.json", "missing.csv", "failures.json"

PICTURES = ("jpg", "png")

JPEG_QUALITY = 95


@dataclass(frozen=True)
class Settings:
    """What decides the files of a corpus.

    Attributes:
        faces: pictures per stretch, evenly spaced in time.
        face_share: side of the square around the face's centre, as a fraction of the height of the video. The
            table says nothing of the size; the default is a choice made here, not AVSpeech's [inferred].
        side: of the pictures, pixels.
        picture: "jpg" or "png".
        seed: of the draw that puts a video into a split.
        shares: of the videos in train, val and test; the sum is 1.
    """

    faces: int = 4
    face_share: float = 0.4
    side: int = 128
    picture: str = "jpg"
    seed: int = 0
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        if not 1 <= self.faces <= 99 or self.side < 8:
            raise AvspeechError(
                f"{self.faces} pictures of {self.side} pixels, expected 1 to 99 of 8 pixels or more"
            )
        if not 0 < self.face_share <= 1:
            raise AvspeechError(f"a face's share of the height of {self.face_share}, expected 0 < share <= 1")
        if self.picture not in PICTURES:
            raise AvspeechError(f"pictures as {self.picture!r}, expected {' or '.join(PICTURES)}")
        if self.seed < 0:
            raise AvspeechError(f"the seed is {self.seed}, expected 0 or more")
        if not min(self.shares) >= 0 or not math.isclose(sum(self.shares), 1, abs_tol=1e-6):
            raise AvspeechError(
                f"shares {', '.join(map(str, self.shares))}, expected three numbers from 0 on with the sum 1"
            )


@dataclass(frozen=True)
class Job:
    """One stretch to be cut: out of which file, from which second of it on, into which folder."""

    segment: Segment
    clips: str
    item: str
    start: float
    out: str
    settings: Settings


def make_corpus(
    table: str | Path,
    clips: str | Path,
    out: str | Path,
    settings: Settings | None = None,
    *,
    patterns: Sequence[str] = PATTERNS,
    workers: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Cut every stretch whose video is there, and write clips, pictures and the manifest that names them.

    Clips are `wav/<id>/<start ms>-<end ms>.wav`, 16 kHz, 16 bit, mono; pictures are in `faces/<id>`, with the
    same name and a number. A stretch that is there already is not made again, even when its video has gone
    since: a second run finishes an interrupted one, and adds what was obtained meanwhile. What could not be
    done is in `missing.csv` (rows of the table without a video) and `failures.json` (with the reason). The
    manifest is written anew; gender, nationality and age that somebody filled in since are taken over.

    Args:
        table: see `read_segments`.
        clips: folder of the videos, see `Media`.
        out: folder of the corpus; new, empty, or begun with the same table and settings.
        settings: None takes the defaults.
        patterns: names of the videos, see `Media`.
        workers: processes; None takes every core. The result does not depend on it.
        progress: show a bar on standard error.

    Returns:
        What `avspeech.json` in `out` holds: settings, table, counts; `complete` is False after failures.

    Raises:
        AvspeechError: the table cannot be used, no video of it is there, or `out` holds something else.
        FileNotFoundError: no table, or no folder of videos.
    """
    from voiceface.runtime.process_pool import map_unordered

    settings, root, media = settings or Settings(), Path(out), Media(clips, patterns)
    segments = list(read_segments(table))
    wanted = list({(segment.video, segment.name): segment for segment in reversed(segments)}.values())[::-1]
    record: dict[str, Any] = {
        "complete": False,
        "settings": {**asdict(settings), "shares": list(settings.shares)},
        "table": {"name": Path(table).name, "sha256": sha256_of(table), "rows": len(segments)},
    }
    present = _files_of(root, record)
    known = read_manifest(root / MANIFEST) if present and (root / MANIFEST).is_file() else []
    people = {row.identity.name: row.identity for row in known}
    done, jobs, missing = [], [], []
    for segment in wanted:
        if present.issuperset(outputs(segment, settings)):
            done.append(segment)
        elif source := media.find(segment):
            jobs.append(Job(segment, str(clips), *source, str(root), settings))
        else:
            missing.append(segment)
    if not done and not jobs:
        found = f"{len(media.files)} videos" + (f", such as {media.files[0]}" if media.files else "")
        raise AvspeechError(
            f"{clips}: holds no video of the {len(wanted)} stretches in {table}; found {found}, expected "
            f"names such as {' or '.join(patterns)} with an ending such as {', '.join(MEDIA_SUFFIXES[:3])}; "
            "other names need --pattern"
        )
    write_json(root / MARKER, record)
    for leftover in root.rglob(".*.part*"):
        leftover.unlink(missing_ok=True)
    failures = []
    for job, reason in map_unordered(_make, jobs, workers, "avspeech", "clip", progress=progress):
        if reason:
            failures.append({**job.segment._asdict(), "file": job.item, "reason": reason})
        else:
            done.append(job.segment)
    done.sort()
    failures.sort(key=lambda failure: (failure["video"], failure["start"]))
    if done:
        write_manifest(root / MANIFEST, list(_manifest_rows(done, settings, people)))
    _write_or_remove(root / MISSING, "".join(segment.row for segment in missing))
    _write_or_remove(root / FAILURES, json.dumps(failures, indent=2) + "\n" if failures else "")
    record |= {
        "complete": not failures,
        "identity": "a video; one person in several videos counts as several",
        "counts": {
            "stretches": len(wanted),
            "repeated rows": len(segments) - len(wanted),
            "made": _counts(done, settings),
            "videos of known gender": len(
                {s.video for s in done if s.video in people and people[s.video].gender}
            ),
            "missing stretches": len(missing),
            "failed stretches": len(failures),
        },
    }
    write_json(root / MARKER, record)
    return record


def outputs(segment: Segment, settings: Settings) -> list[str]:
    """Paths below the corpus of a stretch's clip, and then of its pictures."""
    name = f"{segment.video}/{segment.name}"
    return [f"wav/{name}.wav"] + [f"faces/{name}_{k:02d}.{settings.picture}" for k in range(settings.faces)]


def split_of(video: str, settings: Settings) -> str:
    """Put a video into a split by a hash of seed and id alone: other videos and their order do not matter."""
    digest = hashlib.sha256(f"{settings.seed}:{video}".encode()).digest()
    place = int.from_bytes(digest[:6], "big") / 2**48  # uniform in [0, 1), exact
    train, val, test = settings.shares
    if place < train or not (val or test):
        return "train"
    return "val" if place < train + val or not test else "test"


def _make(job: Job) -> str:
    """Cut one stretch; returns why it could not be done, "" when it is there."""
    import cv2

    from voiceface.audio.loading import write_wav
    from voiceface.datasets.avspeech.video_segments import (
        MediaError,
        pictures_at,
        sound_between,
        square_around,
    )

    segment, settings, root = job.segment, job.settings, Path(job.out)
    path, length = Path(job.clips) / job.item, segment.end - segment.start
    times = [job.start + (k + 0.5) / settings.faces * length for k in range(settings.faces)]
    try:
        wave = sound_between(path, job.start, job.start + length)
        pictures = pictures_at(path, times)
    except MediaError as error:
        return str(error).replace(f"{path}: ", "", 1)
    voice, *faces = outputs(segment, settings)
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if settings.picture == "jpg" else []
    for picture, place in zip(pictures, faces):
        face = square_around(picture, segment.x, segment.y, settings.face_share, settings.side)
        ok, data = cv2.imencode(f".{settings.picture}", face, quality)
        assert ok, "picture encoder failed"
        write_bytes(root / place, data.tobytes())
    write_wav(root / voice, wave)
    return ""


def _files_of(root: Path, record: dict[str, Any]) -> set[str]:
    """Clips and pictures that an earlier run with the same table and settings made; none in a new folder."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return set()
    if not (root / MARKER).is_file():
        raise AvspeechError(
            f"{root} is not empty and holds no {MARKER}; choose a new folder or empty this one"
        )
    try:
        state = json.loads((root / MARKER).read_text())
        found = {**state["settings"], "table (SHA-256)": state["table"]["sha256"]}
    except (ValueError, KeyError, TypeError) as error:
        raise AvspeechError(
            f"{root / MARKER} cannot be read ({error!r}); start again in a new folder"
        ) from error
    asked = {**record["settings"], "table (SHA-256)": record["table"]["sha256"]}
    differ = [name for name in asked if found.get(name) != asked[name]]
    if differ:
        what = "; ".join(f"{name} is {found.get(name)} there and {asked[name]} here" for name in differ)
        raise AvspeechError(f"{root} was begun with something else: {what}; use the same or another folder")
    ending = f".{record['settings']['picture']}"
    return {*(find_files(root, "wav", (".wav",)) or ()), *(find_files(root, "faces", (ending,)) or ())}


def _manifest_rows(
    segments: Sequence[Segment], settings: Settings, people: dict[str, Identity]
) -> Iterator[ManifestRow]:
    """A row per file, in the order of the segments; `people` are those of whom something is known."""
    for segment in segments:
        video = segment.video
        identity = replace(people.get(video, Identity(video, video, video)), split=split_of(video, settings))
        voice, *faces = outputs(segment, settings)
        yield ManifestRow(identity, "voice", voice)
        for face in faces:
            yield ManifestRow(identity, "face", face)


def _counts(segments: Sequence[Segment], settings: Settings) -> dict[str, dict[str, int]]:
    """Videos, clips and pictures of every split."""
    counts = {name: {"videos": 0, "clips": 0, "pictures": 0} for name in SPLITS}
    for video in {segment.video for segment in segments}:
        counts[split_of(video, settings)]["videos"] += 1
    for segment in segments:
        count = counts[split_of(segment.video, settings)]
        count["clips"] += 1
        count["pictures"] += settings.faces
    return counts


def _write_or_remove(path: Path, text: str) -> None:
    """Write a list, or take away the list of an earlier run when there is nothing to say any more."""
    if text:
        write_text(path, text)
    else:
        path.unlink(missing_ok=True)
