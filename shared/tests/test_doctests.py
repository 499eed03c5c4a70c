"""Examples in docstrings give the values that they state."""

import doctest
import importlib
from pathlib import Path

import pytest
import voiceface

ROOT = Path(voiceface.__file__).parent
MODULES = [
    "voiceface." + ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted(ROOT.rglob("*.py"))
    if ">>> " in path.read_text("utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0 and found.failed == 0


def test_numeric_modules_have_examples() -> None:
    wanted = {"frechet", "geometry", "matching", "multiple_testing", "retrieval", "verification"}
    assert {f"voiceface.metrics.{name}" for name in wanted} <= set(MODULES)
    assert {"voiceface.audio.mel", "voiceface.training.lr_schedules"} <= set(MODULES)
