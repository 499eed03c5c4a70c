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

from voicestyle.image_losses import IdentityEncoder

if TYPE_CHECKING:
    from voiceface.synthetic.agreement.result import Agreement
    from voiceface.synthetic.face.geometry_truth import FaceGroundTruth

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MetricComparison:
    """One measure of the final pictures, of the starts, and of the final pictures made for others.

    Attributes:
        name: what is measured.
        final, initial, others: means over people.
        difference_to_initial, difference_to_others: final minus the other: value, low, high, p.
        higher_is_better: of the measure.
        num_identities: N.
    """

    name: str
    final: float
    initial: float
    others: float
    difference_to_initial: tuple[float, float, float, float]
    difference_to_others: tuple[float, float, float, float]
    higher_is_better: bool
    num_identities: int


@dataclass(frozen=True)
class EvaluationResult:
    """What was found.

    Attributes:
        identity_names: of the people.
        metrics: see `MetricComparison`.
        agreement: of invented people, final pictures with the truth; of the starts likewise.
        notes: what a reader must know.
    """

    identity_names: tuple[str, ...]
    metrics: tuple[MetricComparison, ...]
    agreement: "Agreement | None" = None
    initial_agreement: "Agreement | None" = None
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        found: dict[str, Any] = {
            "format": "voicestyle-results-1",
            "people": list(self.identity_names),
            "measures": [asdict(each) for each in self.metrics],
            "notes": list(self.notes),
        }
        for name, agreement in (("agreement", self.agreement), ("start_agreement", self.initial_agreement)):
            if agreement is not None:
                found[name] = agreement.to_dict()
        return found

    def table_rows(self) -> list[tuple[str, str, str, str, str, str]]:
        """Table: measure, final, start, others, final - start, final - others."""
        return [
            (
                each.name,
                f"{each.final:.3f}",
                f"{each.initial:.3f}",
                f"{each.others:.3f}",
                _format_difference(each.difference_to_initial),
                _format_difference(each.difference_to_others),
            )
            for each in self.metrics
        ]

    def format_table(self) -> str:
        """The same as text."""
        rows = [COLUMNS, *self.table_rows()]
        widths = [max(len(row[at]) for row in rows) for at in range(len(COLUMNS))]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)) for row in rows)


COLUMNS = ("measure", "final", "start", "others", "final - start", "final - others")


