"""Uncertainty of metrics: bootstrap over identities, paired differences, chance levels.

The trials of a list are not independent: the clips of one identity occur in many of them. Therefore
identities are resampled with replacement, and a trial counts as often as the identity of its probe was drawn.
All replicates of all metrics use one table of counts, which depends on the seed alone, so that two systems on
one list see the same draws.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "Array",
    "Index",
    "Interval",
    "PairedDifference",
    "bootstrap_counts",
    "bootstrap_mean",
    "bootstrap_verification",
    "chance_levels",
    "chance_recall",
    "jackknife_standard_error",
    "mean_interval",
    "paired_difference",
    "paired_difference_from_replicates",
    "paired_verification_difference",
    "percentile_interval",
]

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """A metric with its uncertainty over identities.

    Attributes:
        value: the metric itself.
        standard_error: standard error.
        low: lower end of the interval.
        high: upper end.
    """

    value: float
    standard_error: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedDifference:
    """First system minus second on the same trials.

    Attributes:
        value: difference of the metrics.
        standard_error: its standard error.
        low: lower end of the interval.
        high: upper end.
        p_value: two-sided, in (0, 1]: twice the smaller fraction of replicates on one side of zero.
        adjusted_p_value: after Holm's correction for all tests of a family; None without a family.
    """

    value: float
    standard_error: float
    low: float
    high: float
    p_value: float
    adjusted_p_value: float | None = None


def bootstrap_counts(num_identities: int, replicates: int, seed: int) -> Array:
    """Count how often each identity is sampled in each replicate, (B, I); rows sum to I."""
    if num_identities < 1 or replicates < 2:
        raise ValueError(
            f"expected at least 1 identity and 2 replicates, got {num_identities} and {replicates}"
        )
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.multinomial(num_identities, np.full(num_identities, 1 / num_identities), replicates).astype(
        np.float64
    )


def bootstrap_mean(
    values: Array, groups: Index, *, replicates: int = 1000, seed: int = 0
) -> tuple[Array, Array]:
    """Mean of per-trial results and its bootstrap replicates over identities.

    Args:
        values: (L,) or (L, K), such as hits or average precisions; trials with NaN are skipped.
        groups: int64 (L,), identity of each trial's probe.
        replicates: number of replicates B.
        seed: of the draws.

    Returns:
        Means () or (K,), and replicates (B,) or (B, K).
    """
    if len(values) != len(groups) or not len(values):
        raise ValueError(f"expected one identity per trial, found {len(groups)} for {len(values)} trials")
    table = values.reshape(len(values), -1)
    known = ~np.isnan(table).any(axis=1)
    table, groups = table[known], groups[known]
    _, number = np.unique(groups, return_inverse=True)
    num_identities = int(number.max()) + 1
    sums = np.stack([np.bincount(number, column, num_identities) for column in table.T], axis=1)
    counts = np.bincount(number, minlength=num_identities).astype(np.float64)
    draws = bootstrap_counts(num_identities, replicates, seed)
    again = (draws @ sums) / (draws @ counts)[:, None]
    mean = table.mean(axis=0)
    shape = values.shape[1:]
    return mean.reshape(shape), again.reshape(replicates, *shape)


def percentile_interval(value: float, replicates: Array, confidence: float = 0.95) -> Interval:
    """Percentile interval of bootstrap replicates (B,); replicates that are NaN are skipped."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    kept = replicates[~np.isnan(replicates)]
    if len(kept) < 2:
        return Interval(float(value), float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(kept, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(value), float(kept.std(ddof=1)), float(low), float(high))


def mean_interval(
    values: Array, groups: Index, *, replicates: int = 1000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Mean of per-trial results (L,) with its interval over identities; see `bootstrap_mean`."""
    value, again = bootstrap_mean(values, groups, replicates=replicates, seed=seed)
    return percentile_interval(float(value), again, confidence)


def bootstrap_verification(
    scores: Array,
    labels: npt.ArrayLike,
    groups: Index,
    *,
    replicates: int = 1000,
    seed: int = 0,
    p_target: float = 0.05,
) -> dict[str, tuple[float, Array]]:
    """AUC, equal error rate and minDCF of a list, and their bootstrap replicates over identities.

    Args:
        scores: (L,), higher means more alike.
        labels: (L,), 1 = same identity.
        groups: int64 (L,), identity of each trial's probe.
        replicates: number of replicates B.
        seed: of the draws.
        p_target: for minDCF, see `voiceface.metrics.verification.min_dcf`.

    Returns:
        {"auc": (value, (B,)), "eer": ..., "min_dcf": ...}; NaN in replicates without matching or without
        mismatching trials.
    """
    order = np.argsort(-scores, kind="stable")
    ordered, same = scores[order], np.asarray(labels)[order] == 1
    last = np.append(ordered[1:] != ordered[:-1], True)
    _, number = np.unique(groups, return_inverse=True)
    num_identities = int(number.max()) + 1
    number = number[order]
    total = _weighted_metrics(np.ones((1, len(scores))), same, last, p_target)
    draws = bootstrap_counts(num_identities, replicates, seed)
    step = max(1, 2**22 // len(scores))
    parts = [
        _weighted_metrics(draws[start : start + step][:, number], same, last, p_target)
        for start in range(0, replicates, step)
    ]
    return {
        name: (float(value[0]), np.concatenate([part[name] for part in parts]))
        for name, value in total.items()
    }


def paired_difference_from_replicates(
    first: tuple[float, Array], second: tuple[float, Array], confidence: float = 0.95
) -> PairedDifference:
    """Compare two systems from (value, replicates) with the same draws (same list, same seed)."""
    if first[1].shape != second[1].shape:
        raise ValueError(f"replicates differ in number: {len(first[1])} and {len(second[1])}")
    again = first[1] - second[1]
    again = again[~np.isnan(again)]
    span = percentile_interval(first[0] - second[0], again, confidence)
    above, below = int((again >= 0).sum()), int((again <= 0).sum())
    p_value = min(1.0, 2 * (min(above, below) + 1) / (len(again) + 1))
    return PairedDifference(span.value, span.standard_error, span.low, span.high, p_value)


def paired_difference(
    first: Array,
    second: Array,
    groups: Index,
    *,
    replicates: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> PairedDifference:
    """Paired bootstrap test of two systems from their results per trial.

    Args:
        first: (L,), results of one system, such as hits or average precisions.
        second: (L,), of the other.
        groups: int64 (L,), identity of each trial's probe.
        replicates: number of bootstrap replicates.
        confidence: of the interval.
        seed: of the draws.
    """
    if first.shape != second.shape:
        raise ValueError(f"the systems have {first.shape} and {second.shape} results; evaluate the same list")
    both = np.isnan(first) | np.isnan(second)
    first, second = np.where(both, np.nan, first), np.where(both, np.nan, second)
    rule = {"replicates": replicates, "seed": seed}
    results = [bootstrap_mean(values, groups, **rule) for values in (first, second)]
    one, other = ((float(value), again) for value, again in results)
    return paired_difference_from_replicates(one, other, confidence)


def paired_verification_difference(
    first: Array,
    second: Array,
    labels: npt.ArrayLike,
    groups: Index,
    *,
    metric: str = "auc",
    replicates: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> PairedDifference:
    """Paired bootstrap test of two systems' scores (L,) on one verification list.

    Args:
        first: (L,), scores of one system.
        second: (L,), of the other.
        labels: (L,), 1 = same identity.
        groups: int64 (L,), identity of each trial's probe.
        metric: "auc", "eer" or "min_dcf".
        replicates: number of bootstrap replicates.
        confidence: of the interval.
        seed: of the draws.
    """
    rule = {"replicates": replicates, "seed": seed}
    one, other = (bootstrap_verification(s, labels, groups, **rule)[metric] for s in (first, second))
    return paired_difference_from_replicates(one, other, confidence)


def chance_levels(
    kind: str, *, num_candidates: int = 2, num_relevant: Index | None = None, gallery_size: int = 0
) -> dict[str, float]:
    """Expected metrics of a system without information.

    Args:
        kind: "match", "verify" or "retrieval".
        num_candidates: N of a matching list.
        num_relevant: int64 (Q,), relevant items of each query of a retrieval list.
        gallery_size: number of gallery items.

    Returns:
        Metric -> level. Retrieval: "map" of a random order, exact for these counts, and "relevant_fraction",
        the mean fraction of relevant items, which papers quote.
    """
    if kind == "match":
        return {"accuracy": 1 / num_candidates}
    if kind == "verify":
        return {"auc": 0.5, "eer": 0.5, "min_dcf": 1.0}
    if kind != "retrieval":
        raise ValueError(f"kind must be match, verify or retrieval, got {kind!r}")
    if num_relevant is None or not len(num_relevant) or not gallery_size:
        raise ValueError(
            "the chance level of retrieval needs the number of relevant items and the gallery size"
        )
    import torch

    from voiceface.metrics.retrieval import chance_average_precision

    known = num_relevant[num_relevant > 0]
    mean = float(chance_average_precision(torch.from_numpy(known), gallery_size).mean())
    return {"map": mean, "relevant_fraction": float(known.mean()) / gallery_size}


def chance_recall(num_relevant: Index, gallery_size: int, k: int) -> float:
    """Probability that a random order has a relevant item among its first k, mean over queries (Q,)."""
    counts, times = np.unique(num_relevant[num_relevant > 0], return_counts=True)
    places = np.arange(min(k, gallery_size))
    missed = np.prod(
        np.clip(gallery_size - counts[:, None] - places, 0, None) / (gallery_size - places), axis=1
    )
    return float(np.average(1 - missed, weights=times))


def jackknife_standard_error(leave_one_out: Array) -> float:
    """Standard error of a metric from its values (I,) without one identity each; NaN is ignored."""
    kept = leave_one_out[np.isfinite(leave_one_out)]
    return float(np.sqrt((len(kept) - 1) * kept.var())) if len(kept) > 1 else float("nan")


def _weighted_metrics(
    weights: Array, same: npt.NDArray[np.bool_], is_last: npt.NDArray[np.bool_], p_target: float
) -> dict[str, Array]:
    """AUC, EER and minDCF of trials in descending order of score, counted `weights` (B, L) times."""
    start = np.zeros((len(weights), 1))
    hit = np.concatenate([start, np.cumsum(weights * same, axis=1)[:, is_last]], axis=1)
    alarm = np.concatenate([start, np.cumsum(weights * ~same, axis=1)[:, is_last]], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        hit /= hit[:, -1:]
        alarm /= alarm[:, -1:]
        auc = (np.diff(alarm, axis=1) * (hit[:, 1:] + hit[:, :-1])).sum(axis=1) / 2
        cost = ((1 - hit) * p_target + alarm * (1 - p_target)).min(axis=1) / min(p_target, 1 - p_target)
        gap = alarm + hit - 1
        after = np.clip((gap < 0).sum(axis=1), 1, gap.shape[1] - 1)
        rows = np.arange(len(gap))
        low, high = gap[rows, after - 1], gap[rows, after]
        share = -low / (high - low)
        eer = alarm[rows, after - 1] + share * (alarm[rows, after] - alarm[rows, after - 1])
    return {"auc": auc, "eer": eer, "min_dcf": cost}
