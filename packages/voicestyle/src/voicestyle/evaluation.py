"""Metrics of generated faces: compared with the real faces, the initial images and other identities.

Letters: N identities, S side of an image.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from voiceface.metrics.unavailable import UnavailableResult, describe_unavailable

from voicestyle.image_losses import IdentityEncoder

if TYPE_CHECKING:
    from voiceface.synthetic.agreement.result import Agreement
    from voiceface.synthetic.head.geometry_truth import FaceGroundTruth

__all__ = [
    "GROUND_TRUTH",
    "EvaluationResult",
    "MetricComparison",
    "attribute_errors",
    "compare_metric",
    "evaluate",
    "identity_similarity",
    "mean_of_others",
]

Array = NDArray[np.float64]
GROUND_TRUTH = "agreement with the ground truth"


@dataclass(frozen=True)
class MetricComparison:
    """A metric of the final images, of the initial images, and of final images generated for others.

    Attributes:
        name: of the metric.
        final, initial, others: means over identities.
        difference_to_initial, difference_to_others: final minus the other: value, low, high, p value.
        higher_is_better: direction of the metric.
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
    """Metrics of a set of generated faces.

    Attributes:
        identity_names: names of the identities.
        metrics: see `MetricComparison`.
        agreement, initial_agreement: agreement of the final and of the initial images with the ground truth
            of synthetic identities, else None.
        notes: remarks for the reader.
        unavailable: identities and metrics that could not be used or computed, with the reasons.
    """

    identity_names: tuple[str, ...]
    metrics: tuple[MetricComparison, ...]
    agreement: "Agreement | None" = None
    initial_agreement: "Agreement | None" = None
    notes: tuple[str, ...] = field(default=())
    unavailable: tuple[UnavailableResult, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        content: dict[str, Any] = {
            "format": "voicestyle-results-2",
            "identities": list(self.identity_names),
            "metrics": [asdict(each) for each in self.metrics],
            "notes": list(self.notes),
            "unavailable": [each.to_dict() for each in self.unavailable],
        }
        for name, agreement in (("agreement", self.agreement), ("initial_agreement", self.initial_agreement)):
            if agreement is not None:
                content[name] = agreement.to_dict()
        return content

    def table_rows(self) -> list[tuple[str, str, str, str, str, str]]:
        """Rows of the table whose columns are `COLUMNS`."""
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
        """Format the table as text, with the reasons of what could not be computed."""
        rows = [COLUMNS, *self.table_rows()]
        widths = [max(len(row[at]) for row in rows) for at in range(len(COLUMNS))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)) for row in rows]
        return "\n".join(lines + [describe_unavailable(self.unavailable)] * bool(self.unavailable))


COLUMNS = ("metric", "final", "initial", "others", "final - initial", "final - others")


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
    """Compute the means and paired differences of a metric, with bootstrap intervals over identities.

    Args:
        name: of the metric.
        final, initial, others: one value per identity, (N,) each; a NaN excludes the identity from a
            comparison.
        higher_is_better: direction of the metric.
        replicates, seed: of the bootstrap.
    """
    from voiceface.metrics.bootstrap import paired_difference

    groups = np.arange(len(final))

    def difference_to(other: Array) -> tuple[float, float, float, float]:
        if (~np.isnan(final - other)).sum() < 2:
            return (float("nan"),) * 4
        difference = paired_difference(final, other, groups, replicates=replicates, seed=seed)
        return difference.value, difference.low, difference.high, difference.p_value

    means = [
        float(np.nanmean(each)) if (~np.isnan(each)).any() else float("nan")
        for each in (final, initial, others)
    ]
    return MetricComparison(
        name,
        means[0],
        means[1],
        means[2],
        difference_to(initial),
        difference_to(others),
        higher_is_better,
        len(final),
    )


def identity_similarity(
    generated: Tensor,
    real: Sequence[Tensor],
    identity_encoder: IdentityEncoder,
    device: str | torch.device = "cpu",
) -> Array:
    """Compute the cosine of every generated image with every identity, (N images, N identities).

    Args:
        generated: (N, 3, S, S) in -1...1.
        real: images (P, 3, S', S') of each identity in -1...1; the mean of their features is the reference.
        identity_encoder: face recognition network.
        device: device of the network.
    """
    with torch.no_grad():
        features = torch.cat([identity_encoder.features(part.to(device)) for part in generated.split(16)])
        references = [
            F.normalize(identity_encoder.features(each.to(device)).mean(0, keepdim=True), dim=1)
            for each in real
        ]
    return (features @ torch.cat(references).T).double().cpu().numpy()


