"""Several systems on the same identities and lists: the same items, means over runs, paired differences."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from voiceface.datasets.corpus import Corpus, abbreviate
from voiceface.datasets.trials.trial_list import TrialListError
from voiceface.embeddings.table import EmbeddingError, EmbeddingTable
from voiceface.evaluation.all_pairs import ALL_PAIRS, Array, score_matrix
from voiceface.evaluation.all_pairs_comparison import (
    DISPLAYED_METRICS,
    AllPairsComparison,
    compare_all_pairs,
)
from voiceface.evaluation.evaluator import compare, evaluate
from voiceface.evaluation.protocol import Protocol
from voiceface.evaluation.results import Results
from voiceface.evaluation.run_averaging import mean_results
from voiceface.metrics.bootstrap import (
    PairedDifference,
)
from voiceface.metrics.multiple_testing import adjust_differences
from voiceface.metrics.unavailable import UnavailableResult

__all__ = [
    "MAX_AVERAGED",
    "MODALITIES",
    "Comparison",
    "EmbeddingTables",
    "compare_systems",
    "count_tests",
    "restrict_to_common_items",
]

log = logging.getLogger(__name__)

EmbeddingTables = tuple[EmbeddingTable, EmbeddingTable]
"""Voice and face embeddings of one run."""
MAX_AVERAGED = 4
MODALITIES = ("voices", "faces")


@dataclass(frozen=True)
class Comparison:
    """Several systems under one protocol, with the paired difference of every two of them.

    Attributes:
        protocol: lists and rules, the same for all.
        systems: name -> results, means over the system's runs.
        runs: name -> results of every run.
        differences: (first, second) for every two systems, in their order -> list -> first minus second. The
            p-values are adjusted by Holm's method over these and the displayed metrics of `all_pairs`.
        references: "gender-only baseline" and "oracle upper bound" -> results under the same protocol
            (population only).
        all_pairs: metrics over all pairs of identities, for each number of clips an identity (population
            only).
        num_skipped: items that not every system has (none unless that was asked for).
        unavailable: lists that could not be computed for all systems; their rows are in no system.
    """

    protocol: Protocol
    systems: dict[str, Results]
    runs: dict[str, tuple[Results, ...]]
    differences: dict[tuple[str, str], dict[str, PairedDifference]]
    references: dict[str, Results] = field(default_factory=dict)
    all_pairs: tuple[AllPairsComparison, ...] = ()
    num_skipped: int = 0
    unavailable: tuple[UnavailableResult, ...] = ()

    @property
    def first(self) -> str:
        """Name of the first system."""
        return next(iter(self.systems))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: rules, metrics of every run and of the means, references, differences."""
        return {
            "format": "voiceface-compare-2",
            "protocol": self.protocol.name,
            "protocol_sha256": self.protocol.sha256,
            "rules": self.protocol.rules,
            "items_skipped": self.num_skipped,
            "systems": {
                name: {"mean": found.to_dict(), "runs": [_without_curves(run) for run in self.runs[name]]}
                for name, found in self.systems.items()
            },
            "references": {name: _without_curves(found) for name, found in self.references.items()},
            "differences": [
                {"first": first, "second": second, "lists": {key: asdict(gap) for key, gap in found.items()}}
                for (first, second), found in self.differences.items()
            ],
            "all_pairs": [found.to_dict() for found in self.all_pairs],
            "unavailable": [each.to_dict() for each in self.unavailable],
        }


