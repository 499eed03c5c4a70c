"""Verification as CMPC published it: views averaged before the cosine, error rate at a corner."""

import torch
from torch import Tensor
from voiceface.metrics.matching import l2_normalize
from voiceface.metrics.verification import roc_curve, verification_auc


def mean_view_scores(voices: Tensor, faces: Tensor) -> Tensor:
    """Cosine of every pair's mean voice and mean face embedding; views are averaged at their own lengths.

    Args:
        voices: V views of every voice, (P, V, D).
        faces: W views of every face, (P, W, D).

    Returns:
        Shape (P,).
    """
    return (l2_normalize(voices.mean(1), "voices") * l2_normalize(faces.mean(1), "faces")).sum(1)


def corner_eer(scores: Tensor, labels: Tensor) -> Tensor:
    """False-alarm rate at the corner of the ROC where misses and false alarms differ least, no interpolation.

    Corners on a straight line are left out first, as scikit-learn's `roc_curve` does, and of several equally
    good corners the first counts.

    Args:
        scores: shape (P,).
        labels: 1 where both are of one identity, (P,).

    Returns:
        Scalar in 0...1.
    """
    curve = roc_curve(scores, labels)
    positives = int((labels == 1).sum())
    hit = (curve.tpr * positives).round()
    alarm = (curve.fpr * (len(labels) - positives)).round()
    inner_hit, inner_alarm = hit[1:], alarm[1:]  # scikit-learn adds the start afterwards
    bent = torch.ones(len(inner_hit), dtype=torch.bool, device=hit.device)
    if len(inner_hit) > 2:
        bent[1:-1] = (inner_alarm.diff(n=2) != 0) | (inner_hit.diff(n=2) != 0)
    bent = torch.cat([bent.new_ones(1), bent])
    hit_rate, alarm_rate = curve.tpr[bent], curve.fpr[bent]
    return alarm_rate[((1 - hit_rate) - alarm_rate).abs().argmin()]


def verification_metrics(scores: Tensor, labels: Tensor) -> dict[str, float]:
    """Area under the ROC and equal error rate, both as published."""
    return {
        "auc": float(verification_auc(scores, labels)),
        "eer": float(corner_eer(scores, labels)),
    }
