"""Figures of voice-face association: 1:N matching, verification, retrieval.

Everything works on embeddings (rows, need not have unit length) and index arrays, or on scores; a score is
signed and higher means more alike. Work is done in blocks, on the device of the tensors that come in, and is
exact: ranks are counted, never sampled or quantised.

Ties. "fair" gives the expected figure over random orders of equal scores, so an embedding that is constant
gets exactly chance. "published" is the rule of published evaluation loops: in matching the first maximum wins
(the right candidate stands first, so a tie is a hit), in retrieval equal scores stay in gallery order.
"strict" (matching) counts a tie as a miss, as published validation does. "grouped" (retrieval) lets a whole
group of equal scores enter at once, as scikit-learn's `average_precision_score` does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

MATCHING_TIES = ("fair", "published", "strict")
RETRIEVAL_TIES = ("fair", "published", "grouped")
BLOCK_BYTES = 24 * 2**20  # scores held at once; small enough to stay in a processor's last cache


class Roc(NamedTuple):
    """Corners of a ROC curve, from "nothing accepted" to "everything accepted", double precision."""

    false_alarm: Tensor  # (T,) share of mismatching pairs accepted
    hit: Tensor  # (T,) share of matching pairs accepted
    threshold: Tensor  # (T,) lowest score accepted; the first is infinite


class ErrorRate(NamedTuple):
    """Equal error rate in [0, 1] and the score at which it is met."""

    rate: Tensor
    threshold: Tensor


@dataclass(frozen=True)
class Retrieval:
    """Retrieval results, one row a query; queries without a relevant gallery item hold NaN."""

    average_precision: Tensor  # (Q,) double
    hit_at: Tensor  # (Q, K) double: chance that a relevant item is among the first k
    cutoffs: tuple[int, ...]  # the K values of k
    cmc: Tensor  # (M,) double: mean of the same for k = 1 ... M
    first_rank: Tensor  # (Q,) double: (expected) rank of the first relevant item, from 1
    relevant: Tensor  # (Q,) int64 number of relevant items
    gallery: int

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
        known = self.relevant[self.relevant > 0]
        return float(chance_average_precision(known, self.gallery).mean())


def unit_rows(vectors: Tensor, name: str = "embeddings") -> Tensor:
    """Rows scaled to length 1 in single precision (double stays double); rows of zeros stay zeros.

    Args:
        vectors: (N, D), finite.
        name: what to call them in an error.

    Raises:
        ValueError: not a matrix, or holds NaN or infinity.
    """
    if vectors.ndim != 2:
        raise ValueError(f"{name}: expected one row per item, shape (N, D), got shape {tuple(vectors.shape)}")
    vectors = vectors if vectors.dtype == torch.float64 else vectors.float()
    length = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    broken = ~torch.isfinite(length[:, 0])
    if broken.any():
        first = int(broken.nonzero()[0])
        raise ValueError(
            f"{name}: {int(broken.sum())} of {len(vectors)} rows hold NaN or infinity, row {first} first"
        )
    return vectors / length.clamp_min(torch.finfo(vectors.dtype).tiny)


def pair_scores(anchors: Tensor, candidates: Tensor, anchor_index: Tensor, candidate_index: Tensor) -> Tensor:
    """Cosine similarity of listed pairs.

    Args:
        anchors: embeddings (A, D).
        candidates: embeddings (C, D), same device.
        anchor_index: int64 (L,), row of each line's anchor.
        candidate_index: int64 (L,) or (L, N), rows of its candidates.

    Returns:
        Scores in [-1, 1], shape of `candidate_index`.

    Raises:
        ValueError: shapes that do not belong together, an index out of range.
    """
    if anchor_index.ndim != 1 or len(anchor_index) != len(candidate_index):
        found = f"{tuple(anchor_index.shape)} and {tuple(candidate_index.shape)}"
        raise ValueError(f"expected anchor_index (L,) and candidate_index (L,) or (L, N), got {found}")
    if anchors.shape[1:] != candidates.shape[1:]:
        raise ValueError(
            f"anchors and candidates differ in width: {tuple(anchors.shape)}, {tuple(candidates.shape)}"
        )
    device = anchors.device
    anchor_index = _checked_index(anchor_index.to(device), len(anchors), "anchor_index")
    candidate_index = _checked_index(candidate_index.to(device), len(candidates), "candidate_index")
    lines, table = candidate_index.reshape(len(anchor_index), -1), unit_rows(candidates, "candidates")
    anchors = unit_rows(anchors, "anchors")
    scores = anchors.new_empty(lines.shape)
    for rows in _blocks(len(lines), lines.shape[1] * anchors.shape[1] * anchors.element_size()):
        left = anchors[anchor_index[rows]]
        for n in range(lines.shape[1]):  # over the N candidates of a line, not over lines
            torch.sum(left * table[lines[rows, n]], dim=1, out=scores[rows, n])
    return scores.reshape(candidate_index.shape)


def matching_hits(scores: Tensor, ties: str = "fair") -> Tensor:
    """How far each line is a hit.

    Args:
        scores: (L, N), the right candidate FIRST, N at least 2.
        ties: "fair" (one of k best counts 1/k), "published" (a tie is a hit), "strict" (a tie is a miss).

    Returns:
        Double (L,) in [0, 1].
    """
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise ValueError(
            f"expected scores (L, N) with at least 2 candidates, got shape {tuple(scores.shape)}"
        )
    if ties not in MATCHING_TIES:
        raise ValueError(f"ties must be one of {', '.join(MATCHING_TIES)}, got {ties!r}")
    _finite(scores)
    right, wrong = scores[:, :1], scores[:, 1:]
    best = ~(wrong > right).any(dim=1)
    if ties == "published":
        return best.double()
    equal = (wrong == right).sum(dim=1)
    if ties == "strict":
        return (best & (equal == 0)).double()
    return best.double() / (1 + equal)


def matching_accuracy(scores: Tensor, ties: str = "fair") -> Tensor:
    """Share of lines whose right candidate (first column) scores highest; chance is 1/N."""
    return matching_hits(scores, ties).mean()


def verification_auc(scores: Tensor, labels: Tensor) -> Tensor:
    """Area under the ROC curve, ties counted as half.

    Args:
        scores: similarity of every voice-face pair, (P,); higher means more alike.
        labels: 1 where the pair shares an identity, else 0, (P,).

    Returns:
        Double scalar in [0, 1]; 0.5 is chance.
    """
    match, mismatch = _split(scores, labels)
    ordered = mismatch.sort().values
    match = match.sort().values  # searching in order touches memory in order
    beaten = torch.searchsorted(ordered, match)
    beaten_or_tied = torch.searchsorted(ordered, match, right=True)
    return (beaten + beaten_or_tied).sum().double() / (2 * len(ordered) * len(match))


def roc_curve(scores: Tensor, labels: Tensor) -> Roc:
    """ROC curve with one corner per distinct score, plus the start where nothing is accepted."""
    _split(scores, labels)
    ordered, order = scores.sort(descending=True)
    label = labels.to(scores.device)[order] == 1
    last = torch.ones_like(label)
    last[:-1] = ordered[1:] != ordered[:-1]
    hits = label.cumsum(0)[last]
    accepted = last.nonzero()[:, 0] + 1
    zero = hits.new_zeros(1)
    hit = torch.cat([zero, hits]).double() / hits[-1]
    false_alarm = torch.cat([zero, accepted - hits]).double() / (accepted[-1] - hits[-1])
    top = ordered.new_full((1,), torch.inf)
    return Roc(false_alarm, hit, torch.cat([top, ordered[last]]))


def equal_error_rate(scores: Tensor, labels: Tensor) -> ErrorRate:
    """Where misses and false alarms are equally frequent, linear between the corners of the ROC curve.

    Args:
        scores: (P,). labels: (P,), 1 = same identity.

    Returns:
        Rate in [0, 1] (0.5 is chance) and its threshold, interpolated the same way.
    """
    return error_rate_of(roc_curve(scores, labels))


def error_rate_of(curve: Roc) -> ErrorRate:
    """Equal error rate of a ROC curve; see `equal_error_rate`."""
    gap = curve.false_alarm - (1 - curve.hit)  # rises from -1 to 1
    after = int((gap < 0).sum())
    before = after - 1
    share = -gap[before] / (gap[after] - gap[before])
    rate = curve.false_alarm[before] + share * (curve.false_alarm[after] - curve.false_alarm[before])
    low, high = curve.threshold[before].double(), curve.threshold[after].double()
    threshold = high if torch.isinf(low) else low + share * (high - low)
    return ErrorRate(rate, threshold)


def min_dcf(
    scores: Tensor, labels: Tensor, prior: float = 0.05, miss_cost: float = 1.0, false_alarm_cost: float = 1.0
) -> Tensor:
    """Lowest detection cost over all thresholds, divided by that of the better blind answer.

    Args:
        scores: (P,). labels: (P,), 1 = same identity.
        prior: assumed probability that a pair matches, in (0, 1).
        miss_cost: cost of rejecting a matching pair.
        false_alarm_cost: cost of accepting a mismatching pair.

    Returns:
        Double scalar in [0, 1]; 1 is no better than a blind answer.
    """
    return min_dcf_of(roc_curve(scores, labels), prior, miss_cost, false_alarm_cost)


def min_dcf_of(
    curve: Roc, prior: float = 0.05, miss_cost: float = 1.0, false_alarm_cost: float = 1.0
) -> Tensor:
    """Minimum detection cost of a ROC curve; see `min_dcf`."""
    if not 0 < prior < 1:
        raise ValueError(f"prior must lie between 0 and 1, got {prior}")
    miss, alarm = prior * miss_cost, (1 - prior) * false_alarm_cost
    return ((1 - curve.hit) * miss + curve.false_alarm * alarm).min() / min(miss, alarm)


def chance_average_precision(relevant: Tensor, gallery: int) -> Tensor:
    """Expected average precision when the gallery stands in random order.

    Args:
        relevant: int64 (Q,), relevant items of each query, at least 1.
        gallery: number of gallery items G.

    Returns:
        Double (Q,).
    """
    harmonic = float((1 / torch.arange(1, gallery + 1, dtype=torch.float64)).sum())
    if gallery == 1:
        return torch.ones(len(relevant), dtype=torch.float64, device=relevant.device)
    share = (relevant.double() - 1) / (gallery - 1)
    return (harmonic + share * (gallery - harmonic)) / gallery


def retrieval(
    queries: Tensor,
    gallery: Tensor,
    query_ids: Tensor,
    gallery_ids: Tensor,
    *,
    cutoffs: Sequence[int] = (1, 5, 10),
    cmc_length: int = 100,
    ties: str = "fair",
) -> Retrieval:
    """Rank the whole gallery by cosine similarity for every query.

    Args:
        queries: embeddings (Q, D).
        gallery: embeddings (G, D), same device.
        query_ids: int64 (Q,), identity of each query.
        gallery_ids: int64 (G,); an item is relevant when the identities are equal.
        cutoffs: values of k for R@k.
        cmc_length: length of the CMC curve (cut to G).
        ties: "fair", "published" or "grouped", see the module's text. First ranks are counted fairly with
            "grouped".

    Returns:
        Per-query results on the CPU. Memory beyond the embeddings: unit-length copies and about 60 MB.

    Raises:
        ValueError: no query has a relevant item, shapes that do not fit, NaN.
    """
    if ties not in RETRIEVAL_TIES:
        raise ValueError(f"ties must be one of {', '.join(RETRIEVAL_TIES)}, got {ties!r}")
    if query_ids.shape != queries.shape[:1] or gallery_ids.shape != gallery.shape[:1]:
        raise ValueError(
            f"one identity per row: {len(queries)} queries with {tuple(query_ids.shape)}, "
            f"{len(gallery)} gallery items with {tuple(gallery_ids.shape)} identities"
        )
    from voiceface.metrics.ranks import Ranker, summarise

    if cmc_length < 1 or min(cutoffs, default=1) < 1:
        raise ValueError(f"cutoffs and cmc_length start at 1, got {tuple(cutoffs)} and {cmc_length}")
    ranker = Ranker(unit_rows(gallery, "gallery"), gallery_ids, query_ids, first_wins=ties == "published")
    if not int(ranker.relevant.sum()):
        raise ValueError(
            "no query shares an identity with any gallery item: are the identities of one numbering?"
        )
    queries = unit_rows(queries, "queries")
    length = min(max([cmc_length, *cutoffs]), len(gallery))
    precision = torch.full((len(queries),), torch.nan, dtype=torch.float64)
    rank = precision.clone()
    hit_at = torch.full((len(queries), len(cutoffs)), torch.nan, dtype=torch.float64)
    total = torch.zeros(length, dtype=torch.float64)
    columns = torch.tensor([min(k, length) - 1 for k in cutoffs], dtype=torch.int64)
    for rows in _blocks(len(queries), len(gallery) * queries.element_size()):
        counts = ranker.count(queries[rows], rows)
        block = summarise(*counts, len(gallery), length, grouped=ties == "grouped")
        known = counts[2].cpu() > 0
        precision[rows] = torch.where(known, block.precision, torch.nan)
        rank[rows] = torch.where(known, block.first_rank, torch.nan)
        hit_at[rows] = torch.where(known[:, None], block.hit[:, columns], torch.nan)
        total += block.hit[known].sum(0)
    relevant = ranker.relevant.cpu()
    cmc = (total / (relevant > 0).sum())[: min(cmc_length, len(gallery))]
    return Retrieval(precision, hit_at, tuple(cutoffs), cmc, rank, relevant, len(gallery))


def _blocks(count: int, bytes_each: int) -> Iterator[slice]:
    """Slices that cover range(count), each of about BLOCK_BYTES."""
    step = max(1, BLOCK_BYTES // max(1, bytes_each))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def _checked_index(index: Tensor, count: int, name: str) -> Tensor:
    if index.numel() and (int(index.min()) < 0 or int(index.max()) >= count):
        raise ValueError(
            f"{name} reaches from {int(index.min())} to {int(index.max())}, expected 0 to {count - 1}"
        )
    return index.long()


def _finite(scores: Tensor) -> None:
    if scores.isnan().any():
        raise ValueError(f"{int(scores.isnan().sum())} of {scores.numel()} scores are NaN")


def _split(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Scores of matching and of mismatching pairs, checked."""
    if scores.shape != labels.shape or scores.ndim != 1:
        raise ValueError(f"one label per score: got {tuple(scores.shape)} and {tuple(labels.shape)}")
    _finite(scores)
    same = labels.to(scores.device) == 1
    match, mismatch = scores[same], scores[~same]
    if not len(match) or not len(mismatch):
        raise ValueError(
            f"verification needs matching and mismatching pairs, got {len(match)} and {len(mismatch)}"
        )
    return match, mismatch
