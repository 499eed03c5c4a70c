"""Ridge regression in closed form, with the penalty chosen on held-out people."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["PENALTIES", "LinearMap", "fit_ridge"]

Array = NDArray[np.float64]
PENALTIES = tuple(float(value) for value in np.logspace(-4, 3, 22))
"""Penalties that are tried, as multiples of the number of rows."""


class LinearMap(NamedTuple):
    """targets = features @ weight + bias.

    Attributes:
        weight: (D, T).
        bias: (T,).
    """

    weight: Array
    bias: Array

    def predict(self, features: ArrayLike) -> Array:
        """Map features (N, D) to targets (N, T)."""
        return np.asarray(features, float) @ self.weight + self.bias


def fit_ridge(
    features: ArrayLike,
    targets: ArrayLike,
    validation_features: ArrayLike,
    validation_targets: ArrayLike,
    penalties: tuple[float, ...] = PENALTIES,
) -> LinearMap:
    """Fit a linear map with a squared penalty on standardised features.

    Every target has its own penalty: the one with the smallest squared error on the held-out rows.

    Args:
        features: (N, D).
        targets: (N, T).
        validation_features: (M, D), of other people.
        validation_targets: (M, T).
        penalties: candidates, above 0, as multiples of N.

    Returns:
        The map, for features as given.

    Raises:
        ValueError: shapes that do not match, or no rows.
    """
    x, y = np.asarray(features, float), np.asarray(targets, float)
    held_x, held_y = np.asarray(validation_features, float), np.asarray(validation_targets, float)
    shapes = [each.shape for each in (x, y, held_x, held_y)]
    if any(each.ndim != 2 or not len(each) for each in (x, y, held_x, held_y)) or (
        len(x) != len(y) or len(held_x) != len(held_y) or x.shape[1] != held_x.shape[1]
    ):
        raise ValueError(f"expected features and targets (N, D), (N, T), (M, D), (M, T), found {shapes}")
    mean, scale = x.mean(0), x.std(0)
    scale = np.where(scale > 1e-12 * max(scale.max(), 1e-300), scale, np.inf)  # constant: no weight
    offset = y.mean(0)
    standard, held = (x - mean) / scale, (held_x - mean) / scale
    values, vectors = np.linalg.eigh(standard.T @ standard / len(x))
    projected = vectors.T @ (standard.T @ (y - offset) / len(x))  # (D, T)
    held = held @ vectors
    shrunk = projected / (values[:, None] + np.array(penalties)[:, None, None])  # (P, D, T)
    errors = np.square(held @ shrunk + offset - held_y).sum(1)  # (P, T)
    best = errors.argmin(0)
    chosen = np.take_along_axis(shrunk, best[None, None], 0)[0]
    weight = vectors @ chosen / scale[:, None]
    return LinearMap(weight, offset - mean @ weight)
