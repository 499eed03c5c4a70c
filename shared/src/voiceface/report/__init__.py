"""One HTML page from a run or an evaluation: figures, plots, pictures and voices, all inside one file.

`build_report` takes plain records; nothing in it knows how figures are computed:

    build_report(
        "report.html",
        title="seeking_shape on the standard population",
        notice=SYNTHETIC_NOTICE,
        headlines=[Headline("1:2 matching, same sex", 0.745, 0.72, 0.77, chance=0.5, ceiling=0.956)],
        systems=[SystemResults("seeking_shape", [ResultRow("Matching 1:2", 0.745, "v2f", "G", chance=0.5)])],
        logs="runs/first",
        roc=[Plot("ROC, same sex", [Curve("seeking_shape", x, y, note="AUC 74.4 %")])],
        galleries=[gallery_from_scores(scores, voices_of, faces_of, voices, faces, direction="v2f")],
        people=hardest_and_easiest(names, accuracies, media),
        config=yaml_text,
        environment=environment(),
        commands=["seeking_shape train --cfg quick --data DATA --out runs/first"],
    )
"""

from voiceface.report.gallery import gallery_from_scores, hardest_and_easiest
from voiceface.report.learning_curves import learning_curves, read_log
from voiceface.report.mesh_view import MeshView
from voiceface.report.page import SYNTHETIC_NOTICE, build_report, environment
from voiceface.report.records import (
    Candidate,
    Curve,
    Difference,
    Direction,
    Gallery,
    Headline,
    Histogram,
    PeopleGroup,
    Person,
    PictureSource,
    Plot,
    Protocol,
    ProtocolList,
    Query,
    ResultRow,
    Sound,
    SystemResults,
    Table,
)
from voiceface.report.system_card import Ranking, Story, Tile

__all__ = [
    "SYNTHETIC_NOTICE",
    "Candidate",
    "Curve",
    "Difference",
    "Direction",
    "Gallery",
    "Headline",
    "Histogram",
    "MeshView",
    "PeopleGroup",
    "Person",
    "PictureSource",
    "Plot",
    "Protocol",
    "ProtocolList",
    "Query",
    "Ranking",
    "ResultRow",
    "Sound",
    "Story",
    "SystemResults",
    "Table",
    "Tile",
    "build_report",
    "environment",
    "gallery_from_scores",
    "hardest_and_easiest",
    "learning_curves",
    "read_log",
]
