"""The demo: generate synthetic identities, train, evaluate on others, write a report.

`archetype_agnostic demo --out runs/demo_archetype_agnostic`; a stopped demo goes on where it was.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.association.demo import DemoStep, command, run_demo, train_if_needed

import archetype_agnostic
from archetype_agnostic.test import SUBTITLE, identity_weights

if TYPE_CHECKING:
    from voiceface.datasets.corpus import Corpus

__all__ = ["build_training_steps", "demo", "main"]


def build_training_steps(
    out: Path, *, preset: str = "quick", seed: int | None = None, device: str = "cpu"
) -> tuple[list[DemoStep], dict[str, Path]]:
    """The training.

    Args:
        out: folder for the run.
        preset, seed, device: as of `demo`.

    Returns:
        Its one step, and the folder of its run by name.
    """
    from voiceface.runtime.config import load_config

    from archetype_agnostic.config import ArchetypeAgnosticConfig
    from archetype_agnostic.train import train

    override = [] if seed is None else [f"training.seed={seed}"]
    config = load_config(preset, ArchetypeAgnosticConfig, "archetype_agnostic", override)
    run = out / "main"

    def train_main(corpus: "Corpus", notice: str) -> None:
        train_if_needed(train, run, config, corpus, device=device, disclaimer=notice)

    return [DemoStep("training on {people} people", train_main)], {"main": run}


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
    steps, runs = build_training_steps(out, preset=preset, seed=seed, device=device)
    return run_demo(
        out,
        steps,
        system="archetype_agnostic",
        load=lambda *given, **options: archetype_agnostic.load(*given, **options),
        runs=runs,
        subtitle=SUBTITLE,
        identity_weights=identity_weights,
        preset=preset,
        real=real,
        workers=workers,
        device=device,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """`archetype_agnostic demo`."""
    out = "runs/demo_archetype_agnostic"
    return command("archetype_agnostic", demo, argv, training_summary="train on them", out=out)


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("archetype_agnostic.demo", None))
