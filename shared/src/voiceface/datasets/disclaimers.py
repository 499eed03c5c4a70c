"""Disclaimers of models that were trained on synthetic data."""

from pathlib import Path

__all__ = ["BUNDLED_MODEL_DISCLAIMER", "SYNTHETIC_DATA_DISCLAIMER", "get_disclaimer", "is_synthetic"]

BUNDLED_MODEL_DISCLAIMER = (
    "These weights were trained on a synthetic population, not on real people: they show that the software "
    "works; their output says nothing about real voices and faces. Train on real data before you rely on a "
    "metric."
)
SYNTHETIC_DATA_DISCLAIMER = (
    "Trained on a synthetic population, not on real people: metrics and rankings computed with these weights "
    "say nothing about real people."
)


def is_synthetic(root: Path) -> bool:
    """Return whether a folder was written by `voiceface population`."""
    return (root / "truth" / "population.json").is_file()


def get_disclaimer(root: Path) -> str:
    """Return the disclaimer of models trained on a corpus folder; empty for real data."""
    return SYNTHETIC_DATA_DISCLAIMER if is_synthetic(root) else ""
