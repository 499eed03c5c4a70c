"""The demo: generate synthetic identities, train without identity labels, evaluate on others, write a report.

`cmpc2 demo --out runs/demo_cmpc2`; a stopped demo goes on where it was.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.association.demo import DemoStep, command, run_demo, train_if_needed

import cmpc2
from cmpc2.test import SUBTITLE

if TYPE_CHECKING:
    from voiceface.datasets.corpus import Corpus

__all__ = ["build_training_steps", "demo", "main"]


def build_training_steps(
    out: Path, population: Path, *, preset: str = "quick", seed: int | None = None, device: str = "cpu"
) -> tuple[list[DemoStep], dict[str, Path]]:
    """The training.

    Args:
        out: folder for the run.
        population: folder of the synthetic population.
        preset, seed, device: as of `demo`.

    Returns:
        Its one step, and the folder of its run by name.
    """
    from voiceface.runtime.config import load_config

    from cmpc2.config import Cmpc2Config
    from cmpc2.data import PairDataset
    from cmpc2.train import train
    from cmpc2.videos import videos_from_corpus

    override = [] if seed is None else [f"training.seed={seed}"]
    config = load_config(preset, Cmpc2Config, "cmpc2", override)
    run = out / "main"

    def train_main(corpus: "Corpus", notice: str) -> None:
        if not (run / "model.safetensors").is_file():
            videos = videos_from_corpus(corpus, population)
            pairs = PairDataset(videos, config.data, config.model.face.image_size)
            train_if_needed(train, run, config, pairs, device=device, disclaimer=notice)

    return [DemoStep("training on videos of {people} people, without their names", train_main)], {"main": run}


def demo(
    out: Path,
    *,
    preset: str = "quick",
    real: Path | None = None,
    seed: int | None = None,
    workers: int | None = None,
    device: str = "cpu",
) -> Path:
    """Run the whole method on a synthetic population.

    Args:
        out: folder for population, run and report; what is done there already is kept.
        preset: population preset and configuration: "quick" or "standard".
        real: folder with recordings and pictures of one's own, to be ranked too.
        seed: of the training run; None takes the configuration's.
        workers: processes that generate the population; None takes every core.
        device: where the networks run.

    Returns:
        The report.
    """
    steps, runs = build_training_steps(out, out / "population", preset=preset, seed=seed, device=device)
    return run_demo(
        out,
        steps,
        system="cmpc2",
        load=lambda *given, **options: cmpc2.load_embedder(*given, **options),
        runs=runs,
        subtitle=SUBTITLE,
        preset=preset,
        real=real,
        workers=workers,
        device=device,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """`cmpc2 demo`."""
    return command("cmpc2", demo, argv, training_summary="train on their videos", out="runs/demo_cmpc2")


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("cmpc2.demo", None))
