"""Ctrl-C in the middle of `embed`, `match` and `report`: status 130, nothing half-written, nothing lost."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_processes import run_announced
from PIL import Image
from voiceface.audio.loading import write_wav
from voiceface.embeddings.table import EmbeddingTable

FILES = 30  # of each modality
METHODS = [f"voiceface.association.embedder:Embedder.encode_{each}" for each in ("voices", "faces")]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of tones with harmonics, as voiced speech has them, and pictures."""
    folder, draw = tmp_path_factory.mktemp("media"), np.random.default_rng(0)
    (folder / "voices").mkdir()
    (folder / "faces").mkdir()
    at = np.arange(16000) / 16000
    for number in range(FILES):
        pitch = 100 + 4 * number
        wave = sum(np.sin(2 * np.pi * pitch * k * at) / k for k in range(1, 12)) * (1 + np.sin(25 * at))
        write_wav(folder / "voices" / f"{number:02}.wav", np.int16(4000 * wave))
        pixels = draw.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).resize((48, 48)).save(folder / "faces" / f"{number:02}.png")
    return folder


@pytest.fixture
def launch(processes: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Start a command that announces its batches."""
    started = []

    def run(module: str, *words: str | Path) -> Any:
        said = tmp_path / f"said_{len(started)}.txt"
        said.touch()
        arguments = (module, [str(word) for word in words], str(said), METHODS)
        child = processes.Process(target=run_announced, args=arguments)
        child.said = said.read_text
        started.append(child)
        child.start()
        return child

    yield run
    for child in started:
        child.kill()
        child.join()


@pytest.fixture
def interrupt(launch: Callable[..., Any]) -> Callable[..., Any]:
    """Start a command and press Ctrl-C after its third batch, as a terminal does: for the whole group."""

    def run(module: str, *words: str | Path) -> Any:
        child = launch(module, *words)
        deadline = time.monotonic() + 120
        while child.said().count("batch") < 3 and child.is_alive() and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(random.uniform(0, 0.3))
        assert child.is_alive(), child.said()
        os.killpg(child.pid, signal.SIGINT)
        child.join(30)
        said = child.said()
        assert child.exitcode == 130, said
        assert "Traceback" not in said and said.splitlines()[-1] == "stopped", said
        return child

    return run


def below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_embed_keeps_what_it_made(
    interrupt: Any, launch: Any, media: Path, weights: Path, tmp_path: Path
) -> None:
    def words(name: str) -> list[str | Path]:
        return ["embed", media, "--weights", weights, "--out", tmp_path / name / "table.npz"]

    stopped = interrupt("seeking_shape.__main__", *words("stopped"))
    made = below(tmp_path / "stopped")
    assert made[0] == "table.npz.cache" and not any(".part" in name or name == "table.npz" for name in made)
    shards = [EmbeddingTable.load(path) for path in (tmp_path / "stopped").rglob("shard-*.npz")]
    kept, before = sum(map(len, shards)), stopped.said().count("batch")
    assert 2 * (before - 1) <= kept <= 2 * before
    resumed, whole = (launch("seeking_shape.__main__", *words(name)) for name in ("stopped", "whole"))
    for child in (resumed, whole):
        child.join(120)
        assert child.exitcode == 0, child.said()
    assert resumed.said().count("batch") == whole.said().count("batch") - kept // 2 == FILES - kept // 2
    tables = [(tmp_path / name / "table.npz").read_bytes() for name in ("stopped", "whole")]
    assert tables[0] == tables[1]


def test_match_leaves_nothing(interrupt: Any, media: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["match", media / "voices" / "00.wav", "--gallery", media / "faces", "--weights", weights]
    interrupt("seeking_shape.__main__", *words, "--json", out / "ranks.json", "--report", out / "page.html")
    assert below(out) == []


def test_report_leaves_nothing(interrupt: Any, media: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["--voices", media / "voices", "--faces", media / "faces", "--systems", "seeking_shape"]
    words += ["--weights", f"seeking_shape={weights}", "--out", out / "page.html"]
    interrupt("voiceface.suite.report", *words)
    assert not out.exists() or below(out) == []
