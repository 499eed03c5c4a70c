"""Self-contained HTML reports: metrics, plots, images and utterances of a run or an evaluation.

`build_report` takes plain records and does not know how the metrics were computed:

    build_report(
        "report.html",
        title="seeking_shape on the standard population",
        disclaimers=SYNTHETIC_PAGE_DISCLAIMER,
        headlines=[Headline("same-gender 1:2 matching", 0.745, 0.72, 0.77, chance=0.5, upper_bound=0.956)],
        systems=[SystemResults("seeking_shape", [ResultRow("Matching 1:2", 0.745, "v2f", "G", chance=0.5)])],
        logs="runs/first",
        roc=[Plot("ROC, same-gender", [Curve("seeking_shape", x, y, note="AUC 74.4 %")])],
        retrieval_examples=[build_retrieval_examples(scores, probes, names, voices, faces, direction="v2f")],
        identity_groups=select_hardest_and_easiest(names, accuracies, media),
        config=yaml_text,
        environment=collect_environment(),
        commands=["seeking_shape train --cfg quick --data DATA --out runs/first"],
    )
"""

from voiceface.report.gallery import build_retrieval_examples, select_hardest_and_easiest
from voiceface.report.learning_curves import build_learning_curves, read_log
from voiceface.report.mesh_view import MeshView
from voiceface.report.page import SYNTHETIC_PAGE_DISCLAIMER, build_report, collect_environment
from voiceface.report.records import (
    AudioSource,
    Curve,
    Direction,
    Headline,
    Histogram,
    IdentityCard,
    IdentityGroup,
    ImageSource,
    PairedDifferenceRow,
    Photograph,
    Plot,
    ProbeRanking,
    ProtocolSummary,
    RankedCandidate,
    ResultRow,
    RetrievalExamples,
    SystemResults,
    Table,
    TrialListRow,
)
from voiceface.report.system_card import ImageTile, SystemCard, SystemRanking

__all__ = [
    "SYNTHETIC_PAGE_DISCLAIMER",
    "AudioSource",
    "Curve",
    "Direction",
    "Headline",
    "Histogram",
    "IdentityCard",
    "IdentityGroup",
    "ImageSource",
    "ImageTile",
    "MeshView",
    "PairedDifferenceRow",
    "Photograph",
    "Plot",
    "ProbeRanking",
    "ProtocolSummary",
    "RankedCandidate",
    "ResultRow",
    "RetrievalExamples",
    "SystemCard",
    "SystemRanking",
    "SystemResults",
    "Table",
    "TrialListRow",
    "build_learning_curves",
    "build_report",
    "build_retrieval_examples",
    "collect_environment",
    "read_log",
    "select_hardest_and_easiest",
]
