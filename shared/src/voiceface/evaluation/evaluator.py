"""Metrics of a system under a protocol, and paired differences between two systems."""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from voiceface.datasets.corpus import Corpus, abbreviate
from voiceface.datasets.identities import Identity
from voiceface.datasets.trials.trial_list import TrialList, TrialListError, identity_indices
from voiceface.embeddings.table import EmbeddingTable
from voiceface.evaluation.all_pairs import count_lower
from voiceface.evaluation.list_checks import require_computable_lists
from voiceface.evaluation.protocol import Protocol
from voiceface.evaluation.results import ListResult, Metric, Results
from voiceface.metrics.bootstrap import (
    Array,
    Index,
    PairedDifference,
    bootstrap_mean,
    bootstrap_verification,
    chance_levels,
    chance_recall,
    paired_difference,
    paired_difference_from_replicates,
    percentile_interval,
)
from voiceface.metrics.matching import matching_correct, pair_scores
from voiceface.metrics.multiple_testing import adjust_differences
from voiceface.metrics.retrieval import compute_retrieval
from voiceface.metrics.unavailable import NOT_COMPUTED_YET, UnavailableResult
from voiceface.metrics.verification import eer_from_roc, min_dcf_from_roc, roc_curve, verification_auc

__all__ = [
    "ROC_POINTS",
    "compare",
    "evaluate",
]

log = logging.getLogger(__name__)

ROC_POINTS = 400


def evaluate(
    protocol: Protocol,
    voices: EmbeddingTable,
    faces: EmbeddingTable,
    identity_source: Corpus | Sequence[Identity],
    *,
    on_missing: str = "error",
    training_identities: Collection[str] | Iterable[Identity] = (),
    device: str | torch.device = "cpu",
    unavailable: Sequence[UnavailableResult] = (),
    on_result: Callable[[Results], None] | None = None,
) -> Results:
    """Compute all metrics of a protocol.

    Args:
        protocol: lists and rules.
        voices: embeddings of clips, items as in the lists.
        faces: embeddings of images.
        identity_source: a corpus, or the rows of an identity table.
        on_missing: "error", or "skip" to skip and count trials whose items have no embedding. A list whose
            metrics are then not defined is listed in `Results.unavailable`.
        training_identities: identities of the training, as rows of a table, names or ids; a warning names
            those in the lists, and the results contain them.
        device: device of scores and rankings.
        unavailable: results that are known to be unavailable, such as lists that could not be read.
        on_result: called after every list with the results so far; lists still to come are among the
            unavailable ones.

    Raises:
        EmbeddingError: items without an embedding, with on_missing="error"; names them for all lists, before
            anything is computed.
        TrialListError: no list can be computed, or, with on_missing="error", one of them.
        ValueError: tables of different width.
    """
    if on_missing not in ("error", "skip"):
        raise ValueError(f"on_missing must be error or skip, found {on_missing!r}")
    if voices.vectors.shape[1] != faces.vectors.shape[1]:
        raise ValueError(
            f"voice embeddings are {voices.vectors.shape[1]} wide, face embeddings {faces.vectors.shape[1]}"
        )
    if on_missing == "error":
        require_computable_lists(protocol.lists, voices, faces, identity_source)
    identities = identity_source.identities if isinstance(identity_source, Corpus) else list(identity_source)
    names = tuple(identity.name for identity in identities)
    training: list[Any] = list(training_identities)
    results: list[ListResult] = []
    failed: list[UnavailableResult] = []
    seen: set[int] = set()
    leaked: tuple[str, ...] = ()
    for number, trial_list in enumerate(protocol.lists, 1):
        try:
            probes = identity_indices(trial_list.probes, identity_source, trial_list.name)
            candidates = identity_indices(trial_list.gallery, identity_source, trial_list.name)
            probe_table, gallery_table = (voices, faces) if trial_list.direction == "v2f" else (faces, voices)
            tables = (
                (probe_table, probe_table.row_indices(trial_list.probes, "mark")),
                (gallery_table, gallery_table.row_indices(trial_list.gallery, "mark")),
            )
            evaluate_list = _evaluate_retrieval if trial_list.kind == "retrieval" else _evaluate_pairs
            results.append(evaluate_list(protocol, trial_list, tables, probes, candidates, names, device))
        except ValueError as error:
            if on_missing == "error" or len(protocol.lists) == 1:
                raise
            failed.append(UnavailableResult.from_error(trial_list.name, error))
            log.warning("not computed: %s", failed[-1])
        else:
            seen |= {*probes.tolist(), *candidates.tolist()}
            leaked = _training_overlap([identities[index] for index in sorted(seen)], training)
        if on_result and results:
            due = (UnavailableResult(each.name, NOT_COMPUTED_YET) for each in protocol.lists[number:])
            missing = (*unavailable, *failed, *due)
            on_result(
                Results(protocol, tuple(results), voices.fingerprint, faces.fingerprint, leaked, missing)
            )
    if not results:
        raise TrialListError(f"none of the lists can be computed: {'; '.join(map(str, failed))}")
    if leaked:
        log.warning(
            "%d of %d evaluated identities are in the training data: %s",
            len(leaked),
            len(seen),
            abbreviate(leaked),
        )
    missing = (*unavailable, *failed)
    return Results(protocol, tuple(results), voices.fingerprint, faces.fingerprint, leaked, missing)


