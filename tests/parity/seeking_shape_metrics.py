"""Parity of evaluation metrics: on stored features, on the published lists, and from files."""

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from parity.case import Array, Case, ComparisonLog, SkipCase, load_fill_rule
from torch import Tensor
from voiceface.datasets.identities import read_identity_csv
from voiceface.datasets.trials.reading import read_trial_list
from voiceface.datasets.trials.trial_list import TrialList, identity_indices
from voiceface.metrics.matching import matching_accuracy, pair_scores
from voiceface.metrics.retrieval import compute_retrieval
from voiceface.metrics.verification import verification_auc

FeatureLookup = Callable[[Sequence[str]], Tensor]


def compute_scores(trial_list: TrialList, features: FeatureLookup) -> Tensor:
    """Compute cosine similarities of a matching or verification list, lines x candidates."""
    assert trial_list.probe_index is not None and trial_list.gallery_index is not None
    return pair_scores(
        features(trial_list.probes),
        features(trial_list.gallery),
        torch.from_numpy(trial_list.probe_index),
        torch.from_numpy(trial_list.gallery_index),
    )


def compute_metric(
    trial_list: TrialList, features: FeatureLookup, identity_indices: Callable[[list[str]], Array]
) -> tuple[float, Any]:
    """Compute the metric of a list by the published tie rules; also return its scores."""
    if trial_list.kind == "retrieval":
        ids = (torch.from_numpy(identity_indices(items)) for items in (trial_list.probes, trial_list.gallery))
        result = compute_retrieval(
            features(trial_list.probes), features(trial_list.gallery), *ids, tie_breaking="first"
        )
        return result.mean_average_precision, result.average_precision
    scores = compute_scores(trial_list, features)
    if trial_list.kind == "match":
        return float(matching_accuracy(scores, tie_breaking="first")), scores
    assert trial_list.probe_index is not None and trial_list.gallery_index is not None
    same = (
        identity_indices(trial_list.probes)[trial_list.probe_index]
        == identity_indices(trial_list.gallery)[trial_list.gallery_index[:, 0]]
    )
    return float(verification_auc(scores[:, 0], torch.from_numpy(same.astype(np.int64)))), scores


