"""The current process: memory that glibc keeps between steps, and interrupts that wait for a safe point."""

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

    A training step frees and takes the same large blocks again and again. By default glibc gives each back to
    the system, which clears it anew on the next use: measured 5 to 10 % of a step of the full networks. The
    process then keeps its peak of memory until it ends. Nothing happens without glibc; results never change.

    Returns:
        Whether the C library took the setting.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        library = ctypes.CDLL(None)
        took = bool(library.mallopt(M_MMAP_MAX, 0)) and bool(library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
    except (AttributeError, OSError):  # another C library
        return False
    log.debug("freed memory is %s", "kept" if took else "given back as usual")
    return took


class DeferredSignals:
    """Context in which SIGINT and SIGTERM are noted in `number` instead of ending the process.

    A second SIGINT raises KeyboardInterrupt at once. Outside the main thread, where Python sets no handlers,
    nothing is noted. The earlier handlers come back at the end.
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