def compare(first: Results, second: Results) -> dict[str, PairedDifference]:
    """Paired bootstrap tests of two systems, first minus second, on the main metric of every list.

    The p-values are adjusted by Holm's method over the lists. Either system may be the mean of several runs
    (`voiceface.evaluation.run_averaging.mean_results`): the interval is then that of the mean, over
    identities alone.

    Lists that one of the systems could not compute are left out.

    Raises:
        ValueError: the protocols or the skipped trials differ.
    """
    if first.protocol.sha256 != second.protocol.sha256:
        raise ValueError("the systems were evaluated under different protocols")
    rules = first.protocol
    rule: dict[str, Any] = {
        "replicates": rules.replicates or 1000,
        "seed": rules.seed,
        "confidence": rules.confidence,
    }
    found = {}
    for one in first.lists:
        other = second.by_name.get(one.name)
        if other is None:
            continue
        if not np.array_equal(one.used_trials, other.used_trials):
            raise ValueError(f"{one.name}: the systems skipped different trials")
        if one.scores is not None and other.scores is not None and one.labels is not None:
            left, right = (_bootstrap_auc(each, rules) for each in (one, other))
            found[one.name] = paired_difference_from_replicates(left, right, rules.confidence)
        else:
            found[one.name] = paired_difference(
                one.trial_values, other.trial_values, one.trial_identities, **rule
            )
    return adjust_differences([found])[0]


def _bootstrap_auc(result: ListResult, protocol: Protocol) -> tuple[float, Array]:
    """AUC of a verification list and its replicates (B,), means over the runs."""
    if result.scores is None or result.labels is None:
        raise ValueError(f"{result.name} is no verification list")
    rule: dict[str, Any] = {"replicates": protocol.replicates or 1000, "seed": protocol.seed}
    runs = [
        bootstrap_verification(scores, result.labels, result.trial_identities, **rule)["auc"]
        for scores in np.atleast_2d(result.scores)
    ]
    return float(np.mean([value for value, _ in runs])), np.mean([again for _, again in runs], axis=0)


def _evaluate_pairs(
    protocol: Protocol,
    trial_list: TrialList,
    tables: tuple[tuple[EmbeddingTable, Index], tuple[EmbeddingTable, Index]],
    probe_identities: Index,
    candidate_identities: Index,
    names: tuple[str, ...],
    device: str | torch.device,
) -> ListResult:
    """Metrics of a matching or verification list."""
    if trial_list.probe_index is None or trial_list.gallery_index is None:
        raise ValueError(f"{trial_list.name}: a {trial_list.kind} list without lines")
    (left, left_rows), (right, right_rows) = tables
    probe, candidate = left_rows[trial_list.probe_index], right_rows[trial_list.gallery_index]
    used = np.flatnonzero((probe >= 0) & (candidate >= 0).all(axis=1))
    if not len(used):
        raise ValueError(f"{trial_list.name}: none of its {len(trial_list)} trials has all embeddings")
    arrays = (left.vectors, right.vectors, probe[used], candidate[used])
    scores = pair_scores(*(torch.from_numpy(array).to(device) for array in arrays)).cpu()
    groups = probe_identities[trial_list.probe_index[used]]
    counts = {
        "trials": len(used),
        "skipped": trial_list.skipped + len(trial_list) - len(used),
        "identities": len(np.unique(groups)),
        "probes": len(np.unique(trial_list.probe_index[used])),
    }
    if trial_list.kind == "match":
        values = matching_correct(scores, protocol.tie_breaking).numpy()
        metrics = _mean_metrics(protocol, values[:, None], groups, {"accuracy": 1 / scores.shape[1]})
        return ListResult(trial_list, metrics, counts, values, groups, names, used, {})
    if trial_list.labels is not None:
        labels = trial_list.labels[used]
    else:
        same = (
            probe_identities[trial_list.probe_index] == candidate_identities[trial_list.gallery_index[:, 0]]
        )
        labels = same[used].astype(np.int8)
    flat, truth = scores[:, 0], torch.from_numpy(labels)
    curve = roc_curve(flat, truth)
    found = {
        "auc": float(verification_auc(flat, truth)),
        "eer": float(eer_from_roc(curve).rate),
        "min_dcf": float(min_dcf_from_roc(curve, protocol.p_target)),
    }
    chance, signed = chance_levels("verify"), flat.double().numpy()
    again: dict[str, tuple[float, Array]] = {}
    if protocol.replicates:
        rule: dict[str, Any] = {"replicates": protocol.replicates, "seed": protocol.seed}
        again = bootstrap_verification(signed, labels, groups, p_target=protocol.p_target, **rule)
    metrics = {
        name: _build_metric(protocol, value, chance[name], again[name][1] if again else None)
        for name, value in found.items()
    }
    counts["positives"] = int(labels.sum())
    places = torch.linspace(0, len(curve.tpr) - 1, min(ROC_POINTS, len(curve.tpr))).round().long()
    roc = {"roc": [curve.fpr[places].tolist(), curve.tpr[places].tolist()]}
    values = _fraction_beaten(signed, labels)
    return ListResult(trial_list, metrics, counts, values, groups, names, used, roc, signed, labels)


