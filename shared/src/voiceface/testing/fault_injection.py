"""Interrupted runs in tests: killed, stopped, on a full disk; resumed, they end like an uninterrupted run."""

import contextlib
import errno
import io
import multiprocessing
import os
import random
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from voiceface.checkpoints.paths import MODEL_FILE
from voiceface.commandline.dispatch import run_main
from voiceface.testing.runs import ArgumentsBuilder, run_outcome
from voiceface.training.run_directory import LOG_FILE

__all__ = [
    "InterruptibleRun",
    "ProcessStarter",
    "check_disk_full_during_save",
    "check_killed_at_random_times",
    "check_killed_during_save",
    "check_resumed_when_finished",
    "check_stopped_by_ctrl_c",
    "preloaded_processes",
    "process_starter",
    "run_as_program",
    "run_in_processes",
    "run_in_two_processes",
    "run_stopped_after",
]

ProcessStarter = Callable[..., Any]
# Modules that a training process of any system imports.
PRELOADED_MODULES = (
    *("pytest", "torch._dynamo", "tensorboardX", "cv2", "soundfile", "soxr", "safetensors.torch"),
    *(
        "voiceface.testing.fault_injection",
        "voiceface.training.run",
        "voiceface.metrics.verification",
        "voiceface.embeddings.table",
    ),
)


@dataclass(frozen=True)
class InterruptibleRun:
    """A run to interrupt, and an uninterrupted reference.

    Attributes:
        module: module whose `main` trains, such as "cmpc2.train".
        build_arguments: (run folder, further arguments) -> arguments of the command.
        reference_run: folder of the uninterrupted run.
        files: output files that must be identical; empty: the model.
    """

    module: str
    build_arguments: ArgumentsBuilder
    reference_run: Path
    files: tuple[str, ...] = ()

    def train(self, out: Path, *more: str) -> int:
        """Train in this process; returns the exit code."""
        return run_main(self.module, self.build_arguments(out, *more))

    def assert_resumes_identically(self, out: Path) -> None:
        """Resume an interrupted run.

        Raises:
            AssertionError: its files or its log differ from those of the reference.
        """
        assert self.train(out, "--resume") == 0
        assert run_outcome(out, *self.files) == run_outcome(self.reference_run, *self.files)
        assert not list(out.rglob(".*.part*"))


def check_killed_at_random_times(
    run: InterruptibleRun, start_process: ProcessStarter, out: Path, kills: int = 1
) -> None:
    """Send SIGKILL shortly after a line of the log was written, `kills` times, and resume."""
    errors, rng, num_killed = out.with_name("errors"), random.Random(), 0
    for _ in range(20):
        more = ["--resume"] if out.exists() else []
        before = log_size(out)
        child = start_process(run_as_program, run.module, run.build_arguments(out, *more), str(errors), {})
        wait_until(lambda before=before: log_size(out) > before, child)  # type: ignore[misc]
        time.sleep(rng.uniform(0, 0.2))
        child.kill()
        child.join()
        if child.exitcode == -signal.SIGKILL:
            num_killed += 1
        else:  # it ended before the kill
            shutil.rmtree(out)
        if num_killed == kills:
            break
    assert num_killed, errors.read_text()
    run.assert_resumes_identically(out)


def check_killed_during_save(
    run: InterruptibleRun, start_process: ProcessStarter, out: Path, save_index: int, *, seconds: float = 120
) -> None:
    """Send SIGKILL halfway through the `save_index`-th written checkpoint or state, from 0, and resume.

    Args:
        run: the run.
        start_process: from `process_starter`.
        out: run folder of the killed run.
        save_index: number of the write.
        seconds: how long the run may take until then.
    """
    errors = out.with_name("errors")
    child = start_process(
        run_killed_during_save, run.module, run.build_arguments(out), str(errors), save_index
    )
    child.join(seconds)
    assert child.exitcode == -signal.SIGKILL, errors.read_text() or f"not killed within {seconds} s"
    assert list(out.rglob(".*.part*")), "the kill left no half-written file: it came at the wrong moment"
    run.assert_resumes_identically(out)


def check_stopped_by_ctrl_c(run: InterruptibleRun, start_process: ProcessStarter, out: Path) -> None:
    """Send SIGINT after the first line of the log: the run saves its state and names --resume."""
    errors = out.with_name("errors")
    child = start_process(run_as_program, run.module, run.build_arguments(out), str(errors), {})
    wait_until(lambda: log_size(out) > 0, child)
    os.kill(child.pid, signal.SIGINT)
    child.join(60)
    message = errors.read_text()
    assert child.exitcode == 130, message
    assert "stopped by SIGINT" in message and "--resume" in message and "Traceback" not in message
    assert not (out / MODEL_FILE).exists()
    run.assert_resumes_identically(out)


