"""Samples of a packed folder, one after the other, for training loops of one's own.

    stream = SampleStream("PACKED", "train", shuffle_buffer=5000, seed=1)
    for key, files in stream.iterate(epoch=0, start=0):
        files["wav"], files["json"]  # bytes

Training of the systems draws an image and a clip of an identity in place of it
(`voiceface.training.sampling.epoch_order`).
"""

import os
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from voiceface.io.mirrored_folders import local_folder
from voiceface.io.packed_folders import packed_folder
from voiceface.io.shard_folders import PackedFolder
from voiceface.io.shards import ShardError

__all__ = ["SampleStream"]

_ORDER_STREAM = 3  # use of a seed, beside those of `voiceface.training.sampling`


class SampleStream:
    """Samples of the shards of a split, in an order that depends on seed and epoch alone.

    Shards come in random order, each from its beginning to its end; every sample then waits for a random time
    within that of `shuffle_buffer` samples. Nothing is held in memory: the buffer shuffles numbers, and the
    index gives the places. The processes of a run take turns, so that together they read each sample once.

    Args:
        place: packed folder, or its address.
        split: "train", "val", "test", "other", or None for all.
        shuffle_buffer: samples, at least 1; None: the order of the archives.
        seed: not negative.
        rank: number of this process.
        world_size: number of processes.

    Raises:
        FileNotFoundError, ShardError: no packed folder, a damaged one, or one without this split.
    """

    def __init__(
        self,
        place: str | os.PathLike[str],
        split: str | None = None,
        *,
        shuffle_buffer: int | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not 0 <= rank < world_size or (shuffle_buffer is not None and shuffle_buffer < 1):
            raise ValueError(f"rank {rank} of {world_size}, shuffle_buffer {shuffle_buffer}: out of range")
        root = local_folder(place)
        folder = packed_folder(root)
        if not isinstance(folder, PackedFolder):
            raise FileNotFoundError(f"{root} is not packed; write it with voiceface pack")
        names = folder.shard_names
        self._folder, self._buffer, self._seed = folder, shuffle_buffer, seed
        self._rank, self._world_size = rank, world_size
        self._shards = [n for n, name in enumerate(names) if split is None or name.startswith(f"{split}-")]
        if not self._shards:
            raise ShardError(f"{root} has no shard of the split {split!r}; found {', '.join(names)}")
        self._sizes = [folder.index(number).num_samples for number in self._shards]

    def __len__(self) -> int:
        """Samples of this process in an epoch; processes differ by one at most."""
        return len(range(self._rank, sum(self._sizes), self._world_size))

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Shard and sample of everything that this process reads in an epoch, (N, 2)."""
        rng = np.random.default_rng([self._seed, _ORDER_STREAM, epoch])
        chosen = np.arange(len(self._shards)) if self._buffer is None else rng.permutation(len(self._shards))
        pairs = np.concatenate(
            [
                np.stack([np.full(self._sizes[i], self._shards[i]), np.arange(self._sizes[i])], axis=1)
                for i in chosen
            ]
        )
        if self._buffer is not None:
            late = np.arange(len(pairs)) + self._buffer * rng.random(len(pairs))
            pairs = pairs[np.argsort(late, kind="stable")]
        return pairs[self._rank :: self._world_size]

    def iterate(self, epoch: int = 0, start: int = 0) -> Iterator[tuple[str, dict[str, bytes]]]:
        """Yield the samples of an epoch, from sample `start` of this process on.

        Yields:
            The key, and extension -> bytes, as `voiceface.io.shards.Shard.iterate`.

        Raises:
            ShardError: a damaged file; names archive, file and remedy.
        """
        for shard, sample in self.order(epoch)[start:].tolist():
            yield self._folder.shard(shard).read(sample)
