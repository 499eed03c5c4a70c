"""Lists against a corpus: which files are absent, and what wrong candidates share with their anchors."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from voiceface.datasets.corpus import Corpus
from voiceface.datasets.identities import Identity
from voiceface.datasets.trials.trial_list import EvaluationList, ListError, owners_of


def absent_items(
    questions: EvaluationList, corpus: Corpus | Collection[str] | Mapping[str, int]
) -> list[str]:
    """Give the items of a list that a corpus (or a set of items) lacks, in order of appearance."""
    present = corpus.owners if isinstance(corpus, Corpus) else corpus
    if not isinstance(present, (Mapping, set, frozenset)):
        present = set(present)
    return [item for item in (*questions.anchors, *questions.candidates) if item not in present]


def check_items(
    questions: EvaluationList,
    corpus: Corpus | Collection[str] | Mapping[str, int],
    on_absent: str = "error",
) -> EvaluationList:
    """Check that every listed file is there, and that right candidates are of their anchor's identity.

    Args:
        questions: the list.
        corpus: a corpus, or the items that exist (a set, or a dict with items as keys).
        on_absent: "error" ends with one message on all absent items; "skip" leaves out every line that names
            one (for retrieval: the item itself).

    Returns:
        The list; `skipped` counts the lines (items) left out. The SHA-256 stays that of the whole list.

    Raises:
        ListError: items are absent and `on_absent` is "error"; no line is left; a matching line whose first
            candidate is not of the anchor's identity.
    """
    if on_absent not in ("error", "skip"):
        raise ValueError(f"on_absent is {on_absent!r}, expected 'error' or 'skip'")
    absent = absent_items(questions, corpus)
    if absent and on_absent == "error":
        raise ListError(
            f"{questions.name}: {len(absent)} of {len(questions.anchors) + len(questions.candidates)} listed "
            f"files are not there: {', '.join(absent[:5])}{' ...' if len(absent) > 5 else ''}. "
            "Complete the data, or skip their lines (--skip-missing, on_absent='skip')"
        )
    kept = _without(questions, set(absent)) if absent else questions
    if not len(kept) or not kept.candidates:
        raise ListError(f"{questions.name}: no line is left, all of them name files that are not there")
    if isinstance(corpus, Corpus):
        _check_right_candidates(kept, corpus)
    return kept


def wrong_shares(questions: EvaluationList, people: Corpus | Sequence[Identity]) -> dict[str, float]:
    """Measure how often a wrong candidate shares an attribute with its anchor.

    Returns:
        For each of "gender", "nationality" and "age group" that the table knows: share in [0, 1] among the
        wrong candidates of a match list or the negative pairs of a verify list. Empty for retrieval.
    """
    if questions.anchor_index is None or questions.candidate_index is None:
        return {}
    anchor = owners_of(questions.anchors, people, questions.name)[questions.anchor_index][:, None]
    candidate = owners_of(questions.candidates, people, questions.name)[questions.candidate_index]
    wrong = candidate != anchor
    if questions.kind == "match":
        wrong[:, 0] = False
    identities = people.identities if isinstance(people, Corpus) else people
    shares: dict[str, float] = {}
    for attribute in ("gender", "nationality", "age group"):
        group = attribute_groups(identities, attribute)
        known = wrong & (group[anchor] >= 0) & (group[candidate] >= 0)
        if known.any():
            shares[attribute] = float((group[anchor] == group[candidate])[known].mean())
    return shares


def attribute_groups(identities: Sequence[Identity], attribute: str) -> npt.NDArray[np.int64]:
    """Number people by "gender", "nationality" or "age group" (decades), shape (people,); -1: not known."""
    values: list[str]
    if attribute == "age group":
        values = ["" if person.age is None else str(int(person.age // 10)) for person in identities]
    else:
        values = [getattr(person, attribute) for person in identities]
    order = {value: number for number, value in enumerate(sorted(set(values) - {""}))}
    return np.array([order.get(value, -1) for value in values], np.int64).reshape(-1)


def _without(questions: EvaluationList, absent: set[str]) -> EvaluationList:
    """Leave out the lines that name one of `absent`, and the items that no line names any more."""
    if questions.anchor_index is None or questions.candidate_index is None:
        anchors = [item for item in questions.anchors if item not in absent]
        candidates = [item for item in questions.candidates if item not in absent]
        gone = len(questions.anchors) + len(questions.candidates) - len(anchors) - len(candidates)
        return replace(questions, anchors=anchors, candidates=candidates, skipped=questions.skipped + gone)
    has_anchor = np.array([item not in absent for item in questions.anchors], bool)
    has_candidate = np.array([item not in absent for item in questions.candidates], bool)
    keep = has_anchor[questions.anchor_index] & has_candidate[questions.candidate_index].all(axis=1)
    anchors, anchor_index = _compact(questions.anchors, questions.anchor_index[keep])
    candidates, candidate_index = _compact(questions.candidates, questions.candidate_index[keep])
    return replace(
        questions,
        anchors=anchors,
        candidates=candidates,
        anchor_index=anchor_index,
        candidate_index=candidate_index,
        labels=None if questions.labels is None else questions.labels[keep],
        skipped=questions.skipped + int((~keep).sum()),
    )


def _compact(items: list[str], index: npt.NDArray[np.int64]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Keep the items that `index` uses, in their order, and renumber it."""
    used, renumbered = np.unique(index, return_inverse=True)
    return [items[i] for i in used], renumbered.reshape(index.shape).astype(np.int64)


def _check_right_candidates(questions: EvaluationList, corpus: Corpus) -> None:
    """The first candidate of a matching line must be of the anchor's class."""
    if questions.kind != "match" or questions.anchor_index is None or questions.candidate_index is None:
        return
    labels = np.array(corpus.labels, np.int64)
    anchor = labels[[corpus.owners[item] for item in questions.anchors]][questions.anchor_index]
    right = labels[[corpus.owners[item] for item in questions.candidates]][questions.candidate_index[:, 0]]
    bad = np.flatnonzero(anchor != right)
    if len(bad):
        line = int(bad[0])
        raise ListError(
            f"{questions.name}: on {len(bad)} lines the first candidate is not the anchor's identity, first "
            f"{questions.anchors[questions.anchor_index[line]]} with "
            f"{questions.candidates[questions.candidate_index[line, 0]]}"
        )
