"""Training batches that depend on seed and step only, never on workers, processes or interruptions."""

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, default_collate

ORDER_STREAM, ITEM_STREAM = 0, 1  # the two uses of a seed


class RandomAccessDataset(Protocol):
    """A dataset whose items are drawn with a generator, such as one random picture and clip of a person."""

    def __len__(self) -> int: ...

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Item `index` in one of its random forms."""
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
    collate: Callable[[list[Any]], Any] = default_collate,
    pin_memory: bool = False,
) -> Iterator[Any]:
    """Batches `start_step` to ``max_steps - 1`` of a run, epochs shuffled one after the other.

    Epoch e holds every item at most once, in an order drawn from (seed, e); its item k is drawn from
    (seed, e, k). So batch t is the same whatever `start_step`, `num_workers` and `world_size` are.

    Args:
        dataset: has a length and ``draw(index, rng)``; copied to the workers, if there are any.
        batch_size: rows of the global batch, all distinct items.
        seed: not negative.
        start_step: first batch to give; a run that goes on passes its completed steps.
        max_steps: number of batches in the whole run, those before `start_step` included.
        num_workers: processes that draw ahead; 0 draws in this process.
        rank: this process takes rows ``[rank * b, (rank + 1) * b)`` with ``b = batch_size / world_size``.
        world_size: processes that share each batch.
        drop_last: an epoch ends with its last full batch (as published). Else its last batch may be smaller.
        collate: makes a batch of a list of items.
        pin_memory: page-locked memory for faster copies to a GPU.

    Raises:
        ValueError: too few items for one batch, or a batch that cannot be shared equally.
    """
    _check_batch_size(dataset, batch_size, world_size, drop_last)
    share = batch_size // world_size
    keys = (
        batch[rank * share : (rank + 1) * share]
        for batch in islice(
            _batch_keys(len(dataset), batch_size, seed, start_step, drop_last), max(0, max_steps - start_step)
        )
    )
    drawn = _SampledDataset(dataset, seed)
    if num_workers == 0:
        return (collate([drawn[key] for key in batch]) for batch in keys)
    loader: DataLoader = DataLoader(
        drawn,  # type: ignore[arg-type]
        batch_sampler=keys,  # type: ignore[arg-type]
        num_workers=num_workers,
        collate_fn=collate,
        worker_init_fn=_init_worker,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # else the loader would draw from the run's own random state
    )
    return iter(loader)


def batches_per_epoch(num_items: int, batch_size: int, drop_last: bool = True) -> int:
    """Number of batches in an epoch."""
    return num_items // batch_size if drop_last else -(-num_items // batch_size)


def _check_batch_size(
    dataset: RandomAccessDataset, batch_size: int, world_size: int, drop_last: bool
) -> None:
    """Refuse what cannot be cut into batches."""
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
    num_items: int, batch_size: int, seed: int, start_step: int, drop_last: bool
) -> Iterator[Sequence[tuple[int, int]]]:
    """(epoch, index) pairs of every global batch from `start_step` on, without end."""
    per_epoch = batches_per_epoch(num_items, batch_size, drop_last)
    step = start_step
    while True:
        epoch = step // per_epoch
        order = np.random.default_rng([seed, ORDER_STREAM, epoch]).permutation(num_items).tolist()
        for place in range(step % per_epoch, per_epoch):
            yield [(epoch, index) for index in order[place * batch_size : (place + 1) * batch_size]]
        step = (epoch + 1) * per_epoch


class _SampledDataset:
    """Item access by (epoch, index); importable, so that it can travel to workers."""

    def __init__(self, dataset: RandomAccessDataset, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, index = key
        return self.dataset.sample(index, np.random.default_rng([self.seed, ITEM_STREAM, epoch, index]))


def _init_worker(worker: int) -> None:
    """Leave Ctrl-C to the parent, which finishes its step first, and draw with one thread per worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(0)