def mean_of_others(scores: Array, groups: NDArray[Any] | None = None) -> Array:
    """Compute the mean over images generated for others, (N,): column means without the diagonal.

    Args:
        scores: (N images, N identities).
        groups: group of each identity, such as the gender: only others of the same group count; None: all.
    """
    count = len(scores)
    allowed = ~np.eye(count, dtype=bool)
    if groups is not None:
        allowed &= groups[:, None] == groups[None]
    with np.errstate(invalid="ignore"):
        return np.where(allowed, scores, 0).sum(0) / np.where(allowed.any(0), allowed.sum(0), np.nan)


def attribute_errors(generated: Tensor, ground_truth: "FaceGroundTruth", attribute_reader: Any) -> Array:
    """Compute the mean squared error of the eight face factors, (N images, N identities).

    Args:
        generated: (N, 3, S, S) in -1...1.
        ground_truth: of the identities.
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
    """Compute all metrics of one set of identities.

    Args:
        identity_names: names of the N identities.
        final, initial: images (N, S, S, 3) uint8.
        real: real images (P, S', S', 3) uint8 of each.
        voice_similarity: cosine with the voice: of the final images, of the initial ones, and of the final
            images of others.
        identity_encoder: face recognition network that took no part in the generation.
        identity_encoder_name: its name in the results.
        identity_encoder_device: its device.
        groups: genders, if they are known: others are then of the same gender.
        ground_truth: of synthetic identities.
        replicates: of the bootstrap.
    """
    from voicestyle.stylegan2.images import from_uint8

    metrics = [
        compare_metric("voice similarity (guidance objective)", *voice_similarity, replicates=replicates)
    ]
    generated = [from_uint8(each) for each in (final, initial)]
    notes = []
    unavailable: list[UnavailableResult] = []

    def add_metric(name: str, score: Callable[[Tensor], Array], *, higher_is_better: bool = True) -> None:
        """Add a metric of scores (N images, N identities), or the reason why it cannot be computed."""
        try:
            final_scores, initial_scores = (score(each) for each in generated)
            metrics.append(
                compare_metric(
                    name,
                    final_scores.diagonal(),
                    initial_scores.diagonal(),
                    mean_of_others(final_scores, groups),
                    higher_is_better=higher_is_better,
                    replicates=replicates,
                )
            )
        except ValueError as error:
            unavailable.append(UnavailableResult.from_error(name, error))

    if identity_encoder is not None:
        encoder, references = identity_encoder, [from_uint8(images) for images in real]
        add_metric(
            f"identity similarity to the true face ({identity_encoder_name})",
            lambda images: identity_similarity(images, references, encoder, identity_encoder_device),
        )
    else:
        notes.append("Identity similarity to the true face is not measured: give --evaluation-identity.")
    agreements: list[Agreement | None] = [None, None]
    if ground_truth is not None:
        from voiceface.synthetic.agreement.agreement import measure_agreement
        from voiceface.synthetic.readers.attribute_reader import load_reader

        attribute_reader, truth = load_reader("evaluation"), ground_truth
        add_metric(
            "attribute error",
            lambda images: attribute_errors(images, truth, attribute_reader),
            higher_is_better=False,
        )
        count = min(len(images) for images in real)
        real_images = torch.stack([torch.from_numpy(images[:count]).permute(0, 3, 1, 2) for images in real])
        genders = [int((ground_truth.sex == sex).sum()) for sex in (0, 1)]
        try:
            if min(genders) < 2:
                raise ValueError(f"expected at least two identities of each gender, found {genders}")
            agreements = [
                measure_agreement(
                    attribute_reader, (each + 1) / 2, real_images, ground_truth, replicates=replicates
                )
                for each in generated
            ]
        except ValueError as error:
            unavailable.append(UnavailableResult.from_error(GROUND_TRUTH, error))
    return EvaluationResult(
        tuple(identity_names),
        tuple(metrics),
        agreements[0],
        agreements[1],
        tuple(notes),
        tuple(unavailable),
    )


def _format_difference(difference: tuple[float, float, float, float]) -> str:
    """Format a difference with its interval and p value."""
    value, low, high, p = difference
    return "-" if np.isnan(value) else f"{value:+.3f} ({low:+.3f} to {high:+.3f}), p {p:.3f}"
