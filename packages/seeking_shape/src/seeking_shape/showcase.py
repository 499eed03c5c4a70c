"""What this system shows in `voiceface demo` and `voiceface report`."""

from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.suite.plugins import AssociationSystem

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder


def load(weights: Path | None = None, *, device: str = "cpu") -> "Embedder":
    """The bundled model, or that of a file or run folder; damaged recordings are used as far as they go."""
    import seeking_shape

    return seeking_shape.load(weights, device=device, on_corrupt="salvage")


def train(population: Path, out: Path, *, device: str = "cpu") -> Path:
    """Train by the quick configurations, or go on; gives the run folder of the model."""
    from voiceface.suite.parallel_training import run_training_steps

    from seeking_shape.demo import build_training_steps

    steps, runs = build_training_steps(out, device=device)
    run_training_steps(population, steps)
    return runs["main"]


SHOWCASE = AssociationSystem(
    "seeking_shape", "common space, trained with adaptive identity weights", load, train
)
