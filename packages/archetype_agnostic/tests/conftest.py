"""A small corpus, tiny networks and a trained run, made once per session."""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path

import pytest
import torch
from archetype_agnostic.__main__ import COMMANDS
from voiceface.cli import dispatch

TINY = (
    "model.face.side=32",
    "model.face.widths=[4,8,8,8]",
    "model.face.blocks=[1,1,1,1]",
    "model.face.hidden=16",
    "model.voice.widths=[4,4,8,8]",
    "model.voice.blocks=[1,1,1,1]",
    "model.voice.hidden=16",
    "model.embedding=16",
    "data.clip_samples=16000",
    "data.crop_samples=[8000,12000]",
    "data.in_memory=true",
    "regauging.start=2",
    "equilibrium.warm_up=2",
    "equilibrium.update_every=2",
    "training.batch_size=8",
    "training.workers=0",
    "training.log_every=1",
    "training.validate_every=-1",
)
# What a training process imports sooner or later.
PRELOADED = [
    *("pytest", "torch._dynamo", "tensorboardX", "cv2", "soundfile", "soxr", "safetensors.torch"),
    *("voiceface.training", "voiceface.metrics.association", "voiceface.metrics.embeddings"),
    *(f"archetype_agnostic.{name}" for name in ("train", "embedder", "published", "losses", "regauging")),
]

Call = Callable[..., int]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Bit-identity needs the same number of threads everywhere."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    """Overrides that make any bundled configuration a matter of a second; all three components act."""
    return TINY


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A population of twenty people, two clips of a second and two pictures of 32 pixels each; no lists."""
    from voiceface.population.write import write_population

    out = tmp_path_factory.mktemp("data") / "people"
    sizes = {"train": 10, "val": 4, "test": 6, "picture_side": 32, "clip_seconds": 1.0}
    return write_population(out, "tiny", workers=1, lists=False, progress=False, **sizes)


@pytest.fixture(scope="session")
def call() -> Call:
    """One `archetype_agnostic` command in this process; gives its exit code."""

    def run(*words: str | Path) -> int:
        return dispatch("archetype_agnostic", COMMANDS, [str(word) for word in words])

    return run


@pytest.fixture(scope="session")
def train(call: Call, people: Path) -> Call:
    """`archetype_agnostic train` on the people with tiny networks; words come last and win."""

    def run(out: Path, *words: str | Path, cfg: str = "main", data: Path | None = None) -> int:
        flags = [word for word in map(str, words) if "=" not in word or word.startswith("-")]
        values = [word for word in map(str, words) if word not in flags]
        where = ["--cfg", cfg, "--data", data or people, "--out", out, "--device", "cpu", "--threads", "1"]
        return call("train", *where, *flags, *TINY, *values)

    return run


@pytest.fixture(scope="session")
def trained(train: Call, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder: six steps, identity weights refreshed before the third and fifth, validations."""
    out = tmp_path_factory.mktemp("runs") / "main"
    often = ["training.validate_every=3", "training.validate_from=3", "training.save_every=2"]
    assert train(out, "training.max_iter=6", *often) == 0
    return out


@pytest.fixture(scope="session")
def processes() -> multiprocessing.context.ForkServerContext:
    """Processes that start with everything imported and no state of this one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    forkserver.ensure_running()  # it imports while this process goes on
    return context
