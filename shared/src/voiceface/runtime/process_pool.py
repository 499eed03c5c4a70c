"""Map a function over items with several processes, a progress bar and a clean end on Ctrl-C."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

from voiceface.runtime.progress import progress_bar

__all__ = ["available_cpu_count", "map_unordered"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def available_cpu_count() -> int:
    """Number of processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_unordered(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int | None = None,
    description: str = "",
    unit: str = "it",
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
    progress: bool = True,
) -> Iterator[tuple[Item, Result]]:
    """Yield (item, function(item)) in order of completion.

    Args:
        function: importable by name (workers import it), called with one item.
        items: inputs.
        workers: processes; 1 works in this process, None uses every core.
        description: label of the progress bar.
        unit: its word for an item.
        initializer: called once in each worker before its first item.
        initargs: arguments of `initializer`.
        progress: show the bar (on standard error).

    Raises:
        Exceptions of `function`, after the other workers were stopped.
    """
    workers = min(workers or available_cpu_count(), max(1, len(items)))
    with progress_bar(None, description, unit, total=len(items), enabled=progress) as bar:
        if workers == 1:
            if initializer:
                initializer(*initargs)
            for item in items:
                yield item, function(item)
                bar.update()
            return
        pool = ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_init_worker,
            initargs=(initializer, initargs),
        )
        try:
            todo = iter(items)
            running = {}
            with _without_main_module(function, initializer, initargs, items[0]):
                for item in todo:
                    running[pool.submit(function, item)] = item
                    if len(running) >= 4 * workers:
                        break
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield running.pop(future), future.result()
                    bar.update()
                    for item in todo:
                        running[pool.submit(function, item)] = item
                        break
        except BaseException:
            processes = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:  # else the interpreter waits at its end for what they are at
                process.terminate()
            raise
        pool.shutdown()


@contextmanager
def _without_main_module(*sent: Any) -> Iterator[None]:
    """Start processes that do not import the running script, unless they need something of it.

    A script that is imported again runs again, without ``if __name__ == "__main__"`` endlessly.
    """
    main = sys.modules["__main__"]
    hidden = {} if b"__main__" in pickle.dumps(sent) else {"__file__": None, "__spec__": None}
    kept = {name: getattr(main, name) for name in hidden if hasattr(main, name)}
    for name, value in hidden.items():
        setattr(main, name, value)
    try:
        yield
    finally:
        for name in hidden:
            delattr(main, name)
        for name, value in kept.items():
            setattr(main, name, value)


def _init_worker(initializer: Callable[..., None] | None, initargs: tuple[Any, ...]) -> None:
    """Leave Ctrl-C to the parent, end with it, and limit numerical libraries to one thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    if initializer:
        initializer(*initargs)


def _exit_with_parent() -> None:
    """Exit when the parent has ended, even by a kill, since nothing else would stop this worker."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