def compare_systems(
    systems: Mapping[str, Sequence[EmbeddingTables]],
    protocol: Protocol,
    corpus: Corpus,
    *,
    population: Path | None = None,
    skip_missing: bool = False,
    min_systems: int = 2,
    unavailable: Sequence[UnavailableResult] = (),
) -> Comparison:
    """Evaluate all systems on the same items, and test the difference of every two of them.

    Args:
        systems: name -> embedding tables of each of its runs; metrics are means over the runs.
        protocol: lists and rules; its seed draws the identities of every interval and test.
        corpus: the identities asked about.
        population: folder of the synthetic population they belong to, for references and all pairs.
        skip_missing: leave items that not every system has out of all systems, instead of raising.
        min_systems: number of systems without which there is nothing to compare; 1 evaluates one alone.
        unavailable: lists that are known to be unavailable, such as those that could not be read.

    Raises:
        EmbeddingError: a system has no embedding of an item that the lists or the corpus name.
        ValueError: fewer systems, or one without a run.
    """
    if len(systems) < min_systems or not all(systems.values()):
        raise ValueError(
            f"a comparison needs {min_systems} systems or more with a run each, got "
            f"{', '.join(systems) or 'none'}"
        )
    if not protocol.replicates:
        raise ValueError("a comparison needs bootstrap draws of identities, got 0 replicates")
    systems, left_out = restrict_to_common_items(systems, corpus, protocol, skip_missing=skip_missing)
    on_missing_items = "skip" if skip_missing else "error"
    runs = {
        name: tuple(evaluate(protocol, *tables, corpus, on_missing=on_missing_items) for tables in each)
        for name, each in systems.items()
    }
    runs, unavailable = _restrict_to_common_lists(runs, unavailable)
    means = {name: mean_results(each) for name, each in runs.items()}
    differences = {pair: compare(means[pair[0]], means[pair[1]]) for pair in combinations(means, 2)}
    if population is None:
        return _adjust(
            Comparison(protocol, means, runs, differences, num_skipped=left_out, unavailable=unavailable)
        )
    from voiceface.synthetic.ground_truth import read_ground_truth, reference_embeddings

    voices, faces = next(iter(systems.values()))[0]
    references = {
        name: evaluate(
            replace(protocol, replicates=0),
            values[0].take_common(voices),
            values[1].take_common(faces),
            corpus,
            on_missing="skip",
        )
        for name, values in reference_embeddings(read_ground_truth(population), corpus).items()
    }
    pairs, reason = _compare_all_pairs(systems, protocol, corpus, population)
    if reason:
        unavailable = (*unavailable, UnavailableResult(ALL_PAIRS, reason))
    return _adjust(Comparison(protocol, means, runs, differences, references, pairs, left_out, unavailable))


def _restrict_to_common_lists(
    runs: Mapping[str, tuple[Results, ...]], unavailable: Sequence[UnavailableResult]
) -> tuple[dict[str, tuple[Results, ...]], tuple[UnavailableResult, ...]]:
    """Keep the lists that all runs of all systems could compute; also return what is not available."""
    every = [run for each in runs.values() for run in each]
    missing = {each.name: each for each in unavailable}
    for run in every:
        missing |= {each.name: each for each in run.unavailable if each.name not in missing}
    lacking = {name for name in missing if any(name not in run.by_name for run in every)}
    if all(result.name in lacking for result in every[0].lists):
        reasons = "; ".join(map(str, missing.values()))
        raise TrialListError(f"no list can be computed for all systems: {reasons}")
    kept = {
        name: tuple(
            replace(run, lists=tuple(result for result in run.lists if result.name not in lacking))
            for run in each
        )
        for name, each in runs.items()
    }
    return kept, tuple(missing.values())


def count_tests(found: Comparison) -> int:
    """Number of displayed tests, which are the family of Holm's correction."""
    tables = [*found.differences.values(), *_displayed_differences(found)]
    return sum(map(len, tables))


def _displayed_differences(found: Comparison) -> list[dict[str, PairedDifference]]:
    """Differences of `DISPLAYED_METRICS` over all pairs, for each setting and every two systems."""
    return [
        {key: gap for key, gap in gaps.items() if key in DISPLAYED_METRICS}
        for pairs in found.all_pairs
        for gaps in pairs.differences.values()
    ]


def _adjust(found: Comparison) -> Comparison:
    """Adjust the p-values of all displayed tests of a comparison as one family."""
    adjusted = adjust_differences([*found.differences.values(), *_displayed_differences(found)])
    lists, rest = adjusted[: len(found.differences)], iter(adjusted[len(found.differences) :])
    return replace(
        found,
        differences=dict(zip(found.differences, lists)),
        all_pairs=tuple(
            replace(
                pairs,
                differences={pair: {**gaps, **next(rest)} for pair, gaps in pairs.differences.items()},
            )
            for pairs in found.all_pairs
        ),
    )


