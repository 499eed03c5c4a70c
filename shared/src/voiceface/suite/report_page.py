"""The page of `voiceface report` and its file of numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voiceface.suite.inference import Answers
    from voiceface.suite.plugins import Systems
    from voiceface.suite.user_media import Material

BUNDLED = (
    "The bundled weights know invented people only: what they make of real recordings shows that the way "
    "works and says nothing about anybody. Nobody may be identified, judged or treated by it."
)


def write(
    page: Path,
    numbers: Path,
    material: "Material",
    answers: "Answers",
    systems: "Systems",
    rows: Sequence[int],
    *,
    bundled: set[str],
    commands: Sequence[str] = (),
) -> None:
    """Write the page and its numbers.

    Args:
        page, numbers: files.
        material: what was read.
        answers: what was made of it.
        systems: who took part.
        rows: voices with a card.
        bundled: systems with bundled weights.
        commands: how to make the page again.
    """
    from voiceface.io.atomic import write_json
    from voiceface.report import build_report, environment
    from voiceface.suite import sections
    from voiceface.suite.cards import stories_of
    from voiceface.suite.scoring import differences, matched

    people = [voice.person for voice in material.voices], [face.person for face in material.faces]
    known = {*people[0], *people[1]} - {""}
    found, gaps = {}, {}
    if material.known:
        found = {name: m for name, table in answers.scores.items() if (m := matched(table, *people))}
        usable = {name: answers.scores[name] for name in found}
        gaps = differences(usable, *people) if len(usable) > 1 else {}
    failed: dict[str, Mapping[str, str]] = {file: {"all": why} for file, why in material.failed.items()}
    failed |= {file: each for file, each in answers.failed.items() if file not in failed}
    lost = sections.left_out(failed, material.labels)
    said = list(sections.sentences_of_matched(found, gaps))
    if material.faces and not material.known:
        said = [sections.UNKNOWN]
    if lost:
        said.append(
            f"{len(lost.rows)} files could not be used by every system; the table “Left out” names them."
        )
    hint = f"{len(rows)} of {len(material.voices)} recordings; every system hears the one that you can play."
    if material.faces:
        several = any(len(face.files) > 1 for face in material.faces)
        kind = (
            "people, the mean of each one's pictures, of which the first is shown" if several else "pictures"
        )
        hint += f" Faces are ranked among {len(material.faces)} {kind}."
    notices = [BUNDLED] if bundled else []
    notices += [text for text in answers.notices if text not in notices]
    write_json(numbers, record_of(material, answers, found, gaps, failed))
    build_report(
        page,
        title="From these voices to faces",
        kicker="voiceface report",
        subtitle=f"What {len(systems.found)} systems make of {len(material.voices)} recordings"
        + (f" and {sum(len(face.files) for face in material.faces)} pictures." if material.faces else "."),
        facts={
            "recordings": len(material.voices),
            **({"candidates": len(material.faces)} if material.faces else {}),
            "who is who": "by the folders" if material.known else "not known",
        },
        notice=notices,
        summary=said,
        headlines=sections.matched_headlines(found),
        stories=stories_of(
            answers,
            material.voices,
            material.faces,
            rows,
            names=[system.name for system in systems.found],
            true_faces=true_faces(material) if material.known else None,
        ),
        stories_title="Voices",
        stories_hint=hint,
        cast=[sections.cast_of(systems, answers, sorted(known), dict.fromkeys(bundled, "bundled"))],
        differences=sections.matched_differences(found, gaps),
        tables=[lost] if lost else [],
        care=sections.CARE,
        environment=environment(),
        commands=commands,
        max_bytes=18_000_000,
    )


def true_faces(material: "Material") -> list[Path | None]:
    """A picture of who speaks, where the folders tell."""
    first: dict[str, Path] = {}
    for face in material.faces:
        if face.person:
            first.setdefault(face.person, face.files[0])
    return [first.get(voice.person) if voice.person else None for voice in material.voices]


def record_of(
    material: "Material",
    answers: "Answers",
    found: Mapping[str, Any],
    gaps: Mapping[str, Any],
    failed: Mapping[str, Mapping[str, str]],
) -> dict[str, Any]:
    """Every rank and figure as plain values."""
    import numpy as np

    ranks: dict[str, Any] = {}
    for name, table in answers.scores.items():
        ranks[name] = {}
        for voice, row in zip(material.voices, table):
            order = np.flatnonzero(np.isfinite(row))
            order = order[np.argsort(-row[order], kind="stable")]
            ranks[name][voice.name] = [
                {"name": material.faces[at].name, "score": round(float(row[at]), 6)} for at in order
            ]
    return {
        "format": "voiceface-report-1",
        "notices": answers.notices,
        "weights": answers.sources,
        "people_heard_and_seen": sorted(material.people),
        "figures": {name: asdict(each) for name, each in found.items()},
        "differences": {name: asdict(gap) for name, gap in gaps.items()},
        "ranks": ranks,
        "left_out": {material.labels.get(file, file): dict(each) for file, each in failed.items()},
    }
