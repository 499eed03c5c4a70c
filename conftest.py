"""What holds for the tests of all packages.

Under CI (environment variable CI) a library that a test compares with must be installed.
`pytest.importorskip` skips a test elsewhere. The sessions of noxfile.py install every such library, and
tests/test_layout.py requires that the test extras name it; so under CI its absence is a failure.

Networks of real people in the user's cache change what happens to pictures. Tests run without them, whatever
is installed, unless they lie in tests/real or are marked `installed_networks`. So does silero-vad with what
happens to recordings: many tests make tones and harmonics that it rightly takes for no speech.
"""

import os
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest


def fail_if_import_was_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip by `importorskip` into a failure."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
    if report.skipped and os.environ.get("CI") and "could not import" in reason:
        report.outcome = "failed"
        report.longrepr = f"{reason}\nUnder CI this library must be installed: the test extra names it."


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    fail_if_import_was_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    fail_if_import_was_skipped(report)
    return report


EMPTY_CACHE = Path(tempfile.gettempdir()) / "voiceface-tests-without-networks"
"""A folder in which nobody installs networks."""
USER_CACHE = "VOICEFACE_HOME_OF_USER"
REAL_TESTS = Path(__file__).parent / "tests" / "real"


def pytest_configure(config: pytest.Config) -> None:
    """Remember the user's cache; processes that this one starts inherit it."""
    os.environ.setdefault(USER_CACHE, os.environ.get("VOICEFACE_HOME", ""))
    os.environ.setdefault("VOICEFACE_SPEECH_FINDER", "pitch")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Hide the user's cache from a test that is not about the networks in it."""
    user = os.environ.get(USER_CACHE, "")
    if not item.get_closest_marker("installed_networks") and REAL_TESTS not in item.path.parents:
        os.environ["VOICEFACE_HOME"] = str(EMPTY_CACHE)
    elif user:
        os.environ["VOICEFACE_HOME"] = user
    else:
        os.environ.pop("VOICEFACE_HOME", None)
