"""Timers, test sounds and reports that the benchmarks share."""

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = [
    "Times",
    "add_report_arguments",
    "compare_builds",
    "min_times",
    "min_times_alternating",
    "report_ratios",
    "serve_steps",
    "synthetic_voice",
]


class Times(NamedTuple):
    """Seconds of one call.

    Attributes:
        cpu: processor time.
        wall: elapsed time.
    """

    cpu: float
    wall: float


def min_times(call: Callable[[], Any], repeats: int, *, warm_up: bool = True) -> Times:
    """Return the smallest processor time and the smallest elapsed time of several calls.

    Args:
        call: what to time.
        repeats: number of timed calls.
        warm_up: call once more before, untimed.
    """
    return min_times_alternating({"call": call}, repeats, warm_up=warm_up)["call"]


def min_times_alternating(
    calls: Mapping[str, Callable[[], Any]], repeats: int, *, warm_up: bool = True
) -> dict[str, Times]:
    """Time several calls alternately, so that a change of load affects all of them; see `min_times`."""
    if warm_up:
        for call in calls.values():
            call()
    times: dict[str, list[Times]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            cpu, wall = time.process_time(), time.perf_counter()
            call()
            times[name].append(Times(time.process_time() - cpu, time.perf_counter() - wall))
    return {
        name: Times(min(each.cpu for each in measured), min(each.wall for each in measured))
        for name, measured in times.items()
    }


def serve_steps(step: Callable[[], Any], connection: "Connection") -> None:
    """Answer every request of True with (losses of a step, processor seconds, wall seconds); False ends."""
    while connection.recv():
        cpu, wall = time.process_time(), time.perf_counter()
        losses = step()
        connection.send((losses, time.process_time() - cpu, time.perf_counter() - wall))


def compare_builds(worker: Callable[..., None], arguments: Sequence[Any], rounds: int) -> dict[str, object]:
    """Time the builds "plain" and "ours" alternately, each in a process of its own.

    Args:
        worker: called as worker(build, connection, *arguments); ends with `serve_steps`.
        arguments: picklable.
        rounds: timed steps of each build, after one warm-up step.

    Returns:
        Smallest processor and wall time of a step in seconds, their ratios, first losses and load.

    Raises:
        RuntimeError: the first losses of the builds differ.
    """
    context = multiprocessing.get_context("spawn")
    ends: dict[str, Connection] = {}
    processes = []
    for build in ("plain", "ours"):
        ends[build], other_end = context.Pipe()
        processes.append(context.Process(target=worker, args=(build, other_end, *arguments), daemon=True))
        processes[-1].start()
        other_end.close()  # detects a process that dies
    answers: dict[str, list[tuple[Any, float, float]]] = {build: [] for build in ends}
    for _ in range(rounds + 1):
        for build, end in ends.items():
            end.send(True)
            answers[build].append(end.recv())
    for end, process in zip(ends.values(), processes):
        end.send(False)
        process.join()
    first = {build: steps[0][0] for build, steps in answers.items()}
    if not np.allclose(first["ours"], first["plain"], rtol=1e-4, atol=0):
        raise RuntimeError(f"the two builds disagree: {first}")
    times = {
        build: Times(min(step[1] for step in steps[1:]), min(step[2] for step in steps[1:]))
        for build, steps in answers.items()
    }
    return {
        **{f"{build}_{kind}": round(s, 3) for build, t in times.items() for kind, s in t._asdict().items()},
        "ratio_cpu": round(times["ours"].cpu / times["plain"].cpu, 3),
        "ratio_wall": round(times["ours"].wall / times["plain"].wall, 3),
        "first_losses": first,
        "load": round(os.getloadavg()[0], 1),
    }


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --strict and --out."""
    parser.add_argument("--strict", action="store_true", help="fail when a goal is missed")
    parser.add_argument("--out", type=Path, help="also write the results as JSON")


def report_ratios(rows: Sequence[Mapping[str, Any]], args: argparse.Namespace) -> int:
    """Print rows as JSON, write them to `args.out`; 1 if `args.strict` and a "ratio_cpu" misses its goal."""
    text = json.dumps(rows, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")
    return int(args.strict and any(row["ratio_cpu"] > row["goal_ratio"] for row in rows))


def synthetic_voice(seconds: int, sample_rate: int = 16000) -> np.ndarray:
    """A harmonic sound with a formant and syllables, int16, which WebRTC's and the pitch detector accept."""
    os.environ.setdefault("VOICEFACE_SPEECH_FINDER", "pitch")  # silero takes it for music
    moment = np.arange(seconds * sample_rate) / sample_rate
    phase = 2 * np.pi * np.cumsum(110 + 15 * np.sin(2 * np.pi * 3 * moment)) / sample_rate
    partials = (np.sin(k * phase) * np.exp(-(((k * 110 - 600) / 700) ** 2)) for k in range(1, 30))
    wave = np.sum(list(partials), 0) * (1 + 0.7 * np.sin(2 * np.pi * 4 * moment)) * 2500
    return np.clip(wave + np.random.default_rng(0).normal(0, 20, len(wave)), -32768, 32767).astype(np.int16)
