"""Results of an evaluation: figures with chance levels and intervals, per-line values; JSON and text."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voiceface.io.atomic import write_json, write_text
from voiceface.metrics.bootstrap import Array, Index

if TYPE_CHECKING:
    from voiceface.datasets.trials.trial_list import EvaluationList
    from voiceface.evaluation.protocol import Protocol

MAIN_FIGURE = {"match": "accuracy", "verify": "auc", "retrieval": "map"}


@dataclass(frozen=True)
class Figure:
    """A figure with its chance level and interval (NaN when the protocol asks for none)."""

    value: float
    chance: float
    error: float
    low: float
    high: float


@dataclass(frozen=True)
class ListResult:
    """Figures of one list.

    Attributes:
        questions: the list.
        figures: "accuracy"; or "auc", "eer", "min_dcf"; or "map", "r1", "r5", ...
        counts: lines used, skipped, identities, and what belongs to the kind.
        line_values: per line (query) result, (L,): hit, share of opposite lines beaten, or average precision.
        line_people: index into `people` of each line's anchor, (L,).
        people: names.
        used: lines (queries) of the list that were used, (L,).
        curve: "roc": [[false alarm], [hit]] or "cmc": [share within the first k, k = 1 ...].
        scores: of a verification list, (L,), or (R, L) of R runs whose mean this is; None for other kinds.
        labels: of a verification list, (L,); None for other kinds.
    """

    questions: "EvaluationList"
    figures: dict[str, Figure]
    counts: dict[str, int]
    line_values: Array
    line_people: Index
    people: tuple[str, ...]
    used: Index
    curve: dict[str, list[Any]]
    scores: Array | None = None
    labels: npt.NDArray[np.int8] | None = None

    @property
    def name(self) -> str:
        """Name of the list."""
        return self.questions.name

    @property
    def main(self) -> Figure:
        """The one figure that published evaluations give for such a list."""
        return self.figures[MAIN_FIGURE[self.questions.kind]]

    def by_person(self) -> list[tuple[str, float, int]]:
        """(name, mean result, lines) of every anchor identity, hardest first."""
        known = ~np.isnan(self.line_values)
        people, values = self.line_people[known], self.line_values[known]
        lines = np.bincount(people, minlength=len(self.people))
        sums = np.bincount(people, values, minlength=len(self.people))
        rows = [(self.people[i], float(sums[i] / lines[i]), int(lines[i])) for i in np.flatnonzero(lines)]
        return sorted(rows, key=lambda row: (row[1], row[0]))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        asked = self.questions
        return {
            "name": asked.name,
            "kind": asked.kind,
            "direction": asked.direction,
            "stratum": asked.stratum,
            "candidates": asked.choices,
            "sha256": asked.sha256,
            "own_list": asked.is_own,
            "counts": self.counts,
            "figures": {name: _plain(asdict(figure)) for name, figure in self.figures.items()},
            "curve": self.curve,
            "people": [{"name": n, "value": v, "lines": c} for n, v, c in self.by_person()],
        }


@dataclass(frozen=True)
class Results:
    """Figures of one system under a protocol.

    Attributes:
        protocol: what was asked.
        lists: one result per list, in order.
        voices: fingerprint of the model behind the voice embeddings.
        faces: of the one behind the face embeddings.
        leaked: people of the lists who are among the training identities.
    """

    protocol: "Protocol"
    lists: tuple[ListResult, ...]
    voices: str
    faces: str
    leaked: tuple[str, ...]

    @cached_property
    def by_name(self) -> dict[str, ListResult]:
        """List name -> result."""
        return {result.name: result for result in self.lists}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: protocol, hashes, rules, counts, figures."""
        return {
            "format": "voiceface-results-1",
            "protocol": self.protocol.name,
            "protocol_sha256": self.protocol.sha256,
            "rules": self.protocol.rules,
            "models": {"voices": self.voices, "faces": self.faces},
            "leaked_identities": list(self.leaked),
            "lists": [result.to_dict() for result in self.lists],
        }

    def save(self, path: str | Path) -> None:
        """Write everything as JSON, atomically."""
        write_json(path, self.to_dict())

    def published_text(self) -> str:
        """`name value` per list, full precision: the form of published result files."""
        return "".join(f"{result.name} {result.main.value!r}\n" for result in self.lists)

    def save_text(self, path: str | Path) -> None:
        """Write `published_text`, atomically."""
        write_text(path, self.published_text())

    def printed(self) -> str:
        """`name: value` per list with 6 decimals: what published evaluations print."""
        return "\n".join(f"{result.name}: {result.main.value:.6f}" for result in self.lists)

    def table(self) -> str:
        """Text table: a line per figure with chance and interval."""
        width = max(len(result.name) for result in self.lists) + 10
        share = f"{self.protocol.confidence:.0%} interval"
        rows = [f"{'':{width}}{'value':>9}{'chance':>9}   {share}"]
        for result in self.lists:
            for name, figure in result.figures.items():
                label = f"{result.name} {name}" + (" (own list)" if result.questions.is_own else "")
                span = "" if np.isnan(figure.low) else f"   {figure.low:.4f} ... {figure.high:.4f}"
                rows.append(f"{label:{width}}{figure.value:9.4f}{figure.chance:9.4f}{span}")
        if self.leaked:
            rows.append(f"{len(self.leaked)} people are in the training data: {some_of(self.leaked)}")
        return "\n".join(rows)


def _plain(values: dict[str, float]) -> dict[str, float | None]:
    """NaN as null, which JSON knows."""
    return {key: None if np.isnan(value) else value for key, value in values.items()}


def some_of(names: Sequence[str]) -> str:
    """First five names."""
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
