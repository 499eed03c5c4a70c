"""A small population, tiny networks and a trained run, made once per session."""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import pytest
import torch
from cmpc2.__main__ import COMMANDS
from numpy.typing import NDArray
from voiceface.cli import dispatch

TINY = (
    "model.face.side=32",
    "model.face.widths=[4,8,8,8]",
    "model.face.blocks=[1,1,1,1]",
    "model.voice.widths=[4,8,8,8]",
    "model.voice.blocks=[1,1,1,1]",
    "model.embedding=8",
    "data.voice.frames=60",
    "data.in_memory=true",
    "clustering.clusters=[2,3]",
    "clustering.start=2",
    "clustering.every=2",
    "optimiser.warm_up=2",
    "training.batch_size=8",
    "training.workers=0",
    "training.log_every=1",
)
# What a training process imports sooner or later.
PRELOADED = [
    *("pytest", "torch._dynamo", "tensorboardX", "cv2", "soundfile", "soxr", "safetensors.torch"),
    *("voiceface.training", "voiceface.metrics.association", "voiceface.metrics.embeddings"),
    *(f"cmpc2.{name}" for name in ("train", "embedder", "sources", "memory")),
]

Call = Callable[..., int]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Bit-identity needs the same number of threads everywhere."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    """Overrides that make any bundled configuration a matter of a second; all terms act."""
    return TINY


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A population of eighteen people, two clips of a second and two pictures of 32 pixels each, by video."""
    from voiceface.population.write import write_population

    out = tmp_path_factory.mktemp("data") / "people"
    sizes = {"train": 8, "val": 4, "test": 6, "picture_side": 32, "clip_seconds": 1.0, "second_view": True}
    return write_population(out, "tiny", workers=1, lists=False, progress=False, **sizes)


@pytest.fixture(scope="session")
def call() -> Call:
    """One `cmpc2` command in this process; gives its exit code."""

    def run(*words: str | Path) -> int:
        return dispatch("cmpc2", COMMANDS, [str(word) for word in words])

    return run


@pytest.fixture(scope="session")
def train(call: Call, people: Path) -> Call:
    """`cmpc2 train` on the people with tiny networks; words come last and win."""

    def run(out: Path, *words: str | Path, cfg: str = "main", data: Path | None = None) -> int:
        flags = [word for word in map(str, words) if "=" not in word or word.startswith("-")]
        values = [word for word in map(str, words) if word not in flags]
        where = ["--cfg", cfg, "--data", data or people, "--out", out, "--device", "cpu", "--threads", "1"]
        return call("train", *where, *flags, *TINY, *values)

    return run


@pytest.fixture(scope="session")
def trained(train: Call, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder: six steps, clustered before the third and fifth; trained on the split `train` alone."""
    out = tmp_path_factory.mktemp("runs") / "main"
    assert train(out, "--splits", "train", "training.max_iter=6", "training.save_every=2") == 0
    return out


@pytest.fixture(scope="session")
def processes() -> multiprocessing.context.ForkServerContext:
    """Processes that start with everything imported and no state of this one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    forkserver.ensure_running()  # it imports while this process goes on
    return context


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
