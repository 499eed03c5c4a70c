"""A data set from videos: find them, prepare each, gather people, write the data folder.

`DATA/.prepare` has one folder per video. Only videos that are not there yet, or whose content or settings
changed, are prepared; gathering is done anew each time and takes seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from voiceface.engines.interface import Engine
from voiceface.io.file_kinds import printable
from voiceface.io.input_files import make_writable_directory
from voiceface.io.own_files import LeftOut
from voiceface.io.wording import counted
from voiceface.preparation.cluster_table import read_cluster_table, write_cluster_table
from voiceface.preparation.gathering import Gathering, drop_repeated_videos, gather
from voiceface.preparation.pages import write_clusters_page, write_prepare_page
from voiceface.preparation.processing import PROBE, STEP, process_videos
from voiceface.preparation.selection import VoiceCheck
from voiceface.preparation.settings import GatherSettings, PreparationError, VideoSettings
from voiceface.preparation.sources import DigestCache, Video, choose_names, find_videos
from voiceface.preparation.tracks import Dropped
from voiceface.preparation.video_record import VideoContent, WorkFolder
from voiceface.preparation.writing import MANIFEST, RECORD, write_dataset, write_record

__all__ = [
    "CLUSTERS_PAGE",
    "CLUSTERS_TABLE",
    "NETWORKS",
    "PAGE",
    "WORK",
    "Preparation",
    "network_fingerprints",
    "prepare_dataset",
]

WORK, PAGE, CLUSTERS_TABLE, CLUSTERS_PAGE = ".prepare", "prepare.html", "clusters.csv", "clusters.html"
NETWORKS = ("face_detector", "face_mesh", "face_encoder", "voice_encoder")


@dataclass(frozen=True)
class Preparation:
    """What `prepare_dataset` did.

    Attributes:
        out: data folder.
        gathering: people and all decisions.
        record: content of `prepare.json`.
        names: mode of the names that was used: folders, files, none or table.
        left_out: files that are no videos.
        failed: video -> reason why it could not be prepared.
    """

    out: Path
    gathering: Gathering
    record: dict[str, Any]
    names: str
    left_out: list[LeftOut]
    failed: dict[str, str]


def network_fingerprints() -> dict[str, str]:
    """Digest of each network that prepares videos.

    Raises:
        voiceface.real.installation.MissingModelError: one was not fetched; the message names the command.
    """
    from voiceface.real.catalogue import MODELS
    from voiceface.real.installation import require_installed

    for name in NETWORKS:
        require_installed(name)
    return {name: MODELS[name].sha256 for name in NETWORKS}


def prepare_dataset(
    paths: Sequence[str | Path],
    out: str | Path,
    video_settings: VideoSettings | None = None,
    settings: GatherSettings | None = None,
    *,
    names: str = "auto",
    device: str = "cpu",
    workers: int | None = None,
    strict: bool = False,
    progress: bool = True,
    networks: Mapping[str, str] | None = None,
    probe: str = PROBE,
    step: str = STEP,
    check_voices: VoiceCheck | None = None,
    engine: Engine | None = None,
) -> Preparation:
    """Make a data folder from videos; the same call continues an interrupted one.

    The result depends on the videos, the settings and `clusters.csv`, not on the number of workers.

    Args:
        paths: files and folders.
        out: data folder: new, empty, or of an earlier run.
        video_settings: what is taken out of a video; None for the defaults.
        settings: how people are gathered; None for the defaults.
        names: see `voiceface.preparation.sources.choose_names`.
        device: of the networks, for PyTorch.
        workers: processes; None for one per core.
        strict: files that are no videos and videos that fail are errors.
        progress: show bars on standard error.
        networks: name -> fingerprint; None: those that `step` uses, which must be installed.
        probe: function that gives the duration of a video, see `process_videos`.
        step: function that prepares one video, see there.
        check_voices: None: `voiceface.preparation.voice_check.check_voices`, if the settings ask for it.
        engine: runs the work on the videos, whose machines see the videos and `out` at the same paths; None:
            `workers` processes of this machine.

    Returns:
        What was done.

    Raises:
        FileNotFoundError: a path does not exist, or a network is not installed.
        PreparationError: no videos, a folder of something else, or `strict` and a file was left out.
        voiceface.datasets.identities.IdentityError: a line of a table is wrong.
        OSError: the disk is full or the folder cannot be written.
    """
    video_settings, settings = video_settings or VideoSettings(), settings or GatherSettings()
    root = Path(out)
    _check_folder(root)
    videos, left_out = find_videos(paths)
    left_out = [each for each in left_out if not each.path.resolve().is_relative_to(root.resolve())]
    if strict and left_out:
        raise PreparationError(_strict_message(f"{each.path.name} {each.reason}" for each in left_out))
    videos, facts, mode = choose_names(videos, names, paths)
    rows = read_cluster_table(root / CLUSTERS_TABLE)
    networks = network_fingerprints() if networks is None else networks
    if check_voices is None and settings.check_voices:
        from voiceface.preparation import voice_check

        check_voices = voice_check.check_voices
    make_writable_directory(root)
    work = WorkFolder(root / WORK)
    with _lock(work.root):
        work.remove_leftovers()
        videos, failed = _with_digests(videos, work.root)
        videos, dropped = drop_repeated_videos(videos)
        failed |= process_videos(
            videos,
            work,
            video_settings,
            networks,
            device=device,
            workers=workers,
            progress=progress,
            probe=probe,
            step=step,
            engine=engine,
        )
        if strict and failed:
            raise PreparationError(_strict_message(f"{name}: {reason}" for name, reason in failed.items()))
        digest = video_settings.digest(networks)
        contents: list[tuple[Video, VideoContent]] = []
        for video in videos:
            content = (
                None if video.label in failed else work.read(work.place(video.digest, digest), verify=False)
            )
            if content is not None:
                contents.append((video, content))
            elif video.label not in failed:
                failed[video.label] = "its results were changed by another program; run the command again"
        dropped += [Dropped("video", name, "cannot be used", reason) for name, reason in failed.items()]
        dropped += [Dropped("video", each.path.name, "not a video", each.reason) for each in left_out]
        gathering = gather(contents, settings, named=mode != "none", rows=rows, check_voices=check_voices)
        gathering = replace(gathering, dropped=[*dropped, *gathering.dropped])
        write_dataset(root, work.root, gathering, facts)
        write_cluster_table(root / CLUSTERS_TABLE, gathering.found, gathering.decided, rows)
        write_clusters_page(root / CLUSTERS_PAGE, work.root, gathering, settings)
        write_prepare_page(root / PAGE, work.root, gathering, settings, names=mode, commands=_NEXT)
        record = write_record(
            root / RECORD,
            gathering,
            names=mode,
            video_settings=video_settings,
            settings=settings,
            networks=networks,
        )
    return Preparation(root, gathering, record, mode, left_out, failed)


_NEXT = (
    "voiceface check DATA --decode",
    "voiceface lists generate DATA --seed 0",
    "seeking_shape train --cfg main --data DATA --out RUN",
)


def _check_folder(root: Path) -> None:
    """Refuse a folder with other content: nothing of a user is overwritten."""
    if root.exists() and not root.is_dir():
        raise PreparationError(f"{printable(root)} is a file, expected a folder; choose another --out")
    if root.is_dir() and any(root.iterdir()) and not (root / WORK).is_dir():
        raise PreparationError(
            f"{printable(root)} is not empty and holds no {WORK} of an earlier run; choose a new folder or "
            f"empty this one{' (it holds a data set)' if (root / MANIFEST).is_file() else ''}"
        )


def _with_digests(videos: Sequence[Video], work: Path) -> tuple[list[Video], dict[str, str]]:
    """Videos with the digests of their content, and those that cannot be read."""
    cache, result, failed = DigestCache(work / "digests.json"), [], {}
    for video in videos:
        try:
            result.append(replace(video, digest=cache.digest(video.path)))
        except OSError as error:
            failed[video.label] = f"cannot be read: {error.strerror or error}"
    cache.save()
    return result, failed


def _strict_message(reasons: Iterator[str]) -> str:
    found = [printable(reason) for reason in reasons]
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    count = counted(len(found), "file")
    return f"{count} cannot be used, which --strict makes an error: {'; '.join(found[:5])}{more}"


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold the work folder; it is free again when this process ends, however it ends.

    Raises:
        PreparationError: another process holds it.
    """
    with (folder / "lock").open("a") as file:
        if not _try_lock(file):
            raise PreparationError(
                f"{printable(folder.parent)} is being prepared by another process; wait for it or choose "
                "another --out"
            )
        yield


def _try_lock(file: IO[str]) -> bool:
    if os.name != "posix":
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
