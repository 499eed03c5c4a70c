"""Exit statuses of all commands (docs/api_stability.md)."""

import sys
from collections.abc import Iterable

__all__ = ["ERROR", "INCOMPLETE", "INVALID_COMMAND_LINE", "STOPPED", "SUCCESS", "completeness_status"]

SUCCESS = 0
"""Results were made; files of a person's own that were left out are listed with reason and remedy."""
ERROR = 1
"""An error or no results; with `--strict` also files that were left out; problems that a check found."""
INVALID_COMMAND_LINE = 2
INCOMPLETE = 3
"""Some results could not be computed; they are listed with their reasons, all others were written."""
STOPPED = 130


def completeness_status(unavailable: Iterable[object]) -> int:
    """Exit status of an evaluation; a line on standard error counts the results that are not available.

    Args:
        unavailable: results that could not be computed, such as
            `voiceface.metrics.unavailable.UnavailableResult`.

    Returns:
        `INCOMPLETE`, or `SUCCESS` if there are none.
    """
    count = len(list(unavailable))
    if not count:
        return SUCCESS
    what = "1 result" if count == 1 else f"{count} results"
    print(
        f"{what} could not be computed (exit status {INCOMPLETE}); the others were written", file=sys.stderr
    )
    return INCOMPLETE
