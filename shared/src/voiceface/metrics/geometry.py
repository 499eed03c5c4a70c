"""Metrics of 3-D shapes: distances between vertices, alignment, errors per identity, explained variance."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from voiceface.metrics.bootstrap import Interval, PairedDifference, mean_interval, paired_difference

__all__ = [
    "Array",
    "ErrorComparison",
    "Index",
    "SimilarityTransform",
    "aligned_error",
    "compare_errors",
    "explained_variance",
    "fit_similarity_transform",
    "identity_means",
    "pair_distances",
]

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SimilarityTransform:
    """Scaling, rotation and translation that map one set of points onto another.

    Attributes:
        scale: (...,).
        rotation: (..., 3, 3), determinant 1.
        translation: (..., 3).
    """

    scale: Array
    rotation: Array
    translation: Array

    def apply(self, points: npt.ArrayLike) -> Array:
        """Transform points (..., K, 3)."""
        turned = np.asarray(points, float) @ np.swapaxes(self.rotation, -1, -2)
        return self.scale[..., None, None] * turned + self.translation[..., None, :]


@dataclass(frozen=True)
class ErrorComparison:
    """One error of a system and those of baselines, over identities.

    Attributes:
        ours: mean over identities with its interval.
        baselines: the same for each baseline, by name.
        differences: ours minus the baseline on the same identities, by name; negative values favour ours.
    """

    ours: Interval
    baselines: dict[str, Interval]
    differences: dict[str, PairedDifference]


def pair_distances(vertices: npt.ArrayLike, pairs: npt.ArrayLike) -> Array:
    """Distances between pairs of vertices.

    Args:
        vertices: (..., V, 3).
        pairs: (P, 2) vertex indices.

    Returns:
        (..., P), in the unit of the vertices, double precision.

    Raises:
        ValueError: another shape, or an index without a vertex.

    Example:
        >>> pair_distances([[0, 0, 0], [3, 4, 0]], [[0, 1]]).tolist()
        [5.0]
    """
    points, numbers = np.asarray(vertices, float), np.asarray(pairs)
    if points.ndim < 2 or points.shape[-1] != 3 or numbers.ndim != 2 or numbers.shape[1] != 2:
        raise ValueError(
            f"expected vertices (..., V, 3) and pairs (P, 2), found {points.shape} and {numbers.shape}"
        )
    if numbers.size and not 0 <= numbers.min() <= numbers.max() < points.shape[-2]:
        raise ValueError(
            f"pairs name vertices {numbers.min()} to {numbers.max()}, the mesh has {points.shape[-2]}"
        )
    return np.linalg.norm(points[..., numbers[:, 0], :] - points[..., numbers[:, 1], :], axis=-1)


def fit_similarity_transform(source: npt.ArrayLike, target: npt.ArrayLike) -> SimilarityTransform:
    """Fit the similarity that maps `source` to `target` by least squares, without reflection.

    Args:
        source: (..., K, 3), K >= 3 points that do not all coincide.
        target: the same shape.

    Raises:
        ValueError: shapes differ, or the source points coincide.
    """
    a, b = np.asarray(source, float), np.asarray(target, float)
    if a.shape != b.shape or a.ndim < 2 or a.shape[-1] != 3 or a.shape[-2] < 3:
        raise ValueError(f"expected two sets of three points or more (..., K, 3), found {a.shape}, {b.shape}")
    middle_a, middle_b = a.mean(axis=-2), b.mean(axis=-2)
    a, b = a - middle_a[..., None, :], b - middle_b[..., None, :]
    size = (a**2).sum(axis=(-1, -2))
    if not (size > 0).all():
        raise ValueError("the points to be aligned coincide")
    u, s, vt = np.linalg.svd(np.swapaxes(b, -1, -2) @ a)
    sign = np.ones_like(s)
    sign[..., 2] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * sign[..., None, :]) @ vt
    scale = (s * sign).sum(axis=-1) / size
    offset = middle_b - scale[..., None] * (rotation @ middle_a[..., None])[..., 0]
    return SimilarityTransform(scale, rotation, offset)


def aligned_error(predicted: npt.ArrayLike, true: npt.ArrayLike) -> Array:
    """Mean distance of corresponding points after a similarity alignment of the predicted ones, (...,).

    Args:
        predicted: (..., K, 3).
        true: the same shape; the result has its unit.
    """
    moved = fit_similarity_transform(predicted, true).apply(predicted)
    return np.linalg.norm(moved - np.asarray(true, float), axis=-1).mean(axis=-1)


def identity_means(values: npt.ArrayLike, identities: npt.ArrayLike) -> Array:
    """Mean of the rows of each identity.

    Args:
        values: (L,) or (L, K), one row per prediction.
        identities: (L,), identity of each prediction.

    Returns:
        (I,) or (I, K), identities in ascending order.
    """
    table, labels = np.asarray(values, float), np.asarray(identities)
    if labels.ndim != 1 or len(labels) != len(table) or not len(table):
        raise ValueError(
            f"expected one identity per row, at least one row; got {labels.shape} for {table.shape}"
        )
    _, number = np.unique(labels, return_inverse=True)
    sums = np.zeros((int(number.max()) + 1, *table.shape[1:]))
    np.add.at(sums, number, table)
    counts = np.bincount(number).reshape(-1, *([1] * (table.ndim - 1)))
    return sums / counts


def compare_errors(
    ours: npt.ArrayLike,
    baselines: Mapping[str, npt.ArrayLike],
    identities: npt.ArrayLike,
    *,
    replicates: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> ErrorComparison:
    """Compare an error with those of baselines, with intervals over identities and paired tests.

    Every identity counts once, as in the published metrics: mean over an identity's predictions, then over
    identities. Intervals and tests draw identities with replacement.

    Args:
        ours: (L,), one error per prediction.
        baselines: name -> (L,) of the same predictions.
        identities: (L,), identity of each prediction.
        replicates, confidence, seed: of the bootstrap.
    """
    rule = {"replicates": replicates, "confidence": confidence, "seed": seed}
    own = identity_means(ours, identities)
    references = {name: identity_means(values, identities) for name, values in baselines.items()}
    each = np.arange(len(own))
    return ErrorComparison(
        mean_interval(own, each, **rule),  # type: ignore[arg-type]
        {name: mean_interval(values, each, **rule) for name, values in references.items()},  # type: ignore[arg-type]
        {name: paired_difference(own, values, each, **rule) for name, values in references.items()},  # type: ignore[arg-type]
    )


def explained_variance(
    predicted: npt.ArrayLike, true: npt.ArrayLike, strata: npt.ArrayLike | None = None
) -> Array:
    """Share of the variance of each column that predictions explain.

    Args:
        predicted: (N, K).
        true: (N, K).
        strata: (N,) labels such as the gender; the variance is then that within the strata, so that the
            stratum alone explains 0.

    Returns:
        (K,): 1 - squared error / squared deviation from the mean (of the stratum); at most 1, negative where
        the mean is nearer; NaN where nothing varies.

    Raises:
        ValueError: shapes differ or there are fewer than two rows.
    """
    a, b = np.asarray(predicted, float), np.asarray(true, float)
    if a.shape != b.shape or a.ndim != 2 or len(a) < 2:
        raise ValueError(f"expected two tables (N, K) with two rows or more, found {a.shape} and {b.shape}")
    labels = np.zeros(len(b)) if strata is None else np.asarray(strata)
    if labels.shape != (len(b),):
        raise ValueError(f"expected one stratum per row, found {labels.shape} for {len(b)} rows")
    _, number = np.unique(labels, return_inverse=True)
    spread = ((b - identity_means(b, number)[number]) ** 2).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 0, 1 - ((a - b) ** 2).sum(axis=0) / spread, np.nan)
