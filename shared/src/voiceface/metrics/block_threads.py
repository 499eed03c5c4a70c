"""Blocks of work on several threads, each of which has PyTorch to itself on one."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

__all__ = ["map_blocks"]

T = TypeVar("T")
_lock = threading.Lock()
_state = {"users": 0, "threads": 1}


def map_blocks(function: Callable[[slice], T], blocks: Iterable[slice]) -> Iterator[T]:
    """Apply a function to blocks on as many threads as PyTorch has; results in the order of the blocks.

    Within a block PyTorch works on one thread, so that matrix products round as they do on one thread,
    whatever the number of threads; blocks do not wait for each other.

    Args:
        function: must release the interpreter for most of its time.
        blocks: the blocks.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        yield from map(function, blocks)
        return
    with _one_thread_each(), ThreadPoolExecutor(threads) as pool:
        yield from pool.map(function, blocks)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Set PyTorch to one thread; the number is restored by the last of several users."""
    with _lock:
        if not _state["users"]:
            _state["threads"] = torch.get_num_threads()
            torch.set_num_threads(1)
        _state["users"] += 1
    try:
        yield
    finally:
        with _lock:
            _state["users"] -= 1
            if not _state["users"]:
                torch.set_num_threads(_state["threads"])