def check_disk_full_during_save(run: InterruptibleRun, out: Path, save_index: int) -> None:
    """Fail the `save_index`-th write of a checkpoint or state as a full disk does, and resume later."""
    count, stderr = iter(range(1000)), io.StringIO()

    def full(path: Path, data: bytes) -> int:
        if path.suffix == ".safetensors" and next(count) == save_index:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with path.open("wb") as file:
            return file.write(data)

    with mock.patch.object(Path, "write_bytes", full), contextlib.redirect_stderr(stderr):
        assert run.train(out) == 1
    message = stderr.getvalue()
    assert "No space left on device" in message and "--resume" in message and "Traceback" not in message
    assert not list(out.rglob(".*.part*"))
    run.assert_resumes_identically(out)


def check_resumed_when_finished(run: InterruptibleRun) -> None:
    """Resume a finished run, which must stay unchanged."""
    before = run_outcome(run.reference_run, *run.files)
    assert run.train(run.reference_run, "--resume") == 0
    assert run_outcome(run.reference_run, *run.files) == before


# processes


def preloaded_processes(*modules: str) -> ForkServerContext:
    """Start a server of processes that have all modules imported and no state of this process.

    Args:
        modules: modules of the system, besides `PRELOADED_MODULES`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED_MODULES, *modules])
    forkserver.ensure_running()  # it imports while this process continues
    return context


@contextlib.contextmanager
def process_starter(processes: ForkServerContext) -> Iterator[Callable[..., Any]]:
    """Yield a function that starts another in a new process; at the end, running processes are killed."""
    children = []

    def run(function: Callable[..., None], *arguments: Any) -> Any:
        child = processes.Process(target=function, args=arguments)
        children.append(child)
        child.start()
        return child

    yield run
    for child in children:
        child.kill()
        child.join()


def run_as_program(module: str, arguments: list[str], stderr_file: str, environment: dict[str, str]) -> None:
    """Run the `main` of a module as the program of this process, with stderr in a file; ends the process."""
    os.environ.update(environment, OMP_NUM_THREADS="1")
    torch.set_num_threads(1)
    os.dup2(os.open(stderr_file, os.O_CREAT | os.O_WRONLY | os.O_APPEND), 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    raise SystemExit(run_main(module, arguments))


def run_killed_during_save(module: str, arguments: list[str], stderr_file: str, save_index: int) -> None:
    """Do the same, killed halfway through the `save_index`-th written checkpoint or state, from 0."""
    write, count = Path.write_bytes, iter(range(1000))

    def half(path: Path, data: bytes) -> int:
        if path.suffix == ".safetensors" and next(count) == save_index:
            write(path, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return write(path, data)

    Path.write_bytes = half  # type: ignore[method-assign,assignment]
    run_as_program(module, arguments, stderr_file, {})


def wait_until(condition: Callable[[], bool], process: Any, seconds: float = 60) -> None:
    """Wait until the condition holds, the process has ended, or the time has passed."""
    deadline = time.monotonic() + seconds
    while not condition() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.005)


def log_size(out: Path) -> int:
    """Return the size of the log of a run in bytes."""
    log = out / LOG_FILE
    return log.stat().st_size if log.exists() else 0


def run_stopped_after(
    module: str, steps: int, arguments: list[str], stderr_file: str, environment: dict[str, str]
) -> None:
    """Do the same; the process of rank 0 gets SIGTERM in the last of so many steps."""
    from voiceface.training.run import Run

    log = Run.log

    def stop(run: Run, step: int, *values: Any, **options: Any) -> None:
        log(run, step, *values, **options)
        if run.is_main and step == steps - 1 and not options:
            os.kill(os.getpid(), signal.SIGTERM)

    Run.log = stop  # type: ignore[method-assign, assignment]
    run_as_program(module, arguments, stderr_file, environment)


def run_in_two_processes(
    start_process: Callable[..., Any], function: Callable[..., None], arguments: list[str], stderr_file: Path
) -> None:
    """Run a command in two communicating processes; see `run_in_processes`."""
    run_in_processes(start_process, function, arguments, stderr_file)


def run_in_processes(
    start_process: Callable[..., Any],
    function: Callable[..., None],
    arguments: list[str],
    stderr_file: Path,
    *,
    count: int = 2,
    exit_status: int = 0,
) -> None:
    """Run a command in processes that communicate.

    Args:
        start_process: from `process_starter`.
        function: (arguments, file for stderr, environment) -> None, as `run_as_program` after its module.
        arguments: arguments of the command.
        stderr_file: file for the stderr of all.
        count: number of processes.
        exit_status: expected of all.

    Raises:
        AssertionError: a process ended in another way; holds their stderr.
    """
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))  # an unused port
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [{**group, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
    children = [start_process(function, arguments, str(stderr_file), rank) for rank in ranks]
    for child in children:
        child.join(180)
        assert child.exitcode == exit_status, stderr_file.read_text()
