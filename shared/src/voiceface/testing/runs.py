"""Small training runs in tests: population, command lines, outputs of a run."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from voiceface.checkpoints.paths import MODEL_FILE
from voiceface.testing.commands import CommandRunner
from voiceface.training.metrics_log import WALL_CLOCK_FIELDS
from voiceface.training.run_directory import LOG_FILE

__all__ = [
    "ArgumentsBuilder",
    "read_log_without_clock",
    "run_outcome",
    "training_arguments",
    "training_runner",
    "use_one_thread",
    "write_small_population",
]

ArgumentsBuilder = Callable[..., list[str]]


def use_one_thread() -> None:
    """Use one thread here and in child processes: bit-identical results need the same number everywhere."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


def write_small_population(out: Path, **settings: Any) -> Path:
    """Write a population without lists: two utterances of a second and two images of 32 pixels each.

    Args:
        out: folder to write.
        settings: further settings, such as ``train=10, val=4, test=6``.
    """
    from voiceface.synthetic.writer import write_population

    small = {"render_size": 32, "clip_seconds": 1.0, **settings}
    return write_population(out, "tiny", workers=1, lists=False, progress=False, **small)


def training_arguments(
    data: Path, out: Path, cfg: str, settings: Sequence[str], extra: Sequence[str | Path]
) -> list[str]:
    """Build the arguments of `train`.

    Args:
        data: corpus folder.
        out: run folder.
        cfg: configuration.
        settings: ``section.key=value`` settings.
        extra: flags with their values, and further settings, which take precedence.
    """
    where = ["--cfg", cfg, "--data", str(data), "--out", str(out), "--device", "cpu", "--threads", "1"]
    flags = [word for word in map(str, extra) if "=" not in word or word.startswith("-")]
    values = [word for word in map(str, extra) if word not in flags]
    return [*where, *flags, *settings, *values]


def training_runner(
    call: CommandRunner, default_data: Path, settings: Sequence[str], cfg: str
) -> CommandRunner:
    """Build a function that trains: ``train(out, *words, cfg=..., data=...)`` returns the exit code."""

    def run(out: Path, *words: str | Path, cfg: str = cfg, data: Path | None = None) -> int:
        return call("train", *training_arguments(data or default_data, out, cfg, settings, words))

    return run


def read_log_without_clock(run: Path) -> list[dict[str, Any]]:
    """Read the log of a run without wall-clock fields."""
    rows = [json.loads(line) for line in (run / LOG_FILE).read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in WALL_CLOCK_FIELDS} for row in rows]


def run_outcome(run: Path, *files: str) -> tuple[Any, ...]:
    """Read what must be reproducible: bytes of the model (or of the named files), log without clock."""
    return *((run / name).read_bytes() for name in files or (MODEL_FILE,)), read_log_without_clock(run)
