"""Parts of the agreement metrics: outcome tables, correlations, chance levels.

Entry (j, i) of an outcome table (N, N) is the outcome of comparing the image generated for identity j with
identity i. The mean of the diagonal is the metric, the mean of the rest of a sex is its chance level.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from voiceface.synthetic.readers.attribute_reader import AttributePrediction

__all__ = [
    "MeanPrediction",
    "MetricOutcome",
    "attribute_log_likelihood",
    "average_images",
    "diagonal_mean",
    "fraction_beaten",
    "mean_correlation",
    "rank_k_identification",
    "select_images",
    "sex_correct",
    "skin_distances",
]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_MAX_LOGIT = 6.0  # limits the confidence of the predicted sex to 1 in 400


@dataclass(frozen=True)
class MeanPrediction:
    """Mean predictions of N identities in double precision, one row each; fields of `AttributePrediction`."""

    embedding: Array
    sex_logit: Array
    factors: Array
    shape: Array
    skin: Array


@dataclass(frozen=True)
class MetricOutcome:
    """Metric, its bootstrap replicates over identities (B,), and its chance level."""

    value: float
    replicates: Array
    chance: float


def select_images(prediction: AttributePrediction, selection: slice) -> AttributePrediction:
    """Select images of all identities; fields (N, M, ...)."""
    return AttributePrediction(
        prediction.embedding[:, selection],
        prediction.sex_logit[:, selection],
        prediction.factors[:, selection],
        prediction.shape[:, selection],
        prediction.skin[:, selection],
    )


def average_images(prediction: AttributePrediction) -> MeanPrediction:
    """Average fields (N, M, ...) over the M images; mean embeddings get unit length.

    Raises:
        ValueError: a prediction is not finite.
    """

    def mean(value: Tensor) -> Array:
        average = value.double().mean(1).numpy()
        if not np.isfinite(average).all():
            raise ValueError("the attribute reader's predictions are not finite; check the images")
        return np.asarray(average)

    embedding = mean(prediction.embedding)
    length = np.linalg.norm(embedding, axis=1, keepdims=True)
    return MeanPrediction(
        embedding / np.maximum(length, 1e-12),
        mean(prediction.sex_logit),
        mean(prediction.factors),
        mean(prediction.shape),
        mean(prediction.skin),
    )


def diagonal_mean(table: Array, group: Index, counts: Array) -> MetricOutcome:
    """Average the diagonal of an outcome table.

    Args:
        table: (N, N), row = identity of the image, column = identity compared with.
        group: (N,); the chance level is the mean outcome with images of other identities of the same group.
        counts: (B, N), weight of each identity in each replicate.
    """
    others = (group[:, None] == group) & ~np.eye(len(group), dtype=bool)
    outcomes = np.diagonal(table)
    chance = ((table * others).sum(0) / others.sum(0)).mean()
    return MetricOutcome(float(outcomes.mean()), counts @ outcomes / counts.sum(1), float(chance))


def sex_correct(prediction: MeanPrediction, sex: Index) -> Array:
    """Return outcomes (N, N): 1 where the predicted sex of row j is that of identity i (N,)."""
    return ((prediction.sex_logit[:, None] > 0) == (sex == 1)).astype(np.float64)


def skin_distances(prediction: MeanPrediction, skin: Array) -> Array:
    """Return outcomes (N, N): RMS difference to skin colours (N, 3), in grey levels (0-255)."""
    return 255.0 * np.sqrt(np.square(prediction.skin[:, None] - skin).mean(2))


def attribute_log_likelihood(
    prediction: MeanPrediction, sex: Index, factors: Array, factor_noise: Array
) -> Array:
    """Compute log likelihoods (N, N) of the sex and factors of identity i given predictions of row j.

    Args:
        prediction: predictions.
        sex: (N,) true sex.
        factors: (N, 8) true factors.
        factor_noise: (8,) residual variance of the predicted factors: 1 - R².
    """
    residual = prediction.factors[:, None] - factors
    logit = np.clip(prediction.sex_logit, -_MAX_LOGIT, _MAX_LOGIT)[:, None] * (2 * sex - 1)
    return -0.5 * (np.square(residual) / factor_noise).sum(2) - np.log1p(np.exp(-logit))


def rank_k_identification(scores: Array, k: int) -> Array:
    """Compute the probability (N, N) that identity i is among the k highest scores of row j.

    Equal scores are in random order.

    Args:
        scores: (N, N), row = image, column = identity; higher is more similar.
        k: rank.
    """
    from scipy.stats import rankdata

    above = len(scores) - rankdata(scores, "max", axis=1)
    tied = len(scores) - rankdata(scores, "min", axis=1) - above + 1
    return np.clip((k - above) / tied, 0.0, 1.0)


def fraction_beaten(scores: Array, group: Index) -> Array:
    """Compute the fraction (N, N) of i's group with a lower score in row j; ties count half."""
    from scipy.stats import rankdata

    fraction = np.empty(scores.shape)
    for label in np.unique(group):
        rows = group == label
        fraction[:, rows] = (rankdata(scores[:, rows], axis=1) - 1) / (rows.sum() - 1)
    return fraction