def _evaluate_retrieval(
    protocol: Protocol,
    trial_list: TrialList,
    tables: tuple[tuple[EmbeddingTable, Index], tuple[EmbeddingTable, Index]],
    query_identities: Index,
    gallery_identities: Index,
    names: tuple[str, ...],
    device: str | torch.device,
) -> ListResult:
    """Metrics of a retrieval list."""
    (left, left_rows), (right, right_rows) = tables
    used, kept = np.flatnonzero(left_rows >= 0), np.flatnonzero(right_rows >= 0)
    if not len(used) or not len(kept):
        raise ValueError(f"{trial_list.name}: no query or no gallery item has an embedding")
    query_identities, gallery_identities = query_identities[used], gallery_identities[kept]
    arrays = (
        left.vectors[left_rows[used]],
        right.vectors[right_rows[kept]],
        query_identities,
        gallery_identities,
    )
    found = compute_retrieval(
        *(torch.from_numpy(array).to(device) for array in arrays),
        cutoffs=protocol.cutoffs,
        cmc_length=protocol.cmc_length,
        tie_breaking=protocol.tie_breaking,
    )
    relevant = found.num_relevant.cpu().numpy()
    precision = found.average_precision.cpu().numpy()
    table = np.concatenate([precision[:, None], found.hit_at.cpu().numpy()], axis=1)
    levels = chance_levels("retrieval", num_relevant=relevant, gallery_size=len(kept))
    chance = {"map": levels["map"]}
    chance |= {f"r{k}": chance_recall(relevant, len(kept), k) for k in protocol.cutoffs}
    counts = {
        "trials": int((relevant > 0).sum()),
        "skipped": trial_list.skipped + len(left_rows) - len(used) + len(right_rows) - len(kept),
        "without_relevant": int((relevant == 0).sum()),
        "identities": len(np.unique(query_identities)),
        "gallery": len(kept),
    }
    metrics = _mean_metrics(protocol, table, query_identities, chance)
    curve = {"cmc": found.cmc.tolist()}
    return ListResult(trial_list, metrics, counts, precision, query_identities, names, used, curve)


def _mean_metrics(
    protocol: Protocol, values: Array, groups: Index, chance: dict[str, float]
) -> dict[str, Metric]:
    """Metrics that are means over trials: values (L, K), one column per entry of `chance`."""
    mean = np.nanmean(values, axis=0)
    again = None
    if protocol.replicates:
        _, again = bootstrap_mean(values, groups, replicates=protocol.replicates, seed=protocol.seed)
    return {
        name: _build_metric(protocol, float(mean[i]), level, None if again is None else again[:, i])
        for i, (name, level) in enumerate(chance.items())
    }


def _build_metric(protocol: Protocol, value: float, chance: float, replicates: Array | None) -> Metric:
    """Metric with its interval; NaN without replicates."""
    if replicates is None:
        return Metric(value, chance, float("nan"), float("nan"), float("nan"))
    span = percentile_interval(value, replicates, protocol.confidence)
    return Metric(value, chance, span.standard_error, span.low, span.high)


def _fraction_beaten(scores: Array, labels: npt.NDArray[np.int8]) -> Array:
    """Fraction of the trials of the other class that each trial is on the correct side of; ties half."""
    match, mismatch = scores[labels == 1], scores[labels != 1]
    below, above = count_lower(mismatch, scores) / len(mismatch), 1 - count_lower(match, scores) / len(match)
    return np.where(labels == 1, below, above)


def _training_overlap(
    identities: Sequence[Identity], training_identities: Collection[str] | Iterable[Identity]
) -> tuple[str, ...]:
    """Names of identities that are among the training identities, by name, voice id or face name."""
    known: set[str] = set()
    for entry in training_identities:
        known |= {entry} if isinstance(entry, str) else {entry.name, entry.voice_id, entry.face_id}
    known.discard("")
    return tuple(p.name for p in identities if known & {p.name, p.voice_id, p.face_id})
