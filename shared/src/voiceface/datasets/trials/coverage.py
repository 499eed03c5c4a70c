"""Coverage of trial lists by a corpus: missing files, attributes shared by impostors and probes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from voiceface.datasets.corpus import Corpus
from voiceface.datasets.identities import Identity
from voiceface.datasets.trials.trial_list import TrialList, TrialListError, identity_indices

__all__ = [
    "MISSING_ITEMS_REMEDY",
    "attribute_groups",
    "check_trial_items",
    "find_missing_items",
    "find_obstacle",
    "shared_attribute_rates",
]

MISSING_ITEMS_REMEDY = "Complete the data, or skip their trials (--missing skip, on_missing='skip')"


def find_missing_items(
    trial_list: TrialList, corpus: Corpus | Collection[str] | Mapping[str, int]
) -> list[str]:
    """Return the items of a list that are missing in a corpus (or a set of items), in order of appearance."""
    present = corpus.item_to_identity if isinstance(corpus, Corpus) else corpus
    if not isinstance(present, (Mapping, set, frozenset)):
        present = set(present)
    return [item for item in (*trial_list.probes, *trial_list.gallery) if item not in present]


def check_trial_items(
    trial_list: TrialList,
    corpus: Corpus | Collection[str] | Mapping[str, int],
    on_missing: str = "error",
) -> TrialList:
    """Check that every listed file exists, and that targets are of their probe's identity.

    Args:
        trial_list: the list.
        corpus: a corpus, or the existing items (a set, or a dict with items as keys).
        on_missing: "error" raises one error for all missing items; "skip" skips the trials that contain one
            (for retrieval: the item).

    Returns:
        The list; `skipped` counts the trials (items) skipped. The SHA-256 remains that of the complete list.

    Raises:
        TrialListError: items are missing and `on_missing` is "error"; no trial remains; the first candidate
            of a matching trial is not of the probe's identity.
    """
    if on_missing not in ("error", "skip"):
        raise ValueError(f"on_missing is {on_missing!r}, expected 'error' or 'skip'")
    missing = find_missing_items(trial_list, corpus)
    if missing and on_missing == "error":
        raise TrialListError(
            f"{trial_list.name}: {len(missing)} of {len(trial_list.probes) + len(trial_list.gallery)} listed "
            f"files are missing: {', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}. "
            f"{MISSING_ITEMS_REMEDY}"
        )
    kept = _drop_missing(trial_list, set(missing)) if missing else trial_list
    if not len(kept) or not kept.gallery:
        raise TrialListError(f"{trial_list.name}: no trial remains, all of them contain missing files")
    if isinstance(corpus, Corpus):
        _check_targets(kept, corpus)
    return kept


def find_obstacle(trial_list: TrialList, identity_source: Corpus | Sequence[Identity] | None = None) -> str:
    """Find out whether the metrics of a list are defined, before anything is encoded.

    Verification needs matching and mismatching pairs, retrieval a query with an item of its identity in the
    gallery; every list needs a trial.

    Args:
        trial_list: the list, without the trials to be skipped.
        identity_source: identities; without them, the targets of retrieval are not checked.

    Returns:
        What was found and what is needed; empty if nothing stands in the way.

    Raises:
        TrialListError: items without an identity.
    """
    skipped = f"; {trial_list.skipped} were skipped" if trial_list.skipped else ""
    if not len(trial_list) or not trial_list.gallery:
        return f"no trial remains{skipped}"
    if trial_list.kind == "verify" and trial_list.labels is not None:
        matching = int((trial_list.labels == 1).sum())
        counts = matching, len(trial_list.labels) - matching
        if not all(counts):
            pairs = f"{counts[0]} and {counts[1]}{skipped}"
            return f"verification needs matching and mismatching pairs, found {pairs}"
    if trial_list.kind == "retrieval" and identity_source is not None:
        name = trial_list.name
        queries = identity_indices(trial_list.probes, identity_source, name)
        if not np.isin(queries, identity_indices(trial_list.gallery, identity_source, name)).any():
            return f"no query shares an identity with any gallery item{skipped}"
    return ""


def shared_attribute_rates(
    trial_list: TrialList, identity_source: Corpus | Sequence[Identity]
) -> dict[str, float]:
    """Measure how often an impostor shares an attribute with its probe.

    Returns:
        For each of "gender", "nationality" and "age group" in the table: fraction in [0, 1] of the impostors
        of a match list or the negative pairs of a verify list. Empty for retrieval.
    """
    if trial_list.probe_index is None or trial_list.gallery_index is None:
        return {}
    name = trial_list.name
    probe = identity_indices(trial_list.probes, identity_source, name)[trial_list.probe_index][:, None]
    candidate = identity_indices(trial_list.gallery, identity_source, name)[trial_list.gallery_index]
    wrong = candidate != probe
    if trial_list.kind == "match":
        wrong[:, 0] = False
    identities = identity_source.identities if isinstance(identity_source, Corpus) else identity_source
    shares: dict[str, float] = {}
    for attribute in ("gender", "nationality", "age group"):
        group = attribute_groups(identities, attribute)
        known = wrong & (group[probe] >= 0) & (group[candidate] >= 0)
        if known.any():
            shares[attribute] = float((group[probe] == group[candidate])[known].mean())
    return shares


def attribute_groups(identities: Sequence[Identity], attribute: str) -> npt.NDArray[np.int64]:
    """Group indices of identities by "gender", "nationality" or "age group" (decade), (N,); -1: unknown."""
    values: list[str]
    if attribute == "age group":
        values = ["" if identity.age is None else str(int(identity.age // 10)) for identity in identities]
    else:
        values = [getattr(identity, attribute) for identity in identities]
    order = {value: number for number, value in enumerate(sorted(set(values) - {""}))}
    return np.array([order.get(value, -1) for value in values], np.int64).reshape(-1)


def _drop_missing(trial_list: TrialList, missing: set[str]) -> TrialList:
    """Skip the trials that contain one of `missing`, and items without a remaining trial."""
    if trial_list.probe_index is None or trial_list.gallery_index is None:
        probes = [item for item in trial_list.probes if item not in missing]
        gallery = [item for item in trial_list.gallery if item not in missing]
        num_skipped = len(trial_list.probes) + len(trial_list.gallery) - len(probes) - len(gallery)
        return replace(trial_list, probes=probes, gallery=gallery, skipped=trial_list.skipped + num_skipped)
    has_probe = np.array([item not in missing for item in trial_list.probes], bool)
    has_gallery = np.array([item not in missing for item in trial_list.gallery], bool)
    keep = has_probe[trial_list.probe_index] & has_gallery[trial_list.gallery_index].all(axis=1)
    probes, probe_index = _renumber_used(trial_list.probes, trial_list.probe_index[keep])
    gallery, gallery_index = _renumber_used(trial_list.gallery, trial_list.gallery_index[keep])
    return replace(
        trial_list,
        probes=probes,
        gallery=gallery,
        probe_index=probe_index,
        gallery_index=gallery_index,
        labels=None if trial_list.labels is None else trial_list.labels[keep],
        skipped=trial_list.skipped + int((~keep).sum()),
    )


def _renumber_used(items: list[str], index: npt.NDArray[np.int64]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Keep the items that `index` uses, in their order, and renumber it."""
    used, renumbered = np.unique(index, return_inverse=True)
    return [items[i] for i in used], renumbered.reshape(index.shape).astype(np.int64)


def _check_targets(trial_list: TrialList, corpus: Corpus) -> None:
    """Check that the first candidate of every matching trial is of the probe's class."""
    if trial_list.kind != "match" or trial_list.probe_index is None or trial_list.gallery_index is None:
        return
    labels = np.array(corpus.labels, np.int64)
    probe = labels[[corpus.item_to_identity[item] for item in trial_list.probes]][trial_list.probe_index]
    target = labels[[corpus.item_to_identity[item] for item in trial_list.gallery]][
        trial_list.gallery_index[:, 0]
    ]
    bad = np.flatnonzero(probe != target)
    if len(bad):
        line = int(bad[0])
        raise TrialListError(
            f"{trial_list.name}: the first candidate of {len(bad)} trials is not the probe's identity, first "
            f"{trial_list.probes[trial_list.probe_index[line]]} with "
            f"{trial_list.gallery[trial_list.gallery_index[line, 0]]}"
        )
