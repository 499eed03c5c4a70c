"""Results of an evaluation: metrics with chance levels and intervals, per-trial values; JSON and text."""

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voiceface.datasets.corpus import abbreviate
from voiceface.io.atomic import write_json, write_text
from voiceface.metrics.bootstrap import Array, Index
from voiceface.metrics.unavailable import UnavailableResult, describe_unavailable

if TYPE_CHECKING:
    from voiceface.datasets.trials.trial_list import TrialList
    from voiceface.evaluation.protocol import Protocol

__all__ = [
    "MAIN_METRIC",
    "ListResult",
    "Metric",
    "Results",
]

MAIN_METRIC = {"match": "accuracy", "verify": "auc", "retrieval": "map"}


@dataclass(frozen=True)
class Metric:
    """A metric with its chance level and interval (NaN without replicates)."""

    value: float
    chance: float
    standard_error: float
    low: float
    high: float


@dataclass(frozen=True)
class ListResult:
    """Metrics of one list.

    Attributes:
        trial_list: the list.
        metrics: "accuracy"; or "auc", "eer", "min_dcf"; or "map", "r1", "r5", ...
        counts: trials used and skipped, identities, and further counts by kind.
        trial_values: result of each trial (query), (L,): hit, fraction of opposite trials beaten, or average
            precision.
        trial_identities: index into `identity_names` of each trial's probe, (L,).
        identity_names: names.
        used_trials: indices of the trials (queries) used, (L,).
        curve: "roc": [[false alarm rate], [hit rate]] or "cmc": [fraction within the first k, k = 1 ...].
        scores: of a verification list, (L,), or (R, L) for the mean of R runs; None for other kinds.
        labels: of a verification list, (L,); None for other kinds.
    """

    trial_list: "TrialList"
    metrics: dict[str, Metric]
    counts: dict[str, int]
    trial_values: Array
    trial_identities: Index
    identity_names: tuple[str, ...]
    used_trials: Index
    curve: dict[str, list[Any]]
    scores: Array | None = None
    labels: npt.NDArray[np.int8] | None = None

    @property
    def name(self) -> str:
        """Name of the list."""
        return self.trial_list.name

    @property
    def label(self) -> str:
        """Name of the list for tables and reports."""
        return self.trial_list.label + (" (generated list)" if self.trial_list.is_generated else "")

    @property
    def main_metric(self) -> Metric:
        """The metric that papers report for such a list."""
        return self.metrics[MAIN_METRIC[self.trial_list.kind]]

    def by_identity(self) -> list[tuple[str, float, int]]:
        """(name, mean result, trials) of every probe identity, hardest first."""
        known = ~np.isnan(self.trial_values)
        num_identities, values = self.trial_identities[known], self.trial_values[known]
        lines = np.bincount(num_identities, minlength=len(self.identity_names))
        sums = np.bincount(num_identities, values, minlength=len(self.identity_names))
        rows = [
            (self.identity_names[i], float(sums[i] / lines[i]), int(lines[i])) for i in np.flatnonzero(lines)
        ]
        return sorted(rows, key=lambda row: (row[1], row[0]))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        items = self.trial_list
        return {
            "name": items.name,
            "kind": items.kind,
            "direction": items.direction,
            "stratum": items.stratum,
            "num_candidates": items.num_candidates,
            "sha256": items.sha256,
            "generated_list": items.is_generated,
            "counts": self.counts,
            "metrics": {name: _nan_to_none(asdict(metric)) for name, metric in self.metrics.items()},
            "curve": self.curve,
            "identities": [{"name": n, "value": v, "trials": c} for n, v, c in self.by_identity()],
        }


@dataclass(frozen=True)
class Results:
    """Metrics of one system under a protocol.

    Attributes:
        protocol: lists and rules.
        lists: one result per list that could be computed, in order.
        voice_fingerprint: fingerprint of the model behind the voice embeddings.
        face_fingerprint: of the one behind the face embeddings.
        leaked: identities of the lists that are among the training identities.
        unavailable: lists, and further metrics, that were asked for and could not be computed.
        encoder_overlap: sentences about frozen encoders that were, or may have been, trained on the evaluated
            identities (`voiceface.encoders`); empty for systems without such encoders.
    """

    protocol: "Protocol"
    lists: tuple[ListResult, ...]
    voice_fingerprint: str
    face_fingerprint: str
    leaked: tuple[str, ...]
    unavailable: tuple[UnavailableResult, ...] = ()
    encoder_overlap: tuple[str, ...] = ()

    @cached_property
    def by_name(self) -> dict[str, ListResult]:
        """List name -> result."""
        return {result.name: result for result in self.lists}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: protocol, hashes, rules, counts, metrics, unavailable results."""
        return {
            "format": "voiceface-results-2",
            "protocol": self.protocol.name,
            "protocol_sha256": self.protocol.sha256,
            "rules": self.protocol.rules,
            "models": {"voices": self.voice_fingerprint, "faces": self.face_fingerprint},
            "leaked_identities": list(self.leaked),
            "encoder_overlap": list(self.encoder_overlap),
            "lists": [result.to_dict() for result in self.lists],
            "unavailable": [each.to_dict() for each in self.unavailable],
        }

    def save(self, path: str | Path) -> None:
        """Write everything as JSON, atomically."""
        write_json(path, self.to_dict())

    def published_text(self) -> str:
        """`name value` per list in full precision, as in published result files; "nan" if not computed."""
        lines = [f"{result.name} {result.main_metric.value!r}\n" for result in self.lists]
        return "".join([*lines, *(f"{each.name} nan\n" for each in self._unavailable_lists())])

    def save_text(self, path: str | Path) -> None:
        """Write `published_text`, atomically."""
        write_text(path, self.published_text())

    def summary_lines(self) -> str:
        """`name: value` per list with 6 decimals, as published; "nan" if not computed."""
        lines = [f"{result.name}: {result.main_metric.value:.6f}" for result in self.lists]
        return "\n".join([*lines, *(f"{each.name}: nan" for each in self._unavailable_lists())])

    def _unavailable_lists(self) -> list[UnavailableResult]:
        """Trial lists among the unavailable results: names that fit on a line `name value`."""
        return [each for each in self.unavailable if " " not in each.name]

    def table(self) -> str:
        """Text table with one line per metric: value, chance level, interval; then what is not available."""
        width = max((len(result.label) for result in self.lists), default=0) + 10
        share = f"{self.protocol.confidence:.0%} interval"
        rows = [f"{'':{width}}{'value':>9}{'chance level':>14}   {share}"]
        for result in self.lists:
            for name, metric in result.metrics.items():
                label = f"{result.label} {name}"
                span = "" if np.isnan(metric.low) else f"   {metric.low:.4f} ... {metric.high:.4f}"
                rows.append(f"{label:{width}}{metric.value:9.4f}{metric.chance:14.4f}{span}")
        if self.unavailable:
            rows.append(describe_unavailable(self.unavailable))
        if self.leaked:
            rows.append(f"{len(self.leaked)} identities are in the training data: {abbreviate(self.leaked)}")
        rows += self.encoder_overlap
        return "\n".join(rows)


def _nan_to_none(values: dict[str, float]) -> dict[str, float | None]:
    """Replace NaN by None, null in JSON."""
    return {key: None if np.isnan(value) else value for key, value in values.items()}
