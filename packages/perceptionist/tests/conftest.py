"""People made once per session; and the renderer's tests on another build of its kernel (SIM3DR_KERNEL)."""

import importlib.util
import os
import sys
from typing import TYPE_CHECKING

import pytest
from voiceface.testing.runs import use_one_thread

if TYPE_CHECKING:
    from perceptionist.dataset.records import VoiceFaceDataset

NAME = "perceptionist.sim3dr._raster"

if "SIM3DR_KERNEL" in os.environ:
    spec = importlib.util.spec_from_file_location(NAME, os.environ["SIM3DR_KERNEL"])
    sys.modules[NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[NAME])


@pytest.fixture(scope="session", autouse=True)
def single_thread() -> None:
    """Bit-identity needs the same number of threads everywhere."""
    use_one_thread()


def synthetic_dataset(split: str) -> "VoiceFaceDataset":
    """People of a split, invented."""
    from perceptionist.dataset.synthetic import generate_synthetic_dataset
    from perceptionist.face_models.io import resolve_face_model
    from small_perceptionist_runs import TINY_SIZES

    return generate_synthetic_dataset(
        "tiny", split, resolve_face_model(), num_workers=1, progress=False, **TINY_SIZES
    )


@pytest.fixture(scope="session")
def people() -> "VoiceFaceDataset":
    """Eight people to learn from."""
    return synthetic_dataset("train")


@pytest.fixture(scope="session")
def judges() -> "VoiceFaceDataset":
    """Four people to be judged by."""
    return synthetic_dataset("val")
