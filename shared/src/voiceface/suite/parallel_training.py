"""Concurrent training of several systems by their quick configurations, one process each.

A stopped training resumes exactly: each process saves its state on SIGTERM, and exits when its parent process
is gone.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.io.file_kinds import printable
from voiceface.io.foreign_files import read_file_bytes, read_file_text

if TYPE_CHECKING:
    pass

__all__ = [
    "PROGRESS_INTERVAL",
    "describe_progress",
    "main",
    "single_thread_environment",
    "train_systems",
]

PROGRESS_INTERVAL = 15.0  # seconds between lines of progress
POLL_INTERVAL = 0.2
SHUTDOWN_TIMEOUT = 60.0  # seconds a process has to save its state
_END = object()  # of an iterator


def train_systems(
    names: Sequence[str],
    population: Path,
    out: Path,
    *,
    jobs: int = 2,
    device: str = "cpu",
    on_progress: Callable[[str], None] = print,
    command: Sequence[str] = (sys.executable, "-m", "voiceface.suite.parallel_training"),
    meanwhile: Iterator[object] | None = None,
) -> dict[str, Path]:
    """Train systems in processes of one thread each; finished work is kept.

    Args:
        names: systems whose record has `train`.
        population: folder of the synthetic identities.
        out: folder for one subfolder per system and `logs/NAME.txt`.
        jobs: concurrent processes.
        device: device of the networks.
        on_progress: called with lines of progress.
        command: command of a process, without name and flags.
        meanwhile: other work of this process, advanced step by step while fewer than `jobs` trainings run and
            none waits; what is left of it after the last training is left.

    Returns:
        Name -> run folder of the finished model.

    Raises:
        ValueError: a training failed; the message names its log. The others finish first.
        KeyboardInterrupt: interrupted; every training has saved its state.
    """
    waiting, failed = list(names), []
    running: dict[str, subprocess.Popen[bytes]] = {}
    start = last_report = time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                name = waiting.pop(0)
                running[name] = _start_training(name, population, out, device, command)
            for name, process in list(running.items()):
                if process.poll() is not None:
                    del running[name]
                    if process.returncode:
                        failed.append(_describe_failure(name, process.returncode, out))
                    else:
                        on_progress(f"    {name}: done after {time.monotonic() - start:.0f} s")
            if running and time.monotonic() - last_report > PROGRESS_INTERVAL:
                last_report = time.monotonic()
                on_progress(
                    f"    {last_report - start:4.0f} s  "
                    + "   ".join(describe_progress(out / name) for name in running)
                )
            if meanwhile is None or waiting or not 0 < len(running) < jobs:
                time.sleep(POLL_INTERVAL)
            elif next(meanwhile, _END) is _END:
                meanwhile = None
    except BaseException:
        _stop_all(running, on_progress)
        raise
    if failed:
        raise ValueError("; ".join(failed))
    places = {name: read_file_text(out / name / "run.txt", ValueError, "the name of a run") for name in names}
    return {name: Path(text.strip()) for name, text in places.items()}


def describe_progress(folder: Path) -> str:
    """Describe the progress of a system: its name, the run and its last logged step."""
    logs = sorted(folder.glob("*/log.jsonl"), key=lambda path: path.stat().st_mtime)
    if not logs:
        return f"{folder.name}: starting"
    step = None
    with suppress(OSError, ValueError, IndexError, AttributeError, RecursionError):
        text = read_file_text(logs[-1], ValueError, "a training log")
        step = json.loads(text.splitlines()[-1]).get("step")
    return f"{folder.name}: {logs[-1].parent.name}{'' if step is None else f' step {step}'}"


def main(argv: Sequence[str] | None = None) -> int:
    """Train one system; started by `train_systems`."""
    parser = argparse.ArgumentParser(
        prog="python -m voiceface.suite.parallel_training", description=main.__doc__
    )
    parser.add_argument("name", help="name of the system")
    parser.add_argument("--population", type=Path, required=True, help="folder of the synthetic identities")
    parser.add_argument("--out", type=Path, required=True, help="folder for its runs")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto")
    args = parser.parse_args(argv)
    from voiceface.io.atomic import write_text
    from voiceface.suite.plugins import AssociationSystem, find_systems

    (system,) = find_systems().select([args.name]).found
    if not isinstance(system, AssociationSystem) or system.train is None:
        raise ValueError(f"{args.name} has no quick training")
    run = system.train(args.population, args.out, device=args.device)
    write_text(args.out / "run.txt", f"{run}\n")
    return 0


def _start_training(
    name: str, population: Path, out: Path, device: str, command: Sequence[str]
) -> "subprocess.Popen[bytes]":
    """Start a training in its own process group, so that Ctrl-C reaches it through `_stop_all` only."""
    (out / "logs").mkdir(parents=True, exist_ok=True)
    words = [*command, name, "--population", population, "--out", out / name, "--device", device]
    with (out / "logs" / f"{name}.txt").open("ab") as log:
        return subprocess.Popen(
            [str(word) for word in words],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=single_thread_environment(os.environ),
            start_new_session=True,
        )


def single_thread_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Environment of a process that uses one core, so that metrics do not depend on their number."""
    return {**environment, "OMP_NUM_THREADS": "1", "TQDM_MININTERVAL": "30"}


def _stop_all(running: "Mapping[str, subprocess.Popen[bytes]]", on_progress: Callable[[str], None]) -> None:
    """Let every process save its state and exit; kill those that do not."""
    for process in running.values():
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
    if running:
        on_progress(f"    stopping: {', '.join(running)} (saving their states)")
    deadline = time.monotonic() + SHUTDOWN_TIMEOUT
    for process in running.values():
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
            process.wait()


def _describe_failure(name: str, return_code: int, out: Path) -> str:
    log = out / "logs" / f"{name}.txt"
    text = read_file_bytes(log, ValueError, "the output of a training").decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.strip()]
    last_line = lines[-1] if lines else "no output"
    return f"{name}: the training failed with exit code {return_code} ({printable(last_line)}); see {log}"


def _exit_with_parent() -> None:
    """Send SIGTERM to this process when the pipe from its parent closes.

    Reads the file descriptor: a thread that waits inside `sys.stdin` would hold its lock at exit.
    """
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    threading.Thread(target=_exit_with_parent, daemon=True).start()
    raise SystemExit(run_main("voiceface.suite.parallel_training", None))
