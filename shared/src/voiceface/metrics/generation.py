"""Metrics of generated faces by a face network: distance to the right identity, retrieval.

See docs/metrics.md, Generated faces. Row i of the predictions and row i of the references
belong to identity i; rows are means of embeddings and need not have unit length. Everything is computed in
double precision, on the device of the tensors that come in.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

__all__ = [
    "BLOCK_BYTES",
    "CUTOFFS",
    "EPS",
    "Diversity",
    "FeatureDistances",
    "IdentityRetrieval",
    "Similarity",
    "diversity",
    "evaluation_galleries",
    "feature_distances",
    "identity_retrieval",
    "pairwise_l1",
]

Similarity = Literal["cosine", "l1"]
CUTOFFS = (1, 2, 5, 10, 20, 50)
BLOCK_BYTES = 12 * 2**20  # of differences in memory at a time
EPS = 1e-6  # that the published distances add to every difference


class FeatureDistances(NamedTuple):
    """Distances of predictions from the references of the same identities, means over identities.

    Attributes:
        l2: Euclidean distance.
        l1: sum of absolute differences.
        cosine: cosine similarity.
        mismatched_cosine: cosine similarity of a prediction and the references of all other identities, the
            baseline; NaN with one identity.
    """

    l2: float
    l1: float
    cosine: float
    mismatched_cosine: float


@dataclass(frozen=True)
class IdentityRetrieval:
    """Results of retrieving the own identity, one row per query that a gallery contains.

    Attributes:
        hit_at: (Q, K) double, probability that the own reference is among the first k; 0 or 1 without ties.
        gallery_index: (Q,) int64, index of the query's gallery.
        gallery_sizes: items in each gallery.
        cutoffs: the K values of k.
    """

    hit_at: Tensor
    gallery_index: Tensor
    gallery_sizes: tuple[int, ...]
    cutoffs: tuple[int, ...]

    @property
    def recall(self) -> dict[int, float]:
        """R@k in 0...1: the mean over galleries of the share of queries with a hit."""
        each = [
            self.hit_at[self.gallery_index == number].mean(0) for number in range(len(self.gallery_sizes))
        ]
        return dict(zip(self.cutoffs, torch.stack(each).mean(0).tolist()))

    @property
    def chance(self) -> dict[int, float]:
        """R@k of a random order."""
        return {
            k: sum(min(k, size) / size for size in self.gallery_sizes) / len(self.gallery_sizes)
            for k in self.cutoffs
        }


class Diversity(NamedTuple):
    """Mean and population standard deviation of a distance over pairs of images."""

    mean: float
    std: float


def feature_distances(predicted: Tensor, reference: Tensor, eps: float = EPS) -> FeatureDistances:
    """Distances between features of predictions and of the right references.

    Args:
        predicted: (N, D).
        reference: (N, D), same identities in the same order.
        eps: added to every difference before the norm, as published.

    Raises:
        ValueError: shapes differ, there are no rows, or one holds NaN or infinity.
    """
    predictions, references = _check_pair(predicted, reference)
    difference = predictions - references + eps
    unit_predictions, unit_references = _l2_normalize(predictions), _l2_normalize(references)
    matched = (unit_predictions * unit_references).sum(1)
    count = len(predictions)
    all_pairs = unit_predictions.sum(0) @ unit_references.sum(0)
    mismatched = (all_pairs - matched.sum()) / (count * (count - 1)) if count > 1 else all_pairs * torch.nan
    return FeatureDistances(
        float(difference.norm(dim=1).mean()),
        float(difference.abs().sum(1).mean()),
        float(matched.mean()),
        float(mismatched),
    )


def evaluation_galleries(num_identities: int, gallery_ends: int | Sequence[int] | None = None) -> list[range]:
    """Split identities into galleries.

    Args:
        num_identities: number of identities N.
        gallery_ends: None: one gallery of all; n: one of the first n; an ascending list such as 100, 200,
            300: galleries of identities 0 to 99, 100 to 199, 200 to 299 (those from the last end on are
            skipped).

    Raises:
        ValueError: the ends do not ascend within 1...N.
    """
    if gallery_ends is None:
        gallery_ends = num_identities
    ends = [gallery_ends] if isinstance(gallery_ends, int) else [*gallery_ends]
    begins = [0, *ends[:-1]]
    if not ends or any(begin >= end for begin, end in zip(begins, ends)) or ends[-1] > num_identities:
        raise ValueError(
            f"ends of galleries must ascend within 1...{num_identities}, the number of identities; found "
            f"{gallery_ends}; None takes all identities as one gallery"
        )
    return [range(begin, end) for begin, end in zip(begins, ends)]


def identity_retrieval(
    predicted: Tensor,
    reference: Tensor,
    similarity: Similarity = "cosine",
    cutoffs: Sequence[int] = CUTOFFS,
    galleries: Sequence[range] | None = None,
) -> IdentityRetrieval:
    """Retrieve the own reference from those of a gallery.

    Ties count as expected over random orders of equal similarities, so a constant embedding gets chance
    level. (The published code leaves ties to the sorting routine.)

    Args:
        predicted: queries (N, D).
        reference: gallery (N, D), same identities in the same order.
        similarity: "cosine", or "l1": mean absolute difference, the smaller the more alike.
        cutoffs: values of k.
        galleries: rows of each gallery, from `evaluation_galleries`; None: all in one.

    Raises:
        ValueError: shapes differ, a row holds NaN or infinity, no galleries, or a gallery beyond the rows.
    """
    predictions, references = _check_pair(predicted, reference)
    if similarity not in get_args(Similarity):
        raise ValueError(f"similarity must be one of {get_args(Similarity)}, found {similarity!r}")
    if min(cutoffs, default=0) < 1:
        raise ValueError(f"cutoffs must be integers of at least 1, found {list(cutoffs)}")
    if similarity == "cosine":
        predictions, references = _l2_normalize(predictions), _l2_normalize(references)
    parts = evaluation_galleries(len(predictions)) if galleries is None else list(galleries)
    if not parts or any(not len(rows) or max(rows[0], rows[-1]) >= len(predictions) for rows in parts):
        raise ValueError(f"galleries must contain rows below {len(predictions)}, found {parts}")
    limits = torch.tensor(tuple(cutoffs), dtype=torch.float64, device=predictions.device)
    hits, numbers = [], []
    for number, rows in enumerate(parts):
        chosen = torch.tensor(rows, device=predictions.device)
        queries, gallery = predictions[chosen], references[chosen]
        scores = queries @ gallery.T if similarity == "cosine" else -pairwise_l1(queries, gallery)
        own = scores.diagonal()[:, None]
        better, equal = (scores > own).sum(1, keepdim=True), (scores == own).sum(1, keepdim=True)
        hits.append(((limits - better) / equal).clamp(0, 1))
        numbers.append(torch.full((len(rows),), number, device=predictions.device))
    return IdentityRetrieval(
        torch.cat(hits), torch.cat(numbers), tuple(len(rows) for rows in parts), tuple(cutoffs)
    )


def pairwise_l1(a: Tensor, b: Tensor) -> Tensor:
    """Sums of absolute differences (N, M) of rows (N, D) and (M, D), in blocks that stay in the cache.

    Several times faster than `torch.cdist` with p = 1.
    """
    step = max(1, BLOCK_BYTES // max(1, b.numel() * b.element_size()))
    room = a.new_empty(min(step, len(a)), *b.shape)
    sums = a.new_empty(len(a), len(b))
    for rows, into in zip(a.split(step), sums.split(step)):
        torch.sum(torch.sub(rows[:, None], b, out=room[: len(rows)]).abs_(), 2, out=into)
    return sums


def diversity(
    distance: Callable[[Tensor, Tensor], Tensor],
    images: Tensor,
    pairs: Tensor | None = None,
    batch_size: int = 16,
) -> Diversity:
    """Perceptual diversity of images.

    Args:
        distance: two batches of images (B, ...) to B distances, such as `voiceface.models.lpips.LPIPS`.
        images: (N, ...), as `distance` takes them.
        pairs: int64 (P, 2), rows to compare; None: every pair once.
        batch_size: pairs per batch.

    Raises:
        ValueError: there are no pairs.
    """
    if pairs is None:
        pairs = torch.combinations(torch.arange(len(images)))
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs):
        raise ValueError(f"expected at least one pair of rows (P, 2), found {tuple(pairs.shape)}")
    with torch.no_grad():
        parts = [
            distance(images[part[:, 0]], images[part[:, 1]]).flatten().double()
            for part in pairs.to(images.device).split(batch_size)
        ]
    values = torch.cat(parts)
    return Diversity(float(values.mean()), float(values.std(correction=0)))


def _check_pair(predicted: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Check predictions and references and return them in double precision."""
    if predicted.shape != reference.shape or predicted.ndim != 2 or not len(predicted):
        raise ValueError(
            "predictions and references must be (N, D), one row per identity, found "
            f"{tuple(predicted.shape)} and {tuple(reference.shape)}"
        )
    predictions, references = predicted.detach().double(), reference.detach().double()
    for name, table in (("predictions", predictions), ("references", references)):
        broken = ~table.isfinite().all(1)
        if broken.any():
            first = int(broken.nonzero()[0])
            raise ValueError(f"{name}: {int(broken.sum())} rows hold NaN or infinity, row {first} first")
    return predictions, references


def _l2_normalize(rows: Tensor) -> Tensor:
    """L2-normalise rows; rows of zeros stay zeros."""
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
