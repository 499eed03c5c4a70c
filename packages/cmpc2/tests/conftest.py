"""A small population, tiny networks and a trained run, made once per session."""

from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cmpc2.__main__ import COMMANDS
from numpy.typing import NDArray
from voiceface.testing import fault_injection, runs
from voiceface.testing.commands import CommandRunner, command_runner

TINY_OVERRIDES = (
    "model.face.image_size=32",
    "model.face.widths=[4,8,8,8]",
    "model.face.blocks=[1,1,1,1]",
    "model.voice.widths=[4,8,8,8]",
    "model.voice.blocks=[1,1,1,1]",
    "model.embedding_dim=8",
    "data.voice.num_frames=60",
    "data.in_memory=true",
    "clustering.num_clusters=[2,3]",
    "clustering.start_step=2",
    "clustering.interval=2",
    "optimiser.warm_up=2",
    "training.batch_size=8",
    "training.num_workers=0",
    "training.log_interval=1",
)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Bit-identity needs the same number of threads everywhere."""
    runs.use_one_thread()


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    """Overrides that make any bundled configuration a matter of a second; all terms act."""
    return TINY_OVERRIDES


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A population of eighteen people, two clips of a second and two pictures of 32 pixels each, by video."""
    return runs.write_small_population(
        tmp_path_factory.mktemp("data") / "people", train=8, val=4, test=6, second_view=True
    )


@pytest.fixture(scope="session")
def call() -> CommandRunner:
    """One `cmpc2` command in this process; gives its exit code."""
    return command_runner("cmpc2", COMMANDS)


@pytest.fixture(scope="session")
def train(call: CommandRunner, people: Path) -> CommandRunner:
    """`cmpc2 train` on the people with tiny networks; words come last and win."""
    return runs.training_runner(call, people, TINY_OVERRIDES, "main")


@pytest.fixture(scope="session")
def trained(train: CommandRunner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder: six steps, clustered before the third and fifth; trained on the split `train` alone."""
    out = tmp_path_factory.mktemp("runs") / "main"
    assert train(out, "--splits", "train", "training.max_steps=6", "training.checkpoint_interval=2") == 0
    return out


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Processes that start with everything imported and no state of this one."""
    return fault_injection.preloaded_processes(
        *(f"cmpc2.{module}" for module in ("train", "embedder", "training_data", "memory"))
    )


@pytest.fixture
def start(processes: ForkServerContext) -> Iterator[Callable[..., Any]]:
    """Start a function in a process of its own; whatever still runs is killed at the end."""
    with fault_injection.process_starter(processes) as run:
        yield run


@pytest.fixture(scope="session")
def speech() -> NDArray[np.int16]:
    """Two seconds that the voice activity detector takes for speech between pauses: harmonics that waver."""
    rng = np.random.default_rng(5)
    time = np.arange(32_000) / 16_000
    pitch = 2 * np.pi * np.cumsum(140 + 20 * np.sin(5 * time)) / 16_000
    sound = sum(np.sin(k * pitch) / k for k in range(1, 25)) * (0.6 + 0.4 * np.sin(12 * time))
    sound[:6_000] *= 0.001
    sound[24_000:] *= 0.001
    sound += rng.normal(0, 0.002, len(sound))
    return (9_000 * sound / np.abs(sound).max()).astype(np.int16)
