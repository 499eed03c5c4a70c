"""Parity of CMPC's evaluation: metrics and list formats."""

import tempfile
from pathlib import Path

import torch
from cmpc2.evaluation import stored_voice
from cmpc2.verification import mean_view_scores, verification_figures
from parity.case import Book, Case
from voiceface.datasets.identities import read_vox1_meta
from voiceface.datasets.trials.reading import read_list
from voiceface.metrics.matching import matching_accuracy, unit_rows
from voiceface.metrics.retrieval import retrieval


def verification_metrics(case: Case, book: Book) -> None:
    """Area under the ROC, error rate at a corner, scores of mean embeddings."""
    figures = verification_figures(case.tensor("scores"), case.tensor("labels"))
    for name, value in figures.items():
        key = next((key for key in (f"{name}_f64", name) if key in case.arrays), None)
        if key:
            case.judge(book, key, value)
    if "pair_scores" in case.arrays:
        case.judge(
            book, "pair_scores", mean_view_scores(case.tensor("voice_views"), case.tensor("face_views"))
        )


def matching_metrics(case: Case, book: Book) -> None:
    """Share of probes whose right candidate is the most similar; a tied item may count either way."""
    probe, candidate = case.tensor("probe"), case.tensor("candidate")
    scores = torch.einsum(
        "nd,nkd->nk", unit_rows(probe), unit_rows(candidate.flatten(0, 1)).unflatten(0, candidate.shape[:2])
    )
    key = next(key for key in ("accuracy_f64", "accuracy") if key in case.arrays)
    stored = float(case.arrays[key])
    counted = {ties: float(matching_accuracy(scores, ties=ties)) for ties in ("fair", "published", "strict")}
    rule = case.tolerance(atol=1e-6)
    ties = float((scores[:, 1:] == scores[:, :1]).any(1).sum()) / len(scores)
    near = min(counted.values(), key=lambda value: abs(value - stored))
    book.close(key, near, stored, **rule)
    book.below("the rules differ by ties alone", counted["published"] - counted["strict"], ties + 1e-9)


def retrieval_metrics(case: Case, book: Book) -> None:
    """Mean average precision both ways, equal scores entering together."""
    sides = {
        side: (case.tensor(f"{side}_emb"), case.tensor(f"{side}_id").long()) for side in ("voice", "face")
    }
    for way, query, gallery in (("v2f", "voice", "face"), ("f2v", "face", "voice")):
        (left, left_id), (right, right_id) = sides[query], sides[gallery]
        found = retrieval(left, right, left_id, right_id, ties="grouped").mean_average_precision
        key = next((key for key in (f"map_{way}_f64", f"map_{way}") if key in case.arrays), None)
        if key:
            case.judge(book, key, found)


def list_parsing(case: Case, book: Book) -> None:
    """A verification list and the meta table to files and labels."""
    config = case.config
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "vox1_meta.csv").write_text(config["meta_csv"])
        path = root / "veriflist_test_random_unseenunheard.txt"
        path.write_text(config["verification_list"])
        people = read_vox1_meta(root / "vox1_meta.csv")
        found = read_list(path, people)
    assert found.anchor_index is not None and found.candidate_index is not None and found.labels is not None
    rows = [
        [
            f"{config['spec_dir']}/{stored_voice(found.anchors[voice], config['voice_ext'])}",
            f"{config['face_dir']}/{found.candidates[face]}",
            int(label),
        ]
        for voice, face, label in zip(found.anchor_index, found.candidate_index[:, 0], found.labels)
    ]
    book.equal("resolved", rows, config["resolved"])
