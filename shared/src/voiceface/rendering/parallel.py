"""Run one task in several parts on a persistent pool of threads."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DEFAULT_MAX_THREADS",
    "MAX_THREADS",
    "MIN_WORK_PER_THREAD",
    "run_parallel",
    "split_by_work",
    "split_evenly",
    "thread_count",
]


MAX_THREADS = 64  # threads of one call
DEFAULT_MAX_THREADS = 8
MIN_WORK_PER_THREAD = 200_000.0  # less is not worth another thread; in pixels of boxes, each row costs 8 more

_pools: list[ThreadPoolExecutor] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)  # a forked process does not have its parent's threads


def thread_count(threads: int | None) -> int:
    """Number of threads that a call may use.

    Args:
        threads: 1 or more; None: the environment variable OMP_NUM_THREADS, else the number of available
            processors; 8 at most.

    Raises:
        ValueError: it is not a positive integer.
    """
    if threads is None:
        value = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
        return min(DEFAULT_MAX_THREADS, max(1, int(value)) if value.isdecimal() else _available_processors())
    if isinstance(threads, bool) or threads != int(threads) or threads < 1:
        raise ValueError(f"threads: a positive integer is expected, found {threads!r}")
    return min(MAX_THREADS, int(threads))


def run_parallel(work: Callable[..., Any], parts: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Call `work(*part)` for every part in parallel; return the results in order.

    The first part runs in the calling thread. If no thread can be started (at process exit), all of them do.
    """
    futures = []
    if len(parts) > 1:
        if not _pools:
            _pools.append(ThreadPoolExecutor(MAX_THREADS, "rendering"))
        try:
            for part in parts[1:]:
                futures.append(_pools[0].submit(work, *part))
        except RuntimeError:
            pass
    num_started = 1 + len(futures)
    results = [work(*part) for part in [*parts[:1], *parts[num_started:]]]
    return [*results[:1], *(future.result() for future in futures), *results[1:]]


def split_evenly(count: int, parts: int) -> list[tuple[int, int]]:
    """Split 0..count into `parts` ranges [first, end) of nearly equal length."""
    edges = [count * part // parts for part in range(parts + 1)]
    return list(pairwise(edges))


def split_by_work(work: NDArray[np.float64], parts: int) -> list[tuple[int, int]]:
    """Split rows into at most `parts` non-empty ranges with nearly equal sums of `work`."""
    sums = np.cumsum(work)
    inner = np.searchsorted(sums, sums[-1] * np.arange(1, parts) / parts) + 1
    edges = [0, *sorted({int(edge) for edge in inner if 0 < edge < len(work)}), len(work)]
    return list(pairwise(edges))


def _available_processors() -> int:
    """Number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
