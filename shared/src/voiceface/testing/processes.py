"""Functions that two processes of a group run in tests, as torchrun would start them."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from typing import Any

__all__ = ["in_two_processes"]


def in_two_processes(function: Callable[..., None], *arguments: Any, seconds: float = 120) -> None:
    """Fork twice (torch is imported already), with the environment of a group, and wait for both.

    Args:
        function: called with the arguments; it joins the group itself (`distributed.initialise`, `Run`).
        arguments: of the function.
        seconds: how long it may take.

    Raises:
        AssertionError: a process failed, or has not ended in time.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=_join, args=(rank, port, function, arguments)) for rank in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(seconds)
    assert [child.exitcode for child in children] == [0, 0]


def _join(rank: int, port: int, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    group = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": 2,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    os.environ.update({name: str(value) for name, value in group.items()})
    function(*arguments)
