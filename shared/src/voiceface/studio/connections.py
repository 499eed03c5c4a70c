"""Connections of the server: those that send no request, or read no answer, are closed."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["REQUEST_SECONDS", "STALLED_SECONDS", "BoundedConnection"]

REQUEST_SECONDS = 20.0  # from the beginning, or the last answer, until the head of a request is there
STALLED_SECONDS = 60.0  # in which nothing of an answer is read


class BoundedConnection(H11Protocol):
    """A connection that ends if its visitor sends nothing, or very slowly, or does not read.

    The server answers a limited number of connections; without these times a program that opens them and
    remains silent would shut everybody else out.
    """

    request_seconds, stalled_seconds = REQUEST_SECONDS, STALLED_SECONDS
    _waiting: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the times."""
        for timer in (self._waiting, self._stalled):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait until the visitor reads on."""
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(self.stalled_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The visitor has read."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _watch(self) -> None:
        """Run the time of a request while none is there."""
        if self.cycle is not None and not self.cycle.response_complete:
            if self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None
        elif self._waiting is None:
            self._waiting = self.loop.call_later(self.request_seconds, self.transport.abort)
