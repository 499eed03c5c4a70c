"""Progress bars of long work: on standard error, on a terminal only, and not for what is done at once."""

import sys
from collections.abc import Iterable
from typing import Any, TextIO

from tqdm import tqdm

__all__ = ["DELAY_SECONDS", "progress_bar", "write_line"]

DELAY_SECONDS = 1.0
"""Work that ends sooner shows no bar."""


def progress_bar(
    items: Iterable[Any] | None = None,
    description: str = "",
    unit: str = "file",
    *,
    total: int | None = None,
    initial: int = 0,
    enabled: bool = True,
    leave: bool = True,
) -> "tqdm[Any]":
    """Build the bar of a loop, or one that is updated by hand.

    Args:
        items: what the loop runs over.
        description: label.
        unit: word for an item.
        total: number of items, if `items` has no length.
        initial: items that were done before.
        enabled: False shows no bar anywhere; True shows it if standard error is a terminal.
        leave: the finished bar stays on the terminal.

    Example:
        >>> with progress_bar(["a.wav", "b.wav"], "voices") as bar:
        ...     lengths = [len(name) for name in bar]
    """
    return tqdm(
        items,
        description or None,
        total=total,
        initial=initial,
        unit=unit,
        disable=None if enabled else True,
        delay=DELAY_SECONDS,
        leave=leave,
    )


def write_line(text: str, file: TextIO | None = None) -> None:
    """Print a line at once, above the bars that are shown.

    Args:
        text: the line.
        file: stream (default: standard output).
    """
    stream = file or sys.stdout
    with tqdm.external_write_mode(file=stream):
        print(text, file=stream, flush=True)
