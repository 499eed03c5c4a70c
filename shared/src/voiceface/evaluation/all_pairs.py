"""Metrics over all voice-face pairs of unseen identities, one embedding per identity and modality.

For the synthetic population, whose ground truth is known: no triples are sampled, and every metric comes with
the gender-only baseline, the upper bound of an oracle and a standard error over identities.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from voiceface.metrics.bootstrap import jackknife_standard_error

__all__ = [
    "ALL_PAIRS",
    "METRIC_LABELS",
    "AllPairsMetric",
    "Array",
    "all_pairs_metrics",
    "all_pairs_table",
    "all_pairs_to_dict",
    "count_lower",
    "describe_sampling",
    "evaluate_all_pairs",
    "evaluate_all_pairs_averaged",
    "jackknife_metrics",
    "metrics_from_scores",
    "score_matrix",
]

Array = npt.NDArray[np.float64]

ALL_PAIRS = "all pairs of identities"
"""Name of these metrics among the results that could not be computed."""
METRIC_LABELS = {
    "u_v2f": "unrestricted 1:2 matching, voice to face (U)",
    "u_f2v": "unrestricted 1:2 matching, face to voice (U)",
    "g_v2f": "same-gender 1:2 matching, voice to face (G)",
    "g_f2v": "same-gender 1:2 matching, face to voice (G)",
    "auc": "unrestricted verification AUC (U)",
    "auc_g": "same-gender verification AUC (G)",
    "map_v2f": "retrieval mAP, voice to face, full gallery",
    "map_f2v": "retrieval mAP, face to voice, full gallery",
    "map100_v2f": "retrieval mAP, voice to face, gallery of 100 identities",
    "map100_f2v": "retrieval mAP, face to voice, gallery of 100 identities",
}


@dataclass(frozen=True)
class AllPairsMetric:
    """One metric of one system with its references.

    Attributes:
        value: of the model.
        standard_error: over identities (jackknife).
        chance: chance level.
        gender_baseline: of a system that knows the gender only.
        upper_bound: of the best possible system; None if unknown.
        normalized_gain: (value - gender_baseline) / (upper_bound - gender_baseline); None without an upper
            bound or if both are equal.
    """

    value: float
    standard_error: float
    chance: float
    gender_baseline: float
    upper_bound: float | None
    normalized_gain: float | None


def score_matrix(voices: npt.NDArray[Any], faces: npt.NDArray[Any]) -> Array:
    """Cosine similarity of every voice with every face, (N, N), row = voice.

    Args:
        voices: (N, D), or (N, K, D) for K clips per identity, whose unit embeddings are averaged.
        faces: the same for images; K may differ.
    """
    left, right = _mean_unit_rows(voices, "voices"), _mean_unit_rows(faces, "faces")
    if left.shape != right.shape:
        raise ValueError(f"voices and faces differ in identities or width: {left.shape} and {right.shape}")
    return left @ right.T


def all_pairs_metrics(
    scores: Array, gender: npt.NDArray[Any], gallery_size: int = 100
) -> dict[str, tuple[float, float]]:
    """Compute all metrics of a score matrix; ties count as expected values.

    Matching uses every triple (probe, target, impostor); each probe has the same weight. AUC compares every
    matching with every mismatching pair. Retrieval has one relevant item, so AP is 1/rank; "map100" is its
    exact expectation over random galleries of the target and 99 others (all others if there are fewer).

    Args:
        scores: (N, N), rows are voices, columns faces of the same identities in the same order; higher means
            more alike. -inf is allowed (an oracle that excludes a pair), NaN is not.
        gender: (N,), any two values.
        gallery_size: identities in a small gallery.

    Returns:
        Metric -> (value, standard error over identities); NaN where no two identities share a gender.
    """
    jackknife = jackknife_metrics(scores, gender, gallery_size)
    return {name: (value, jackknife_standard_error(without)) for name, (value, without) in jackknife.items()}


def jackknife_metrics(
    scores: Array, gender: npt.NDArray[Any], gallery_size: int = 100
) -> dict[str, tuple[float, Array]]:
    """Compute the same metrics, and each of them without one identity, as probe and as candidate.

    Args:
        scores, gender, gallery_size: see `all_pairs_metrics`.

    Returns:
        Metric -> (value, (N,) values without identity 1 ... N); NaN where no two identities share a gender.
    """
    num_identities = len(scores)
    if gender.ndim != 1 or scores.shape != 2 * gender.shape or num_identities < 3:
        raise ValueError(
            f"expected scores (N, N) and gender (N,), N > 2; found {scores.shape} and {gender.shape}"
        )
    if np.isnan(scores).any():
        raise ValueError(f"{int(np.isnan(scores).sum())} of {scores.size} scores are NaN")
    other = ~np.eye(num_identities, dtype=bool)
    alike = other & (gender[:, None] == gender)
    small = min(gallery_size, num_identities)
    metrics: dict[str, tuple[float, Array]] = {}
    for direction, table in (("v2f", scores), ("f2v", scores.T)):
        right = np.diagonal(table)[:, None]
        wins = (right > table) + 0.5 * (right == table)
        metrics[f"u_{direction}"] = _matching_accuracy(wins, other)
        metrics[f"g_{direction}"] = _matching_accuracy(wins, alike)
        metrics[f"map_{direction}"] = _reciprocal_rank(table, num_identities)
        metrics[f"map{gallery_size}_{direction}"] = _reciprocal_rank(table, small)
    metrics["auc"] = _auc(scores, other)
    metrics["auc_g"] = _auc(scores, alike)
    order = [name.replace("map100", f"map{gallery_size}") for name in METRIC_LABELS]
    return {name: metrics[name] for name in order}


def evaluate_all_pairs(
    voices: npt.NDArray[Any],
    faces: npt.NDArray[Any],
    gender: npt.NDArray[Any],
    *,
    oracle_scores: Array | None = None,
    gallery_size: int = 100,
) -> dict[str, AllPairsMetric]:
    """Compute the metrics of one system on unseen identities, with their references.

    Args:
        voices: (N, D), or (N, K, D) to average K clips per identity.
        faces: (N, D), or (N, K, D).
        gender: (N,), of the same identities in the same order.
        oracle_scores: (N, N), voice by face, such as the exact log likelihood ratio of the population.
        gallery_size: identities in the small galleries.

    Returns:
        Metric name (see `METRIC_LABELS`) -> metric.
    """
    return metrics_from_scores(
        score_matrix(voices, faces), gender, oracle_scores=oracle_scores, gallery_size=gallery_size
    )


def metrics_from_scores(
    scores: Array, gender: npt.NDArray[Any], *, oracle_scores: Array | None = None, gallery_size: int = 100
) -> dict[str, AllPairsMetric]:
    """As `evaluate_all_pairs`, from a score matrix (N, N)."""
    gender = np.asarray(gender)
    model = all_pairs_metrics(scores, gender, gallery_size)
    chance = all_pairs_metrics(np.zeros(scores.shape), gender, gallery_size)
    by_gender = all_pairs_metrics((gender[:, None] == gender).astype(np.float64), gender, gallery_size)
    oracle = None if oracle_scores is None else all_pairs_metrics(oracle_scores, gender, gallery_size)
    found = {}
    for name, (value, error) in model.items():
        base, top = by_gender[name][0], None if oracle is None else oracle[name][0]
        position = None if top is None or top == base else (value - base) / (top - base)
        found[name] = AllPairsMetric(value, error, chance[name][0], base, top, position)
    return found


def evaluate_all_pairs_averaged(
    voices: npt.NDArray[Any],
    faces: npt.NDArray[Any],
    gender: npt.NDArray[Any],
    *,
    sample_counts: Sequence[int] = (4,),
    oracle_scores: Array | None = None,
    gallery_size: int = 100,
) -> dict[str, dict[str, AllPairsMetric]]:
    """Compute the metrics of one clip and one image per identity ("single"), and of means of K ("avgK").

    Args:
        voices: (N, K, D), several clips per identity; or (N, D) for "single" only.
        faces: (N, K', D), several images per identity; or (N, D).
        gender: (N,).
        sample_counts: values of K.
        oracle_scores: (N, N), see `evaluate_all_pairs`.
        gallery_size: identities in the small galleries.

    Raises:
        ValueError: K exceeds the number of clips or images.
    """
    rule: dict[str, Any] = {"oracle_scores": oracle_scores, "gallery_size": gallery_size}
    voices, faces = (x[:, None] if x.ndim == 2 else x for x in (np.asarray(voices), np.asarray(faces)))
    results = {"single": evaluate_all_pairs(voices[:, 0], faces[:, 0], gender, **rule)}
    most = min(voices.shape[1], faces.shape[1])
    for k in sample_counts if most > 1 else ():
        if k > most:
            raise ValueError(f"avg{k} needs {k} clips and images per identity, found {most}")
        results[f"avg{k}"] = evaluate_all_pairs(voices[:, :k], faces[:, :k], gender, **rule)
    return results


def all_pairs_table(results: Mapping[str, Mapping[str, AllPairsMetric]]) -> str:
    """Format `evaluate_all_pairs_averaged` as a text table, one line per metric with its references."""
    lines = [f"{'':36}{'chance':>8}{'gender':>8}{'model':>8}{'std err':>8}{'bound':>8}{'norm gain':>10}"]
    for way, metrics in results.items():
        for name, metric in metrics.items():
            last = [f"{'-':>8}" if metric.upper_bound is None else f"{metric.upper_bound:8.3f}"]
            last += [f"{'-':>10}" if metric.normalized_gain is None else f"{metric.normalized_gain:10.3f}"]
            numbers = (metric.chance, metric.gender_baseline, metric.value, metric.standard_error)
            lines.append(
                f"{describe_sampling(way) + ', ' + name:36}"
                + "".join(f"{x:8.3f}" for x in numbers)
                + "".join(last)
            )
    return "\n".join(lines)


def describe_sampling(setting: str) -> str:
    """Describe a setting of `evaluate_all_pairs_averaged`, "single" or "avgK"."""
    return (
        "1 sample per modality" if setting == "single" else f"mean of {setting.removeprefix('avg')} samples"
    )


def all_pairs_to_dict(results: Mapping[str, Mapping[str, AllPairsMetric]]) -> dict[str, Any]:
    """Convert `evaluate_all_pairs_averaged` to plain values for JSON."""
    return {way: {name: asdict(metric) for name, metric in found.items()} for way, found in results.items()}


def _mean_unit_rows(vectors: npt.NDArray[Any], name: str) -> Array:
    """Return unit rows (N, D) in double precision, of the means of K where there are several."""
    table = np.asarray(vectors, np.float64)
    if table.ndim not in (2, 3) or not np.isfinite(table).all():
        raise ValueError(f"{name}: expected finite embeddings (N, D) or (N, K, D), got shape {table.shape}")
    tiny = np.finfo(np.float64).tiny
    table = table / np.maximum(np.linalg.norm(table, axis=-1, keepdims=True), tiny)
    if table.ndim == 2:
        return table
    mean = table.mean(axis=1)
    return mean / np.maximum(np.linalg.norm(mean, axis=-1, keepdims=True), tiny)


def _matching_accuracy(wins: Array, allowed: npt.NDArray[np.bool_]) -> tuple[float, Array]:
    """Mean over probes of the fraction of allowed impostors beaten; the same without each identity."""
    won, count = (wins * allowed).sum(axis=1), allowed.sum(axis=1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = won / count
        # Column k: rate of every probe without identity k, as probe or as impostor.
        without = (won[:, None] - wins * allowed) / (count[:, None] - allowed)
    np.fill_diagonal(without, np.nan)
    known = ~np.isnan(without)
    with np.errstate(invalid="ignore"):  # no probe is left: NaN
        leave_one_out = np.where(known, without, 0).sum(axis=0) / known.sum(axis=0)
    return _mean_or_nan(rate[count > 0]), leave_one_out


def _reciprocal_rank(scores: Array, gallery_size: int) -> tuple[float, Array]:
    """Mean AP with one relevant item, expected over small galleries; the same without each identity."""
    right = np.diagonal(scores)[:, None]
    over, equal = scores > right, scores == right
    above, tied = over.sum(axis=1), equal.sum(axis=1)
    value = _expected_precision(above, tied, len(scores), gallery_size).mean()
    # Column k: every probe without identity k, as probe or in the gallery.
    np.fill_diagonal(equal, False)
    fewer = len(scores) - 1
    # (Entries on the diagonal have no meaning and are subtracted from the sum.)
    without = _expected_precision(
        above[:, None] - over, tied[:, None] - equal, fewer, min(gallery_size, fewer)
    )
    leave_one_out = (without.sum(axis=0) - np.diagonal(without)) / fewer
    return float(value), leave_one_out


def _expected_precision(
    above: npt.NDArray[np.int64], tied: npt.NDArray[np.int64], num_identities: int, gallery_size: int
) -> Array:
    """Expected AP (1/rank) of probes from the identities ranked above and tied (itself included).

    With exactly a of the other N - 1 identities above, the number X of them in a gallery of k (the target
    and k - 1 random others) is hypergeometric and E[1/(1 + X)] = N/(k (a + 1)) (1 - C(N - 1 - a, k)/C(N, k)).
    """
    a, place = np.arange(num_identities), np.arange(gallery_size)
    none_drawn = ((num_identities - 1 - a[:, None] - place).clip(0) / (num_identities - place)).prod(axis=1)
    by_rank = num_identities / (gallery_size * (a + 1)) * (1 - none_drawn)
    total = np.append(0, np.cumsum(by_rank))
    return (total[np.minimum(above + tied, num_identities)] - total[above]) / tied


def _auc(scores: Array, allowed: npt.NDArray[np.bool_]) -> tuple[float, Array]:
    """Probability that a matching pair beats an allowed mismatching one; the same without each identity."""
    num_identities = len(scores)
    if not allowed.any():
        return float("nan"), np.full(num_identities, np.nan)
    right, identities = np.diagonal(scores), range(num_identities)
    by_row = np.stack([count_lower(scores[k][allowed[k]], right) for k in identities], axis=1)
    by_column = np.stack([count_lower(scores[:, k][allowed[:, k]], right) for k in identities], axis=1)
    pairs = float(allowed.sum())
    total = by_row.sum(axis=1)
    without = total[:, None] - by_row - by_column  # (positive, identity skipped)
    np.fill_diagonal(without, 0)
    left = pairs - allowed.sum(axis=1) - allowed.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        leave_one_out = without.sum(axis=0) / (left * (num_identities - 1))
    return float(total.sum() / (pairs * num_identities)), leave_one_out


def count_lower(negatives: Array, positives: Array) -> Array:
    """Count, for each of `positives`, the `negatives` of lower score; ties count half."""
    ordered = np.sort(negatives)
    return (np.searchsorted(ordered, positives) + np.searchsorted(ordered, positives, side="right")) / 2


def _mean_or_nan(values: Array) -> float:
    """Mean; NaN without values."""
    return float(values.mean()) if len(values) else float("nan")
