"""Fixtures that several test files share."""

from pathlib import Path

import pytest
from voiceface.synthetic.writer import write_population


@pytest.fixture(scope="session")
def tiny_population(tmp_path_factory) -> Path:
    """The preset *tiny* on disk; tests that change files copy it first."""
    return write_population(tmp_path_factory.mktemp("tiny") / "population", "tiny", workers=1, progress=False)
