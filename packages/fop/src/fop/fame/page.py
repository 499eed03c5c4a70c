"""Page and JSON file of a FAME run: four equal error rates, their mean, and what they were made with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from voiceface.io.atomic import compute_sha256, write_json

from fop.fame.scores import FameResult, FameScores
from fop.fame.submissions import read_submission

if TYPE_CHECKING:
    from voiceface.datasets.mavceleb.lists import PairList
    from voiceface.report import Plot

__all__ = ["PAGE_FILE", "RESULTS_FILE", "write_fame_results"]

RESULTS_FILE, PAGE_FILE = "fame_results.json", "fame.html"


def write_fame_results(
    out: Path,
    scores: FameScores,
    submissions: Mapping[tuple[str, str], Path],
    lists: Mapping[str, "PairList"],
    *,
    disclaimers: Sequence[str] = (),
    lacking: Sequence[str] = (),
    encoders: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
    commands: Sequence[str] = (),
) -> tuple[Path, Path]:
    """Write `fame_results.json` and `fame.html`.

    Args:
        out: folder.
        scores: figures of the pairs of languages whose labels are known.
        submissions: (training language, test language) -> file.
        lists: test language -> its list.
        disclaimers: shown at the top.
        lacking: why figures are missing, one sentence each.
        encoders: names of the voice and of the face encoder.
        config: configuration of the training.
        commands: that made the results.

    Returns:
        The two files.
    """
    from voiceface.report import Headline, ProtocolSummary, Table, TrialListRow, build_report
    from voiceface.report.page import collect_environment

    files = {f"{train} to {test}": path for (train, test), path in submissions.items()}
    values = {
        **scores.to_values(),
        "encoders": list(encoders),
        "disclaimers": list(disclaimers),
        "not_evaluated": list(lacking),
        "submissions": {
            label: {"file": path.name, "sha256": compute_sha256(path)} for label, path in files.items()
        },
        "test_lists": {language: pairs.sha256 for language, pairs in lists.items()},
    }
    write_json(out / RESULTS_FILE, values)
    headlines = [
        Headline(title, value, chance=0.5, higher_is_better=False)
        for title, value in (
            ("overall EER", scores.overall),
            ("EER, heard", scores.mean(heard=True)),
            ("EER, unheard", scores.mean(heard=False)),
        )
        if value is not None
    ]
    rows = [
        (each.train, each.test, "heard" if each.heard else "unheard", *_percent(each), each.pairs)
        for each in scores.results
    ]
    columns = ("trained on", "tested on", "language", "EER, %", "AUC, %", "pairs")
    tables = [Table("Equal error rates", columns, rows)] if rows else []
    tables.append(
        Table(
            "Submission files",
            ("file", "trained on", "tested on", "lines", "smallest distance", "median", "largest"),
            [(path.name, train, test, *_spread(path)) for (train, test), path in submissions.items()],
        )
    )
    trials = [
        TrialListRow(pairs.name, "Verification (EER)", "v2f", "U", len(pairs), pairs.sha256)
        for pairs in lists.values()
    ]
    page = build_report(
        out / PAGE_FILE,
        title=f"FAME protocol, MAV-Celeb {scores.version}",
        subtitle="Trained on one language, tested on the same (heard) and on the other (unheard). The equal "
        "error rate is lower where voices and faces of one person are recognised better.",
        kicker="fop · face–voice association in multilingual environments",
        disclaimers=list(disclaimers),
        facts={"encoders": ", ".join(encoders)} if encoders else {},
        summary=list(lacking),
        headlines=headlines,
        roc=_roc_plots(submissions, lists),
        tables=tables,
        section_titles={"Further metrics": "Results", "ROC and CMC": "ROC"},
        protocol=ProtocolSummary(f"FAME {scores.version}", trials, _RULES),
        config=config,
        environment=collect_environment(),
        commands=list(commands),
    )
    return out / RESULTS_FILE, page


_RULES = {
    "distance": "of the two embeddings, smaller is more alike",
    "EER": "root of 1 - fpr - tpr on the straight-line ROC of the negated distance",
    "overall": "mean of the four equal error rates",
    "test identities in training": "none, checked",
}


def _percent(result: FameResult) -> tuple[float, float]:
    """Rate and area in per cent, as shown."""
    return round(100 * result.eer, 2), round(100 * result.auc, 2)


def _roc_plots(submissions: Mapping[tuple[str, str], Path], lists: Mapping[str, "PairList"]) -> "list[Plot]":
    """One plot with a curve per submission whose labels are known."""
    import torch
    from voiceface.metrics.verification import roc_curve
    from voiceface.report import Curve, Plot

    curves = []
    for (train, test), path in submissions.items():
        pairs, found = lists[test], read_submission(path)
        if pairs.labels is not None and set(pairs.labels.tolist()) == {0, 1}:
            labels = torch.from_numpy(pairs.labels.astype(np.int64))  # in the order of the submission
            curve = roc_curve(-torch.from_numpy(found.distances), labels)
            curves.append(Curve(f"{train} to {test}", curve.fpr.numpy(), curve.tpr.numpy()))
    if not curves:
        return []
    curves.append(Curve("chance level", [0, 1], [0, 1], kind="chance"))
    axes = ("false positive rate", "true positive rate", (0, 1), (0, 1))
    return [Plot("ROC, training to test language", curves, *axes, x_percent=True, y_percent=True)]


def _spread(path: Path) -> tuple[int, float, float, float]:
    """Lines of a submission, and smallest, median and largest distance."""
    distances = read_submission(path).distances
    low, middle, high = np.percentile(distances, (0, 50, 100)).tolist()
    return len(distances), low, middle, high
