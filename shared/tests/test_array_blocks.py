"""Arrays in large blocks."""

import numpy as np
import pytest
from voiceface.datasets import array_blocks
from voiceface.datasets.array_blocks import ArrayBlocks


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> ArrayBlocks:
    """Of 4 KB."""
    monkeypatch.setattr(array_blocks, "BLOCK_BYTES", 4096)
    return ArrayBlocks()


def test_arrays_are_copied(blocks: ArrayBlocks) -> None:
    rng = np.random.default_rng(0)
    arrays = [
        rng.integers(0, 100, shape).astype(kind)
        for kind in (np.uint8, np.int16, np.float32)
        for shape in ((3, 5), (7,), (0, 4), (20, 10), (900,), (2000, 3))
    ]
    arrays.append(arrays[0].T)
    kept = [blocks.keep(array) for array in arrays]
    for array, copy in zip(arrays, kept, strict=True):
        assert copy.dtype == array.dtype and copy.flags.c_contiguous
        np.testing.assert_array_equal(copy, array)
        assert not np.shares_memory(copy, array)
        copy[...] = 0
    assert all(not copy.any() for copy in kept), "none shares its room with another one"


def test_small_arrays_share_blocks_and_large_ones_have_none(blocks: ArrayBlocks) -> None:
    small = [blocks.keep(np.zeros(100, np.uint8)) for _ in range(40)]
    assert len({id(_owner(array)) for array in small}) == 2, "32 arrays of 128 aligned bytes in each"
    large = blocks.keep(np.zeros(2000, np.uint8))
    assert _owner(large).nbytes == 2000


def _owner(array: np.ndarray) -> np.ndarray:
    while array.base is not None:
        array = array.base
    return array
