"""Orthogonal projection loss of FOP.

Saeed et al., "Fusion and Orthogonal Projection for Improved Face-Voice Association" (ICASSP 2022); the loss
itself after Ranasinghe et al., "Orthogonal Projection Loss" (ICCV 2021).
"""

from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import normalize

__all__ = ["EPSILON", "OTHER_WEIGHT", "ProjectionTerms", "orthogonal_projection_loss", "projection_terms"]

OTHER_WEIGHT = 0.7
EPSILON = 1e-6


class ProjectionTerms(NamedTuple):
    """Mean cosine of pairs of one label, and mean absolute cosine of pairs of different labels."""

    same: Tensor
    other: Tensor


def projection_terms(features: Tensor, labels: Tensor, epsilon: float = EPSILON) -> ProjectionTerms:
    """Compare all ordered pairs of different rows of a batch.

    Args:
        features: (B, D), of any length; compared by their cosines.
        labels: class of every row, integers (B,).
        epsilon: added to the number of pairs of either kind; without any pair of a kind its mean is 0.

    Returns:
        Two scalars.
    """
    unit = normalize(features, dim=1)
    cosine = unit @ unit.T
    equal = labels[:, None] == labels[None, :]
    same_pairs = equal.to(cosine.dtype)
    other_pairs = 1 - same_pairs
    # Each row with itself is one label, too, but no pair: its cosine is the squared length of a unit vector.
    same_pairs = same_pairs.fill_diagonal_(0)
    same = (cosine * same_pairs).sum() / (same_pairs.sum() + epsilon)
    other = (cosine * other_pairs).abs().sum() / (other_pairs.sum() + epsilon)
    return ProjectionTerms(same, other)


def orthogonal_projection_loss(
    features: Tensor, labels: Tensor, *, other_weight: float = OTHER_WEIGHT, epsilon: float = EPSILON
) -> Tensor:
    """Pull features of one class together and push those of different classes to right angles.

    (1 - mean cosine of pairs of one label) + `other_weight` times the mean absolute cosine of pairs of
    different labels, over ordered pairs of different rows.

    Args:
        features: (B, D), of any length.
        labels: class of every row, integers (B,).
        other_weight: weight of the pairs of different labels (published: 0.7).
        epsilon: added to either number of pairs (published: 1e-6).

    Returns:
        A scalar, 0 at best; 1 in a batch without any pair of one label and with all classes orthogonal.
    """
    same, other = projection_terms(features, labels, epsilon)
    return 1 - same + other_weight * other
