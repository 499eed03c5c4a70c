"""What this system shows in `voiceface demo` and `voiceface report`."""

from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.suite.plugins import AssociationSystem

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder


def load(weights: Path | None = None, *, device: str = "cpu") -> "Embedder":
    """The bundled model, or that of a file or run folder; damaged recordings are used as far as they go."""
    import archetype_agnostic

    return archetype_agnostic.load(weights, device=device, on_corrupt="salvage")


def train(population: Path, out: Path, *, device: str = "cpu") -> Path:
    """Train by the quick configuration, or go on; gives the run folder of the model."""
    from voiceface.suite.parallel_training import run_training_steps

    from archetype_agnostic.demo import build_training_steps

    steps, runs = build_training_steps(out, device=device)
    run_training_steps(population, steps)
    return runs["main"]


SHOWCASE = AssociationSystem(
    "archetype_agnostic", "common space without class prototypes, loose pairs re-gauged", load, train
)
