"""Retrieval: average precision and hits within the first k, exact, one row per query.

Ranks are counted in blocks, never sampled or quantised, on the device of the tensors that come in; on the CPU
by as many threads as PyTorch has, with the same results to the bit.

Ties: "expected" gives the expected metric over random orders of equal scores. "first" keeps equal scores in
gallery order, as published evaluation loops do. "grouped" adds all items of equal score at once, as
scikit-learn's `average_precision_score` does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from voiceface.metrics.matching import l2_normalize, row_blocks

__all__ = [
    "RETRIEVAL_TIE_BREAKING",
    "RetrievalMetrics",
    "chance_average_precision",
    "compute_retrieval",
]

RETRIEVAL_TIE_BREAKING = ("expected", "first", "grouped")


@dataclass(frozen=True)
class RetrievalMetrics:
    """Retrieval results, one row per query; NaN for queries without a relevant gallery item."""

    average_precision: Tensor  # (Q,) double
    hit_at: Tensor  # (Q, K) double: probability that a relevant item is among the first k
    cutoffs: tuple[int, ...]  # the K values of k
    cmc: Tensor  # (M,) double: mean of the same for k = 1 ... M
    first_rank: Tensor  # (Q,) double: (expected) rank of the first relevant item, from 1
    num_relevant: Tensor  # (Q,) int64 number of relevant items
    gallery_size: int

    @property
    def mean_average_precision(self) -> float:
        """Mean over the queries that have a relevant item."""
        return float(self.average_precision.nanmean())

    @property
    def recall(self) -> dict[int, float]:
        """R@k: share of queries with a relevant item among the first k."""
        return {k: float(column.nanmean()) for k, column in zip(self.cutoffs, self.hit_at.T)}

    @property
    def chance(self) -> float:
        """Expected mAP of a random order, exact for these counts."""
        known = self.num_relevant[self.num_relevant > 0]
        return float(chance_average_precision(known, self.gallery_size).mean())


def chance_average_precision(num_relevant: Tensor, gallery_size: int) -> Tensor:
    """Expected average precision of a random order of the gallery.

    Args:
        num_relevant: int64 (Q,), relevant items of each query, at least 1.
        gallery_size: number of gallery items G.

    Returns:
        Double (Q,).

    Example:
        >>> chance_average_precision(torch.tensor([1]), 4).item() == (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4
        True
    """
    harmonic = float((1 / torch.arange(1, gallery_size + 1, dtype=torch.float64)).sum())
    if gallery_size == 1:
        return torch.ones(len(num_relevant), dtype=torch.float64, device=num_relevant.device)
    share = (num_relevant.double() - 1) / (gallery_size - 1)
    return (harmonic + share * (gallery_size - harmonic)) / gallery_size


def compute_retrieval(
    queries: Tensor,
    gallery: Tensor,
    query_ids: Tensor,
    gallery_ids: Tensor,
    *,
    cutoffs: Sequence[int] = (1, 5, 10),
    cmc_length: int = 100,
    tie_breaking: str = "expected",
) -> RetrievalMetrics:
    """Rank the whole gallery by cosine similarity for every query.

    Args:
        queries: embeddings (Q, D).
        gallery: embeddings (G, D), same device.
        query_ids: int64 (Q,), identity of each query.
        gallery_ids: int64 (G,); an item is relevant when the identities are equal.
        cutoffs: values of k for R@k.
        cmc_length: length of the CMC curve (cut to G).
        tie_breaking: "expected", "first" or "grouped"; see the module. First ranks with "grouped" are
            expected values.

    Returns:
        Per-query results on the CPU. Memory beyond the embeddings: unit-length copies, and about 60 MB for
        each thread.

    Raises:
        ValueError: no query has a relevant item, shapes do not match, or NaN.
    """
    if tie_breaking not in RETRIEVAL_TIE_BREAKING:
        raise ValueError(f"ties must be one of {', '.join(RETRIEVAL_TIE_BREAKING)}, got {tie_breaking!r}")
    if query_ids.shape != queries.shape[:1] or gallery_ids.shape != gallery.shape[:1]:
        raise ValueError(
            f"one identity per row: {len(queries)} queries with {tuple(query_ids.shape)}, "
            f"{len(gallery)} gallery items with {tuple(gallery_ids.shape)} identities"
        )
    from voiceface.metrics.block_threads import map_blocks
    from voiceface.metrics.ranking import QueryMetrics, Ranker, query_metrics

    if cmc_length < 1 or min(cutoffs, default=1) < 1:
        raise ValueError(f"cutoffs and cmc_length start at 1, got {tuple(cutoffs)} and {cmc_length}")
    ranker = Ranker(
        l2_normalize(gallery, "gallery"), gallery_ids, query_ids, first_wins=tie_breaking == "first"
    )
    if not int(ranker.relevant.sum()):
        raise ValueError(
            "no query shares an identity with any gallery item; check that both use the same identity numbers"
        )
    queries = l2_normalize(queries, "queries")
    length = min(max([cmc_length, *cutoffs]), len(gallery))
    precision = torch.full((len(queries),), torch.nan, dtype=torch.float64)
    first_rank = precision.clone()
    hit_at = torch.full((len(queries), len(cutoffs)), torch.nan, dtype=torch.float64)
    total = torch.zeros(length, dtype=torch.float64)
    columns = torch.tensor([min(k, length) - 1 for k in cutoffs], dtype=torch.int64)

    def rank_block(rows: slice) -> tuple[slice, QueryMetrics, Tensor]:
        counts = ranker.count(queries[rows], rows)
        block = query_metrics(*counts, len(gallery), length, grouped=tie_breaking == "grouped")
        return rows, block, counts[2].cpu() > 0

    blocks = row_blocks(len(queries), len(gallery) * queries.element_size())
    ranked = map_blocks(rank_block, blocks) if queries.device.type == "cpu" else map(rank_block, blocks)
    for rows, block, known in ranked:
        precision[rows] = torch.where(known, block.average_precision, torch.nan)
        first_rank[rows] = torch.where(known, block.first_rank, torch.nan)
        hit_at[rows] = torch.where(known[:, None], block.hit_at[:, columns], torch.nan)
        total += block.hit_at[known].sum(0)
    relevant = ranker.relevant.cpu()
    cmc = (total / (relevant > 0).sum())[: min(cmc_length, len(gallery))]
    return RetrievalMetrics(precision, hit_at, tuple(cutoffs), cmc, first_rank, relevant, len(gallery))
