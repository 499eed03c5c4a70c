"""The highest cosines of queries with a gallery that may not fit into memory, in blocks."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["nearest_rows", "rescore"]

QUERY_BLOCK = 128
SCORES = 2**20  # in memory at a time; they fit a processor's last-level cache
MARGIN = 8  # further rows kept before scores are computed again in double precision


def nearest_rows(
    queries: Tensor, parts: Sequence[Tensor], top: int, alive: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Rows of highest cosine, exact.

    Scores are computed by blocked matrix products on all of PyTorch's threads; those of the best rows again
    in double precision, so that they depend neither on the blocks nor on the number of threads, and copies of
    a row tie.

    Args:
        queries: (Q, D) float32, unit rows.
        parts: matrices (N_i, D) float32 of unit rows, such as memory-mapped files.
        top: number of rows, at most that of the (alive) rows.
        alive: bool (N,), rows that count; None: all.

    Returns:
        Scores (Q, top) double, descending, and rows (Q, top) int64 among all parts in their order; equal
        scores in the order of rows.
    """
    total = sum(map(len, parts))
    count = total if alive is None else int(alive.sum())
    top, kept = min(top, count), min(top + MARGIN, count)
    rows = torch.empty(len(queries), kept, dtype=torch.int64)
    for start in range(0, len(queries), QUERY_BLOCK):
        block = slice(start, start + QUERY_BLOCK)
        rows[block] = _candidates(queries[block], parts, kept, alive)
    return rescore(queries, parts, rows, top)


def rescore(queries: Tensor, parts: Sequence[Tensor], rows: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """Order candidates by their cosines in double precision.

    Args:
        queries: (Q, D), unit rows.
        parts: matrices (N_i, D), unit rows.
        rows: (Q, K) int64, candidates among all parts; -1: none.
        top: number of candidates to keep, at most K.

    Returns:
        Scores (Q, top) double, descending, -inf for no candidate; rows (Q, top); ties in the order of rows.
    """
    rows = rows.sort(dim=1).values
    scores = torch.full(rows.shape, -torch.inf, dtype=torch.float64)
    start = 0
    for part in parts:
        where = (rows >= start) & (rows < start + len(part))
        query, column = where.nonzero(as_tuple=True)
        for at in range(0, len(query), SCORES // 16):
            q, c = query[at : at + SCORES // 16], column[at : at + SCORES // 16]
            vectors = part[rows[q, c] - start].double()
            scores[q, c] = (queries[q].double() * vectors).sum(1)
        start += len(part)
    order = scores.sort(dim=1, descending=True, stable=True).indices[:, :top]
    return scores.gather(1, order), rows.gather(1, order)


def _candidates(queries: Tensor, parts: Sequence[Tensor], kept: int, alive: Tensor | None) -> Tensor:
    """Rows of the `kept` highest scores in single precision, (Q, kept), in no order."""
    step = max(kept, SCORES // len(queries), 1024)
    best = torch.full((len(queries), 0), -torch.inf)
    rows = torch.empty(len(queries), 0, dtype=torch.int64)
    start = 0
    for part in parts:
        for at in range(0, len(part), step):
            block = part[at : at + step]
            scores = queries @ block.T
            if alive is not None:
                scores.masked_fill_(~alive[start + at : start + at + len(block)], -torch.inf)
            found = scores.topk(min(kept, len(block)), dim=1, sorted=False)
            best = torch.cat([best, found.values], dim=1)
            rows = torch.cat([rows, found.indices + (start + at)], dim=1)
            if best.shape[1] > kept:
                best, chosen = best.topk(kept, dim=1, sorted=False)
                rows = rows.gather(1, chosen)
        start += len(part)
    return rows