def compare_metric(
    name: str,
    final: Array,
    initial: Array,
    others: Array,
    *,
    higher_is_better: bool = True,
    replicates: int = 1000,
    seed: int = 0,
) -> MetricComparison:
    """A measure with paired differences, intervals over people (bootstrap).

    Args:
        name: what is measured.
        final, initial, others: one value a person, (N,) each; NaN leaves a person out of a comparison.
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
        for each in (final, initial, others)
    ]
    return MetricComparison(
        name, means[0], means[1], means[2], against(initial), against(others), higher_is_better, len(final)
    )


def identity_similarity(
    generated: Tensor,
    real: Sequence[Tensor],
    identity_encoder: IdentityEncoder,
    device: str | torch.device = "cpu",
) -> Array:
    """Cosine of every made picture with every person, (N made, N people), as a recogniser sees them.

    Args:
        generated: (N, 3, S, S) in -1...1.
        real: pictures (P, 3, S', S') of each person, -1...1; a person is the mean of the features.
        identity_encoder: recogniser.
        device: where it runs.
    """
    with torch.no_grad():
        features = torch.cat([identity_encoder.features(part.to(device)) for part in generated.split(16)])
        people = [
            F.normalize(identity_encoder.features(each.to(device)).mean(0, keepdim=True), dim=1)
            for each in real
        ]
    return (features @ torch.cat(people).T).double().cpu().numpy()


def mean_of_others(scores: Array, groups: NDArray[Any] | None = None) -> Array:
    """Mean over pictures made for others, (N,): column means of a table (made, person) without its diagonal.

    Args:
        scores: (N, N).
        groups: others count within a person's group alone, such as their sex; None: all others.
    """
    count = len(scores)
    allowed = ~np.eye(count, dtype=bool)
    if groups is not None:
        allowed &= groups[:, None] == groups[None]
    with np.errstate(invalid="ignore"):
        return np.where(allowed, scores, 0).sum(0) / np.where(allowed.any(0), allowed.sum(0), np.nan)


def attribute_errors(generated: Tensor, ground_truth: "FaceGroundTruth", attribute_reader: Any) -> Array:
    """Mean squared error of the eight factors that a judge reads, every picture against every person, (N, N).

    Args:
        generated: (N, 3, S, S) in -1...1.
        ground_truth: of the people.
        attribute_reader: `voiceface.synthetic.readers.attribute_reader.load("attribute_reader")`.
    """
    from voiceface.synthetic.readers.attribute_reader import predict_batched

    factors = predict_batched(attribute_reader, (generated.clamp(-1, 1) + 1) / 2).factors.double().numpy()
    return ((factors[:, None] - ground_truth.factors[None]) ** 2).mean(2)


def evaluate(
    identity_names: Sequence[str],
    final: NDArray[np.uint8],
    initial: NDArray[np.uint8],
    real: Sequence[NDArray[np.uint8]],
    voice_similarity: tuple[Array, Array, Array],
    *,
    identity_encoder: IdentityEncoder | None = None,
    identity_encoder_name: str = "",
    identity_encoder_device: str | torch.device = "cpu",
    groups: NDArray[Any] | None = None,
    ground_truth: "FaceGroundTruth | None" = None,
    replicates: int = 1000,
) -> EvaluationResult:
    """All figures of one set of people.

    Args:
        identity_names: of the N people.
        final, initial: pictures (N, S, S, 3) uint8.
        real: true pictures (P, S', S', 3) uint8 of each.
        voice_similarity: cosine with the voice, of the final pictures, of the starts, of other people's final ones.
        identity_encoder: recogniser of faces that took no part in making them.
        identity_encoder_name: what it is.
        identity_encoder_device: where it runs.
        groups: sex of the people where it is known: others are then of the same one.
        ground_truth: of invented people.
        replicates: of the bootstrap.
    """
    from voicestyle.stylegan2.images import from_uint8

    measures = [compare_metric("fit to the voice (what is guided)", *voice_similarity, replicates=replicates)]
    made = [from_uint8(each) for each in (final, initial)]
    notes = []
    if identity_encoder is not None:
        seen = [
            identity_similarity(
                each, [from_uint8(p) for p in real], identity_encoder, identity_encoder_device
            )
            for each in made
        ]
        name = f"likeness to the true face ({identity_encoder_name})"
        measures.append(
            compare_metric(
                name,
                seen[0].diagonal(),
                seen[1].diagonal(),
                mean_of_others(seen[0], groups),
                replicates=replicates,
            )
        )
    else:
        notes.append(
            "No recogniser of real faces was given (--reader): likeness to the true face is not measured."
        )
    agreements: list[Agreement | None] = [None, None]
    if ground_truth is not None:
        from voiceface.synthetic.agreement.agreement import measure_agreement
        from voiceface.synthetic.readers.attribute_reader import load_reader

        judge = load_reader("judge")
        errors = [attribute_errors(each, ground_truth, judge) for each in made]
        measures.append(
            compare_metric(
                "error of the face factors (judge)",
                errors[0].diagonal(),
                errors[1].diagonal(),
                mean_of_others(errors[0], groups),
                higher_is_better=False,
                replicates=replicates,
            )
        )
        least = min(len(each) for each in real)
        true = torch.stack([torch.from_numpy(each[:least]).permute(0, 3, 1, 2) for each in real])
        if np.unique(ground_truth.sex, return_counts=True)[1].min() < 2:
            notes.append("Agreement with the truth needs two people of each sex at least: not measured.")
        else:
            agreements = [
                measure_agreement(judge, (each + 1) / 2, true, ground_truth, replicates=replicates)
                for each in made
            ]
    return EvaluationResult(
        tuple(identity_names), tuple(measures), agreements[0], agreements[1], tuple(notes)
    )


def write_evaluation_report(
    path: Path,
    result: EvaluationResult,
    final: NDArray[np.uint8],
    initial: NDArray[np.uint8],
    real: Sequence[NDArray[np.uint8]],
    *,
    voices: Sequence[Path] = (),
    disclaimers: Sequence[str] = (),
    subtitle: str = "",
    max_identities: int = 24,
) -> Path:
    """One page: figures; voice, true face, start and final picture of the first people side by side."""
    from voiceface.report import AudioSource, ImageTile, SystemCard, Table, build_report
    from voiceface.report.media import upscale_image

    tables = [
        Table(
            "Final picture, start, and the final pictures of others",
            COLUMNS,
            result.table_rows(),
            "Means over people; differences are paired, with 95 % intervals over people and p. Of errors "
            "less is better. Others: of the same sex where it is known.",
        )
    ]
    if result.agreement is not None and result.initial_agreement is not None:
        before = result.initial_agreement.metrics
        rows = [
            [
                name,
                f"{ours.value:.3f}",
                f"{before[name].value:.3f}",
                f"{ours.chance:.3f}",
                "-" if ours.real_image_value is None else f"{ours.real_image_value:.3f}",
            ]
            for name, ours in result.agreement.metrics.items()
        ]
        columns = ("figure", "final", "start", "chance", "another true picture")
        tables.append(Table("Agreement with the truth, read by the judge network", columns, rows))
    stories = [
        SystemCard(
            result.identity_names[n],
            AudioSource(str(voices[n])) if voices else None,
            [
                ImageTile("True face", upscale_image(real[n][0]), is_ground_truth=True),
                ImageTile("Start: aggregated codes", upscale_image(initial[n])),
                ImageTile("Guided by the voice", upscale_image(final[n])),
            ],
        )
        for n in range(min(max_identities, len(final)))
    ]
    return build_report(
        path,
        title="Faces of unseen people from their voices",
        kicker="voicestyle test",
        subtitle=subtitle,
        disclaimers=list(disclaimers),
        summary=list(result.notes),
        tables=tables,
        system_cards=stories,
        cards_title="Unseen people",
        max_bytes=20_000_000,
    )


def _format_difference(difference: tuple[float, float, float, float]) -> str:
    """A difference in words."""
    value, low, high, p = difference
    return "-" if np.isnan(value) else f"{value:+.3f} ({low:+.3f} to {high:+.3f}), p {p:.3f}"
