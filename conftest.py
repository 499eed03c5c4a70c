"""Under CI (environment variable CI) a library that a test compares with must be installed.

`pytest.importorskip` skips a test elsewhere. The sessions of noxfile.py install every such library, and
tests/test_layout.py requires that the test extras name it; so under CI its absence is a failure.
"""

import os
from collections.abc import Generator

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
