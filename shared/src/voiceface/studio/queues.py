"""One thread per system, with a queue: answers of a system come one behind another, cancelled ones never."""

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

__all__ = ["BusyError", "CancelledError", "Job", "Worker"]

log = logging.getLogger(__name__)


class BusyError(RuntimeError):
    """Too many jobs wait."""


class CancelledError(RuntimeError):
    """The visitor has left."""


class Job:
    """Work for a `Worker`.

    Attributes:
        future: the result.
    """

    def __init__(self, work: "Callable[[Job], Any]") -> None:
        self.work = work
        self.future: Future[Any] = Future()
        self._cancelled = threading.Event()

    @property
    def is_cancelled(self) -> bool:
        """Whether the visitor has left."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Let a waiting job not begin, and one that runs end at its next step."""
        self._cancelled.set()
        self.future.cancel()

    def check(self) -> None:
        """Call between two steps of long work.

        Raises:
            CancelledError: the visitor has left.
        """
        if self.is_cancelled:
            raise CancelledError


class Worker:
    """A thread that does one job after the other; it starts with the first one.

    Args:
        name: of the thread.
        max_waiting: jobs that may wait.
        prepare: is called in the thread before the first job.
    """

    def __init__(self, name: str, max_waiting: int = 256, prepare: Callable[[], None] = lambda: None) -> None:
        self.name, self._prepare = name, prepare
        self._queue: queue.Queue[Job | None] = queue.Queue(max_waiting)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def num_waiting(self) -> int:
        """Jobs that have not begun, and whose visitors are still there."""
        with self._queue.mutex:
            return sum(job is not None and not job.is_cancelled for job in self._queue.queue)

    def submit(self, work: Callable[[Job], Any]) -> Job:
        """Queue work.

        Args:
            work: is called with its job.

        Raises:
            BusyError: too many jobs wait.
        """
        job = Job(work)
        try:
            if self._queue.full():
                self._forget_cancelled()
            self._queue.put_nowait(job)
        except queue.Full:
            raise BusyError(f"{self._queue.qsize()} others wait for {self.name}: try again later") from None
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"studio {self.name}", daemon=True)
                self._thread.start()
        return job

    def close(self, seconds: float = 5.0) -> None:
        """Drop what waits, and end after the current job."""
        while True:
            try:
                waiting = self._queue.get_nowait()
            except queue.Empty:
                break
            if waiting is not None:
                waiting.cancel()
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(seconds)

    def _forget_cancelled(self) -> None:
        """Take jobs of visitors who have left out of the queue, so that they refuse nobody else."""
        with self._queue.mutex:
            kept = [job for job in self._queue.queue if job is None or not job.is_cancelled]
            self._queue.queue.clear()
            self._queue.queue.extend(kept)
            self._queue.not_full.notify_all()

    def _run(self) -> None:
        self._prepare()
        while (job := self._queue.get()) is not None:
            if not job.future.set_running_or_notify_cancel() or job.is_cancelled:
                continue
            try:
                job.future.set_result(job.work(job))
            except CancelledError as error:
                job.future.set_exception(error)
            except Exception as error:
                if not isinstance(error, ValueError | OSError):
                    log.exception("%s", self.name)
                job.future.set_exception(error)
