"""Fixtures that several test files share; tests of another build of the rendering kernel."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest
from voiceface.synthetic.writer import write_population

KERNEL = "voiceface.rendering._raster"

if "VOICEFACE_RENDERING_KERNEL" in os.environ:
    spec = importlib.util.spec_from_file_location(KERNEL, os.environ["VOICEFACE_RENDERING_KERNEL"])
    sys.modules[KERNEL] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[KERNEL])


@pytest.fixture(scope="session")
def tiny_population(tmp_path_factory) -> Path:
    """The preset *tiny* on disk; tests that change files copy it first."""
    return write_population(tmp_path_factory.mktemp("tiny") / "population", "tiny", workers=1, progress=False)
