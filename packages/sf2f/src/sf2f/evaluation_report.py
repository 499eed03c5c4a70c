"""The page of an evaluation: made faces beside true ones, figures by number of windows, best and worst."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from sf2f.evaluation import Evaluation
from sf2f.generation import as_bytes
from sf2f.models import VoiceToFace
from sf2f.speakers import Speakers

if TYPE_CHECKING:
    from voiceface.report import Headline, PeopleGroup, Plot, Sound, Table

SHOWN = 12
HEADLINES = {
    "found 10": "person among the first 10, by embedding",
    "tied found 10": "the same, by what follows the voice",
    "matching same sex": "right one of two of the same sex",
    "factors": "correlation with the true factors, within sex",
    "sex": "sex of the picture",
}
CURVES = ("found 10", "tied found 10", "matching same sex", "factors")


def write_report(
    path: str | Path,
    found: Evaluation,
    model: VoiceToFace,
    speakers: Speakers,
    *,
    title: str,
    subtitle: str = "",
    run: Path | None = None,
    commands: Sequence[str] = (),
) -> Path:
    """Write the page.

    Args:
        path: the file.
        found: figures and pictures.
        model: what made them.
        speakers: the people, in the same order.
        title, subtitle: of the page.
        run: run folder whose curves are shown.
        commands: how to make the figures again.
    """
    from voiceface.report import build_report, environment

    logs = run if run is not None and (run / "log.jsonl").is_file() else None
    return build_report(
        path,
        title=title,
        subtitle=subtitle,
        notice=[text for text in dict.fromkeys((model.notice, speakers.notice)) if text],
        facts={
            "model": model.name,
            "people": len(found.names),
            "windows": f"{min(found.windows)} to {max(found.windows)} of {model.data.windows.width} frames",
            "joined by": "fuser" if found.fused else "mean of the embeddings",
        },
        headlines=_headlines(found),
        tables=_tables(found),
        plots=_plots(found),
        people=_people(found, speakers),
        logs=logs,
        kicker="Faces from voices",
        environment=environment(),
        commands=commands,
    )


def square_of(above: Sequence[Tensor], below: Sequence[Tensor]) -> np.ndarray:
    """Two pictures (3, S, S), 0...1, above two others, white lines between, uint8: pages show squares."""
    rows = []
    for pair in (above, below):
        left, right = (as_bytes(each) for each in pair)
        rows.append(np.concatenate([left, np.full((len(left), 2, 3), 255, np.uint8), right], axis=1))
    return np.concatenate([rows[0], np.full((2, rows[0].shape[1], 3), 255, np.uint8), rows[1]])


def _headlines(found: Evaluation) -> "list[Headline]":
    from voiceface.report import Headline

    if not found.agreement:
        return []
    last = [*found.agreement.values()][-1].figures
    return [
        Headline(
            text,
            figure.value,
            figure.low,
            figure.high,
            chance=figure.chance,
            ceiling=figure.ceiling,
            unit="" if key == "factors" else "%",
            note="ceiling: another true picture of the person, through the same reader",
        )
        for key, text in HEADLINES.items()
        if (figure := last.get(key)) is not None
    ]


def _tables(found: Evaluation) -> "list[Table]":
    from voiceface.report import Table

    tables = []
    if found.agreement:
        from voiceface.synthetic.agreement.result import ABOUT

        counts = list(found.agreement)
        first = found.agreement[counts[0]].figures
        rows = [
            [
                f"{name}: {ABOUT[name]}",
                *(f"{found.agreement[count].figures[name].value:.3f}" for count in counts),
                f"{last.low:.3f} to {last.high:.3f}",
                f"{last.chance:.3f}",
                "" if last.ceiling is None else f"{last.ceiling:.3f}",
                last.tie,
            ]
            for name in first
            if (last := found.agreement[counts[-1]].figures[name])
        ]
        words = ["one window" if count == 1 else f"up to {count}" for count in counts]
        tables.append(
            Table(
                "Agreement with the truth, by number of windows",
                ["figure", *words, "95 % of the last", "chance", "ceiling", "follows the voice"],
                rows,
                "Chance: pictures made for others of the same sex. Ceiling: another true picture of the "
                "person. "
                "Skin, hair and part of the shape do not follow the voice: nobody can hear them.",
            )
        )
    if found.features:
        keys = list(next(iter(found.features.values())))
        tables.append(
            Table(
                "FaceNet's features",
                ["mode", *keys],
                [[mode, *(f"{row[key]:.3f}" for key in keys)] for mode, row in found.features.items()],
                "Chance: " + ", ".join(f"R@{k} {value:.3f}" for k, value in found.chance.items()),
            )
        )
    if found.scores:
        tables.append(
            Table("Scores", ["score", "value"], [[k, f"{value:.3f}"] for k, value in found.scores.items()])
        )
    return tables


def _plots(found: Evaluation) -> "list[Plot]":
    from voiceface.report import Curve, Plot

    if len(found.agreement) < 2:
        return []
    counts = list(found.agreement)
    curves = []
    for name in CURVES:
        figures = [found.agreement[count].figures[name] for count in counts]
        curves.append(
            Curve(
                HEADLINES.get(name, name),
                counts,
                [figure.value for figure in figures],
                [figure.low for figure in figures],
                [figure.high for figure in figures],
                markers=True,
            )
        )
    return [Plot("More to hear", curves, "windows joined", "figure", x_log=True)]


def _people(found: Evaluation, speakers: Speakers) -> "list[PeopleGroup]":
    from voiceface.report import PeopleGroup, Person

    def person(at: int) -> Person:
        note = f"place {found.ranks[at]} of {len(found.names)}" if found.ranks else ""
        true = found.real[at]
        return Person(
            found.names[at],
            picture=square_of((found.single[at], found.pictures[at]), (true[0], true[min(1, len(true) - 1)])),
            sound=_sound(speakers, at),
            note=note,
        )

    note = "Above: made from one window of the voice, and from all. Below: true pictures of the person."
    count = min(SHOWN, len(found.names))
    groups = [PeopleGroup("Made and true faces", [person(at) for at in range(count)], note)]
    if found.ranks:
        order = np.argsort(np.asarray(found.ranks), kind="stable")
        groups += [
            PeopleGroup("Nearest to the truth", [person(int(at)) for at in order[: count // 2]], note),
            PeopleGroup("Farthest from it", [person(int(at)) for at in order[::-1][: count // 2]], note),
        ]
    return groups


def _sound(speakers: Speakers, at: int) -> "Sound | None":
    from voiceface.report import Sound

    if not speakers.sounds:
        return None
    item = speakers.sounds[at]
    return Sound(item if isinstance(item, str) else np.asarray(item))
