"""Parity of CMPC's evaluation: metrics and list formats."""

import tempfile
from pathlib import Path

import torch
from cmpc2 import verification
from cmpc2.evaluation import stored_feature_path
from cmpc2.verification import mean_view_scores
from parity.case import Case, ComparisonLog
from voiceface.datasets.identities import read_vox1_meta
from voiceface.datasets.trials.reading import read_trial_list
from voiceface.metrics.matching import l2_normalize, matching_accuracy
from voiceface.metrics.retrieval import compute_retrieval


def verification_metrics(case: Case, log: ComparisonLog) -> None:
    """Area under the ROC, error rate at a corner, scores of mean embeddings."""
    figures = verification.verification_metrics(case.tensor("scores"), case.tensor("labels"))
    for name, value in figures.items():
        key = next((key for key in (f"{name}_f64", name) if key in case.arrays), None)
        if key:
            case.compare(log, key, value)
    if "pair_scores" in case.arrays:
        case.compare(
            log, "pair_scores", mean_view_scores(case.tensor("voice_views"), case.tensor("face_views"))
        )


def matching_metrics(case: Case, log: ComparisonLog) -> None:
    """Share of probes whose right candidate is the most similar; a tied item may count either way."""
    probe, candidate = case.tensor("probe"), case.tensor("candidate")
    scores = torch.einsum(
        "nd,nkd->nk",
        l2_normalize(probe),
        l2_normalize(candidate.flatten(0, 1)).unflatten(0, candidate.shape[:2]),
    )
    key = next(key for key in ("accuracy_f64", "accuracy") if key in case.arrays)
    stored = float(case.arrays[key])
    counted = {
        ties: float(matching_accuracy(scores, tie_breaking=ties)) for ties in ("expected", "first", "strict")
    }
    rule = case.tolerance(atol=1e-6)
    ties = float((scores[:, 1:] == scores[:, :1]).any(1).sum()) / len(scores)
    near = min(counted.values(), key=lambda value: abs(value - stored))
    log.compare_close(key, near, stored, **rule)
    log.compare_limit("the rules differ by ties alone", counted["first"] - counted["strict"], ties + 1e-9)


def retrieval_metrics(case: Case, log: ComparisonLog) -> None:
    """Mean average precision both ways, equal scores entering together."""
    sides = {
        side: (case.tensor(f"{side}_emb"), case.tensor(f"{side}_id").long()) for side in ("voice", "face")
    }
    for way, query, gallery in (("v2f", "voice", "face"), ("f2v", "face", "voice")):
        (left, left_id), (right, right_id) = sides[query], sides[gallery]
        found = compute_retrieval(
            left, right, left_id, right_id, tie_breaking="grouped"
        ).mean_average_precision
        key = next((key for key in (f"map_{way}_f64", f"map_{way}") if key in case.arrays), None)
        if key:
            case.compare(log, key, found)


def list_parsing(case: Case, log: ComparisonLog) -> None:
    """A verification list and the meta table to files and labels."""
    config = case.config
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "vox1_meta.csv").write_text(config["meta_csv"])
        path = root / "veriflist_test_random_unseenunheard.txt"
        path.write_text(config["verification_list"])
        people = read_vox1_meta(root / "vox1_meta.csv")
        found = read_trial_list(path, people)
    assert found.probe_index is not None and found.gallery_index is not None and found.labels is not None
    rows = [
        [
            f"{config['spec_dir']}/{stored_feature_path(found.probes[voice], config['voice_ext'])}",
            f"{config['face_dir']}/{found.gallery[face]}",
            int(label),
        ]
        for voice, face, label in zip(found.probe_index, found.gallery_index[:, 0], found.labels)
    ]
    log.compare_equal("resolved", rows, config["resolved"])
