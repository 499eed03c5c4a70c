"""Synthetic data sets, generated once per session."""

from typing import TYPE_CHECKING

import pytest
from voiceface.testing.runs import use_one_thread

if TYPE_CHECKING:
    from perceptionist.dataset.records import VoiceFaceDataset


@pytest.fixture(scope="session", autouse=True)
def single_thread() -> None:
    """Use one thread: bit-identical results need the same number of threads."""
    use_one_thread()


def synthetic_dataset(split: str) -> "VoiceFaceDataset":
    """A split of the tiny synthetic population."""
    from perceptionist.dataset.synthetic import generate_synthetic_dataset
    from perceptionist.face_models.io import resolve_face_model
    from tiny_perceptionist_runs import TINY_SIZES

    return generate_synthetic_dataset(
        "tiny", split, resolve_face_model(), num_workers=1, progress=False, **TINY_SIZES
    )


@pytest.fixture(scope="session")
def train_dataset() -> "VoiceFaceDataset":
    """Eight training identities."""
    return synthetic_dataset("train")


@pytest.fixture(scope="session")
def val_dataset() -> "VoiceFaceDataset":
    """Four validation identities."""
    return synthetic_dataset("val")
