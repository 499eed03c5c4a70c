"""People made once per session; and the renderer's tests on another build of its kernel (SIM3DR_KERNEL)."""

import importlib.util
import os
import sys
from typing import TYPE_CHECKING

import pytest
from voiceface.testing.runs import one_thread

if TYPE_CHECKING:
    from perceptionist.dataset.records import People

NAME = "perceptionist.sim3dr._raster"

if "SIM3DR_KERNEL" in os.environ:
    spec = importlib.util.spec_from_file_location(NAME, os.environ["SIM3DR_KERNEL"])
    sys.modules[NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[NAME])


@pytest.fixture(scope="session", autouse=True)
def single_thread() -> None:
    """Bit-identity needs the same number of threads everywhere."""
    one_thread()


def drawn(split: str) -> "People":
    """People of a split, invented."""
    from perceptionist.dataset.synthetic import invented_people
    from perceptionist.face_models.io import open_face_model
    from small_perceptionist_runs import SIZES

    return invented_people("tiny", split, open_face_model(), workers=1, progress=False, **SIZES)


@pytest.fixture(scope="session")
def people() -> "People":
    """Eight people to learn from."""
    return drawn("train")


@pytest.fixture(scope="session")
def judges() -> "People":
    """Four people to be judged by."""
    return drawn("val")
