"""Settings of the current process: memory that glibc keeps, and signals handled at a safe point."""

import ctypes
import logging
import signal
import sys
from types import TracebackType
from typing import Any

__all__ = ["DeferredSignals", "keep_freed_memory"]

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4

log = logging.getLogger(__name__)


def keep_freed_memory() -> bool:
    """Let the C library reuse large freed blocks within this process.

    A training step repeatedly frees and allocates the same large blocks. By default glibc returns each to the
    system, which clears it on the next use: 5 to 10 % of a step of the full networks. With this setting the
    process keeps its peak memory until it ends. Call it once the data are in memory: arrays that stay would
    lie between large freed blocks and split them. Without glibc nothing happens; results never change.

    Returns:
        Whether the C library accepted the setting.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        library = ctypes.CDLL(None)
        accepted = bool(library.mallopt(M_MMAP_MAX, 0)) and bool(library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
    except (AttributeError, OSError):  # another C library
        return False
    log.debug("freed memory is %s", "kept" if accepted else "returned as usual")
    return accepted


class DeferredSignals:
    """Context that records SIGINT and SIGTERM in `received_signal` instead of ending the process.

    A second SIGINT raises KeyboardInterrupt at once. Outside the main thread, where Python sets no handlers,
    nothing is recorded. The earlier handlers are restored at the end.
    """

    def __init__(self) -> None:
        self.received_signal = 0
        self._previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> "DeferredSignals":
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous_handlers[number] = signal.signal(number, self._handle)
        except ValueError:
            pass  # not the main thread
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        self._previous_handlers.clear()

    def _handle(self, number: int, frame: Any) -> None:
        if self.received_signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received_signal = number
