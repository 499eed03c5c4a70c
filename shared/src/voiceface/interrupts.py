"""Ctrl-C and SIGTERM that wait for the end of a step."""

import signal
from types import TracebackType
from typing import Any


class Interrupts:
    """Context in which SIGINT and SIGTERM are noted in `number` instead of ending the process.

    A second SIGINT raises KeyboardInterrupt at once. Outside the main thread, where Python sets no handlers,
    nothing is noted. The earlier handlers come back at the end.
    """

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        except ValueError:
            pass  # not the main thread
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _note(self, number: int, frame: Any) -> None:
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number
