"""Many small arrays in few large blocks of memory."""

from typing import TypeVar

import numpy as np

__all__ = ["ArrayBlocks"]

AnyArray = TypeVar("AnyArray", bound=np.ndarray)
BLOCK_BYTES = 1 << 26  # beyond 32 MB the C library maps every block by itself
ALIGNMENT = 64


class ArrayBlocks:
    """Copies arrays into blocks of 64 MB.

    An array that stays in memory while large temporary ones come and go splits the room that these leave,
    so that the next ones need new room: ten thousand spectrograms of 0.1 MB that way took 15 GB. In blocks
    they take what they hold.
    """

    def __init__(self) -> None:
        self._block = np.empty(0, np.uint8)
        self._used = 0

    def keep(self, array: AnyArray) -> AnyArray:
        """Copy of an array, contiguous in C order; of more than a quarter of a block, outside the blocks."""
        if array.nbytes > BLOCK_BYTES // 4:
            return np.array(array, order="C")  # type: ignore[return-value]
        if self._used + array.nbytes > len(self._block):
            self._block, self._used = np.empty(BLOCK_BYTES, np.uint8), 0
        room = self._block[self._used : self._used + array.nbytes]
        self._used += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        copy = room.view(array.dtype).reshape(array.shape)
        copy[...] = array
        return copy  # type: ignore[return-value]
