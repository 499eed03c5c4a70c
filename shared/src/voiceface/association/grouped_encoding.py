"""Encode items of different shapes in batches, and long recordings window by window."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voiceface.io.file_kinds import printable

__all__ = ["encode_grouped", "encode_windows"]

log = logging.getLogger(__name__)


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


def encode_windows(model: Any, items: Sequence[Any]) -> Tensor:
    """Embed recordings by `embed_recording`, and waveforms; notes are logged. See `Embedder.embed_voices`."""
    out = torch.empty(len(items), model.embedding_dim)
    for row, item in enumerate(items):
        if isinstance(item, str | Path):
            embedding, facts = model.embed_recording(item)
            for note in facts.notes if facts else ():
                log.warning("%s: %s", printable(item), note)
            out[row] = torch.from_numpy(embedding)
        else:
            out[row] = model.encode_voices(torch.from_numpy(model._prepare_voice(item)[None]))[0].cpu()
    return out
