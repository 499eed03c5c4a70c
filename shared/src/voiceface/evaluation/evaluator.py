"""Evaluation protocols: which lists, which rules, and the figures of a system under them."""

import logging
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from voiceface.datasets.corpus import Corpus
from voiceface.datasets.identities import Identity
from voiceface.datasets.trials.trial_list import EvaluationList, owners_of
from voiceface.embeddings.table import EmbeddingTable
from voiceface.evaluation.protocol import Protocol
from voiceface.evaluation.results import Figure, ListResult, Results, some_of
from voiceface.metrics.bootstrap import (
    Array,
    Index,
    PairedDifference,
    chance_levels,
    chance_recall,
    difference_of,
    interval_of,
    mean_replicates,
    paired_difference,
    verification_replicates,
)
from voiceface.metrics.matching import matching_hits, pair_scores
from voiceface.metrics.retrieval import retrieval
from voiceface.metrics.verification import error_rate_of, min_dcf_of, roc_curve, verification_auc

log = logging.getLogger(__name__)

ROC_POINTS = 400


def evaluate(
    protocol: Protocol,
    voices: EmbeddingTable,
    faces: EmbeddingTable,
    people: Corpus | Sequence[Identity],
    *,
    on_absent: str = "error",
    training: Collection[str] | Iterable[Identity] = (),
    device: str | torch.device = "cpu",
) -> Results:
    """Compute all figures of a protocol.

    Args:
        protocol: lists and rules.
        voices: embeddings of clips, items as in the lists.
        faces: embeddings of pictures.
        people: who is who; a corpus or the rows of an identity table.
        on_absent: lines whose items have no embedding: "error", or "skip" and count them.
        training: people the model was trained on, as rows of a table or as names or ids; those who appear in
            the lists are warned of and marked in the results.
        device: where scores and rankings are computed.

    Raises:
        EmbeddingError: items without an embedding, with on_absent="error".
        ListError: items that belong to nobody.
        ValueError: tables that do not fit together, a list of which no line is left.
    """
    if on_absent not in ("error", "skip"):
        raise ValueError(f"on_absent must be error or skip, got {on_absent!r}")
    if voices.vectors.shape[1] != faces.vectors.shape[1]:
        raise ValueError(
            f"voice embeddings are {voices.vectors.shape[1]} wide, face embeddings {faces.vectors.shape[1]}"
        )
    identities = people.identities if isinstance(people, Corpus) else list(people)
    names = tuple(identity.name for identity in identities)
    results, seen = [], set()
    for questions in protocol.lists:
        anchor_table, candidate_table = (voices, faces) if questions.direction == "v2f" else (faces, voices)
        anchors = owners_of(questions.anchors, people, questions.name)
        candidates = owners_of(questions.candidates, people, questions.name)
        seen |= {*anchors.tolist(), *candidates.tolist()}
        absent = "error" if on_absent == "error" else "mark"
        tables = (
            (anchor_table, anchor_table.rows(questions.anchors, absent)),
            (
                candidate_table,
                candidate_table.rows(questions.candidates, absent),
            ),
        )
        work = _retrieve if questions.kind == "retrieval" else _match_or_verify
        results.append(work(protocol, questions, tables, anchors, candidates, names, device))
    leaked = _leaked([identities[index] for index in sorted(seen)], training)
    if leaked:
        log.warning(
            "%d of %d evaluated people are in the training data: %s", len(leaked), len(seen), some_of(leaked)
        )
    return Results(protocol, tuple(results), voices.fingerprint, faces.fingerprint, leaked)


