"""Fixtures of the contracts: a small population, tiny runs, commands in this process.

`conftest.py` of a system imports all of them and defines the fixture `system`. Runs are trained once per
session.
"""

import shutil
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from voiceface.testing import corrupt_files, fault_injection, runs
from voiceface.testing.commands import CommandRunner, command_runner
from voiceface.testing.contracts.subject import SystemUnderTest
from voiceface.testing.fault_injection import InterruptibleRun

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder

__all__ = [
    "call",
    "corpus_copy",
    "embedder",
    "image",
    "images",
    "interruptible_run",
    "one_thread",
    "population",
    "processes",
    "slow_run",
    "start_process",
    "tiny_overrides",
    "train",
    "train_succeeds",
    "trained",
    "training_error",
    "utterance",
    "utterances",
]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Use one thread: bit-identical results need the same number of threads everywhere."""
    runs.use_one_thread()


@pytest.fixture(scope="session")
def tiny_overrides(system: SystemUnderTest) -> tuple[str, ...]:
    """Return the settings that make a run a matter of a second."""
    return system.overrides


@pytest.fixture(scope="session")
def population(system: SystemUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a small population without trial lists."""
    return runs.write_small_population(tmp_path_factory.mktemp("data") / "population", **system.population)


@pytest.fixture(scope="session")
def call(system: SystemUnderTest) -> CommandRunner:
    """Run one command of the system in this process; returns its exit code."""
    return command_runner(system.package, system.commands)


@pytest.fixture(scope="session")
def train(system: SystemUnderTest, call: CommandRunner, population: Path) -> CommandRunner:
    """Train with tiny networks: ``train(out, *settings_and_flags)``; returns the exit code."""
    return runs.training_runner(call, population, system.overrides, system.config)


@pytest.fixture(scope="session")
def trained(system: SystemUnderTest, train: CommandRunner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train for a few steps; returns the run folder."""
    out = tmp_path_factory.mktemp("runs") / "trained"
    assert train(out, *system.trained) == 0
    return out


@pytest.fixture(scope="session")
def embedder(system: SystemUnderTest, trained: Path) -> "Embedder":
    """Load the trained run."""
    return system.load(trained)


@pytest.fixture(scope="session")
def utterances(population: Path) -> list[Path]:
    """Five utterances of the population."""
    return sorted((population / "wav").rglob("*.wav"))[:5]


@pytest.fixture(scope="session")
def images(system: SystemUnderTest, population: Path) -> list[Path]:
    """Four images of the population."""
    return sorted((population / system.face_folder).rglob("*.jpg"))[:4]


# corrupt data


@pytest.fixture
def corpus_copy(population: Path, tmp_path: Path) -> Path:
    """Copy the population, so that a test can damage it."""
    return Path(shutil.copytree(population, tmp_path / "corpus"))


@pytest.fixture
def utterance(corpus_copy: Path) -> Path:
    """First utterance of the first training identity in the copy."""
    return corrupt_files.first_utterance_path(corpus_copy)


@pytest.fixture
def image(system: SystemUnderTest, corpus_copy: Path) -> Path:
    """First image of the first training identity in the copy."""
    return corrupt_files.first_image_path(corpus_copy, corpus_copy / system.face_folder)


@pytest.fixture
def training_error(
    train: CommandRunner, corpus_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Train on the copy, which must fail with one message; returns the message."""
    return corrupt_files.training_failure_checker(train, tmp_path / "run", corpus_copy, capsys)


@pytest.fixture
def train_succeeds(train: CommandRunner, corpus_copy: Path, tmp_path: Path) -> Callable[..., None]:
    """Train one step on the copy, in the folder where a run failed before; it must succeed."""

    def run(*words: str | Path) -> None:
        assert train(tmp_path / "run", *words, "training.max_steps=1", data=corpus_copy) == 0

    return run


# interruptions


@pytest.fixture(scope="session")
def interruptible_run(
    system: SystemUnderTest, population: Path, tmp_path_factory: pytest.TempPathFactory
) -> InterruptibleRun:
    """A run to interrupt, and its uninterrupted reference."""
    overrides = (*system.overrides, *system.interrupted)

    def build_arguments(out: Path, *more: str) -> list[str]:
        return runs.training_arguments(population, out, system.config, overrides, more)

    reference = tmp_path_factory.mktemp("reference") / "run"
    run = InterruptibleRun(f"{system.package}.train", build_arguments, reference, system.outputs)
    assert run.train(reference) == 0
    return run


@pytest.fixture(scope="session")
def slow_run(
    system: SystemUnderTest, interruptible_run: InterruptibleRun, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The run that is interrupted, by one process and with `SystemUnderTest.slow_learning`."""
    out = tmp_path_factory.mktemp("slow") / "run"
    assert interruptible_run.train(out, system.slow_learning) == 0
    return out


@pytest.fixture(scope="session")
def processes(system: SystemUnderTest) -> ForkServerContext:
    """Processes that start with all modules imported and none of this one's state."""
    return fault_injection.preloaded_processes(*(f"{system.package}.{name}" for name in system.preloaded))


@pytest.fixture
def start_process(processes: ForkServerContext) -> Iterator[Callable[..., Any]]:
    """Start a function in its own process; processes still running at the end are killed."""
    with fault_injection.process_starter(processes) as start:
        yield start
