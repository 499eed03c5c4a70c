"""The data folder: clips, images, manifest, record of all decisions."""

from __future__ import annotations

import filecmp
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from voiceface.datasets.identities import Identity
from voiceface.datasets.layouts import is_inside_root
from voiceface.datasets.manifest import ManifestRow, read_manifest, write_manifest
from voiceface.io.atomic import atomic_path, write_json
from voiceface.io.foreign_files import read_json
from voiceface.preparation.gathering import Gathering
from voiceface.preparation.selection import Person
from voiceface.preparation.settings import GatherSettings, PreparationError, VideoSettings
from voiceface.preparation.sources import PersonFacts, Video
from voiceface.preparation.tracks import SpeakingTrack, TrackClip, TrackImage

__all__ = ["FILES", "MANIFEST", "RECORD", "clip_path", "image_path", "write_dataset", "write_record"]

MANIFEST, RECORD, FILES = "manifest.csv", "prepare.json", "files.json"
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


def clip_path(person: str, track: SpeakingTrack, clip: TrackClip) -> str:
    """Path of a clip in the data folder: person, video, start and end in milliseconds."""
    return f"wav/{person}/{_video_name(track.video)}_{clip.record.file}"


def image_path(person: str, track: SpeakingTrack, image: TrackImage) -> str:
    """Path of an image in the data folder: person, video, track and rank in the track."""
    return f"faces/{person}/{_video_name(track.video)}_{image.record.file}"


def write_dataset(out: Path, work: Path, gathering: Gathering, facts: Mapping[str, PersonFacts]) -> list[str]:
    """Write clips, images and the manifest; files of an earlier run that are not wanted are removed.

    Args:
        out: data folder.
        work: folder with the files of all videos.
        gathering: what is written.
        facts: gender, nationality and age by person; what the manifest there states is kept otherwise.

    Returns:
        Paths of clips and images, sorted.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    wanted: dict[str, str] = {}
    rows: list[ManifestRow] = []
    before = _known_identities(out / MANIFEST)
    for person in gathering.people:
        identity = _identity(person, gathering.splits[person.name], facts, before)
        for track, clip in person.clips:
            path = clip_path(person.name, track, clip)
            wanted[path] = clip.file
            rows.append(ManifestRow(identity, "voice", path))
        for track, image in person.images:
            path = image_path(person.name, track, image)
            wanted[path] = image.file
            rows.append(ManifestRow(identity, "face", path))
    listing = work / FILES
    old = _listed_files(listing)
    write_json(listing, {"files": sorted(old | set(wanted))})
    for path, source in wanted.items():
        _copy(work / source, out / path)
    write_manifest(out / MANIFEST, rows)
    for path in sorted(old - set(wanted)):
        (out / path).unlink(missing_ok=True)
        for folder in (out / path).parents:
            if folder == out or not folder.is_dir() or any(folder.iterdir()):
                break
            folder.rmdir()
    write_json(listing, {"files": sorted(wanted)})
    return sorted(wanted)


def write_record(
    path: Path,
    gathering: Gathering,
    *,
    names: str,
    video_settings: VideoSettings,
    settings: GatherSettings,
    networks: Mapping[str, str],
) -> dict[str, Any]:
    """Write all decisions as JSON.

    Args:
        path: file.
        gathering: the decisions.
        names: where the names of people come from.
        video_settings: what was taken out of videos.
        settings: thresholds and limits.
        networks: name -> fingerprint.

    Returns:
        The content.
    """
    people = {
        person.name: {
            "split": gathering.splits[person.name],
            "speech_seconds": round(person.seconds, 3),
            "videos": sorted({track.video.label for track in person.tracks}),
            "clips": [
                {
                    "file": clip_path(person.name, track, clip),
                    "track": track.key,
                    "start": clip.record.start,
                    "end": clip.record.end,
                    "correlation": clip.record.correlation,
                }
                for track, clip in person.clips
            ],
            "images": [
                {
                    "file": image_path(person.name, track, image),
                    "track": track.key,
                    "time": image.record.time,
                }
                for track, image in person.images
            ],
        }
        for person in gathering.people
    }
    record = {
        "format": 1,
        "names": names,
        "settings": {**asdict(video_settings), **asdict(settings)},
        "networks": dict(networks),
        "counts": {
            "by_split": gathering.counts_by_split(),
            "left_out": [
                {"kind": kind, "reason": reason, "number": number}
                for kind, reason, number in gathering.counts_by_reason()
            ],
        },
        "notes": gathering.notes,
        "videos": [
            {
                "video": video.label,
                "sha256": video.digest,
                "name": video.name,
                "seconds": content.record.seconds,
                "width": content.record.width,
                "height": content.record.height,
                "frame_rate": content.record.frame_rate,
                "damaged_frames": content.record.damaged_frames,
                "cuts": len(content.record.cuts),
                "tracks": len(content.record.tracks),
                "clips": len(content.record.clips),
            }
            for video, content in gathering.videos
        ],
        "people": people,
        "left_out": [
            {key: value for key, value in asdict(each).items() if value and key != "file"}
            for each in gathering.dropped
        ],
    }
    write_json(path, record)
    return record


def _identity(
    person: Person, split: str, facts: Mapping[str, PersonFacts], before: Mapping[str, Identity]
) -> Identity:
    """Row of a person: what the table of names states, else what the manifest stated."""
    name = person.name
    known, told = before.get(name, Identity(name, name, name)), facts.get(name, PersonFacts())
    return replace(
        known,
        gender=told.gender or known.gender,
        nationality=told.nationality or known.nationality,
        age=known.age if told.age is None else told.age,
        split=split,
    )


def _listed_files(listing: Path) -> set[str]:
    """Files that an earlier run wrote; only those are ever removed."""
    if not listing.is_file():
        return set()
    files = read_json(listing, PreparationError, "a list of files").get("files", [])
    if not isinstance(files, list):
        raise PreparationError(f"{listing} is damaged: remove it; files of earlier runs then stay")
    return {name for name in files if isinstance(name, str) and is_inside_root(name)}


def _known_identities(manifest: Path) -> dict[str, Identity]:
    if not manifest.is_file():
        return {}
    return {row.identity.name: row.identity for row in read_manifest(manifest)}


def _video_name(video: Video) -> str:
    """Name of a video in names of files: letters of its own name, and its content."""
    stem = _UNSAFE.sub("_", video.path.stem).strip("_")[:40]
    return f"{stem}-{video.key}" if stem else video.key


def _copy(source: Path, target: Path) -> None:
    """Copy a file unless it is there."""
    if target.is_file() and filecmp.cmp(source, target, shallow=False):
        return
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
