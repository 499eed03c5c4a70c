"""Arrays that one process makes and another one uses, in memory of both; used memory goes back and forth.

Fresh memory costs more time than the decoding of a short recording: the sender writes into memory that the
receiver has finished with, where there is enough of it.
"""

import math
import mmap
import os
import socket
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CAN_SHARE", "SHARED_BYTES", "ArrayReceiver", "ArraySender"]

CAN_SHARE = hasattr(os, "memfd_create") and hasattr(socket, "send_fds")
"""Whether the system has memory that can be passed between processes (Linux)."""
SHARED_BYTES = 1 << 16
"""Arrays from this size on are shared, smaller ones go through the pipe."""
MAX_FREE_BYTES = 1 << 26
MAX_KEPT = 256  # arrays in shared memory that a receiver keeps; a process can have 65,530 maps
PAGE = 4096


class ArraySender:
    """The side that makes arrays.

    Args:
        channel: socket through which the handles of new memory go.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._memory: dict[int, mmap.mmap] = {}
        self._free: dict[int, int] = {}  # number -> bytes
        self._new: list[int] = []
        self._count = 0

    def put(self, array: NDArray[Any]) -> int:
        """Copy an array into shared memory; return its number."""
        fitting = [
            (size, number) for number, size in self._free.items() if array.nbytes <= size <= 4 * array.nbytes
        ]
        if fitting:
            number = min(fitting)[1]
            del self._free[number]
        else:
            number = self._add(-(-array.nbytes // PAGE) * PAGE)
        np.copyto(np.frombuffer(self._memory[number], array.dtype, array.size).reshape(array.shape), array)
        return number

    def send_new(self) -> None:
        """Send the handles of memory that the receiver does not know, in the order of `put`."""
        for handle in self._new:
            socket.send_fds(self._channel, [b"a"], [handle])
            os.close(handle)
        self._new.clear()

    def release(self, numbers: list[int]) -> list[int]:
        """Take memory back that the receiver has finished with.

        Returns:
            Numbers of what is given up because too much is free.
        """
        self._free |= {number: len(self._memory[number]) for number in numbers}
        dropped = []
        while sum(self._free.values()) > MAX_FREE_BYTES and len(self._free) > 1:
            number = next(iter(self._free))
            del self._free[number], self._memory[number]
            dropped.append(number)
        return dropped

    def _add(self, size: int) -> int:
        """Make new memory."""
        self._count += 1
        handle = os.memfd_create("array")
        os.ftruncate(handle, size)
        self._memory[self._count] = mmap.mmap(handle, size)
        self._new.append(handle)
        return self._count


class _Lease(np.ndarray):
    """Array that its views keep alive: a view of a plain array keeps what that array is a view of."""


class ArrayReceiver:
    """The side that uses arrays.

    Args:
        channel: the other end of the sender's.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._memory: dict[int, mmap.mmap] = {}
        self._released: list[int] = []
        self._num_kept = 0

    def receive(self, number: int, kind: np.dtype[Any], shape: list[int]) -> NDArray[Any]:
        """The array in the memory of a number, which goes back when nothing refers to the array any more.

        Where many arrays are kept, it is copied.

        Raises:
            EOFError: the sender has ended, or its memory is smaller than it says.
        """
        if number not in self._memory:
            _, handles, _, _ = socket.recv_fds(self._channel, 1, 1)
            if not handles:
                raise EOFError
            try:
                self._memory[number] = mmap.mmap(handles[0], os.fstat(handles[0]).st_size)
            finally:
                os.close(handles[0])
        size = kind.itemsize * math.prod(shape)
        if size > len(self._memory[number]):
            raise EOFError
        lease = _Lease(tuple(shape), kind, self._memory[number])
        weakref.finalize(lease, self._released.append, number).atexit = False
        self._num_kept += 1
        return np.array(lease) if self._num_kept > MAX_KEPT else lease.view(np.ndarray)

    def take_released(self) -> list[int]:
        """Numbers of the memory that is not used any more."""
        taken = self._released[:]
        del self._released[: len(taken)]
        self._num_kept -= len(taken)
        return taken

    def drop(self, numbers: list[int]) -> None:
        """Forget memory that the sender gave up."""
        for number in numbers:
            del self._memory[number]
