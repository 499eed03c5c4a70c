"""Ranks of the relevant items of retrieval queries; average precision and CMC from ranks."""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "QueryMetrics",
    "Ranker",
    "query_metrics",
]

COMPILED_FROM = 4_000_000
"""Scores of all queries from which the compiled kernel is worth its compilation of seven seconds, once."""


class QueryMetrics(NamedTuple):
    """Metrics of a block of queries, double precision on the CPU."""

    average_precision: Tensor  # (B,) average precision
    first_rank: Tensor  # (B,) rank of the first relevant item, from 1
    hit_at: Tensor  # (B, M) probability that a relevant item is among the first 1 ... M


class Ranker:
    """Counts ranks of relevant items in a gallery."""

    def __init__(self, gallery: Tensor, gallery_ids: Tensor, query_ids: Tensor, first_wins: bool) -> None:
        """Number the identities and find duplicate rows of the gallery.

        Args:
            gallery: (G, D), unit rows.
            gallery_ids: int64 (G,).
            query_ids: int64 (Q,).
            first_wins: equal scores stay in gallery order instead of being counted as tied.
        """
        device = gallery.device
        every = torch.cat([query_ids.to(device), gallery_ids.to(device)])
        known, number = every.unique(return_inverse=True)
        self.labels, self.gallery_labels = number[: len(query_ids)], number[len(query_ids) :]
        self.members = self.gallery_labels.argsort(stable=True)
        sizes = self.gallery_labels.bincount(minlength=len(known))
        self.starts = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        self.relevant = sizes[self.labels]
        self.first_wins = first_wins
        self.large = len(query_ids) * len(gallery_ids) >= COMPILED_FROM
        # A matrix product may round copies of one row differently by position, which would hide their ties:
        # multiply each distinct row once.
        kept, self.copies = _distinct_rows(gallery)
        self.columns = gallery[kept].T if self.copies is not None else gallery.T

    def count(
        self, queries: Tensor, rows: slice, *, compiled: bool | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Count ranks for some queries.

        Args:
            queries: (B, D), unit rows.
            rows: their place among all queries.
            compiled: use the compiled kernel for single precision on the CPU; None: if all queries have
                `COMPILED_FROM` scores or more. The counts are the same.

        Returns:
            above (B, R), tied (B, R) int64: per relevant item, in descending order of score, the items of
            higher score and of equal score (itself included); relevant (B,). Columns past `relevant` hold 0
            and 1.
        """
        labels, relevant = self.labels[rows], self.relevant[rows]
        scores = queries @ self.columns
        if self.copies is not None:
            scores = scores[:, self.copies]
        above = torch.zeros(len(queries), int(relevant.max()), dtype=torch.int64, device=scores.device)
        tied = torch.ones_like(above)
        compiled = self.large if compiled is None else compiled
        if compiled and scores.device.type == "cpu" and scores.dtype == torch.float32:
            from voiceface.metrics.ranking_numba import count_ranks

            arrays = (scores, labels, self.gallery_labels, self.members, self.starts)
            count_ranks(*(a.numpy() for a in arrays), self.first_wins, above.numpy(), tied.numpy())
        elif self.first_wins:
            _rank_by_stable_sort(scores, labels, self.gallery_labels, relevant, above)
        else:
            self._count_by_search(scores, labels, relevant, above, tied)
        return above, tied, relevant

    def _count_by_search(
        self, scores: Tensor, labels: Tensor, relevant: Tensor, above: Tensor, tied: Tensor
    ) -> None:
        """The compiled kernel's counts by tensor operations: for CUDA, double precision and few scores."""
        slot = torch.arange(above.shape[1], device=scores.device)
        real = slot < relevant[:, None]
        items = self.members[(self.starts[labels][:, None] + slot).clamp_max(len(self.members) - 1)]
        cuts = scores.gather(1, items).masked_fill(~real, torch.inf).sort(dim=1).values
        edges = len(slot) + 1
        below = torch.zeros(len(scores), edges, dtype=torch.int64, device=scores.device)
        upto = torch.zeros_like(below)
        one = torch.ones((), dtype=torch.int64, device=scores.device).expand(scores.shape)
        # A gallery score with i cuts strictly below it (`left`) is not below cut i and all later ones.
        left = torch.searchsorted(cuts, scores)
        below.scatter_add_(1, left, one)
        right = torch.searchsorted(cuts, scores, right=True)
        upto.scatter_add_(1, right, one)
        not_above = below.cumsum(1)[:, :-1]  # items with score <= cut
        strictly_below = upto.cumsum(1)[:, :-1]  # items with score < cut
        last = (relevant - 1)[:, None]
        turned = (last - slot).clamp_min(0)  # ascending cuts to descending slots
        above.copy_(torch.where(real, scores.shape[1] - not_above.gather(1, turned), 0))
        tied.copy_(torch.where(real, (not_above - strictly_below).gather(1, turned), 1))


def query_metrics(
    above: Tensor, tied: Tensor, relevant: Tensor, gallery_size: int, length: int, grouped: bool
) -> QueryMetrics:
    """Average precision, first rank and hits within the first k from counted ranks.

    A group of e equal scores behind a items, h of them relevant, with m relevant ones in the group, adds to
    the expected average precision (over random orders of the group) m/e * sum over i = 1..e of (h + 1 + (i -
    1)(m - 1)/(e - 1)) / (a + i); with `grouped` it adds m (h + m)/(a + e).

    Args:
        above: int64 (B, R), from `Ranker.count`.
        tied: int64 (B, R).
        relevant: int64 (B,).
        gallery_size: number of gallery items.
        length: M, number of values of k.
        grouped: add all items of equal score at once.
    """
    above, tied, relevant = above.cpu(), tied.cpu(), relevant.cpu()
    slots = torch.arange(above.shape[1])
    real = slots < relevant[:, None]
    share = relevant.clamp_min(1).double()
    before = above.double()
    value = (slots + 1).double() / (before + 1)
    hit = torch.zeros(len(above), length, dtype=torch.float64)
    if not above.shape[1]:
        empty = torch.zeros(len(above), dtype=torch.float64)
        return QueryMetrics(empty, empty, hit)
    rank = before[:, 0] + 1
    alone = tied[:, 0] == 1
    inside = alone & (above[:, 0] < length) & (relevant > 0)
    hit[inside, above[inside, 0]] = 1
    rows = (tied > 1).any(dim=1).nonzero()[:, 0]
    if len(rows):
        padded = torch.where(real[rows], above[rows], gallery_size + 1)
        first = torch.searchsorted(padded, padded)
        size = torch.searchsorted(padded, padded, right=True) - first
        a, e, m = before[rows], tied[rows].double(), size.double()
        if grouped:
            value[rows] = (first + size).double() / (a + e)
        else:
            harmonic = _harmonic(gallery_size + 1)
            total = harmonic[above[rows] + tied[rows]] - harmonic[above[rows]]
            slope = (m - 1) / (e - 1).clamp_min(1)
            mixed = ((first + 1).double() * total + slope * (e - (a + 1) * total)) / e
            value[rows] = torch.where(tied[rows] > 1, mixed, value[rows])
        open_rows = rows[~alone[rows]]
        group = size[~alone[rows], 0]
        rank[open_rows] += (tied[open_rows, 0].double() + 1) / (group + 1) - 1
        hit[open_rows] = _first_rank_probabilities(above[open_rows, 0], tied[open_rows, 0], group, length)
    precision = torch.where(real, value, 0).sum(1) / share
    return QueryMetrics(precision, rank, hit.cumsum(1).clamp_max_(1))


def _first_rank_probabilities(above: Tensor, tied: Tensor, group: Tensor, length: int) -> Tensor:
    """Probability that the first relevant item has rank 1 ... M if it belongs to a group of equal scores.

    Args:
        above: int64 (B,), items before the group.
        tied: (B,), size of the group.
        group: (B,), relevant items in it.
        length: M.

    Returns:
        Double (B, M).
    """
    place = torch.arange(length) - above[:, None]  # from 0, inside the group
    inside = (place >= 0) & (place <= (tied - group)[:, None])
    e, m, i = tied[:, None].double(), group[:, None].double(), place.double()
    missed = torch.where(inside & (place > 0), (e - m - i + 1) / (e - i + 1).clamp_min(1), 1).cumprod(1)
    return torch.where(inside, missed * m / (e - i).clamp_min(1), 0)


def _rank_by_stable_sort(
    scores: Tensor, labels: Tensor, gallery_labels: Tensor, relevant: Tensor, above: Tensor
) -> None:
    """Ranks by a stable sort: ties stay in gallery order."""
    order = scores.sort(dim=1, descending=True, stable=True).indices
    own = gallery_labels[order] == labels[:, None]
    row, position = own.nonzero(as_tuple=True)
    start = relevant.cumsum(0) - relevant
    above[row, torch.arange(len(row), device=row.device) - start[row]] = position


def _distinct_rows(rows: Tensor) -> tuple[Tensor, Tensor | None]:
    """Indices of the distinct rows, and for every row which of them it equals (None if all differ)."""
    words = rows.contiguous().view(torch.int32)
    generator = torch.Generator().manual_seed(20)
    factor = torch.randint(1, 2**62, (words.shape[1],), generator=generator).to(rows.device)
    key = torch.cat([(part.long() * factor).sum(1) for part in words.split(4096)])  # overflow is intended
    order = key.argsort(stable=True)
    new = torch.ones(len(key), dtype=torch.bool, device=rows.device)
    new[1:] = key[order[1:]] != key[order[:-1]]
    if bool(new.all()):
        return order, None
    copies = torch.empty_like(order)
    copies[order] = new.cumsum(0) - 1
    return order[new], copies


@lru_cache(maxsize=2)
def _harmonic(count: int) -> Tensor:
    """H_0 ... H_count, double."""
    terms = torch.arange(count + 1, dtype=torch.float64)
    terms[1:].reciprocal_()
    return terms.cumsum(0)
