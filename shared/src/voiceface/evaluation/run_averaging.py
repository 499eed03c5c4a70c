"""Mean over several runs of one system, such as seeds of training, on the same trials."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from voiceface.evaluation.protocol import Protocol
from voiceface.evaluation.results import MAIN_METRIC, ListResult, Metric, Results
from voiceface.metrics.bootstrap import (
    Interval,
    bootstrap_verification,
    mean_interval,
    percentile_interval,
)

__all__ = ["mean_results"]


def mean_results(runs: Sequence[Results]) -> Results:
    """Average several runs of one system on the same trials.

    Metrics, per-trial values and curves are means over the runs. An interval is that of the mean and covers
    identities, not training seeds. R@k of several runs has no interval. A list that one of the runs could not
    compute is left out and listed as unavailable.

    Args:
        runs: results under one protocol.

    Raises:
        ValueError: the protocols or the skipped trials of the runs differ.
    """
    first = runs[0]
    if len(runs) == 1:
        return first
    if len({run.protocol.sha256 for run in runs}) > 1:
        raise ValueError("the runs were evaluated under different protocols")
    names = [each.name for each in first.lists if all(each.name in run.by_name for run in runs)]
    return Results(
        first.protocol,
        tuple(_mean_list_result([run.by_name[name] for run in runs], first.protocol) for name in names),
        ", ".join(run.voice_fingerprint for run in runs),
        ", ".join(run.face_fingerprint for run in runs),
        tuple(dict.fromkeys(chain.from_iterable(run.leaked for run in runs))),
        tuple({each.name: each for run in runs for each in run.unavailable}.values()),
        tuple(dict.fromkeys(chain.from_iterable(run.encoder_overlap for run in runs))),
    )


def _mean_list_result(runs: Sequence[ListResult], protocol: Protocol) -> ListResult:
    """Average the results of one list."""
    first = runs[0]
    if not all(np.array_equal(first.used_trials, run.used_trials) for run in runs):
        raise ValueError(f"{first.name}: the runs skipped different trials")
    values = np.mean([run.trial_values for run in runs], axis=0)
    scores = None
    spans: dict[str, Interval] = {}
    rule: dict[str, Any] = {"replicates": protocol.replicates, "seed": protocol.seed}
    if first.scores is not None and first.labels is not None:
        scores = np.stack([run.scores for run in runs if run.scores is not None])
        if protocol.replicates:
            found = [
                bootstrap_verification(
                    row, first.labels, first.trial_identities, p_target=protocol.p_target, **rule
                )
                for row in scores
            ]
            for name, (_, again) in found[0].items():
                again = np.mean([each[name][1] for each in found], axis=0)
                spans[name] = percentile_interval(0.0, again, protocol.confidence)
    elif protocol.replicates:
        main = MAIN_METRIC[first.trial_list.kind]
        spans[main] = mean_interval(values, first.trial_identities, confidence=protocol.confidence, **rule)
    nothing = Interval(0.0, float("nan"), float("nan"), float("nan"))
    metrics = {
        name: Metric(
            float(np.mean([run.metrics[name].value for run in runs])),
            metric.chance,
            *(getattr(spans.get(name, nothing), part) for part in ("standard_error", "low", "high")),
        )
        for name, metric in first.metrics.items()
    }
    curve = _mean_curve([run.curve for run in runs])
    return replace(first, metrics=metrics, trial_values=values, curve=curve, scores=scores)


def _mean_curve(curves: Sequence[dict[str, list[Any]]]) -> dict[str, list[Any]]:
    """Mean hit rate at each false alarm rate that occurs in any run; mean share within the first k."""
    if "cmc" in curves[0]:
        return {"cmc": np.mean([curve["cmc"] for curve in curves], axis=0).tolist()}
    if "roc" not in curves[0]:
        return {}
    grid = np.unique(np.concatenate([curve["roc"][0] for curve in curves]))
    after = np.mean([np.interp(grid, *curve["roc"]) for curve in curves], axis=0)
    # A curve also rises vertically: reversed, interpolation gives the lower end of each rise.
    reversed_curves = [[-np.array(curve["roc"][0][::-1]), curve["roc"][1][::-1]] for curve in curves]
    before = np.mean([np.interp(-grid, *curve) for curve in reversed_curves], axis=0)
    hits = np.stack([before, after], axis=1)
    return {"roc": [np.repeat(grid, 2).tolist(), hits.ravel().tolist()]}
