"""Reference metrics of the oracle by expectation over all pairs and galleries, and the table of the docs.

Slow and independent of `voiceface.evaluation.all_pairs`, which the tests compare with it. Ties count one
half: at coupling 0 all pairs of one sex tie, and the oracle is exactly at chance.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from voiceface.synthetic.head.shape_space import factor_loadings
from voiceface.synthetic.identities import Identities, sample_identities
from voiceface.synthetic.oracle import log_likelihood_ratio

# Expected metrics by coupling: 8 factors of one coupling, half of the random pairs share the sex.
COUPLINGS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
EXPECTED_METRICS: dict[str, tuple[float, ...]] = {
    "G": (0.500, 0.572, 0.650, 0.727, 0.794, 0.860, 0.912, 0.956, 0.985, 0.998, 1.0),
    "G10": (0.100, 0.148, 0.210, 0.289, 0.378, 0.501, 0.629, 0.768, 0.903, 0.986, 1.0),
    "AUC_G": (0.500, 0.575, 0.654, 0.730, 0.800, 0.865, 0.918, 0.961, 0.988, 0.998, 1.0),
    "U": (0.750, 0.786, 0.825, 0.863, 0.898, 0.929, 0.956, 0.977, 0.992, 0.997, 1.0),
    "AUC": (0.750, 0.788, 0.827, 0.865, 0.900, 0.932, 0.959, 0.980, 0.994, 0.998, 1.0),
    "mAP": (0.090, 0.121, 0.163, 0.218, 0.291, 0.384, 0.506, 0.649, 0.821, 0.965, 1.0),
}
GENDER_BASELINE = {name: values[0] for name, values in EXPECTED_METRICS.items()}
GALLERY_SIZE = 100  # identities in the gallery of the metric "mAP", one item each


@dataclass(frozen=True)
class OracleMetric:
    """Metric with its standard error over identities."""

    value: float
    standard_error: float


def oracle_scores(identities: Identities) -> NDArray[np.float64]:
    """Compute log likelihood ratios of all voices (rows) and faces (columns), shape (N, N)."""
    shared = bool((identities.sex == identities.face_sex).all())
    return log_likelihood_ratio(
        identities.voice_factors,
        identities.sex,
        identities.face_factors,
        identities.face_sex,
        identities.coupling,
        share_sex=shared,
    )


def oracle_metrics(identities: Identities) -> dict[str, OracleMetric]:
    """Compute the metrics of the oracle over all pairs, voice to face; keys as `metrics_from_scores`."""
    return metrics_from_scores(oracle_scores(identities), identities.sex)


def metrics_from_scores(scores: ArrayLike, sex: ArrayLike) -> dict[str, OracleMetric]:
    """Compute all metrics of a score matrix, one voice (row) and one face (column) per identity.

    Args:
        scores: (N, N), higher is more similar; matching pairs on the diagonal; minus infinity allowed.
        sex: (N,).

    Returns:
        "U", "G": 1:2 matching, unrestricted and same-gender; "G10": 1:10 matching, same-gender; "AUC",
        "AUC_G": verification; "mAP": mean reciprocal rank in galleries of 100 (or N, if smaller). Impostors
        are not sampled: each metric is its expectation over all pairs or galleries.

    Raises:
        ValueError: no square matrix, fewer than three identities, NaN, or a sex with fewer than two.
    """
    table, label = np.asarray(scores, float), np.asarray(sex)
    count = len(label)
    if table.shape != (count, count) or count < 3:
        raise ValueError(
            f"scores must be (N, N) with one sex each, N >= 3: got {table.shape} and {label.shape}"
        )
    if np.isnan(table).any():
        raise ValueError("scores hold NaN")
    if np.unique(label, return_counts=True)[1].min() < 2:
        raise ValueError("the metrics within one sex need at least two identities of each sex")
    other = ~np.eye(count, dtype=bool)
    same = other & (label[:, None] == label)
    right = np.diag(table)[:, None]
    wins = (right > table) + 0.5 * (right == table)
    ten = [_expected_rank_value(table[i], i, same[i], 9, first_only=True) for i in range(count)]
    gallery = min(GALLERY_SIZE, count) - 1
    ranked = [_expected_rank_value(table[i], i, other[i], gallery, first_only=False) for i in range(count)]
    return {
        "U": _matching_accuracy(wins, other),
        "G": _matching_accuracy(wins, same),
        "G10": _mean_metric(np.array(ten)),
        "AUC": _verification_auc(table, other),
        "AUC_G": _verification_auc(table, same),
        "mAP": _mean_metric(np.array(ranked)),
    }


def expected_metric(coupling: float, metric: str = "G") -> float:
    """Interpolate the expected metric at a coupling by a monotone cubic.

    Args:
        coupling: coupling of all eight factors, or effective coupling of an observer; 0 to 1.
        metric: key of EXPECTED_METRICS.
    """
    from scipy.interpolate import PchipInterpolator

    if metric not in EXPECTED_METRICS:
        raise ValueError(f"no expected metric {metric!r}; there are {', '.join(EXPECTED_METRICS)}")
    if not 0 <= coupling <= 1:
        raise ValueError(f"a coupling lies in 0 ... 1, got {coupling}")
    return float(PchipInterpolator(COUPLINGS, EXPECTED_METRICS[metric])(coupling))


def effective_coupling(rho: float, r2_voice: ArrayLike, r2_face: ArrayLike) -> float:
    """Compute the coupling at which the oracle equals an imperfect observer.

    Args:
        rho: coupling of the population.
        r2_voice: R squared with which the observer recovers v from voices, one number or one per factor.
        r2_face: the same for g from faces.

    Returns:
        rho sqrt(R2_v R2_g); unequal factors are combined by their root mean square.
    """
    product = np.clip(r2_voice, 0, 1) * np.clip(r2_face, 0, 1)
    return float(rho * np.sqrt(np.mean(product)))


def equivalent_coupling(value: float, metric: str = "G") -> float:
    """Return the coupling with this expected metric, 0 to 1."""
    from scipy.optimize import brentq

    values = EXPECTED_METRICS[metric]
    if value <= values[0]:
        return 0.0
    if value >= values[-1]:
        return 1.0
    return float(brentq(lambda c: expected_metric(c, metric) - value, 0.0, 1.0))


def simulate_oracle(coupling: float, num_identities: int, *, seed: int = 0) -> dict[str, OracleMetric]:
    """Compute oracle metrics of sampled identities."""
    return oracle_metrics(sample_identities(np.arange(num_identities), seed=seed, rho=coupling))


def normalized_gain(model: float, upper_bound: float, gender_baseline: float) -> float:
    """Compute (model - baseline) / (upper bound - baseline); NaN where the two are equal."""
    return (
        (model - gender_baseline) / (upper_bound - gender_baseline)
        if upper_bound > gender_baseline
        else float("nan")
    )


def max_factor_r2(loadings: ArrayLike | None = None) -> NDArray[np.float64]:
    """Compute the R² with which the true shape coefficients predict the face factors, shape (8,).

    Args:
        loadings: A, shape (K, 8): alpha = A g + D q with unit variance within a sex; default: the head's.
    """
    a = np.asarray(factor_loadings() if loadings is None else loadings, float)
    residual = np.diag(1 - np.square(a).sum(1))
    return np.diag(a.T @ np.linalg.solve(a @ a.T + residual, a)).copy()


def _matching_accuracy(wins: NDArray[np.float64], negative_mask: NDArray[np.bool_]) -> OracleMetric:
    """Fraction of comparisons (N, N) won, among the allowed ones."""
    won = wins * negative_mask
    total, number = won.sum(), negative_mask.sum()
    without = (total - won.sum(0) - won.sum(1)) / (number - negative_mask.sum(0) - negative_mask.sum(1))
    return OracleMetric(float(total / number), _jackknife_standard_error(without))


def _verification_auc(table: NDArray[np.float64], negative_mask: NDArray[np.bool_]) -> OracleMetric:
    """Compute the area under the ROC curve of the diagonal against the allowed pairs."""
    right = np.diag(table)
    by_row = np.stack([_count_beaten(right, row[mask]) for row, mask in zip(table, negative_mask)], 1)
    by_column = np.stack([_count_beaten(right, row[mask]) for row, mask in zip(table.T, negative_mask.T)], 1)
    beaten = by_row.sum(1)  # of all allowed pairs, by right pair k
    count, number = len(right), int(negative_mask.sum())
    left = beaten[:, None] - by_row - by_column  # (k, i): without the pairs that touch i
    size = number - negative_mask.sum(0) - negative_mask.sum(1)
    without = (left.sum(0) - np.diag(left)) / ((count - 1) * size)
    return OracleMetric(float(beaten.sum() / (count * number)), _jackknife_standard_error(without))


def _count_beaten(positives: NDArray[np.float64], negatives: NDArray[np.float64]) -> NDArray[np.float64]:
    """Count the negatives (M,) below each of the positives (N,), ties as half, shape (N,)."""
    ordered = np.sort(negatives)
    below, upto = np.searchsorted(ordered, positives), np.searchsorted(ordered, positives, side="right")
    return (below + upto).astype(np.float64) / 2


def _expected_rank_value(
    row: NDArray[np.float64],
    match: int,
    negative_mask: NDArray[np.bool_],
    num_sampled: int,
    *,
    first_only: bool,
) -> float:
    """Compute the expected reciprocal rank (or rank-1 rate) of the match among itself and sampled impostors.

    Args:
        row: (N,) scores of one probe.
        match: index of the match.
        negative_mask: (N,) possible impostors.
        num_sampled: impostors sampled without replacement; all if there are fewer.
        first_only: rank-1 rate.
    """
    wrong = row[negative_mask]
    above, ties = int((wrong > row[match]).sum()), int((wrong == row[match]).sum())
    value = _value_by_num_better(len(wrong), min(num_sampled, len(wrong)), first_only)
    return float(value[above : above + ties + 1].mean())  # ties fall on either side with equal chance


@lru_cache(maxsize=16)
def _value_by_num_better(num_negatives: int, num_sampled: int, first_only: bool) -> NDArray[np.float64]:
    """Compute the expected 1 / rank (or rank-1 rate) by the number of better impostors."""
    from scipy.stats import hypergeom

    better = np.arange(num_negatives + 1)
    if first_only:
        return np.asarray(hypergeom.pmf(0, num_negatives, better, num_sampled), float)
    hits = np.arange(num_sampled + 1)[:, None]
    return np.asarray((hypergeom.pmf(hits, num_negatives, better, num_sampled) / (1 + hits)).sum(0), float)


def _mean_metric(values: NDArray[np.float64]) -> OracleMetric:
    """Average over probes, with standard error."""
    return OracleMetric(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))


def _jackknife_standard_error(leave_one_out: NDArray[np.float64]) -> float:
    """Standard error from the metric without each of N identities, shape (N,)."""
    count = len(leave_one_out)
    return float(np.sqrt((count - 1) / count * np.square(leave_one_out - leave_one_out.mean()).sum()))
