"""Functions that the processes of a group run in tests, as torchrun would start them."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from typing import Any

__all__ = ["in_processes", "in_two_processes"]


def in_two_processes(function: Callable[..., None], *arguments: Any, seconds: float = 120) -> None:
    """Do what `in_processes` does, with two."""
    in_processes(2, function, *arguments, seconds=seconds)


def in_processes(count: int, function: Callable[..., None], *arguments: Any, seconds: float = 120) -> None:
    """Fork (torch is imported already), with the environment of a group, and wait for all.

    Args:
        count: number of processes.
        function: called with the arguments; it joins the group itself (`distributed.initialise`, `Run`).
        arguments: of the function.
        seconds: how long it may take.

    Raises:
        AssertionError: a process failed, or has not ended in time.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=_join, args=(rank, group, function, arguments)) for rank in range(count)]
    for child in children:
        child.start()
    for child in children:
        child.join(seconds)
    codes = [child.exitcode for child in children]
    assert codes == [0] * count, f"exit statuses {codes}"


def _join(
    rank: int, group: dict[str, str], function: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    os.environ.update(group, RANK=str(rank), LOCAL_RANK=str(rank))
    function(*arguments)
