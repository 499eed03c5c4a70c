"""A small corpus, tiny networks and a trained run, made once per session."""

from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
from archetype_agnostic.__main__ import COMMANDS
from voiceface.testing import fault_injection, runs
from voiceface.testing.commands import CommandRunner, command_runner

TINY_OVERRIDES = (
    "model.face.image_size=32",
    "model.face.widths=[4,8,8,8]",
    "model.face.blocks=[1,1,1,1]",
    "model.face.hidden_dim=16",
    "model.voice.widths=[4,4,8,8]",
    "model.voice.blocks=[1,1,1,1]",
    "model.voice.hidden_dim=16",
    "model.embedding_dim=16",
    "data.clip_samples=16000",
    "data.crop_samples=[8000,12000]",
    "data.in_memory=true",
    "regauging.start_step=2",
    "equilibrium.warm_up=2",
    "equilibrium.update_interval=2",
    "training.batch_size=8",
    "training.num_workers=0",
    "training.log_interval=1",
    "training.validation_interval=null",
)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Bit-identity needs the same number of threads everywhere."""
    runs.use_one_thread()


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    """Overrides that make any bundled configuration a matter of a second; all three components act."""
    return TINY_OVERRIDES


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A population of twenty people, two clips of a second and two pictures of 32 pixels each; no lists."""
    return runs.write_small_population(tmp_path_factory.mktemp("data") / "people", train=10, val=4, test=6)


@pytest.fixture(scope="session")
def call() -> CommandRunner:
    """One `archetype_agnostic` command in this process; gives its exit code."""
    return command_runner("archetype_agnostic", COMMANDS)


@pytest.fixture(scope="session")
def train(call: CommandRunner, people: Path) -> CommandRunner:
    """`archetype_agnostic train` on the people with tiny networks; words come last and win."""
    return runs.training_runner(call, people, TINY_OVERRIDES, "main")


@pytest.fixture(scope="session")
def trained(train: CommandRunner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder: six steps, identity weights refreshed before the third and fifth, validations."""
    out = tmp_path_factory.mktemp("runs") / "main"
    often = [
        "training.validation_interval=3",
        "training.validation_start=3",
        "training.checkpoint_interval=2",
    ]
    assert train(out, "training.max_steps=6", *often) == 0
    return out


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Processes that start with everything imported and no state of this one."""
    return fault_injection.preloaded_processes(
        *(
            f"archetype_agnostic.{module}"
            for module in ("train", "embedder", "published", "losses", "regauging")
        )
    )


@pytest.fixture
def start(processes: ForkServerContext) -> Iterator[Callable[..., Any]]:
    """Start a function in a process of its own; whatever still runs is killed at the end."""
    with fault_injection.process_starter(processes) as run:
        yield run
