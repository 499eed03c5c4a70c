"""Runs in tests that are killed, stopped, or run out of disk: they must end like one that was left alone."""

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

ProcessStarter = Callable[..., Any]
# What a training process of any system imports sooner or later.
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
    """A run that can be interrupted, and one that was not.

    Attributes:
        module: whose `main` trains, such as "cmpc2.train".
        build_arguments: gives the command line of the run into a folder, and further words.
        reference_run: folder of a run that nothing happened to.
        files: model files that must end the same; none: the weights.
    """

    module: str
    build_arguments: ArgumentsBuilder
    reference_run: Path
    files: tuple[str, ...] = ()

    def train(self, out: Path, *more: str) -> int:
        """Run it in this process; gives the exit code."""
        return run_main(self.module, self.build_arguments(out, *more))

    def assert_resumes_identically(self, out: Path) -> None:
        """Go on with an interrupted run.

        Raises:
            AssertionError: it does not end with the bytes and the log of the whole one.
        """
        assert self.train(out, "--resume") == 0
        assert run_outcome(out, *self.files) == run_outcome(self.reference_run, *self.files)
        assert not list(out.rglob(".*.part*"))


def check_killed_at_random_times(
    run: InterruptibleRun, start_process: ProcessStarter, out: Path, kills: int = 1
) -> None:
    """SIGKILL some time after a line of the log was written, as often as asked, then go on."""
    errors, draw, done = out.with_name("errors"), random.Random(), 0
    for _ in range(20):
        more = ["--resume"] if out.exists() else []
        before = log_size(out)
        child = start_process(run_as_program, run.module, run.build_arguments(out, *more), str(errors), {})
        wait_until(lambda before=before: log_size(out) > before, child)  # type: ignore[misc]
        time.sleep(draw.uniform(0, 0.2))
        child.kill()
        child.join()
        if child.exitcode == -signal.SIGKILL:
            done += 1
        else:  # it was done before the kill came
            shutil.rmtree(out)
        if done == kills:
            break
    assert done, errors.read_text()
    run.assert_resumes_identically(out)


def check_killed_during_save(
    run: InterruptibleRun, start_process: ProcessStarter, out: Path, save_index: int
) -> None:
    """SIGKILL half way through the `save_index`-th checkpoint or state that is written, from 0, then go
    on.
    """
    errors = out.with_name("errors")
    child = start_process(
        run_killed_during_save, run.module, run.build_arguments(out), str(errors), save_index
    )
    child.join(120)
    assert child.exitcode == -signal.SIGKILL, errors.read_text()
    assert list(out.rglob(".*.part*")), "the kill left no half-written file: it came at the wrong moment"
    run.assert_resumes_identically(out)


def check_stopped_by_ctrl_c(run: InterruptibleRun, start_process: ProcessStarter, out: Path) -> None:
    """SIGINT after the first line of the log: the state is saved, the user is told how to go on."""
    errors = out.with_name("errors")
    child = start_process(run_as_program, run.module, run.build_arguments(out), str(errors), {})
    wait_until(lambda: log_size(out) > 0, child)
    os.kill(child.pid, signal.SIGINT)
    child.join(60)
    said = errors.read_text()
    assert child.exitcode == 130, said
    assert "stopped by SIGINT" in said and "--resume" in said and "Traceback" not in said
    assert not (out / MODEL_FILE).exists()
    run.assert_resumes_identically(out)


def check_disk_full_during_save(run: InterruptibleRun, out: Path, save_index: int) -> None:
    """The disk is full at the `save_index`-th checkpoint or state: that is told, and the run resumes
    later.
    """
    count, said = iter(range(1000)), io.StringIO()

    def full(path: Path, data: bytes) -> int:
        if path.suffix == ".safetensors" and next(count) == save_index:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with path.open("wb") as file:
            return file.write(data)

    with mock.patch.object(Path, "write_bytes", full), contextlib.redirect_stderr(said):
        assert run.train(out) == 1
    message = said.getvalue()
    assert "No space left on device" in message and "--resume" in message and "Traceback" not in message
    assert not list(out.rglob(".*.part*"))
    run.assert_resumes_identically(out)


def check_resumed_when_finished(run: InterruptibleRun) -> None:
    """A finished run that is resumed stays as it is."""
    before = run_outcome(run.reference_run, *run.files)
    assert run.train(run.reference_run, "--resume") == 0
    assert run_outcome(run.reference_run, *run.files) == before


# processes


def preloaded_processes(*modules: str) -> ForkServerContext:
    """Processes that start with everything imported and no state of this one.

    Args:
        modules: what the system imports besides `PRELOADED`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED_MODULES, *modules])
    forkserver.ensure_running()  # it imports while this process resumes
    return context


@contextlib.contextmanager
def process_starter(processes: ForkServerContext) -> Iterator[Callable[..., Any]]:
    """Gives a function that starts another in a process of its own; what still runs at the end is killed."""
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
    """A module's `main` as the program of this process, what it says going to a file; ends the process."""
    os.environ.update(environment, OMP_NUM_THREADS="1")
    torch.set_num_threads(1)
    os.dup2(os.open(stderr_file, os.O_CREAT | os.O_WRONLY | os.O_APPEND), 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    raise SystemExit(run_main(module, arguments))


def run_killed_during_save(module: str, arguments: list[str], stderr_file: str, save_index: int) -> None:
    """The same, killed half way through the `save_index`-th checkpoint or state it writes, from 0."""
    write, count = Path.write_bytes, iter(range(1000))

    def half(path: Path, data: bytes) -> int:
        if path.suffix == ".safetensors" and next(count) == save_index:
            write(path, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return write(path, data)

    Path.write_bytes = half  # type: ignore[method-assign,assignment]
    run_as_program(module, arguments, stderr_file, {})


def wait_until(condition: Callable[[], bool], process: Any, seconds: float = 60) -> None:
    """Wait until the condition holds, the process has ended, or the time is up."""
    deadline = time.monotonic() + seconds
    while not condition() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.005)


def log_size(out: Path) -> int:
    """Bytes of a run's log so far."""
    log = out / LOG_FILE
    return log.stat().st_size if log.exists() else 0


def run_in_two_processes(
    start_process: Callable[..., Any], function: Callable[..., None], arguments: list[str], stderr_file: Path
) -> None:
    """Run a command in two processes that talk to each other; both must end well.

    Args:
        start_process: from `started`.
        function: called with words, file of errors and environment, as `run_as_program` after its module.
        arguments: of the command line.
        stderr_file: file that what they say goes to.

    Raises:
        AssertionError: one did not end well; holds what they said.
    """
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))  # a port that nobody listens on
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [{**group, "RANK": rank, "LOCAL_RANK": rank} for rank in "01"]
    children = [start_process(function, arguments, str(stderr_file), rank) for rank in ranks]
    for child in children:
        child.join(180)
        assert child.exitcode == 0, stderr_file.read_text()
