"""A small corpus, tiny networks and trained runs, made once per session."""

from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
from seeking_shape.__main__ import COMMANDS
from voiceface.testing import fault_injection, runs
from voiceface.testing.commands import CommandRunner, command_runner

TINY_OVERRIDES = (
    "model.face.image_size=32",
    "model.face.widths=[4,8,8,8]",
    "model.face.blocks=[1,1,1,1]",
    "model.face.num_features=16",
    "model.voice.widths=[4,4,8,8]",
    "model.voice.blocks=[1,1,1,1]",
    "model.voice.num_features=16",
    "model.embedding_dim=16",
    "data.clip_samples=16000",
    "data.crop_samples=[8000,12000]",
    "data.in_memory=true",
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
    """Overrides that make any bundled configuration a matter of a second."""
    return TINY_OVERRIDES


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A population of twenty people, two clips of a second and two pictures of 32 pixels each; no lists."""
    return runs.write_small_population(tmp_path_factory.mktemp("data") / "people", train=10, val=4, test=6)


@pytest.fixture(scope="session")
def call() -> CommandRunner:
    """One `seeking_shape` command in this process; gives its exit code."""
    return command_runner("seeking_shape", COMMANDS)


@pytest.fixture(scope="session")
def train(call: CommandRunner, people: Path) -> CommandRunner:
    """`seeking_shape train` on the people with tiny networks; words come last and win."""
    return runs.training_runner(call, people, TINY_OVERRIDES, "reweight")


@pytest.fixture(scope="session")
def reweighted(train: CommandRunner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of step 1: six steps, weight updates before the third and fifth, validations."""
    out = tmp_path_factory.mktemp("runs") / "reweight"
    often = ["weights.warm_up=2", "weights.update_interval=2", "weights.fraction_step=0.2"]
    often += [
        "training.validation_interval=3",
        "training.validation_start=3",
        "training.checkpoint_interval=2",
    ]
    assert train(out, "training.max_steps=6", *often) == 0
    return out


@pytest.fixture(scope="session")
def id_weights(call: CommandRunner, reweighted: Path) -> Path:
    """Identity weights of step 2."""
    assert call("extract_id_weight", reweighted) == 0
    return reweighted / "id_weight.safetensors"


@pytest.fixture(scope="session")
def trained(train: CommandRunner, id_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of step 3: three steps with the identity weights of step 2."""
    out = tmp_path_factory.mktemp("runs") / "main"
    assert train(out, "--id-weights", id_weights, "training.max_steps=3", cfg="main") == 0
    return out


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Processes that start with everything imported and no state of this one."""
    return fault_injection.preloaded_processes(
        *(
            f"seeking_shape.{module}"
            for module in ("train", "embedder", "published", "losses", "extract_id_weight")
        )
    )


@pytest.fixture
def start(processes: ForkServerContext) -> Iterator[Callable[..., Any]]:
    """Start a function in a process of its own; whatever still runs is killed at the end."""
    with fault_injection.process_starter(processes) as run:
        yield run