def write_lists(folder: Path, lists: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, Path]:
    """Write the case's lists as published text files; return paths by name."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.txt" for name in lists}
    for name, lines in lists.items():
        paths[name].write_text("".join(" ".join(line) + "\n" for line in lines))
    return paths


def metrics(case: Case, log: ComparisonLog) -> None:
    """Check metrics on stored features."""
    meta, known = case.meta, case.tolerance(atol=1e-6)
    rows = {name: index for index, name in enumerate(meta["names"])}
    table, identity = case.tensor("features"), case.arrays["identity"]

    def features(items: Sequence[str]) -> Tensor:
        return table[[rows[item] for item in items]]

    def owners(items: list[str]) -> Array:
        return identity[[rows[item] for item in items]]

    with tempfile.TemporaryDirectory() as folder:
        for name, path in write_lists(Path(folder), meta["lists"]).items():
            figure, detail = compute_metric(read_trial_list(path), features, owners)
            log.compare_close(name, figure, meta["results"][name], **known)
            for prefix in ("scores", "ap"):
                if f"{prefix}_{name}" in case.arrays:
                    log.compare_close(f"{prefix}_{name}", detail, case.arrays[f"{prefix}_{name}"], **known)
    examples = meta.get("ap_examples", {"relevance": [], "ap": []})
    for relevance, expected in zip(examples["relevance"], examples["ap"], strict=True):
        log.compare_close("ap_examples", _average_precision(relevance), expected, **known)
    if tied := meta.get("auc_with_ties"):
        ours = verification_auc(torch.tensor(tied["score"]), torch.tensor(tied["target"]))
        log.compare_close("auc_with_ties", ours, tied["auc"], **known)


def _average_precision(relevance: Sequence[int]) -> float:
    """Average precision by the retrieval of one query whose gallery is sorted by similarity."""
    angle = torch.linspace(0.1, 1.5, len(relevance), dtype=torch.float64)
    gallery = torch.stack([angle.cos(), angle.sin()], dim=1)
    ids = torch.tensor(relevance)
    result = compute_retrieval(
        torch.tensor([[1.0, 0.0]], dtype=torch.float64), gallery, torch.ones(1, dtype=ids.dtype), ids
    )
    return result.mean_average_precision


def published_lists_evaluation(case: Case, log: ComparisonLog) -> None:
    """Check metrics on the published lists at full size, with generated features."""
    folder = next(
        (
            place
            for place in (case.inputs.lists / "seeking_shape", case.inputs.lists)
            if list(place.glob("vox1_*.csv"))
        ),
        None,
    )
    if folder is None:
        raise SkipCase(f"the published lists are absent: no vox1_*.csv in {case.inputs.lists} (give --lists)")
    fill = load_fill_rule(case.inputs.fill).fill
    seed, dimension = int(case.config.get("seed", 0)), int(case.config.get("dimension", 32))
    identities = [row for path in sorted(folder.glob("vox1_*.csv")) for row in read_identity_csv(path, "")]
    vectors: dict[str, NDArray[np.float32]] = {}

    def features(items: Sequence[str]) -> Tensor:
        names = [identities[owner].face_id for owner in identity_indices(items, identities)]
        for item, name in zip(items, names):
            if f"id/{name}" not in vectors:
                vectors[f"id/{name}"] = fill(f"id/{name}", (dimension,), seed)
            if item not in vectors:
                own = fill(f"file/{item}", (dimension,), seed)
                vectors[item] = own + np.float32(0.3) * vectors[f"id/{name}"]
        return torch.from_numpy(np.stack([vectors[item] for item in items]))

    def owners(items: list[str]) -> Array:
        return identity_indices(items, identities)

    lists: dict[str, TrialList] = {}
    for title, expected in case.meta["results"].items():
        name = title.split(" ")[0]
        if name not in lists:
            path = next((p for p in (folder / f"{name}.txt.gz", folder / f"{name}.txt") if p.is_file()), None)
            if path is None:
                raise SkipCase(f"the published list {name} is absent from {folder}")
            lists[name] = read_trial_list(path, identities)
        found = lists[name]
        if subset := re.search(r"queries 0, (\d+), \.\.\. , (\d+) of them", title):
            step, count = int(subset[1]), int(subset[2])
            queries = found.probes[::step][:count]
            ids = (torch.from_numpy(owners(items)) for items in (queries, found.gallery))
            result = compute_retrieval(features(queries), features(found.gallery), *ids, tie_breaking="first")
            figure = result.mean_average_precision
        else:
            figure, _ = compute_metric(found, features, owners)
        log.compare_close(title, figure, expected, **case.tolerance(found.kind, atol=1e-5))
    for name, expected in case.meta.get("list_statistics", {}).items():
        if name in lists:
            log.compare_equal(
                f"{name}: statistics", _list_statistics(lists[name], owners, expected), expected
            )


def _list_statistics(
    trial_list: TrialList, identity_indices: Callable[[list[str]], Array], keys: dict[str, Any]
) -> dict[str, Any]:
    """Statistics of a list as read."""
    people = set(identity_indices(trial_list.probes)) | set(identity_indices(trial_list.gallery))
    if trial_list.kind == "retrieval":
        size = {
            "lines": 2,
            "items_per_line": [len(trial_list.probes), len(trial_list.gallery)],
            "distinct_anchors": None,
        }
    else:
        size = {
            "lines": len(trial_list),
            "items_per_line": [1 + trial_list.num_candidates],
            "distinct_anchors": len(trial_list.probes),
        }
    statistics = {**size, "identities": len(people)}
    if trial_list.labels is not None:
        statistics["positives"] = int(trial_list.labels.sum())
    return {key: statistics.get(key) for key in keys}
