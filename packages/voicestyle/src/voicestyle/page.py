"""Pages: one that shows the way of each voice, one that shows inversions."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from voicestyle.bank import Bank
    from voicestyle.config import VoiceStyleConfig
    from voicestyle.journey import Inverted, Journey

MOST_WAYS = 12
"""Voices whose whole way is shown; of more, the faces alone."""
NOTE = (
    "A face that a network connects with the voice. It is not the speaker, and says nothing about who the "
    "speaker is."
)


def write_journeys(
    path: Path,
    journeys: Sequence["Journey"],
    bank: "Bank",
    config: "VoiceStyleConfig",
    *,
    notices: Sequence[str] = (),
    left_out: Sequence[str] = (),
) -> Path:
    """One page: every voice with its face, the pictures it came from, its start and the way to its end."""
    from voiceface.report import PeopleGroup, Person, Sound, Table, build_report
    from voiceface.report.media import enlarged

    faces = [
        Person(
            j.place.as_posix(),
            picture=enlarged(j.picture),
            sound=Sound(str(j.voice)),
            note=f"fit to the voice {j.start_fit:.3f} at the start, {j.fit:.3f} at the end",
        )
        for j in journeys
    ]
    groups = [PeopleGroup("Faces", faces, NOTE)]
    for j in journeys[:MOST_WAYS]:
        clusters = {each.cluster: number for number, each in enumerate(j.near, 1)}
        chosen = [
            Person(each.label, picture=enlarged(each.target), note=f"{number}. picture of the bank")
            for number, each in enumerate(j.inverted, 1)
        ]
        made = [Person(each.label, picture=enlarged(each.picture), note=_losses(each)) for each in j.inverted]
        at = [0, *j.path.kept_steps]
        way = [
            Person("start: " + config.aggregation if not step else f"step {step}", picture=enlarged(picture))
            for step, picture in zip(at, j.film, strict=True)
        ]
        name = j.place.as_posix()
        groups += [
            PeopleGroup(
                f"{name}: pictures that the voice leads to",
                chosen,
                f"{len(j.rows)} videos of the {len(clusters)} nearest prototypes of {bank.name}.",
            ),
            PeopleGroup(f"{name}: their inversions", made, "What the generator makes of their codes."),
            PeopleGroup(f"{name}: the way to the face", way, "Start, and codes kept on the way."),
        ]
    rows = [
        [
            j.place.as_posix(),
            ", ".join(f"{each.cluster} ({each.distance:.3f})" for each in j.near),
            len(j.rows),
            len(j.chosen),
            f"{j.start_fit:.3f}",
            f"{j.fit:.3f}",
            int(j.path.steps[0]),
        ]
        for j in journeys
    ]
    columns = ("voice", "prototypes (distance)", "videos", "pictures", "fit, start", "fit, end", "steps")
    tables = [Table("Ways", columns, rows, "Fit: cosine of voice and picture in CMPC's space, 0 to 1.")]
    if left_out:
        tables.append(Table("Left out", ("what",), [[line] for line in left_out]))
    return build_report(
        path,
        title="Faces that voices lead to",
        kicker="voicestyle generate",
        subtitle=f"Bank: {bank.name}, {len(bank)} videos.",
        notice=list(notices),
        tables=tables,
        plots=[similarity_plot(journeys)],
        people=groups,
        config=_yaml(config),
        max_bytes=20_000_000,
    )


def similarity_plot(journeys: Sequence["Journey"]) -> Any:
    """Fit of every voice, step by step, with the noise on codes."""
    from voiceface.report import Curve, Plot

    curves = []
    for j in journeys[:MOST_WAYS]:
        values = 1 - j.path.history["similarity"][:, 0].numpy()
        curves.append(Curve(j.place.as_posix(), np.arange(len(values)), values))
    return Plot(
        "Fit of picture and voice",
        curves,
        x_label="step of the guidance",
        y_label="cosine, with noise on codes",
    )


def write_inversions(
    path: Path, inverted: Sequence["Inverted"], config: "VoiceStyleConfig", notice: str
) -> Path:
    """One page: pictures beside what the generator makes of their codes."""
    from voiceface.report import PeopleGroup, Person, Table, build_report
    from voiceface.report.media import enlarged

    groups = [
        PeopleGroup("Pictures", [Person(each.label, picture=enlarged(each.target)) for each in inverted]),
        PeopleGroup(
            "Inversions",
            [Person(each.label, picture=enlarged(each.picture), note=_losses(each)) for each in inverted],
        ),
    ]
    names = list(inverted[0].losses)
    rows = [[each.label, *(f"{each.losses[name]:.4f}" for name in names)] for each in inverted]
    return build_report(
        path,
        title="Pictures and their codes",
        kicker="voicestyle invert",
        notice=notice,
        tables=[Table("Losses of the last step", ("picture", *names), rows)],
        people=groups,
        config=_yaml(config),
        max_bytes=20_000_000,
    )


def _losses(inverted: "Inverted") -> str:
    """Losses in words."""
    shown = {k: v for k, v in inverted.losses.items() if k != "noise"}
    return ", ".join(f"{name} {value:.3f}" for name, value in shown.items())


def _yaml(config: "VoiceStyleConfig") -> str:
    from voiceface.runtime.config import to_yaml

    return to_yaml(config)
