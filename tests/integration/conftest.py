"""Processes that start with everything imported, so that killing them again and again costs little."""

import hashlib
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
from command_processes import run_command

PRELOADED = [
    *("pytest", "torch", "torch._dynamo", "cv2", "soundfile", "pandas", "matplotlib"),
    *(
        "voiceface.embeddings.table",
        "voiceface.synthetic.head.render",
        "voiceface.synthetic.voice.speech_synthesis",
    ),
    *(
        "voiceface.commands.population",
        "voiceface.commands.check",
        "voiceface.association.embedder",
        "seeking_shape.__main__",
    ),
]


@pytest.fixture(scope="session")
def processes() -> multiprocessing.context.ForkServerContext:
    """Where commands are started."""
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    forkserver.ensure_running()
    return context


@pytest.fixture
def start(
    processes: multiprocessing.context.ForkServerContext, tmp_path: Path
) -> Iterator[Callable[..., Any]]:
    """Start a command; `child.said()` is what it printed. Whatever still runs at the end is killed."""
    started = []

    def run(module: str, *words: str | Path) -> Any:
        said = tmp_path / f"said_{len(started)}.txt"
        child = processes.Process(target=run_command, args=(module, [str(word) for word in words], str(said)))
        child.said = said.read_text  # type: ignore[attr-defined]
        started.append(child)
        child.start()
        return child

    yield run
    for child in started:
        child.kill()
        child.join()


@pytest.fixture
def killed_again_and_again(start: Callable[..., Any]) -> Callable[..., Any]:
    """Run a command, killed at random moments after it has made something; then let it finish.

    A command that is done before the kill comes is begun anew, `forget` having removed what it made.
    """

    def run(
        module: str,
        *words: str | Path,
        made: Callable[[], int],
        forget: Callable[[], None],
        kills: int = 2,
        patience: float = 0.5,
    ) -> Any:
        draw, done = random.Random(), 0
        for _ in range(8 * kills):
            before, child = made(), start(module, *words)
            deadline = time.monotonic() + 120
            while made() == before and child.is_alive() and time.monotonic() < deadline:
                time.sleep(0.002)
            time.sleep(draw.uniform(0, patience))
            child.kill()
            child.join()
            if child.exitcode == -signal.SIGKILL:
                done += 1
            else:
                forget()
            if done == kills:
                break
        assert done, f"nothing was killed: {child.said()}"
        child = start(module, *words)
        child.join(300)
        return child

    return run


@pytest.fixture(scope="session")
def content() -> Callable[[Path], dict[str, str]]:
    """Every file below a folder, hidden ones too -> hash of its bytes."""

    def hashes(root: Path) -> dict[str, str]:
        return {
            path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }

    return hashes


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, as it begins."""
    import torch
    from seeking_shape.config import SeekingShapeConfig
    from seeking_shape.model import Voice2Face
    from voiceface.checkpoints.native import save_model
    from voiceface.runtime.config import load_config, to_dict

    small = ["model.face.image_size=32", "model.face.widths=[8,8,8,8]", "model.face.blocks=[1,1,1,1]"]
    small += ["model.voice.widths=[8,8,8,8]", "model.voice.blocks=[1,1,1,1]", "evaluation.voice_batch_size=2"]
    small += ["evaluation.face_batch_size=2", "data.clip_samples=16000", "data.crop_samples=[8000,12000]"]
    config = load_config("main", SeekingShapeConfig, "seeking_shape", small)
    torch.manual_seed(0)
    model, path = Voice2Face(config.model, 4), tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, model.state_dict(), system="seeking_shape", kind="model", config=to_dict(config))
    return path
