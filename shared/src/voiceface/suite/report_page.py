"""The page of `voiceface report` and its file of numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voiceface.suite.inference import SystemOutputs
    from voiceface.suite.plugins import SystemSet
    from voiceface.suite.user_media import MediaSet

BUNDLED_MODEL_WARNING = (
    "The bundled weights know invented people only: what they make of real recordings shows that the way "
    "works and says nothing about anybody. Nobody may be identified, judged or treated by it."
)


def write_report_page(
    html_file: Path,
    json_file: Path,
    media: "MediaSet",
    outputs: "SystemOutputs",
    systems: "SystemSet",
    card_rows: Sequence[int],
    *,
    bundled: set[str],
    commands: Sequence[str] = (),
) -> None:
    """Write the page and its numbers.

    Args:
        html_file, json_file: files.
        media: what was read.
        outputs: what was made of it.
        systems: who took part.
        rows: voices with a card.
        bundled: systems with bundled weights.
        commands: how to make the page again.
    """
    from voiceface.io.atomic import write_json
    from voiceface.report import build_report, collect_environment
    from voiceface.suite import sections
    from voiceface.suite.cards import build_system_cards
    from voiceface.suite.scoring import compare_matching, compute_matching_metrics

    people = [voice.identity for voice in media.utterances], [face.identity for face in media.gallery]
    known = {*people[0], *people[1]} - {""}
    found, gaps = {}, {}
    if media.has_labels:
        found = {
            name: m
            for name, table in outputs.scores.items()
            if (m := compute_matching_metrics(table, *people))
        }
        usable = {name: outputs.scores[name] for name in found}
        gaps = compare_matching(usable, *people) if len(usable) > 1 else {}
    failed: dict[str, Mapping[str, str]] = {file: {"all": why} for file, why in media.failures.items()}
    failed |= {file: each for file, each in outputs.failures.items() if file not in failed}
    lost = sections.build_skipped_table(failed, media.relative_paths)
    said = list(sections.summarise_matching(found, gaps))
    if media.gallery and not media.has_labels:
        said = [sections.NO_LABELS_NOTE]
    if lost:
        said.append(
            f"{len(lost.rows)} files could not be used by every system; the table “Left out” names them."
        )
    hint = f"{len(card_rows)} of {len(media.utterances)} recordings; every system hears the one that you can play."
    if media.gallery:
        several = any(len(face.files) > 1 for face in media.gallery)
        kind = (
            "people, the mean of each one's pictures, of which the first is shown" if several else "pictures"
        )
        hint += f" Faces are ranked among {len(media.gallery)} {kind}."
    notices = [BUNDLED_MODEL_WARNING] if bundled else []
    notices += [text for text in outputs.disclaimers if text not in notices]
    write_json(json_file, build_record(media, outputs, found, gaps, failed))
    build_report(
        html_file,
        title="From these voices to faces",
        kicker="voiceface report",
        subtitle=f"What {len(systems.found)} systems make of {len(media.utterances)} recordings"
        + (f" and {sum(len(face.files) for face in media.gallery)} pictures." if media.gallery else "."),
        facts={
            "recordings": len(media.utterances),
            **({"candidates": len(media.gallery)} if media.gallery else {}),
            "who is who": "by the folders" if media.has_labels else "not known",
        },
        disclaimers=notices,
        summary=said,
        headlines=sections.matching_headlines(found),
        system_cards=build_system_cards(
            outputs,
            media.utterances,
            media.gallery,
            card_rows,
            system_names=[system.name for system in systems.found],
            true_faces=find_true_faces(media) if media.has_labels else None,
        ),
        cards_title="Voices",
        cards_hint=hint,
        system_tables=[
            sections.build_systems_table(systems, outputs, sorted(known), dict.fromkeys(bundled, "bundled"))
        ],
        differences=sections.matching_differences(found, gaps),
        tables=[lost] if lost else [],
        responsible_use=sections.RESPONSIBLE_USE,
        environment=collect_environment(),
        commands=commands,
        max_bytes=18_000_000,
    )


def find_true_faces(media: "MediaSet") -> list[Path | None]:
    """A picture of who speaks, where the folders tell."""
    first: dict[str, Path] = {}
    for face in media.gallery:
        if face.identity:
            first.setdefault(face.identity, face.files[0])
    return [first.get(voice.identity) if voice.identity else None for voice in media.utterances]


def build_record(
    media: "MediaSet",
    outputs: "SystemOutputs",
    metrics: Mapping[str, Any],
    differences: Mapping[str, Any],
    failures: Mapping[str, Mapping[str, str]],
) -> dict[str, Any]:
    """Every rank and figure as plain values."""
    import numpy as np

    ranks: dict[str, Any] = {}
    for name, table in outputs.scores.items():
        ranks[name] = {}
        for voice, row in zip(media.utterances, table):
            order = np.flatnonzero(np.isfinite(row))
            order = order[np.argsort(-row[order], kind="stable")]
            ranks[name][voice.name] = [
                {"name": media.gallery[at].name, "score": round(float(row[at]), 6)} for at in order
            ]
    return {
        "format": "voiceface-report-2",
        "notices": outputs.disclaimers,
        "weights": outputs.checkpoint_sources,
        "people_heard_and_seen": sorted(media.paired_identities),
        "metrics": {name: asdict(each) for name, each in metrics.items()},
        "differences": {name: asdict(gap) for name, gap in differences.items()},
        "ranks": ranks,
        "left_out": {media.relative_paths.get(file, file): dict(each) for file, each in failures.items()},
    }
