"""Disclaimers that models and results of synthetic data carry."""

from pathlib import Path

__all__ = [
    "SYNTHETIC_DATA_DISCLAIMER",
    "get_disclaimer",
    "is_synthetic",
]

SYNTHETIC_DATA_DISCLAIMER = (
    "Trained on a synthetic population, not on real people: metrics and rankings computed with these weights "
    "say nothing about real people."
)


def is_synthetic(root: Path) -> bool:
    """Whether a corpus folder was written by the population generator."""
    return (root / "truth" / "population.json").is_file()


def get_disclaimer(root: Path) -> str:
    """Return the disclaimer of models that were trained on this corpus; empty where none is needed."""
    return SYNTHETIC_DATA_DISCLAIMER if is_synthetic(root) else ""
