"""Training batches that depend on seed and step only, not on workers, processes or interruptions."""

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, default_collate

__all__ = ["RandomAccessDataset", "batches", "batches_per_epoch", "epoch_order"]

ORDER_STREAM, ITEM_STREAM = 0, 1  # the two uses of a seed


class RandomAccessDataset(Protocol):
    """Dataset with random items, such as one random image and clip of an identity."""

    def __len__(self) -> int: ...

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Sample item `index` with the generator."""
        ...


def batches(
    dataset: RandomAccessDataset,
    batch_size: int,
    *,
    seed: int,
    start_step: int = 0,
    max_steps: int,
    num_workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    drop_last: bool = True,
    shuffle_buffer: int | None = None,
    collate: Callable[[list[Any]], Any] = default_collate,
    pin_memory: bool = False,
) -> Iterator[Any]:
    """Yield batches `start_step` to ``max_steps - 1`` of a run of shuffled epochs.

    Epoch e has every item at most once, in an order determined by (seed, e); the generator of its item k is
    seeded with (seed, e, k). Batch t is independent of `start_step`, `num_workers` and `world_size`.

    Args:
        dataset: has a length and ``sample(index, rng)``; copied to the workers, if there are any.
        batch_size: rows of the global batch, all distinct items.
        seed: not negative.
        start_step: first batch; a resumed run passes its completed steps.
        max_steps: number of batches of the whole run, including those before `start_step`.
        num_workers: processes that load ahead; 0 loads in this process.
        rank: this process takes rows ``[rank * b, (rank + 1) * b)`` with ``b = batch_size / world_size``.
        world_size: processes that share each batch.
        drop_last: drop the last incomplete batch of an epoch (as published).
        shuffle_buffer: of `epoch_order`; None: every order of an epoch is possible.
        collate: combines a list of items into a batch.
        pin_memory: page-locked memory for faster copies to a GPU.

    Raises:
        ValueError: too few items for one batch, or `world_size` does not divide `batch_size`.
    """
    _check_batch_size(dataset, batch_size, world_size, drop_last)
    local_size = batch_size // world_size
    global_keys = _batch_keys(len(dataset), batch_size, seed, start_step, drop_last, shuffle_buffer)
    keys = (
        batch[rank * local_size : (rank + 1) * local_size]
        for batch in islice(global_keys, max(0, max_steps - start_step))
    )
    sampled = _SampledDataset(dataset, seed)
    if num_workers == 0:
        return (collate([sampled[key] for key in batch]) for batch in keys)
    loader: DataLoader = DataLoader(
        sampled,  # type: ignore[arg-type]
        batch_sampler=keys,  # type: ignore[arg-type]
        num_workers=num_workers,
        collate_fn=collate,
        worker_init_fn=_init_worker,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # otherwise the loader would use the run's random state
    )
    return iter(loader)


def batches_per_epoch(num_items: int, batch_size: int, drop_last: bool = True) -> int:
    """Number of batches in an epoch."""
    return num_items // batch_size if drop_last else -(-num_items // batch_size)


def epoch_order(
    num_items: int, seed: int, epoch: int, shuffle_buffer: int | None = None
) -> NDArray[np.int64]:
    """Order of the items in an epoch, a function of the arguments.

    With a buffer, neighbours stay near each other, as the files of neighbours do in shards: items are taken
    in blocks of `shuffle_buffer`, the blocks in random order, and each item then waits for a random time
    within that of `shuffle_buffer` items. What is read at any time comes from a few blocks.

    Args:
        num_items: N.
        seed: not negative.
        epoch: from 0.
        shuffle_buffer: items, at least 1; None: a random permutation.

    Returns:
        Permutation of 0...N - 1, (N,).

    Example:
        >>> epoch_order(6, 0, 0, shuffle_buffer=1).tolist()
        [3, 2, 5, 4, 0, 1]
    """
    rng = np.random.default_rng([seed, ORDER_STREAM, epoch])
    if shuffle_buffer is None:
        return rng.permutation(num_items)
    shuffle_buffer = max(1, min(shuffle_buffer, num_items))
    starts = rng.permutation(np.arange(0, num_items, shuffle_buffer))
    order = (starts[:, None] + np.arange(shuffle_buffer)).reshape(-1)
    order = order[order < num_items]
    return order[np.argsort(np.arange(num_items) + shuffle_buffer * rng.random(num_items), kind="stable")]


def _check_batch_size(
    dataset: RandomAccessDataset, batch_size: int, world_size: int, drop_last: bool
) -> None:
    """Check that the dataset fills a batch and that the processes can share it."""
    if batch_size < 1 or batch_size % world_size:
        raise ValueError(
            f"a batch of {batch_size} cannot be shared equally by {world_size} processes; "
            f"choose a multiple of {world_size}"
        )
    if len(dataset) < (batch_size if drop_last else 1):
        raise ValueError(
            f"{len(dataset)} training items do not fill one batch of {batch_size}; "
            "lower the batch size or give more identities"
        )
    if world_size > 1 and not drop_last:
        raise ValueError("several processes need full batches: set drop_last")


def _batch_keys(
    num_items: int,
    batch_size: int,
    seed: int,
    start_step: int,
    drop_last: bool,
    shuffle_buffer: int | None,
) -> Iterator[Sequence[tuple[int, int]]]:
    """Yield the (epoch, index) pairs of every global batch from `start_step` on, endlessly."""
    per_epoch = batches_per_epoch(num_items, batch_size, drop_last)
    step = start_step
    while True:
        epoch = step // per_epoch
        order = epoch_order(num_items, seed, epoch, shuffle_buffer).tolist()
        for position in range(step % per_epoch, per_epoch):
            yield [(epoch, index) for index in order[position * batch_size : (position + 1) * batch_size]]
        step = (epoch + 1) * per_epoch


class _SampledDataset:
    """Item access by (epoch, index); a class of its own so that it can be pickled for workers."""

    def __init__(self, dataset: RandomAccessDataset, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, index = key
        return self.dataset.sample(index, np.random.default_rng([self.seed, ITEM_STREAM, epoch, index]))


def _init_worker(worker: int) -> None:
    """Ignore Ctrl-C, which the parent handles at the end of its step, and limit OpenCV to one thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(0)
