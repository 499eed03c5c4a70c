"""Small training runs in tests: identities, command lines, what a run leaves."""

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

ArgumentsBuilder = Callable[..., list[str]]


def use_one_thread() -> None:
    """One thread here and in processes that start here: bit-identity needs the same number everywhere."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


def write_small_population(out: Path, **settings: Any) -> Path:
    """Write a population: two clips of a second and two images of 32 pixels each, no lists.

    Args:
        out: folder.
        settings: other settings, such as ``train=10, val=4, test=6``.
    """
    from voiceface.synthetic.writer import write_population

    small = {"render_size": 32, "clip_seconds": 1.0, **settings}
    return write_population(out, "tiny", workers=1, lists=False, progress=False, **small)


def training_arguments(
    data: Path, out: Path, cfg: str, settings: Sequence[str], extra: Sequence[str | Path]
) -> list[str]:
    """The words after `train`.

    Args:
        data: folder of the identities.
        out: run folder.
        cfg: configuration.
        settings: ``section.key=value`` of every run.
        extra: flags with their values, and further settings, which win.
    """
    where = ["--cfg", cfg, "--data", str(data), "--out", str(out), "--device", "cpu", "--threads", "1"]
    flags = [word for word in map(str, extra) if "=" not in word or word.startswith("-")]
    values = [word for word in map(str, extra) if word not in flags]
    return [*where, *flags, *settings, *values]


def training_runner(
    call: CommandRunner, default_data: Path, settings: Sequence[str], cfg: str
) -> CommandRunner:
    """A function that trains on the identities: `train(out, *words, cfg=..., data=...)`; gives the exit
    code.
    """

    def run(out: Path, *words: str | Path, cfg: str = cfg, data: Path | None = None) -> int:
        return call("train", *training_arguments(data or default_data, out, cfg, settings, words))

    return run


def read_log_without_clock(run: Path) -> list[dict[str, Any]]:
    """The log of a run without its clock."""
    rows = [json.loads(line) for line in (run / LOG_FILE).read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in WALL_CLOCK_FIELDS} for row in rows]


def run_outcome(run: Path, *files: str) -> tuple[Any, ...]:
    """Bytes of the weights (or of the files named) and the log without its clock: what must be repeatable."""
    return *((run / name).read_bytes() for name in files or (MODEL_FILE,)), read_log_without_clock(run)
