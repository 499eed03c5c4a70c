"""Parity of evaluation figures: on stored features, on the published lists, and from files to figures."""

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from parity.case import Array, Book, Case, Skip, load_fill
from torch import Tensor
from voiceface.datasets.identities import read_identity_csv
from voiceface.datasets.trials.reading import read_list
from voiceface.datasets.trials.trial_list import EvaluationList, owners_of
from voiceface.metrics.matching import matching_accuracy, pair_scores
from voiceface.metrics.retrieval import retrieval
from voiceface.metrics.verification import verification_auc

Lookup = Callable[[Sequence[str]], Tensor]


def scores_of(found: EvaluationList, features: Lookup) -> Tensor:
    """Cosine similarities of a match or verify list, lines x candidates."""
    assert found.anchor_index is not None and found.candidate_index is not None
    return pair_scores(
        features(found.anchors),
        features(found.candidates),
        torch.from_numpy(found.anchor_index),
        torch.from_numpy(found.candidate_index),
    )


def figure_of(
    found: EvaluationList, features: Lookup, owners: Callable[[list[str]], Array]
) -> tuple[float, Any]:
    """The figure of a list by the published rules for ties, and what it was made from."""
    if found.kind == "retrieval":
        ids = (torch.from_numpy(owners(items)) for items in (found.anchors, found.candidates))
        result = retrieval(features(found.anchors), features(found.candidates), *ids, ties="published")
        return result.mean_average_precision, result.average_precision
    scores = scores_of(found, features)
    if found.kind == "match":
        return float(matching_accuracy(scores, ties="published")), scores
    assert found.anchor_index is not None and found.candidate_index is not None
    same = owners(found.anchors)[found.anchor_index] == owners(found.candidates)[found.candidate_index[:, 0]]
    return float(verification_auc(scores[:, 0], torch.from_numpy(same.astype(np.int64)))), scores


def write_lists(folder: Path, lists: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, Path]:
    """The case's lists as published text files, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.txt" for name in lists}
    for name, lines in lists.items():
        paths[name].write_text("".join(" ".join(line) + "\n" for line in lines))
    return paths


def metrics(case: Case, book: Book) -> None:
    """Figures on stored features."""
    meta, known = case.meta, case.tolerance(atol=1e-6)
    rows = {name: index for index, name in enumerate(meta["names"])}
    table, identity = case.tensor("features"), case.arrays["identity"]

    def features(items: Sequence[str]) -> Tensor:
        return table[[rows[item] for item in items]]

    def owners(items: list[str]) -> Array:
        return identity[[rows[item] for item in items]]

    with tempfile.TemporaryDirectory() as folder:
        for name, path in write_lists(Path(folder), meta["lists"]).items():
            figure, detail = figure_of(read_list(path), features, owners)
            book.close(name, figure, meta["results"][name], **known)
            for prefix in ("scores", "ap"):
                if f"{prefix}_{name}" in case.arrays:
                    book.close(f"{prefix}_{name}", detail, case.arrays[f"{prefix}_{name}"], **known)
    examples = meta.get("ap_examples", {"relevance": [], "ap": []})
    for relevance, expected in zip(examples["relevance"], examples["ap"], strict=True):
        book.close("ap_examples", _average_precision(relevance), expected, **known)
    if tied := meta.get("auc_with_ties"):
        ours = verification_auc(torch.tensor(tied["score"]), torch.tensor(tied["target"]))
        book.close("auc_with_ties", ours, tied["auc"], **known)


def _average_precision(relevance: Sequence[int]) -> float:
    """Through the retrieval of one query whose gallery falls off in similarity in the given order."""
    angle = torch.linspace(0.1, 1.5, len(relevance), dtype=torch.float64)
    gallery = torch.stack([angle.cos(), angle.sin()], dim=1)
    ids = torch.tensor(relevance)
    result = retrieval(
        torch.tensor([[1.0, 0.0]], dtype=torch.float64), gallery, torch.ones(1, dtype=ids.dtype), ids
    )
    return result.mean_average_precision


def published_lists_evaluation(case: Case, book: Book) -> None:
    """Figures on the published lists at full scale, with made-up features."""
    folder = next(
        (
            place
            for place in (case.inputs.lists / "seeking_shape", case.inputs.lists)
            if list(place.glob("vox1_*.csv"))
        ),
        None,
    )
    if folder is None:
        raise Skip(f"the published lists are absent: no vox1_*.csv in {case.inputs.lists} (give --lists)")
    fill = load_fill(case.inputs.fill).fill
    seed, dimension = int(case.config.get("seed", 0)), int(case.config.get("dimension", 32))
    identities = [row for path in sorted(folder.glob("vox1_*.csv")) for row in read_identity_csv(path, "")]
    vectors: dict[str, NDArray[np.float32]] = {}

    def features(items: Sequence[str]) -> Tensor:
        names = [identities[owner].face_id for owner in owners_of(items, identities)]
        for item, name in zip(items, names):
            if f"id/{name}" not in vectors:
                vectors[f"id/{name}"] = fill(f"id/{name}", (dimension,), seed)
            if item not in vectors:
                own = fill(f"file/{item}", (dimension,), seed)
                vectors[item] = own + np.float32(0.3) * vectors[f"id/{name}"]
        return torch.from_numpy(np.stack([vectors[item] for item in items]))

    def owners(items: list[str]) -> Array:
        return owners_of(items, identities)

    lists: dict[str, EvaluationList] = {}
    for title, expected in case.meta["results"].items():
        name = title.split(" ")[0]
        if name not in lists:
            path = next((p for p in (folder / f"{name}.txt.gz", folder / f"{name}.txt") if p.is_file()), None)
            if path is None:
                raise Skip(f"the published list {name} is absent from {folder}")
            lists[name] = read_list(path, identities)
        found = lists[name]
        if subset := re.search(r"queries 0, (\d+), \.\.\. , (\d+) of them", title):
            step, count = int(subset[1]), int(subset[2])
            queries = found.anchors[::step][:count]
            ids = (torch.from_numpy(owners(items)) for items in (queries, found.candidates))
            result = retrieval(features(queries), features(found.candidates), *ids, ties="published")
            figure = result.mean_average_precision
        else:
            figure, _ = figure_of(found, features, owners)
        book.close(title, figure, expected, **case.tolerance(found.kind, atol=1e-5))
    for name, expected in case.meta.get("list_statistics", {}).items():
        if name in lists:
            book.equal(f"{name}: statistics", _statistics(lists[name], owners, expected), expected)


def _statistics(
    found: EvaluationList, owners: Callable[[list[str]], Array], wanted: dict[str, Any]
) -> dict[str, Any]:
    """What a reader finds in a list."""
    people = set(owners(found.anchors)) | set(owners(found.candidates))
    if found.kind == "retrieval":
        size = {
            "lines": 2,
            "items_per_line": [len(found.anchors), len(found.candidates)],
            "distinct_anchors": None,
        }
    else:
        size = {
            "lines": len(found),
            "items_per_line": [1 + found.choices],
            "distinct_anchors": len(found.anchors),
        }
    statistics = {**size, "identities": len(people)}
    if found.labels is not None:
        statistics["positives"] = int(found.labels.sum())
    return {key: statistics.get(key) for key in wanted}
