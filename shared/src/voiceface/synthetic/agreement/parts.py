"""Parts of the agreement metrics: outcome tables, correlations, chance.

An outcome table (N, N) says what comes out when the image made for identity j (row) is held against identity
i (column). The diagonal is the metric, the rest of a sex is its chance.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from voiceface.synthetic.readers.attribute_reader import AttributePrediction

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_MAX_LOGIT = 6.0  # no reading of the sex counts as surer than 1 in 400


@dataclass(frozen=True)
class MeanPrediction:
    """Readings of N identities in double precision, one row each."""

    embedding: Array
    sex_logit: Array
    factors: Array
    shape: Array
    skin: Array


@dataclass(frozen=True)
class MetricOutcome:
    """A metric, the same under the bootstrap over identities (B,), and its chance."""

    value: float
    replicates: Array
    chance: float


def select_images(prediction: AttributePrediction, selection: slice) -> AttributePrediction:
    """Some of the images of all identities; fields (N, M, ...)."""
    return AttributePrediction(
        prediction.embedding[:, selection],
        prediction.sex_logit[:, selection],
        prediction.factors[:, selection],
        prediction.shape[:, selection],
        prediction.skin[:, selection],
    )


def average_images(prediction: AttributePrediction) -> MeanPrediction:
    """Mean over the images of all identities, fields (N, M, ...); the mean embedding gets length 1."""

    def mean(value: Tensor) -> Array:
        found = value.double().mean(1).numpy()
        if not np.isfinite(found).all():
            raise ValueError(
                "the predictions of the attribute reader hold values that are not finite; look at the images"
            )
        return np.asarray(found)

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
    """Mean of the diagonal of an outcome table (N, N).

    Args:
        table: row = whose image, column = who it is held against.
        group: (N,); chance is the mean outcome with the images of the others of the own group.
        counts: (B, N), how often each identity counts in each replicate.
    """
    others = (group[:, None] == group) & ~np.eye(len(group), dtype=bool)
    own = np.diagonal(table)
    chance = ((table * others).sum(0) / others.sum(0)).mean()
    return MetricOutcome(float(own.mean()), counts @ own / counts.sum(1), float(chance))


def sex_correct(prediction: MeanPrediction, sex: Index) -> Array:
    """1 where the image is read as the identity's sex."""
    return ((prediction.sex_logit[:, None] > 0) == (sex == 1)).astype(np.float64)


def skin_distances(prediction: MeanPrediction, skin: Array) -> Array:
    """Root mean square difference of the three channels, grey levels of 255."""
    return 255.0 * np.sqrt(np.square(prediction.skin[:, None] - skin).mean(2))


def attribute_log_likelihood(
    prediction: MeanPrediction, sex: Index, factors: Array, factor_noise: Array
) -> Array:
    """Log likelihood of each identity's true sex (N,) and factors (N, 8) given what was read from an image.

    Args:
        prediction: readings.
        sex: true sex.
        factors: true factors.
        factor_noise: (8,) variance of a factor round its reading: 1 - R squared.
    """
    gaps = prediction.factors[:, None] - factors
    logit = np.clip(prediction.sex_logit, -_MAX_LOGIT, _MAX_LOGIT)[:, None] * (2 * sex - 1)
    return -0.5 * (np.square(gaps) / factor_noise).sum(2) - np.log1p(np.exp(-logit))


def rank_k_identification(scores: Array, k: int) -> Array:
    """Chance that identity i is among the first k when all identities is ordered by row j's scores; ties are
    fair.

    Args:
        scores: (N, N), row = image, column = identity; higher = more alike.
        k: how many are looked at.
    """
    from scipy.stats import rankdata

    above = len(scores) - rankdata(scores, "max", axis=1)
    tied = len(scores) - rankdata(scores, "min", axis=1) - above + 1
    return np.clip((k - above) / tied, 0.0, 1.0)


def fraction_beaten(scores: Array, group: Index) -> Array:
    """Share of the other identities of i's group (N,) whose score in row j is below i's; ties count half."""
    from scipy.stats import rankdata

    found = np.empty(scores.shape)
    for label in np.unique(group):
        mine = group == label
        found[:, mine] = (rankdata(scores[:, mine], axis=1) - 1) / (mine.sum() - 1)
    return found


def mean_correlation(
    predicted: Array, target: Array, sex: Index, counts: Array, *, within_sex: bool
) -> MetricOutcome:
    """Mean over columns of the correlation of what was read with what is true.

    Chance gives all identities the mean of what was read for the others of the sex, and divides by the same
    spreads: that is the mean over all reorderings in which nobody keeps the own image.

    Args:
        predicted: (N, F) readings.
        target: (N, F) truth.
        sex: (N,).
        counts: (B, N), how often each identity counts in each replicate.
        within_sex: take the means of the sexes out first.
    """
    group = sex if within_sex else np.zeros_like(sex)
    once = np.ones((1, len(sex)))
    cross, left, right = _centred_sums(predicted, target, group, once)
    others = np.empty_like(predicted)
    for label in np.unique(sex):
        mine = sex == label
        others[mine] = (predicted[mine].sum(0) - predicted[mine]) / (mine.sum() - 1)
    chance = _centred_sums(others, target, group, once)[0]
    value = _mean_correlation_from_sums(cross, left, right)[0]
    again = _mean_correlation_from_sums(*_centred_sums(predicted, target, group, counts))
    return MetricOutcome(float(value), again, float(_mean_correlation_from_sums(chance, left, right)[0]))


def _centred_sums(predicted: Array, target: Array, group: Index, counts: Array) -> tuple[Array, Array, Array]:
    """Sums of squares and products about the groups' means, (B, F) each: product, made, aim."""
    cross, left, right = (np.zeros((len(counts), predicted.shape[1])) for _ in range(3))
    predicted, target = (
        predicted - predicted.mean(0),
        target - target.mean(0),
    )  # the sums below lose no digits
    for label in np.unique(group):
        mine = group == label
        weight, x, y = counts[:, mine], predicted[mine], target[mine]
        total = np.maximum(weight.sum(1, keepdims=True), 1.0)
        sum_x, sum_y = weight @ x, weight @ y
        cross += weight @ (x * y) - sum_x * sum_y / total
        left += weight @ (x * x) - sum_x * sum_x / total
        right += weight @ (y * y) - sum_y * sum_y / total
    return cross, left, right


def _mean_correlation_from_sums(products: Array, generated_squares: Array, target_squares: Array) -> Array:
    """Mean correlation of the columns (B,); a column that does not vary counts as uncorrelated."""
    product = generated_squares * target_squares
    flat = product <= 1e-12 * np.maximum(target_squares * target_squares, 1e-300)
    return np.where(flat, 0.0, products / np.sqrt(np.where(flat, 1.0, product))).mean(1)
