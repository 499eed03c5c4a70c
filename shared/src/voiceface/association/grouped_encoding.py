"""Encode items of different shapes in batches."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["encode_grouped"]


def encode_grouped(
    items: Sequence[Any],
    load: Callable[[Any], NDArray],
    encode: Callable[[Tensor], Tensor],
    batch_size: int,
    out: Tensor,
) -> Tensor:
    """Encode items in batches; items of different shapes pass the network in groups of one shape.

    Args:
        items: N items that `load` reads.
        load: gives the network input of one item.
        encode: network input (B, ...) -> embeddings (B, D).
        batch_size: most items per batch.
        out: receives the embeddings, (N, D), in the order of the items.

    Returns:
        `out`.
    """
    for start in range(0, len(items), batch_size):
        groups: dict[tuple[int, ...], list[tuple[int, NDArray]]] = {}
        for row, item in enumerate(items[start : start + batch_size], start):
            array = load(item)
            groups.setdefault(array.shape, []).append((row, array))
        for group in groups.values():
            embeddings = encode(torch.from_numpy(np.stack([array for _, array in group])))
            out[[row for row, _ in group]] = embeddings.to(out)
    return out
