"""All videos, each in a worker process that may crash: what was done stays, what fails is named."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from voiceface.engines.interface import Engine
from voiceface.engines.units import Failure
from voiceface.io.decoding_worker import DecodingError, decode_isolated
from voiceface.io.file_kinds import printable
from voiceface.preparation.settings import VideoSettings
from voiceface.preparation.sources import Video
from voiceface.preparation.video_record import WorkFolder
from voiceface.runtime.process_pool import map_unordered

__all__ = ["PROBE", "STEP", "VideoJob", "end_with_parent", "process_videos", "run_step"]

STEP = "voiceface.preparation.processing:run_step"
PROBE = "voiceface.preparation.video_step:probe_job"
PROBE_SECONDS = 120.0
FIXED_SECONDS, SECONDS_PER_SECOND = 600.0, 60.0
"""A video may take ten minutes and sixty times its duration; then its worker is ended."""


@dataclass(frozen=True)
class VideoJob:
    """One video to prepare, as worker processes get it.

    Attributes:
        path: the video.
        place: folder to write, see `WorkFolder`.
        settings: fields of `VideoSettings`.
        device: for PyTorch, such as "cpu".
        probe: "module:function" that gives the duration, see `process_videos`.
        step: "module:function" that prepares the video, see there.
    """

    path: str
    place: str
    settings: dict[str, Any]
    device: str
    probe: str
    step: str

    @property
    def key(self) -> str:
        """The place, which names content and settings."""
        return self.place

    def split(self) -> list["VideoJob"]:
        """Nothing: a video is minutes of work and prepared as a whole."""
        return []


def process_videos(
    videos: Sequence[Video],
    work: WorkFolder,
    settings: VideoSettings,
    networks: Mapping[str, str],
    *,
    device: str = "cpu",
    workers: int | None = None,
    progress: bool = True,
    probe: str = PROBE,
    step: str = STEP,
    engine: Engine | None = None,
) -> dict[str, str]:
    """Prepare the videos that are not in the work folder yet.

    Args:
        videos: with digests; of several with one content the first is enough.
        work: where results are.
        settings: what is taken out of a video.
        networks: name -> fingerprint of the networks, part of the digest of the results.
        device: for PyTorch.
        workers: processes; None for one per core. The results do not depend on it.
        progress: show a bar on standard error.
        probe: "module:function" that gives the duration of a video.
        step: "module:function" that prepares one, with the arguments of `run_step`.
        engine: runs the work, on devices of its own; None: `workers` processes of this machine.

    Returns:
        Label -> reason of every video that failed. They are tried again by the next run.

    Raises:
        ModuleNotFoundError: the back end is not installed.
        ValueError: no such device.
    """
    digest = settings.digest(networks)
    jobs: list[VideoJob] = []
    labels: dict[str, str] = {}
    for video in videos:
        place = work.place(video.digest, digest)
        if work.read(place) is None:
            path, place = video.path.absolute(), place.absolute()  # workers may be in another folder
            jobs.append(VideoJob(str(path), str(place), asdict(settings), device, probe, step))
            labels[str(place)] = video.label
    if engine is not None:
        done = _map_with(engine, jobs)
    else:
        if jobs and step == STEP:
            _check_backend(settings.backend, device)
        done = map_unordered(_run_isolated, jobs, workers, "prepare", "video", progress=progress)
    return dict(sorted((labels[job.place], reason) for job, reason in done if reason))


def _map_with(engine: Engine, jobs: Sequence[VideoJob]) -> Iterator[tuple[VideoJob, str]]:
    """Yield jobs and reasons of failures, "" on success, as the engine is done with them."""
    for task, result in engine.map(_prepare_on, jobs):
        yield jobs[task.number], result.reason if isinstance(result, Failure) else result


def _prepare_on(device: str) -> Callable[[VideoJob], str]:
    """Factory of engines: a function that prepares a video on a device."""
    return lambda job: _run_isolated(replace(job, device=device))


def _check_backend(backend: Any, device: str) -> None:
    """Refuse at once what would fail in every worker: a missing library, a device that is not there."""
    from voiceface.real.backends import require_backend
    from voiceface.runtime.devices import choose_device

    require_backend(backend)
    choose_device(device)


def run_step(path: str, place: str, settings: dict[str, Any], device: str, parent: int) -> dict[str, Any]:
    """Prepare one video in the process that decodes, which ends together with the one that started it.

    Args:
        path: the video.
        place: folder to write.
        settings: fields of `VideoSettings`.
        device: for PyTorch.
        parent: number of the process that waits for the answer.

    Returns:
        {"tracks": number of face tracks, "clips": number of clips}.

    Raises:
        voiceface.real.installation.MissingModelError: a network was not fetched.
        ValueError: the video cannot be used.
        OSError: the folder cannot be written.
    """
    from voiceface.preparation.video_step import run_job

    end_with_parent(parent)
    return run_job(path, place, settings, device)


def end_with_parent(parent: int) -> None:
    """End this process when its parent has ended: a stopped run leaves no process that works on."""
    if _watched.setdefault("parent", parent) == parent and "thread" not in _watched:
        watch = partial(_watch, parent)
        _watched["thread"] = threading.Thread(target=watch, daemon=True)
        _watched["thread"].start()


_watched: dict[str, Any] = {}


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _run_isolated(job: VideoJob) -> str:
    """Prepare one video in a process of its own; return the reason of a failure, "" on success."""
    try:
        seconds = float(decode_isolated(job.probe, job.path, seconds=PROBE_SECONDS)["seconds"])
        limit = FIXED_SECONDS + SECONDS_PER_SECOND * max(0.0, seconds)
        arguments = (job.path, job.place, job.settings, job.device, os.getpid())
        decode_isolated(job.step, *arguments, seconds=limit)
    except (DecodingError, OSError) as error:
        text, name = str(error), printable(job.path)
        for prefix in (name, Path(name).name):
            text = text.removeprefix(f"{prefix}: ").removeprefix(f"{prefix} ")
        return text
    return ""
