"""How near faces made of voices come to the true ones, against their own starts and against other people's.

Letters: N people, S side of a picture, R readings of a picture.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from voicestyle.perception import Identity

if TYPE_CHECKING:
    from voiceface.synthetic.agreement.result import Agreement
    from voiceface.synthetic.face.geometry_truth import FaceTruth

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Compared:
    """One measure of the final pictures, of the starts, and of the final pictures made for others.

    Attributes:
        name: what is measured.
        final, start, others: means over people.
        against_start, against_others: final minus the other: value, low, high, p.
        higher_is_better: of the measure.
        people: N.
    """

    name: str
    final: float
    start: float
    others: float
    against_start: tuple[float, float, float, float]
    against_others: tuple[float, float, float, float]
    higher_is_better: bool
    people: int


@dataclass(frozen=True)
class Evaluation:
    """What was found.

    Attributes:
        names: of the people.
        measures: see `Compared`.
        agreement: of invented people, final pictures with the truth; of the starts likewise.
        notes: what a reader must know.
    """

    names: tuple[str, ...]
    measures: tuple[Compared, ...]
    agreement: "Agreement | None" = None
    start_agreement: "Agreement | None" = None
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        found: dict[str, Any] = {
            "format": "voicestyle-results-1",
            "people": list(self.names),
            "measures": [asdict(each) for each in self.measures],
            "notes": list(self.notes),
        }
        for name, agreement in (("agreement", self.agreement), ("start_agreement", self.start_agreement)):
            if agreement is not None:
                found[name] = agreement.to_dict()
        return found

    def rows(self) -> list[tuple[str, str, str, str, str, str]]:
        """Table: measure, final, start, others, final - start, final - others."""
        return [
            (
                each.name,
                f"{each.final:.3f}",
                f"{each.start:.3f}",
                f"{each.others:.3f}",
                _difference(each.against_start),
                _difference(each.against_others),
            )
            for each in self.measures
        ]

    def table(self) -> str:
        """The same as text."""
        rows = [COLUMNS, *self.rows()]
        widths = [max(len(row[at]) for row in rows) for at in range(len(COLUMNS))]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)) for row in rows)


COLUMNS = ("measure", "final", "start", "others", "final - start", "final - others")


def compare(
    name: str,
    final: Array,
    start: Array,
    others: Array,
    *,
    higher_is_better: bool = True,
    replicates: int = 1000,
    seed: int = 0,
) -> Compared:
    """A measure with paired differences, intervals over people (bootstrap).

    Args:
        name: what is measured.
        final, start, others: one value a person, (N,) each; NaN leaves a person out of a comparison.
        higher_is_better: of the measure.
        replicates, seed: of the bootstrap.
    """
    from voiceface.metrics.bootstrap import paired_difference

    groups = np.arange(len(final))

    def against(other: Array) -> tuple[float, float, float, float]:
        if (~np.isnan(final - other)).sum() < 2:
            return (float("nan"),) * 4
        found = paired_difference(final, other, groups, replicates=replicates, seed=seed)
        return found.value, found.low, found.high, found.p_value

    means = [
        float(np.nanmean(each)) if (~np.isnan(each)).any() else float("nan")
        for each in (final, start, others)
    ]
    return Compared(
        name, means[0], means[1], means[2], against(start), against(others), higher_is_better, len(final)
    )


def likeness(
    made: Tensor, real: Sequence[Tensor], reader: Identity, device: str | torch.device = "cpu"
) -> Array:
    """Cosine of every made picture with every person, (N made, N people), as a recogniser sees them.

    Args:
        made: (N, 3, S, S) in -1...1.
        real: pictures (P, 3, S', S') of each person, -1...1; a person is the mean of the features.
        reader: recogniser.
        device: where it runs.
    """
    with torch.no_grad():
        features = torch.cat([reader.features(part.to(device)) for part in made.split(16)])
        people = [F.normalize(reader.features(each.to(device)).mean(0, keepdim=True), dim=1) for each in real]
    return (features @ torch.cat(people).T).double().cpu().numpy()


def of_others(table: Array, groups: NDArray[Any] | None = None) -> Array:
    """Mean over pictures made for others, (N,): column means of a table (made, person) without its diagonal.

    Args:
        table: (N, N).
        groups: others count within a person's group alone, such as their sex; None: all others.
    """
    count = len(table)
    allowed = ~np.eye(count, dtype=bool)
    if groups is not None:
        allowed &= groups[:, None] == groups[None]
    with np.errstate(invalid="ignore"):
        return np.where(allowed, table, 0).sum(0) / np.where(allowed.any(0), allowed.sum(0), np.nan)


def attribute_errors(made: Tensor, truth: "FaceTruth", judge: Any) -> Array:
    """Mean squared error of the eight factors that a judge reads, every picture against every person, (N, N).

    Args:
        made: (N, 3, S, S) in -1...1.
        truth: of the people.
        judge: `voiceface.synthetic.readers.attribute_reader.load("judge")`.
    """
    from voiceface.synthetic.readers.attribute_reader import read

    factors = read(judge, (made.clamp(-1, 1) + 1) / 2).factors.double().numpy()
    return ((factors[:, None] - truth.factors[None]) ** 2).mean(2)


def evaluate(
    names: Sequence[str],
    final: NDArray[np.uint8],
    start: NDArray[np.uint8],
    real: Sequence[NDArray[np.uint8]],
    fit: tuple[Array, Array, Array],
    *,
    reader: Identity | None = None,
    reader_name: str = "",
    reader_device: str | torch.device = "cpu",
    groups: NDArray[Any] | None = None,
    truth: "FaceTruth | None" = None,
    replicates: int = 1000,
) -> Evaluation:
    """All figures of one set of people.

    Args:
        names: of the N people.
        final, start: pictures (N, S, S, 3) uint8.
        real: true pictures (P, S', S', 3) uint8 of each.
        fit: cosine with the voice, of the final pictures, of the starts, of other people's final ones.
        reader: recogniser of faces that took no part in making them.
        reader_name: what it is.
        reader_device: where it runs.
        groups: sex of the people where it is known: others are then of the same one.
        truth: of invented people.
        replicates: of the bootstrap.
    """
    from voicestyle.stylegan2.pictures import from_bytes

    measures = [compare("fit to the voice (what is guided)", *fit, replicates=replicates)]
    made = [from_bytes(each) for each in (final, start)]
    notes = []
    if reader is not None:
        seen = [likeness(each, [from_bytes(p) for p in real], reader, reader_device) for each in made]
        name = f"likeness to the true face ({reader_name})"
        measures.append(
            compare(
                name,
                seen[0].diagonal(),
                seen[1].diagonal(),
                of_others(seen[0], groups),
                replicates=replicates,
            )
        )
    else:
        notes.append(
            "No recogniser of real faces was given (--reader): likeness to the true face is not measured."
        )
    agreements: list[Agreement | None] = [None, None]
    if truth is not None:
        from voiceface.synthetic.agreement.agreement import agree
        from voiceface.synthetic.readers.attribute_reader import load

        judge = load("judge")
        errors = [attribute_errors(each, truth, judge) for each in made]
        measures.append(
            compare(
                "error of the face factors (judge)",
                errors[0].diagonal(),
                errors[1].diagonal(),
                of_others(errors[0], groups),
                higher_is_better=False,
                replicates=replicates,
            )
        )
        least = min(len(each) for each in real)
        true = torch.stack([torch.from_numpy(each[:least]).permute(0, 3, 1, 2) for each in real])
        if np.unique(truth.sex, return_counts=True)[1].min() < 2:
            notes.append("Agreement with the truth needs two people of each sex at least: not measured.")
        else:
            agreements = [agree(judge, (each + 1) / 2, true, truth, replicates=replicates) for each in made]
    return Evaluation(tuple(names), tuple(measures), agreements[0], agreements[1], tuple(notes))


def write_page(
    path: Path,
    found: Evaluation,
    final: NDArray[np.uint8],
    start: NDArray[np.uint8],
    real: Sequence[NDArray[np.uint8]],
    *,
    voices: Sequence[Path] = (),
    notices: Sequence[str] = (),
    subtitle: str = "",
    most: int = 24,
) -> Path:
    """One page: figures; voice, true face, start and final picture of the first people side by side."""
    from voiceface.report import Sound, Story, Table, Tile, build_report
    from voiceface.report.media import enlarged

    tables = [
        Table(
            "Final picture, start, and the final pictures of others",
            COLUMNS,
            found.rows(),
            "Means over people; differences are paired, with 95 % intervals over people and p. Of errors "
            "less is better. Others: of the same sex where it is known.",
        )
    ]
    if found.agreement is not None and found.start_agreement is not None:
        before = found.start_agreement.figures
        rows = [
            [
                name,
                f"{ours.value:.3f}",
                f"{before[name].value:.3f}",
                f"{ours.chance:.3f}",
                "-" if ours.ceiling is None else f"{ours.ceiling:.3f}",
            ]
            for name, ours in found.agreement.figures.items()
        ]
        columns = ("figure", "final", "start", "chance", "another true picture")
        tables.append(Table("Agreement with the truth, read by the judge network", columns, rows))
    stories = [
        Story(
            found.names[n],
            Sound(str(voices[n])) if voices else None,
            [
                Tile("True face", enlarged(real[n][0]), true=True),
                Tile("Start: aggregated codes", enlarged(start[n])),
                Tile("Guided by the voice", enlarged(final[n])),
            ],
        )
        for n in range(min(most, len(final)))
    ]
    return build_report(
        path,
        title="Faces of unseen people from their voices",
        kicker="voicestyle test",
        subtitle=subtitle,
        notice=list(notices),
        summary=list(found.notes),
        tables=tables,
        stories=stories,
        stories_title="Unseen people",
        max_bytes=20_000_000,
    )


def _difference(found: tuple[float, float, float, float]) -> str:
    """A difference in words."""
    value, low, high, p = found
    return "-" if np.isnan(value) else f"{value:+.3f} ({low:+.3f} to {high:+.3f}), p {p:.3f}"