def restrict_to_common_items(
    systems: Mapping[str, Sequence[EmbeddingTables]],
    corpus: Corpus,
    protocol: Protocol,
    *,
    skip_missing: bool = False,
) -> tuple[dict[str, list[EmbeddingTables]], int]:
    """Every system's embeddings of the same clips and images: those of the corpus and of the lists.

    Args:
        systems: name -> tables of each run. corpus: identities. protocol: lists.
        skip_missing: keep what all have instead of raising.

    Returns:
        Tables of the same items in the same order, and how many items were skipped.

    Raises:
        EmbeddingError: an identity lacks something; says who, how many and the first.
    """
    kept, lacking = [], []
    for place, what in enumerate(MODALITIES):
        needed = list(dict.fromkeys(_required_items(place, corpus, protocol)))
        common = set(needed)
        for name, runs in systems.items():
            for number, tables in enumerate(runs, 1):
                lost = [item for item in needed if item not in tables[place]]
                common.difference_update(lost)
                if lost:
                    run_name = name if len(runs) == 1 else f"{name}, run {number},"
                    lacking.append(
                        f"{run_name} lacks {len(lost)} of {len(needed)} {what} ({abbreviate(lost)})"
                    )
        kept.append([item for item in needed if item in common])
        lacking += [] if common or not needed else [f"no item of {what} is left that all systems have"]
    left_out = sum(
        len(set(_required_items(place, corpus, protocol))) - len(kept[place]) for place in range(2)
    )
    if lacking and not (skip_missing and all(kept)):
        raise EmbeddingError(
            f"the systems were not given the same items: {'; '.join(lacking)}. Evaluate each on this data, "
            "split and lists, or leave what is missing out of all of them with --missing skip"
        )
    for text in lacking:
        log.warning("%s; skipped of all systems", text)
    return {
        name: [(voices.take(kept[0]), faces.take(kept[1])) for voices, faces in runs]
        for name, runs in systems.items()
    }, left_out


def _without_curves(results: Results) -> dict[str, Any]:
    """Plain values of what stands beside a mean or a system: its metrics, without ROC and CMC."""
    record = results.to_dict()
    for found in record["lists"]:
        del found["curve"]
    return record


def _required_items(modality_index: int, corpus: Corpus, protocol: Protocol) -> Iterable[str]:
    """Clips (place 0) or images (1) that the corpus and the lists name."""
    yield from (corpus.voices, corpus.faces)[modality_index]
    for trial_list in protocol.lists:
        items = (trial_list.probes, trial_list.gallery)
        yield from items[modality_index if trial_list.direction == "v2f" else 1 - modality_index]


def _compare_all_pairs(
    systems: Mapping[str, Sequence[EmbeddingTables]], protocol: Protocol, corpus: Corpus, population: Path
) -> tuple[tuple[AllPairsComparison, ...], str]:
    """One clip and one image of everybody, and means over up to four of each; or the reason for none."""
    from voiceface.synthetic.ground_truth import read_ground_truth

    some = next(iter(systems.values()))[0]
    files = [
        [
            [item for item in items if item in table]
            for items, table in zip((record.voices, record.faces), some)
        ]
        for record in corpus.records
    ]
    used = [row for row, sides in enumerate(files) if all(sides)]
    if len(used) < 3:
        return (), f"expected 3 identities with clips and images, found {len(used)}"
    truth = read_ground_truth(population).select([corpus.records[row].identity.face_id for row in used])
    most = min(MAX_AVERAGED, *(len(side) for row in used for side in files[row]))

    def scores(tables: EmbeddingTables, count: int) -> Array:
        sides = (
            table.vectors[np.stack([table.row_indices(files[row][place][:count]) for row in used])]
            for place, table in enumerate(tables)
        )
        return score_matrix(*sides)

    try:
        found = tuple(
            compare_all_pairs(
                {name: [scores(tables, count) for tables in runs] for name, runs in systems.items()},
                truth.sex,
                oracle_scores=truth.oracle_scores,
                setting="single" if count == 1 else f"avg{count}",
                replicates=protocol.replicates,
                confidence=protocol.confidence,
                seed=protocol.seed,
            )
            for count in dict.fromkeys((1, most))
        )
    except ValueError as error:
        return (), str(error)
    return found, ""
