"""Verification metrics as published: mean embeddings over views, equal error rate at a corner of the ROC."""

import torch
from torch import Tensor
from voiceface.metrics.matching import l2_normalize
from voiceface.metrics.verification import roc_curve, verification_auc

__all__ = ["corner_eer", "mean_view_scores", "verification_metrics"]


def mean_view_scores(voices: Tensor, faces: Tensor) -> Tensor:
    """Compute the cosine of the mean voice and mean face embedding of every pair.

    Views are not normalised before the mean.

    Args:
        voices: V views of every voice, (P, V, D).
        faces: W views of every face, (P, W, D).

    Returns:
        Shape (P,).
    """
    return (l2_normalize(voices.mean(1), "voices") * l2_normalize(faces.mean(1), "faces")).sum(1)


def corner_eer(scores: Tensor, labels: Tensor) -> Tensor:
    """Equal error rate without interpolation: false-alarm rate at the ROC corner nearest to equal errors.

    Collinear corners are removed first, as in scikit-learn's `roc_curve`; of equally near corners the first
    counts.

    Args:
        scores: shape (P,).
        labels: 1 for pairs of one identity, else 0, shape (P,).

    Returns:
        Scalar in 0...1.
    """
    curve = roc_curve(scores, labels)
    positives = int((labels == 1).sum())
    true_positives = (curve.tpr * positives).round()[1:]  # scikit-learn adds the first point afterwards
    false_positives = (curve.fpr * (len(labels) - positives)).round()[1:]
    corner = torch.ones(len(true_positives), dtype=torch.bool, device=true_positives.device)
    if len(true_positives) > 2:
        corner[1:-1] = (false_positives.diff(n=2) != 0) | (true_positives.diff(n=2) != 0)
    corner = torch.cat([corner.new_ones(1), corner])
    tpr, fpr = curve.tpr[corner], curve.fpr[corner]
    return fpr[((1 - tpr) - fpr).abs().argmin()]


def verification_metrics(scores: Tensor, labels: Tensor) -> dict[str, float]:
    """Compute the area under the ROC curve and the equal error rate, both as published."""
    return {
        "auc": float(verification_auc(scores, labels)),
        "eer": float(corner_eer(scores, labels)),
    }
