"""Skipping of tests whose extras are not installed; `nox -s test-scale` installs all of them."""

import importlib.util
import os

import pytest


def require(*modules: str) -> None:
    """Skip a module of tests where an extra is absent; under CI that is a failure."""
    absent = [name for name in modules if importlib.util.find_spec(name) is None]
    if absent and os.environ.get("CI"):
        pytest.fail(f"{', '.join(absent)} not installed, and CI tests every extra", pytrace=False)
    if absent:
        pytest.skip(f"{', '.join(absent)} not installed: run nox -s test-scale", allow_module_level=True)