def compare(first: Results, second: Results) -> dict[str, PairedDifference]:
    """Paired bootstrap tests of two systems, first minus second, main figure of every list.

    Either may be the mean of several runs (`voiceface.evaluation.comparison.mean_results`): then the
    interval is that of the mean, over people alone.

    Raises:
        ValueError: the protocols differ, or other lines were skipped.
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
    for one, other in zip(first.lists, second.lists):
        if not np.array_equal(one.used, other.used):
            raise ValueError(f"{one.name}: the systems skipped different lines")
        if one.scores is not None and other.scores is not None and one.labels is not None:
            left, right = (_auc_replicates(each, rules) for each in (one, other))
            found[one.name] = difference_of(left, right, rules.confidence)
        else:
            found[one.name] = paired_difference(one.line_values, other.line_values, one.line_people, **rule)
    return found


def _auc_replicates(found: ListResult, rules: Protocol) -> tuple[float, Array]:
    """AUC of a verification list and its replicates (B,), means over the runs behind it."""
    if found.scores is None or found.labels is None:
        raise ValueError(f"{found.name} is no verification list")
    rule: dict[str, Any] = {"replicates": rules.replicates or 1000, "seed": rules.seed}
    runs = [
        verification_replicates(scores, found.labels, found.line_people, **rule)["auc"]
        for scores in np.atleast_2d(found.scores)
    ]
    return float(np.mean([value for value, _ in runs])), np.mean([again for _, again in runs], axis=0)


def _match_or_verify(
    protocol: Protocol,
    questions: EvaluationList,
    tables: tuple[tuple[EmbeddingTable, Index], tuple[EmbeddingTable, Index]],
    anchor_people: Index,
    candidate_people: Index,
    names: tuple[str, ...],
    device: str | torch.device,
) -> ListResult:
    """Figures of a matching or verification list."""
    if questions.anchor_index is None or questions.candidate_index is None:
        raise ValueError(f"{questions.name}: a {questions.kind} list without lines")
    (left, left_rows), (right, right_rows) = tables
    anchor, candidate = left_rows[questions.anchor_index], right_rows[questions.candidate_index]
    used = np.flatnonzero((anchor >= 0) & (candidate >= 0).all(axis=1))
    if not len(used):
        raise ValueError(f"{questions.name}: none of its {len(questions)} lines has all embeddings")
    arrays = (left.vectors, right.vectors, anchor[used], candidate[used])
    scores = pair_scores(*(torch.from_numpy(array).to(device) for array in arrays)).cpu()
    groups = anchor_people[questions.anchor_index[used]]
    counts = {
        "lines": len(used),
        "skipped": questions.skipped + len(questions) - len(used),
        "identities": len(np.unique(groups)),
        "anchors": len(np.unique(questions.anchor_index[used])),
    }
    if questions.kind == "match":
        values = matching_hits(scores, protocol.ties).numpy()
        figures = _mean_figures(protocol, values[:, None], groups, {"accuracy": 1 / scores.shape[1]})
        return ListResult(questions, figures, counts, values, groups, names, used, {})
    if questions.labels is not None:
        labels = questions.labels[used]
    else:
        same = anchor_people[questions.anchor_index] == candidate_people[questions.candidate_index[:, 0]]
        labels = same[used].astype(np.int8)
    flat, truth = scores[:, 0], torch.from_numpy(labels)
    curve = roc_curve(flat, truth)
    found = {
        "auc": float(verification_auc(flat, truth)),
        "eer": float(error_rate_of(curve).rate),
        "min_dcf": float(min_dcf_of(curve, protocol.prior)),
    }
    chance, signed = chance_levels("verify"), flat.double().numpy()
    again: dict[str, tuple[float, Array]] = {}
    if protocol.replicates:
        rule: dict[str, Any] = {"replicates": protocol.replicates, "seed": protocol.seed}
        again = verification_replicates(signed, labels, groups, prior=protocol.prior, **rule)
    figures = {
        name: _figure(protocol, value, chance[name], again[name][1] if again else None)
        for name, value in found.items()
    }
    counts["positives"] = int(labels.sum())
    places = torch.linspace(0, len(curve.hit) - 1, min(ROC_POINTS, len(curve.hit))).round().long()
    roc = {"roc": [curve.false_alarm[places].tolist(), curve.hit[places].tolist()]}
    values = _shares_beaten(signed, labels)
    return ListResult(questions, figures, counts, values, groups, names, used, roc, signed, labels)


def _retrieve(
    protocol: Protocol,
    questions: EvaluationList,
    tables: tuple[tuple[EmbeddingTable, Index], tuple[EmbeddingTable, Index]],
    query_people: Index,
    gallery_people: Index,
    names: tuple[str, ...],
    device: str | torch.device,
) -> ListResult:
    """Figures of a retrieval list."""
    (left, left_rows), (right, right_rows) = tables
    used, kept = np.flatnonzero(left_rows >= 0), np.flatnonzero(right_rows >= 0)
    if not len(used) or not len(kept):
        raise ValueError(f"{questions.name}: no query or no gallery item has an embedding")
    query_people, gallery_people = query_people[used], gallery_people[kept]
    arrays = (left.vectors[left_rows[used]], right.vectors[right_rows[kept]], query_people, gallery_people)
    found = retrieval(
        *(torch.from_numpy(array).to(device) for array in arrays),
        cutoffs=protocol.cutoffs,
        cmc_length=protocol.cmc_length,
        ties=protocol.ties,
    )
    relevant = found.relevant.cpu().numpy()
    precision = found.average_precision.cpu().numpy()
    table = np.concatenate([precision[:, None], found.hit_at.cpu().numpy()], axis=1)
    levels = chance_levels("retrieval", relevant=relevant, gallery=len(kept))
    chance = {"map": levels["map"]}
    chance |= {f"r{k}": chance_recall(relevant, len(kept), k) for k in protocol.cutoffs}
    counts = {
        "lines": int((relevant > 0).sum()),
        "skipped": questions.skipped + len(left_rows) - len(used) + len(right_rows) - len(kept),
        "without_relevant": int((relevant == 0).sum()),
        "identities": len(np.unique(query_people)),
        "gallery": len(kept),
    }
    figures = _mean_figures(protocol, table, query_people, chance)
    curve = {"cmc": found.cmc.tolist()}
    return ListResult(questions, figures, counts, precision, query_people, names, used, curve)


def _mean_figures(
    protocol: Protocol, values: Array, groups: Index, chance: dict[str, float]
) -> dict[str, Figure]:
    """Figures that are means over lines: values (L, K), one column per entry of `chance`."""
    mean = np.nanmean(values, axis=0)
    again = None
    if protocol.replicates:
        _, again = mean_replicates(values, groups, replicates=protocol.replicates, seed=protocol.seed)
    return {
        name: _figure(protocol, float(mean[i]), level, None if again is None else again[:, i])
        for i, (name, level) in enumerate(chance.items())
    }


def _figure(protocol: Protocol, value: float, chance: float, replicates: Array | None) -> Figure:
    """Figure with its interval, NaN without replicates."""
    if replicates is None:
        return Figure(value, chance, float("nan"), float("nan"), float("nan"))
    span = interval_of(value, replicates, protocol.confidence)
    return Figure(value, chance, span.error, span.low, span.high)


def _shares_beaten(scores: Array, labels: npt.NDArray[np.int8]) -> Array:
    """Per line the share of lines of the other class that it stands on the right side of, ties half."""
    match, mismatch = np.sort(scores[labels == 1]), np.sort(scores[labels != 1])
    below = (np.searchsorted(mismatch, scores) + np.searchsorted(mismatch, scores, side="right")) / 2
    upto = (np.searchsorted(match, scores) + np.searchsorted(match, scores, side="right")) / 2
    return np.where(labels == 1, below / len(mismatch), 1 - upto / len(match))


def _leaked(people: Sequence[Identity], training: Collection[str] | Iterable[Identity]) -> tuple[str, ...]:
    """Names of people who are among the training identities, by name, voice id or face name."""
    known: set[str] = set()
    for entry in training:
        known |= {entry} if isinstance(entry, str) else {entry.name, entry.voice_id, entry.face_id}
    known.discard("")
    return tuple(p.name for p in people if known & {p.name, p.voice_id, p.face_id})
