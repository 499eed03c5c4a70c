"""Worker processes that decode the files of bulk work: a crash of a library costs one file, not the batch.

Inside `decoding_in_workers`, readers that `runs_in_worker` marks send each file to one of a few processes
(`voiceface.io.decoding_process`), from whatever thread they are called. The processes stay for later work and
are replaced after a crash. A start costs 0.2 s of processor time, as much as a hundred short recordings:
the second process is started when files have waited for the first one.
"""

import atexit
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import wraps
from inspect import isgeneratorfunction, signature
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from voiceface.io.decoding_errors import DecodingError
from voiceface.io.file_kinds import printable

if TYPE_CHECKING:
    from voiceface.io.decoding_process import DecodingWorker

__all__ = ["DecodingError", "decode_isolated", "decoding_in_workers", "runs_in_worker", "stop_decoding"]

PATIENCE_SECONDS = 1.0  # several starts, on a machine with other work
START_SECONDS = 5.0  # for the first file of a process, which may itself take minutes
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class _Pool:
    """At most `limit` processes, started when they are needed.

    There is one more when requests have waited for 1 s in all, without a moment in which all processes
    were idle, or for 5 s while a process starts.
    """

    def __init__(self) -> None:
        self.process_id = os.getpid()
        self.limit = 1
        self.num_users = 0
        self._size = 1  # processes that may run by now
        self._waited = 0.0
        self._num_waiting = 0
        self._changed = threading.Condition()
        self._idle: list[DecodingWorker] = []
        self._busy: set[DecodingWorker] = set()
        self._starting: set[DecodingWorker] = set()
        self._holders: list[int] = []  # threads of the busy ones

    @contextmanager
    def worker(self) -> Iterator["DecodingWorker"]:
        """A process that is free."""
        thread = threading.get_ident()
        worker = self._take(thread)
        try:
            yield worker
        finally:
            with self._changed:
                self._busy.discard(worker)
                self._holders.remove(thread)
                if worker.is_alive:
                    self._idle.append(worker)
                else:
                    worker.close()
                if worker in self._starting or (not self._busy and not self._num_waiting):
                    self._starting.discard(worker)
                    self._waited = 0.0
                self._changed.notify()

    def stop(self) -> None:
        """End all processes; requests that wait for them end with an error."""
        with self._changed:
            for worker in self._busy:
                worker.stop()
            for worker in self._idle:
                worker.close()
            self._idle.clear()
            self._size, self._waited = 1, 0.0

    def _take(self, thread: int) -> "DecodingWorker":
        """Wait for a process; a thread that has one already, for a generator, does not wait."""
        from voiceface.io.decoding_process import DecodingWorker  # numpy

        with self._changed:
            while not self._idle and len(self._busy) >= self._size and thread not in self._holders:
                self._wait()
            while self._idle:
                worker = self._idle.pop()
                if worker.has_ended():  # killed while nobody needed it
                    worker.close()
                    continue
                break
            else:
                worker = DecodingWorker()
                self._starting.add(worker)
            self._busy.add(worker)
            self._holders.append(thread)
            return worker

    def _wait(self) -> None:
        """Wait for a change, and allow one more process when that took too long."""
        is_starting = bool(self._starting)
        patience = START_SECONDS if is_starting else PATIENCE_SECONDS
        begin = time.monotonic()
        self._num_waiting += 1
        try:
            self._changed.wait(max(0.0, patience - self._waited) if self._size < self.limit else None)
        finally:
            self._num_waiting -= 1
        self._waited += time.monotonic() - begin if bool(self._starting) == is_starting else 0.0
        if self._size < self.limit and self._waited >= patience:
            self._size += 1
            self._waited = 0.0


_pools: list[_Pool] = []


def _pool() -> _Pool:
    """Pool of this process; that of a parent process answers the parent."""
    if not _pools or _pools[0].process_id != os.getpid():
        _pools[:] = [_Pool()]
    return _pools[0]


def stop_decoding() -> None:
    """End the worker processes of this process, such as after Ctrl-C; later work starts new ones."""
    if _pools and _pools[0].process_id == os.getpid():
        _pools[0].stop()


atexit.register(stop_decoding)


@contextmanager
def decoding_in_workers(workers: int) -> Iterator[None]:
    """Decode sounds and pictures in worker processes, in all threads of this process, until the end.

    Results do not depend on it. An error that ends the context ends the processes.

    Args:
        workers: most processes at a time; 0 decodes in this process, where a crash of a library ends it.
    """
    if workers < 1:
        yield
        return
    pool = _pool()
    pool.limit = max(pool.limit, workers)
    pool.num_users += 1
    try:
        yield
    except GeneratorExit:
        raise
    except BaseException:
        pool.stop()
        raise
    finally:
        pool.num_users -= 1


def runs_in_worker(
    error_type: type[Exception], result_type: type[Any] | None = None
) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Mark a reader that runs in a worker process inside `decoding_in_workers`.

    Args:
        error_type: documented error of the reader, raised also when the process ends or takes too long.
        result_type: data class of JSON values, tuples of them and arrays that the reader returns or, as a
            generator, yields; None: one array.

    Returns:
        A decorator of functions of a module. Their first argument is a file (what is not a path is decoded
        in this process), all others are JSON values.
    """

    def rebuild(values: dict[str, Any]) -> Any:
        if result_type is None:
            return values["array"]
        return result_type(
            **{name: tuple(each) if isinstance(each, list) else each for name, each in values.items()}
        )

    def decorate(reader: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        place = f"{reader.__module__}:{reader.__qualname__}"

        def iterate(path: Any, values: dict[str, Any]) -> Iterator[Any]:
            with (
                _pool().worker() as worker,
                _translated_errors(path, error_type),
                closing(worker.iterate(place, values)) as items,
            ):
                yield from map(rebuild, items)

        @wraps(reader)
        def read(*arguments: Any, **options: Any) -> Any:
            path = arguments[0] if arguments else options.get(parameter)
            if not _pool().num_users or len(arguments) > 1 or not isinstance(path, str | os.PathLike):
                return reader(*arguments, **options)
            values = {**options, parameter: os.fspath(path)}
            if isgeneratorfunction(reader):
                return iterate(path, values)
            with _pool().worker() as worker, _translated_errors(path, error_type):
                return rebuild(worker.request(place, values))

        parameter = next(iter(signature(reader).parameters))
        return read  # type: ignore[return-value]

    return decorate


@contextmanager
def _translated_errors(path: Any, error_type: type[Exception]) -> Iterator[None]:
    """Raise the reader's own errors for those of the worker."""
    try:
        yield
    except DecodingError as error:
        if error.kind == "FileNotFoundError":
            raise FileNotFoundError(str(error)) from None
        if error.kind == error_type.__name__:
            raise error_type(str(error)) from None
        raise error_type(f"{printable(path)}: {error}; copy it again or remove it") from None


def decode_isolated(function: str, *arguments: Any, seconds: float = 120.0) -> dict[str, Any]:
    """Call a decoder in a worker process, inside and outside of `decoding_in_workers`.

    Args:
        function: "module:name" of a function that returns a dict of JSON values and numpy arrays.
        arguments: JSON values, such as the path of the file.
        seconds: longest time without an answer.

    Returns:
        The dict of the function; arrays are new and writeable.

    Raises:
        DecodingError: the function raised an error, ended its process, or took too long.
    """
    with _pool().worker() as worker:
        return worker.request(function, list(arguments), seconds)