def mean_correlation(
    predicted: Array, target: Array, sex: Index, counts: Array, *, within_sex: bool
) -> MetricOutcome:
    """Average the correlation of predictions and true values over columns.

    For the chance level, each identity has the mean prediction of the other identities of its sex, and the
    standard deviations are unchanged: this equals the mean over all permutations within a sex without fixed
    points.

    Args:
        predicted: (N, F) predictions.
        target: (N, F) true values.
        sex: (N,).
        counts: (B, N), weight of each identity in each replicate.
        within_sex: subtract the means of each sex.
    """
    group = sex if within_sex else np.zeros_like(sex)
    ones = np.ones((1, len(sex)))
    cross, left, right = _centred_sums(predicted, target, group, ones)
    others = np.empty_like(predicted)
    for label in np.unique(sex):
        rows = sex == label
        others[rows] = (predicted[rows].sum(0) - predicted[rows]) / (rows.sum() - 1)
    chance = _mean_correlation_from_sums(_centred_sums(others, target, group, ones)[0], left, right)[0]
    value = _mean_correlation_from_sums(cross, left, right)[0]
    replicates = _mean_correlation_from_sums(*_centred_sums(predicted, target, group, counts))
    return MetricOutcome(float(value), replicates, float(chance))


def _centred_sums(predicted: Array, target: Array, group: Index, counts: Array) -> tuple[Array, Array, Array]:
    """Compute centred sums, (B, F) each: products, squares of predictions, squares of targets."""
    cross, left, right = (np.zeros((len(counts), predicted.shape[1])) for _ in range(3))
    predicted, target = predicted - predicted.mean(0), target - target.mean(0)  # against cancellation
    for label in np.unique(group):
        rows = group == label
        weight, x, y = counts[:, rows], predicted[rows], target[rows]
        total = np.maximum(weight.sum(1, keepdims=True), 1.0)
        sum_x, sum_y = weight @ x, weight @ y
        cross += weight @ (x * y) - sum_x * sum_y / total
        left += weight @ (x * x) - sum_x * sum_x / total
        right += weight @ (y * y) - sum_y * sum_y / total
    return cross, left, right


def _mean_correlation_from_sums(products: Array, predicted_squares: Array, target_squares: Array) -> Array:
    """Average the correlations of columns, (B,); a constant column counts as uncorrelated."""
    product = predicted_squares * target_squares
    flat = product <= 1e-12 * np.maximum(target_squares * target_squares, 1e-300)
    return np.where(flat, 0.0, products / np.sqrt(np.where(flat, 1.0, product))).mean(1)
