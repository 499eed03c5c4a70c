"""Corpora as association systems read them: who is trained on, who is asked about, and by which lists."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

__all__ = [
    "SYNTHETIC_DATA_DISCLAIMER",
    "get_disclaimer",
    "is_synthetic",
]

SYNTHETIC_DATA_DISCLAIMER = (
    "Trained on invented people (the synthetic population): metrics and rankings made with these weights "
    "say nothing about real persons."
)


def is_synthetic(root: Path) -> bool:
    """Whether a corpus folder was written by the population generator."""
    return (root / "truth" / "population.json").is_file()


def get_disclaimer(root: Path) -> str:
    """Return the disclaimer of models that were trained on this corpus; empty where none is needed."""
    return SYNTHETIC_DATA_DISCLAIMER if is_synthetic(root) else ""
