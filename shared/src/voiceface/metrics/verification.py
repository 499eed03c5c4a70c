"""Verification: ROC curve, area under it, equal error rate and minimum detection cost.

A score is signed and higher means more alike; labels are 1 for pairs of one identity. Everything is exact and
runs on the device of the tensors that come in; ties count as half in the area under the curve.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from voiceface.metrics.matching import require_finite

__all__ = [
    "EqualErrorRate",
    "RocCurve",
    "eer_from_roc",
    "equal_error_rate",
    "min_dcf",
    "min_dcf_from_roc",
    "roc_curve",
    "verification_auc",
]


class RocCurve(NamedTuple):
    """Corners of a ROC curve, from "nothing accepted" to "everything accepted", double precision."""

    fpr: Tensor  # (T,) share of mismatching pairs accepted
    tpr: Tensor  # (T,) share of matching pairs accepted
    thresholds: Tensor  # (T,) lowest score accepted; the first is infinite


class EqualErrorRate(NamedTuple):
    """Equal error rate in [0, 1] and the score at which it is met."""

    rate: Tensor
    threshold: Tensor


def verification_auc(scores: Tensor, labels: Tensor) -> Tensor:
    """Area under the ROC curve, ties counted as half.

    Args:
        scores: similarity of every voice-face pair, (P,); higher means more alike.
        labels: 1 where the pair shares an identity, else 0, (P,).

    Returns:
        Double scalar in [0, 1]; 0.5 is chance.

    Example:
        >>> verification_auc(torch.tensor([0.9, 0.8, 0.4, 0.3]), torch.tensor([1, 0, 1, 0])).item()
        0.75
    """
    match, mismatch = _split_by_label(scores, labels)
    ordered = mismatch.sort().values
    match = match.sort().values  # searching in order touches memory in order
    beaten = torch.searchsorted(ordered, match)
    beaten_or_tied = torch.searchsorted(ordered, match, right=True)
    return (beaten + beaten_or_tied).sum().double() / (2 * len(ordered) * len(match))


def roc_curve(scores: Tensor, labels: Tensor) -> RocCurve:
    """ROC curve with one corner per distinct score, and the corner at which nothing is accepted.

    Example:
        >>> curve = roc_curve(torch.tensor([0.9, 0.8, 0.4, 0.3]), torch.tensor([1, 0, 1, 0]))
        >>> curve.fpr.tolist(), curve.tpr.tolist()
        ([0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0])
    """
    _split_by_label(scores, labels)
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
    return RocCurve(false_alarm, hit, torch.cat([top, ordered[last]]))


def equal_error_rate(scores: Tensor, labels: Tensor) -> EqualErrorRate:
    """Rate at which misses and false alarms are equally frequent, linear between corners of the ROC curve.

    Args:
        scores: (P,).
        labels: (P,), 1 = same identity.

    Returns:
        Rate in [0, 1] (0.5 is chance) and its threshold, interpolated the same way.

    Example:
        >>> equal_error_rate(torch.tensor([0.9, 0.8, 0.4, 0.3]), torch.tensor([1, 0, 1, 0])).rate.item()
        0.5
    """
    return eer_from_roc(roc_curve(scores, labels))


def eer_from_roc(curve: RocCurve) -> EqualErrorRate:
    """Equal error rate of a ROC curve; see `equal_error_rate`."""
    gap = curve.fpr - (1 - curve.tpr)  # rises from -1 to 1
    after = int((gap < 0).sum())
    before = after - 1
    share = -gap[before] / (gap[after] - gap[before])
    rate = curve.fpr[before] + share * (curve.fpr[after] - curve.fpr[before])
    low, high = curve.thresholds[before].double(), curve.thresholds[after].double()
    threshold = high if torch.isinf(low) else low + share * (high - low)
    return EqualErrorRate(rate, threshold)


def min_dcf(
    scores: Tensor, labels: Tensor, p_target: float = 0.05, c_miss: float = 1.0, c_fa: float = 1.0
) -> Tensor:
    """Minimum detection cost over all thresholds, relative to always accepting or always rejecting.

    Args:
        scores: (P,).
        labels: (P,), 1 = same identity.
        p_target: assumed probability that a pair matches, in (0, 1).
        c_miss: cost of rejecting a matching pair.
        c_fa: cost of accepting a mismatching pair.

    Returns:
        Double scalar in [0, 1]; 1 is no better than a constant decision.

    Example:
        >>> min_dcf(torch.tensor([0.9, 0.8, 0.4, 0.3]), torch.tensor([1, 0, 1, 0])).item()
        0.5
    """
    return min_dcf_from_roc(roc_curve(scores, labels), p_target, c_miss, c_fa)


def min_dcf_from_roc(
    curve: RocCurve, p_target: float = 0.05, c_miss: float = 1.0, c_fa: float = 1.0
) -> Tensor:
    """Minimum detection cost of a ROC curve; see `min_dcf`."""
    if not 0 < p_target < 1:
        raise ValueError(f"p_target must lie between 0 and 1, found {p_target}")
    miss, alarm = p_target * c_miss, (1 - p_target) * c_fa
    return ((1 - curve.tpr) * miss + curve.fpr * alarm).min() / min(miss, alarm)


def _split_by_label(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Check scores and labels and return the scores of matching and of mismatching pairs."""
    if scores.shape != labels.shape or scores.ndim != 1:
        raise ValueError(f"expected one label per score, found {labels.shape} for {scores.shape}")
    require_finite(scores)
    same = labels.to(scores.device) == 1
    match, mismatch = scores[same], scores[~same]
    if not len(match) or not len(mismatch):
        raise ValueError(
            f"verification needs matching and mismatching pairs, got {len(match)} and {len(mismatch)}"
        )
    return match, mismatch
