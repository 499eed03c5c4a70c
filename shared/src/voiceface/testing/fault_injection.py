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
from voiceface.testing.runs import Words, outcome
from voiceface.training.run_directory import LOG_FILE

Start = Callable[..., Any]
# What a training process of any system imports sooner or later.
PRELOADED = (
    *("pytest", "torch._dynamo", "tensorboardX", "cv2", "soundfile", "soxr", "safetensors.torch"),
    *(
        "voiceface.testing.fault_injection",
        "voiceface.training.run",
        "voiceface.metrics.verification",
        "voiceface.embeddings.table",
    ),
)


@dataclass(frozen=True)
class Trial:
    """A run that can be interrupted, and one that was not.

    Attributes:
        module: whose `main` trains, such as "cmpc2.train".
        words: gives the command line of the run into a folder, and further words.
        whole: folder of a run that nothing happened to.
        files: model files that must end the same; none: the weights.
    """

    module: str
    words: Words
    whole: Path
    files: tuple[str, ...] = ()

    def train(self, out: Path, *more: str) -> int:
        """Run it in this process; gives the exit code."""
        return run_main(self.module, self.words(out, *more))

    def require_same_end(self, out: Path) -> None:
        """Go on with an interrupted run.

        Raises:
            AssertionError: it does not end with the bytes and the log of the whole one.
        """
        assert self.train(out, "--resume") == 0
        assert outcome(out, *self.files) == outcome(self.whole, *self.files)
        assert not list(out.rglob(".*.part*"))


def killed_at_random_moments(trial: Trial, start: Start, out: Path, kills: int = 1) -> None:
    """SIGKILL some time after a line of the log was written, as often as asked, then go on."""
    errors, draw, done = out.with_name("errors"), random.Random(), 0
    for _ in range(20):
        more = ["--resume"] if out.exists() else []
        before = logged(out)
        child = start(as_program, trial.module, trial.words(out, *more), str(errors), {})
        wait_for(lambda before=before: logged(out) > before, child)  # type: ignore[misc]
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
    trial.require_same_end(out)


def killed_inside_a_save(trial: Trial, start: Start, out: Path, number: int) -> None:
    """SIGKILL half way through the `number`-th checkpoint or state that is written, from 0, then go on."""
    errors = out.with_name("errors")
    child = start(as_program_killed_in_save, trial.module, trial.words(out), str(errors), number)
    child.join(120)
    assert child.exitcode == -signal.SIGKILL, errors.read_text()
    assert list(out.rglob(".*.part*")), "the kill left no half-written file: it came at the wrong moment"
    trial.require_same_end(out)


def stopped_by_ctrl_c(trial: Trial, start: Start, out: Path) -> None:
    """SIGINT after the first line of the log: the state is saved, the user is told how to go on."""
    errors = out.with_name("errors")
    child = start(as_program, trial.module, trial.words(out), str(errors), {})
    wait_for(lambda: logged(out) > 0, child)
    os.kill(child.pid, signal.SIGINT)
    child.join(60)
    said = errors.read_text()
    assert child.exitcode == 130, said
    assert "stopped by SIGINT" in said and "--resume" in said and "Traceback" not in said
    assert not (out / MODEL_FILE).exists()
    trial.require_same_end(out)


def without_room_for_a_save(trial: Trial, out: Path, number: int) -> None:
    """The disk is full at the `number`-th checkpoint or state: that is told, and the run goes on later."""
    count, said = iter(range(1000)), io.StringIO()

    def full(path: Path, data: bytes) -> int:
        if path.suffix == ".safetensors" and next(count) == number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with path.open("wb") as file:
            return file.write(data)

    with mock.patch.object(Path, "write_bytes", full), contextlib.redirect_stderr(said):
        assert trial.train(out) == 1
    message = said.getvalue()
    assert "No space left on device" in message and "--resume" in message and "Traceback" not in message
    assert not list(out.rglob(".*.part*"))
    trial.require_same_end(out)


def resumed_when_finished(trial: Trial) -> None:
    """A finished run that is resumed stays as it is."""
    before = outcome(trial.whole, *trial.files)
    assert trial.train(trial.whole, "--resume") == 0
    assert outcome(trial.whole, *trial.files) == before


# processes


def ready_processes(*modules: str) -> ForkServerContext:
    """Processes that start with everything imported and no state of this one.

    Args:
        modules: what the system imports besides `PRELOADED`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED, *modules])
    forkserver.ensure_running()  # it imports while this process goes on
    return context


@contextlib.contextmanager
def started(processes: ForkServerContext) -> Iterator[Callable[..., Any]]:
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


def as_program(module: str, words: list[str], errors: str, environment: dict[str, str]) -> None:
    """A module's `main` as the program of this process, what it says going to a file; ends the process."""
    os.environ.update(environment, OMP_NUM_THREADS="1")
    torch.set_num_threads(1)
    os.dup2(os.open(errors, os.O_CREAT | os.O_WRONLY | os.O_APPEND), 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    raise SystemExit(run_main(module, words))


def as_program_killed_in_save(module: str, words: list[str], errors: str, number: int) -> None:
    """The same, killed half way through the `number`-th checkpoint or state it writes, from 0."""
    write, count = Path.write_bytes, iter(range(1000))

    def half(path: Path, data: bytes) -> int:
        if path.suffix == ".safetensors" and next(count) == number:
            write(path, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return write(path, data)

    Path.write_bytes = half  # type: ignore[method-assign,assignment]
    as_program(module, words, errors, {})


def wait_for(condition: Callable[[], bool], child: Any, seconds: float = 60) -> None:
    """Wait until the condition holds, the process has ended, or the time is up."""
    deadline = time.monotonic() + seconds
    while not condition() and child.is_alive() and time.monotonic() < deadline:
        time.sleep(0.005)


def logged(out: Path) -> int:
    """Bytes of a run's log so far."""
    log = out / LOG_FILE
    return log.stat().st_size if log.exists() else 0


def in_two_processes(
    start: Callable[..., Any], function: Callable[..., None], words: list[str], errors: Path
) -> None:
    """Run a command in two processes that talk to each other; both must end well.

    Args:
        start: from `started`.
        function: called with words, file of errors and environment, as `as_program` after its module.
        words: of the command line.
        errors: file that what they say goes to.

    Raises:
        AssertionError: one did not end well; holds what they said.
    """
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))  # a port that nobody listens on
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [{**group, "RANK": rank, "LOCAL_RANK": rank} for rank in "01"]
    children = [start(function, words, str(errors), rank) for rank in ranks]
    for child in children:
        child.join(180)
        assert child.exitcode == 0, errors.read_text()
