"""Comparison of systems over all pairs of identities, with intervals and paired tests over identities.

In these metrics an identity stands in many pairs, as probe and as wrong answer of everybody else. What
matters is therefore how far each identity moves a metric, which its value without them tells (jackknife). A
bootstrap replicate draws identities with replacement and adds up what they move. All systems see the same
draws, so a difference has an interval and a p-value of its own. (Making all pairs of drawn identities anew
gives the same spread, but copies of one identity among the wrong answers shift the mean of reciprocal ranks.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from voiceface.evaluation.all_pairs import METRIC_LABELS, Array, all_pairs_metrics, jackknife_metrics
from voiceface.metrics.bootstrap import (
    Interval,
    PairedDifference,
    bootstrap_counts,
    paired_difference_from_replicates,
    percentile_interval,
)
from voiceface.metrics.multiple_testing import adjust_differences

__all__ = [
    "BIDIRECTIONAL_METRICS",
    "DISPLAYED_METRICS",
    "AllPairsComparison",
    "Replicates",
    "average_runs",
    "bootstrap_all_pairs",
    "compare_all_pairs",
]

BIDIRECTIONAL_METRICS = {
    "g": "same-gender 1:2 matching",
    "u": "unrestricted 1:2 matching",
    "map": "retrieval mAP",
}
"""Means of the two directions of one metric."""
DISPLAYED_METRICS = {
    "g": BIDIRECTIONAL_METRICS["g"],
    "auc_g": METRIC_LABELS["auc_g"],
    "u": BIDIRECTIONAL_METRICS["u"],
    "auc": METRIC_LABELS["auc"],
    "map": BIDIRECTIONAL_METRICS["map"],
}
"""Metrics of tables and plots, same sex first; files hold all."""
Replicates = dict[str, tuple[float, Array]]


@dataclass(frozen=True)
class AllPairsComparison:
    """All systems over all pairs of the same identities, with as many clips and images an identity.

    Attributes:
        setting: "single" (one clip, one image) or "avgK" (means over K of each).
        num_identities: how many.
        references: "chance level", "gender-only baseline" and "oracle upper bound" -> metric -> value.
        systems: name -> metric -> value with its interval; means over the runs.
        runs: name -> metric -> value of every run.
        differences: (first, second) for every two systems, in their order -> metric -> first minus second;
            the p-values of `DISPLAYED_METRICS` are adjusted by Holm's method.
    """

    setting: str
    num_identities: int
    references: dict[str, dict[str, float]]
    systems: dict[str, dict[str, Interval]]
    runs: dict[str, dict[str, list[float]]]
    differences: dict[tuple[str, str], dict[str, PairedDifference]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "setting": self.setting,
            "num_identities": self.num_identities,
            "references": self.references,
            "systems": {
                name: {key: asdict(metric) | {"runs": self.runs[name][key]} for key, metric in found.items()}
                for name, found in self.systems.items()
            },
            "differences": [
                {
                    "first": first,
                    "second": second,
                    "metrics": {key: asdict(gap) for key, gap in found.items()},
                }
                for (first, second), found in self.differences.items()
            ],
        }


def compare_all_pairs(
    systems: Mapping[str, Sequence[Array]],
    gender: npt.NDArray[Any],
    *,
    oracle_scores: Array | None = None,
    setting: str = "single",
    gallery_size: int = 100,
    replicates: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> AllPairsComparison:
    """Compute the metrics of several systems over all pairs of identities, and every paired difference.

    Args:
        systems: name -> score matrices (N, N), row = voice, one for each run; identities in the same order.
        gender: (N,).
        oracle_scores: (N, N), of the best possible system.
        setting: what to call it.
        gallery_size: identities in the small galleries.
        replicates: bootstrap draws of identities.
        confidence: of the intervals.
        seed: of the draws.

    Raises:
        ValueError: no system, matrices of different identities.
    """
    shapes = {name: {np.shape(scores) for scores in runs} for name, runs in systems.items()}
    if not systems or set().union(*shapes.values()) != {(len(gender), len(gender))}:
        raise ValueError(
            f"expected scores ({len(gender)}, {len(gender)}) of at least one system, got {shapes}"
        )
    gender = np.asarray(gender)
    known = {
        "chance level": np.zeros((len(gender), len(gender))),
        "gender-only baseline": (gender[:, None] == gender).astype(np.float64),
    }
    if oracle_scores is not None:
        known["oracle upper bound"] = oracle_scores
    references = {}
    for name, scores in known.items():
        values = {key: value for key, (value, _) in all_pairs_metrics(scores, gender, gallery_size).items()}
        values |= {key: (values[f"{key}_v2f"] + values[f"{key}_f2v"]) / 2 for key in BIDIRECTIONAL_METRICS}
        references[name] = {key: value for key, value in values.items() if not np.isnan(value)}
    again, single = {}, {}
    for name, matrices in systems.items():
        each = [
            bootstrap_all_pairs(m, gender, gallery_size=gallery_size, replicates=replicates, seed=seed)
            for m in matrices
        ]
        again[name] = average_runs(each)
        single[name] = {key: [run[key][0] for run in each] for key in each[0]}
    differences = {
        (first, second): {
            key: paired_difference_from_replicates(again[first][key], again[second][key], confidence)
            for key in again[first]
        }
        for first, second in combinations(systems, 2)
    }
    return AllPairsComparison(
        setting,
        len(gender),
        references,
        {
            name: {
                key: _clip_to_unit_range(percentile_interval(*pair, confidence))
                for key, pair in found.items()
            }
            for name, found in again.items()
        },
        single,
        _adjust_displayed(differences),
    )


def _adjust_displayed(
    differences: dict[tuple[str, str], dict[str, PairedDifference]],
) -> dict[tuple[str, str], dict[str, PairedDifference]]:
    """Adjust the p-values of `DISPLAYED_METRICS` as one family; other metrics keep None."""
    shown = [
        {key: gap for key, gap in gaps.items() if key in DISPLAYED_METRICS} for gaps in differences.values()
    ]
    adjusted = adjust_differences(shown)
    return {pair: {**gaps, **new} for (pair, gaps), new in zip(differences.items(), adjusted)}


def bootstrap_all_pairs(
    scores: Array, gender: npt.NDArray[Any], *, gallery_size: int = 100, replicates: int = 1000, seed: int = 0
) -> Replicates:
    """Every metric of a score matrix and of `BIDIRECTIONAL_METRICS`, with its bootstrap over identities.

    Args:
        scores: (N, N). sex: (N,). gallery: see `voiceface.evaluation.all_pairs.all_pairs_metrics`.
        replicates: number of bootstrap replicates B.
        seed: of the draws; equal seeds draw the same identities for every system.

    Returns:
        Metric -> (value, (B,)); metrics that these identities do not have (nobody shares a gender) are
        skipped. The replicates spread as far as the jackknife error over identities.
    """
    found = jackknife_metrics(scores, gender, gallery_size)
    for key in BIDIRECTIONAL_METRICS:
        (one, without), (other, other_without) = found[f"{key}_v2f"], found[f"{key}_f2v"]
        found[key] = (one + other) / 2, (without + other_without) / 2
    draws = bootstrap_counts(len(scores), replicates, seed)
    return {
        key: (value, _jackknife_replicates(value, left_out, draws))
        for key, (value, left_out) in found.items()
        if not np.isnan(value)
    }


def average_runs(runs: Sequence[Replicates]) -> Replicates:
    """Average the runs of one system, value and every replicate; intervals cover identities alone."""
    return {
        key: (
            float(np.mean([run[key][0] for run in runs])),
            np.mean([run[key][1] for run in runs], axis=0),
        )
        for key in runs[0]
    }


def _jackknife_replicates(value: float, leave_one_out: Array, counts: Array) -> Array:
    """Value plus what the drawn identities move it, (B,).

    Args:
        value: of the metric.
        leave_one_out: (N,), without each identity; NaN where that cannot be told, which moves nothing.
        counts: (B, N), how often each identity was drawn.
    """
    known = np.isfinite(leave_one_out)
    if not known.any():
        return np.full(len(counts), value)
    count = int(known.sum())
    moved = np.where(known, leave_one_out - leave_one_out[known].mean(), 0)
    return value - np.sqrt((count - 1) / count) * (counts @ moved)


def _clip_to_unit_range(span: Interval) -> Interval:
    """An interval of a share, which lies between 0 and 1."""
    return Interval(
        span.value, span.standard_error, float(np.clip(span.low, 0, 1)), float(np.clip(span.high, 0, 1))
    )
