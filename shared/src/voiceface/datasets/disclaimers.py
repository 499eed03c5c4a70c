"""Disclaimers of models that were trained on synthetic data."""

from pathlib import Path

__all__ = ["SYNTHETIC_DATA_DISCLAIMER", "get_disclaimer", "is_synthetic"]

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
