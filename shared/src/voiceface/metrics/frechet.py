"""Frechet distance of two sets of features, as if both were normally distributed: FID and its kin.

|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), S unbiased covariances (Heusel et al., "GANs trained by a two
time-scale update rule", NIPS 2017). The root is never formed: the trace of (S1 S2)^(1/2) is the sum of the
singular values of F1' F2 for any factors S = F F'. This is exact also where there are fewer images than
features, where the published way (matrix root by Schur form) is not. Such values are only comparable with
each other.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

__all__ = [
    "FeatureStatistics",
    "Gaussian",
    "frechet_distance",
    "frechet_from_statistics",
]


@dataclass(frozen=True)
class Gaussian:
    """Mean (D,) and unbiased covariance (D, D), double precision."""

    mean: Tensor
    covariance: Tensor


class FeatureStatistics:
    """Mean and covariance of features that come block by block.

    Sums are kept around running means in double precision (Chan, Golub and LeVeque, 1979), so that means far
    from zero do no harm.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(0, dtype=torch.float64)
        self.scatter = torch.zeros(0, 0, dtype=torch.float64)

    def update(self, features: Tensor) -> Self:
        """Add features (B, D).

        Raises:
            ValueError: another shape than before, or NaN or infinity.
        """
        block = _check_features(features, "features")
        if not len(block):
            return self
        count, mean = len(block), block.mean(0)
        centred = block - mean
        scatter = centred.T @ centred
        if not self.count:
            self.count, self.mean, self.scatter = count, mean, scatter
            return self
        if mean.shape != self.mean.shape:
            raise ValueError(f"features have {len(mean)} columns, those before {len(self.mean)}")
        total, shift = self.count + count, mean - self.mean
        self.scatter = self.scatter + scatter + torch.outer(shift, shift) * (self.count * count / total)
        self.mean = self.mean + shift * (count / total)
        self.count = total
        return self

    def gaussian(self) -> Gaussian:
        """Mean and covariance of all features.

        Raises:
            ValueError: fewer than two rows.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs at least two rows of features, found {self.count}")
        return Gaussian(self.mean, self.scatter / (self.count - 1))


def frechet_distance(real: Tensor, generated: Tensor, eps: float = 0.0) -> float:
    """Frechet distance of two sets of features.

    Args:
        real: (N, D), N >= 2.
        generated: (M, D), M >= 2.
        eps: see `frechet_from_statistics`.

    Returns:
        At least 0 up to rounding; 0 for equal sets.

    Raises:
        ValueError: shapes do not match, too few rows, NaN or infinity.

    Example:
        >>> square = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
        >>> round(frechet_distance(square, square + torch.tensor([1.0, 0.0])), 6)  # the means differ by one
        1.0
    """
    a, b = _check_features(real, "real features"), _check_features(generated, "generated features")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"features must have the same columns, found {a.shape[1]} and {b.shape[1]}")
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a covariance needs at least two rows, found {len(a)} and {len(b)}")
    if eps or max(len(a), len(b)) > a.shape[1]:
        first, second = (FeatureStatistics().update(features).gaussian() for features in (a, b))
        return frechet_from_statistics(first, second, eps)
    apart = a.mean(0) - b.mean(0)
    f1, f2 = ((rows - rows.mean(0)) / (len(rows) - 1) ** 0.5 for rows in (a, b))
    root = torch.linalg.svdvals(f1 @ f2.T).sum()
    return float(apart.square().sum() + f1.square().sum() + f2.square().sum() - 2 * root)


def frechet_from_statistics(real: Gaussian, generated: Gaussian, eps: float = 0.0) -> float:
    """Frechet distance from means and covariances.

    Args:
        real: of D features; from `FeatureStatistics.gaussian`.
        generated: of the same features.
        eps: added to both diagonals inside the root. The published code adds 1e-6 where its root is not
            finite, which does not occur here.

    Raises:
        ValueError: shapes differ, or a covariance is not symmetric.
    """
    if real.mean.shape != generated.mean.shape:
        raise ValueError(
            f"found {len(real.mean)} and {len(generated.mean)} features, expected the same number"
        )
    for gaussian in (real, generated):
        if not torch.allclose(gaussian.covariance, gaussian.covariance.T):
            raise ValueError("a covariance must be symmetric")
    eye = torch.eye(len(real.mean), dtype=torch.float64, device=real.mean.device) * eps
    first, second = real.covariance.double() + eye, generated.covariance.double() + eye
    values, vectors = torch.linalg.eigh(first)
    kept = values > values[-1].clamp_min(0) * len(values) * torch.finfo(torch.float64).eps
    factor = vectors[:, kept] * values[kept].sqrt()
    between = torch.linalg.eigvalsh(factor.T @ second @ factor)
    root = between.clamp_min(0).sqrt().sum()
    apart = (real.mean - generated.mean).double()
    traces = real.covariance.double().trace() + generated.covariance.double().trace()
    return float(apart.square().sum() + traces - 2 * root)


def _check_features(features: Tensor, name: str) -> Tensor:
    """Check features and return them in double precision."""
    if features.ndim != 2 or not features.shape[1]:
        raise ValueError(f"{name} must be (N, D), found {tuple(features.shape)}")
    rows = features.detach().double()
    if not rows.isfinite().all():
        raise ValueError(f"{name} hold NaN or infinity")
    return rows
