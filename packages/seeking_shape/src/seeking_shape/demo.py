"""The demo: generate synthetic identities, train in three steps, evaluate on others, write a report.

`seeking_shape demo --out runs/demo_seeking_shape`; a stopped demo goes on where it was.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.association.demo import DemoStep, command, run_demo, summary_table, train_if_needed

import seeking_shape
from seeking_shape.test import SUBTITLE, identity_weights

if TYPE_CHECKING:
    from voiceface.datasets.corpus import Corpus

__all__ = ["build_training_steps", "demo", "main", "summary_table"]


def build_training_steps(
    out: Path, *, preset: str = "quick", seed: int | None = None, device: str = "cpu"
) -> tuple[list[DemoStep], dict[str, Path]]:
    """The training in three steps.

    Args:
        out: folder for the runs.
        preset, seed, device: as of `demo`.

    Returns:
        The steps, and the folder of each run; the last one will hold the model.
    """
    from voiceface.runtime.config import load_config

    from seeking_shape.config import SeekingShapeConfig
    from seeking_shape.extract_id_weight import extract_identity_weights
    from seeking_shape.train import InitialWeights, train

    runs, weights = {"re-weighting": out / "reweight", "main": out / "main"}, out / "id_weight.safetensors"
    override = [] if seed is None else [f"training.seed={seed}"]
    first, main = (
        load_config(name, SeekingShapeConfig, "seeking_shape", override)
        for name in (f"{preset}_reweight", preset)
    )

    def reweight(corpus: "Corpus", notice: str) -> None:
        train_if_needed(train, runs["re-weighting"], first, corpus, device=device, disclaimer=notice)

    def train_main(corpus: "Corpus", notice: str) -> None:
        start = InitialWeights(id_weights=weights)
        train_if_needed(
            train, runs["main"], main, corpus, device=device, disclaimer=notice, initial_weights=start
        )

    return [
        DemoStep("learning identity weights of {people} people", reweight),
        DemoStep(
            "taking the identity weights out",
            lambda *_: extract_identity_weights(runs["re-weighting"], weights),
        ),
        DemoStep("training the model with them", train_main),
    ], runs


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
        out: folder for population, runs and report; what is done there already is kept.
        preset: population preset and pair of configurations: "quick" or "standard".
        real: folder with recordings and pictures of one's own, to be ranked too.
        seed: of the training runs; None takes the configuration's.
        workers: processes that generate the population; None takes every core.
        device: where the networks run.

    Returns:
        The report.
    """
    steps, runs = build_training_steps(out, preset=preset, seed=seed, device=device)
    return run_demo(
        out,
        steps,
        system="seeking_shape",
        load=lambda *given, **options: seeking_shape.load(*given, **options),
        runs=runs,
        subtitle=SUBTITLE,
        identity_weights=identity_weights,
        preset=preset,
        real=real,
        workers=workers,
        device=device,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """`seeking_shape demo`."""
    out = "runs/demo_seeking_shape"
    return command("seeking_shape", demo, argv, training_summary="train in three steps", out=out)


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("seeking_shape.demo", None))
