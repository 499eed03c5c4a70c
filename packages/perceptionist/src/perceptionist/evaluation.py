"""Evaluation of predicted meshes against ground truth: errors, baselines and gender metrics.

Letters: L predictions, N vertices, I identities, S shape and K semantic coefficients.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from voiceface.metrics.geometry import ErrorComparison, explained_variance, identity_means
from voiceface.metrics.unavailable import UnavailableResult, describe_unavailable

from perceptionist.ground_truth import MeshGroundTruth
from perceptionist.proportions import GENDERS, compare_with_baselines, error_table, shape_errors

if TYPE_CHECKING:
    from perceptionist.face_models.linear import LinearFaceModel

__all__ = ["MESH_BATCH_SIZE", "Evaluation", "ExplainedVariance", "evaluate"]


Array = NDArray[Any]
MEAN_FACE, GENDER_MEAN_FACE = "mean face", "mean of own gender"
MESH_BATCH_SIZE = 32  # meshes that are measured together, to bound memory


@dataclass(frozen=True)
class ExplainedVariance:
    """Explained variance of each shape coefficient within gender.

    Attributes:
        names: (K,) coefficients.
        ours: (K,) of the mean over the predictions of an identity.
        upper_bound: (K,) of the true voice factors.
    """

    names: tuple[str, ...]
    ours: Array
    upper_bound: Array


@dataclass(frozen=True)
class Evaluation:
    """Metrics of predicted meshes.

    Attributes:
        num_identities, num_predictions: counts.
        errors: by name (`perceptionist.proportions.ERRORS`): ours and the baselines with confidence intervals
            over identities, and the paired differences.
        gender_accuracy: fraction of predictions nearer to the mean shape of the right gender; None if
            unknown.
        explained_variance: None if true or predicted coefficients are unknown.
        fisher_gender_accuracy: gender accuracy along the Fisher direction (`MeshGroundTruth.gender_axis`).
            The plain vertex distance misclassifies many true shapes, because it includes differences that do
            not depend on gender.
        true_gender_accuracy: both gender accuracies of the true shapes, which are their upper bounds.
        disclaimer: to show with every metric.
        facts: further values for `to_dict`.
        unavailable: meshes, recordings and identities that could not be evaluated, with the reasons.
    """

    num_identities: int
    num_predictions: int
    errors: dict[str, ErrorComparison]
    gender_accuracy: float | None = None
    explained_variance: ExplainedVariance | None = None
    fisher_gender_accuracy: float | None = None
    true_gender_accuracy: tuple[float, float] | None = None
    disclaimer: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    unavailable: tuple[UnavailableResult, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All metrics as JSON values."""
        errors = {}
        for name, comparison in self.errors.items():
            record: dict[str, Any] = {"ours": vars(comparison.ours)}
            record |= {baseline: vars(interval) for baseline, interval in comparison.baselines.items()}
            record["ours_minus_baseline"] = {
                baseline: vars(difference) for baseline, difference in comparison.differences.items()
            }
            errors[name] = record
        values: dict[str, Any] = {
            "format": "perceptionist-results-2",
            "num_identities": self.num_identities,
            "num_predictions": self.num_predictions,
            "errors": errors,
        }
        if self.gender_accuracy is not None:
            values["gender_accuracy"] = self.gender_accuracy
        if self.fisher_gender_accuracy is not None:
            values["fisher_gender_accuracy"] = self.fisher_gender_accuracy
        if self.true_gender_accuracy is not None:
            names = "gender_accuracy", "fisher_gender_accuracy"
            values["gender_accuracy_of_ground_truth"] = dict(
                zip(names, self.true_gender_accuracy, strict=True)
            )
        if self.explained_variance is not None:
            explained = self.explained_variance
            values["explained_variance_within_gender"] = {
                "ours": dict(zip(explained.names, _to_json_values(explained.ours), strict=True)),
                "upper_bound": dict(
                    zip(explained.names, _to_json_values(explained.upper_bound), strict=True)
                ),
                "mean": float(np.nanmean(explained.ours)),
                "mean_upper_bound": float(np.nanmean(explained.upper_bound)),
            }
        values["unavailable"] = [each.to_dict() for each in self.unavailable]
        return values | {"disclaimer": self.disclaimer} | self.facts

    def format_table(self) -> str:
        """The metrics as text, one line per error."""
        baselines = list(next(iter(self.errors.values())).baselines)
        head = f"{'error':<10}{'ours':>9}  {'95 % interval':<20}"
        lines = [head + "".join(f"{baseline:>20}{'p':>8}" for baseline in baselines)]
        for name, comparison in self.errors.items():
            ours = comparison.ours
            line = f"{name:<10}{ours.value:9.4f}  ({ours.low:.4f} ... {ours.high:.4f}) "
            for baseline in baselines:
                line += f"{comparison.baselines[baseline].value:20.4f}"
                line += f"{comparison.differences[baseline].p_value:8.3f}"
            lines.append(line)
        if self.gender_accuracy is not None:
            lines.append(f"gender accuracy by the nearest mean shape: {100 * self.gender_accuracy:.1f} %")
        if self.fisher_gender_accuracy is not None and self.true_gender_accuracy is not None:
            nearest, fisher = (100 * accuracy for accuracy in self.true_gender_accuracy)
            lines[-1] += f" (ground truth {nearest:.1f} %)"
            lines.append(
                f"gender accuracy along the Fisher direction: {100 * self.fisher_gender_accuracy:.1f} % "
                f"(ground truth {fisher:.1f} %)"
            )
        if self.explained_variance is not None:
            explained = self.explained_variance
            lines.append(
                f"explained variance of {len(explained.names)} shape coefficients within gender: "
                f"{np.nanmean(explained.ours):.3f} (upper bound {np.nanmean(explained.upper_bound):.3f})"
            )
        lines.append(f"{self.num_predictions} predictions of {self.num_identities} identities")
        if self.unavailable:
            lines.append(describe_unavailable(self.unavailable))
        return "\n".join(lines)


def evaluate(
    meshes: Sequence[Array],
    identity_indices: Sequence[int],
    ground_truth: MeshGroundTruth,
    model: "LinearFaceModel",
    shapes: Array | None = None,
    *,
    bootstrap_samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Evaluation:
    """Compute the errors of predictions and of the baselines: the mean face and the mean of the own gender.

    Args:
        meshes: L meshes (N, 3), y up, any size.
        identity_indices: (L,) row of `ground_truth` of each.
        ground_truth: true meshes.
        model: face model with measuring pairs and landmarks.
        shapes: (L, S) un-whitened shape coefficients of the predictions, of the embedded head.
        bootstrap_samples, confidence, seed: of the confidence intervals.

    Raises:
        ValueError: no predictions.
        MeshError: meshes of another number of vertices.
    """
    from perceptionist.face_models.synthetic_head import canonical_coefficients
    from perceptionist.meshio.mesh import MeshError

    indices = np.asarray(identity_indices)
    if shapes is not None:
        shapes = canonical_coefficients(shapes, model.name)
    if not len(meshes):
        raise ValueError("There are no predictions to evaluate.")
    for mesh in [*meshes, *ground_truth.vertices]:
        if mesh.shape != (model.num_vertices, 3):
            raise MeshError(
                f"Found a mesh of {len(mesh)} vertices, the face model {model.name} has "
                f"{model.num_vertices}. "
                "Pass the face model of the meshes as --face-model."
            )
    predictors: dict[str, Callable[[slice], Array]] = {
        "ours": lambda rows: np.stack(meshes[rows]),
        MEAN_FACE: lambda rows: ground_truth.baselines["all"],
    }
    with_genders = all(ground_truth.genders)
    if with_genders:
        predictors[GENDER_MEAN_FACE] = lambda rows: np.stack(
            [ground_truth.baselines[ground_truth.genders[index]] for index in indices[rows]]
        )
    tables = {
        name: _error_table(predicted, indices, ground_truth, model) for name, predicted in predictors.items()
    }
    errors = compare_with_baselines(
        tables.pop("ours"),
        tables,
        indices,
        bootstrap_samples=bootstrap_samples,
        confidence=confidence,
        seed=seed,
    )
    gender_accuracy = fisher_accuracy = true_accuracy = None
    if with_genders and {*GENDERS} <= {*model.references}:
        correct = [
            _nearest_gender(mesh, model.references) == ground_truth.genders[index]
            for mesh, index in zip(meshes, indices, strict=True)
        ]
        gender_accuracy = float(identity_means(np.asarray(correct, float), indices).mean())
        if shapes is not None and ground_truth.gender_axis is not None:
            fisher_accuracy, true_accuracy = _fisher_gender_accuracy(
                shapes, indices, ground_truth, model.references
            )
    return Evaluation(
        len(set(indices.tolist())),
        len(meshes),
        errors,
        gender_accuracy,
        _explained_variance(shapes, indices, ground_truth),
        fisher_accuracy,
        true_accuracy,
        ground_truth.disclaimer,
    )


def _error_table(
    predicted: Callable[[slice], Array],
    indices: Array,
    ground_truth: MeshGroundTruth,
    model: "LinearFaceModel",
) -> Array:
    """Errors (L, 7) of predicted meshes, in batches of meshes; `predicted` returns those of some rows."""
    tables = []
    for start in range(0, len(indices), MESH_BATCH_SIZE):
        rows = slice(start, start + MESH_BATCH_SIZE)
        true = ground_truth.vertices[indices[rows]]
        tables.append(error_table(predicted(rows), true, model.pairs, model.landmarks))
    return np.concatenate(tables)


def _nearest_gender(mesh: Array, references: Mapping[str, Array]) -> str:
    """The gender of the nearest mean shape, as in `perceptionist.proportions.describe_face`."""
    errors = shape_errors(mesh, {gender: references[gender] for gender in GENDERS})
    return "male" if errors["male"] < errors["female"] else "female"


def _fisher_gender_accuracy(
    shapes: Array, identity_indices: Array, ground_truth: MeshGroundTruth, references: Mapping[str, Array]
) -> tuple[float, tuple[float, float]]:
    """Gender accuracy of the predictions along `gender_axis`, and of the true shapes by both rules."""
    assert ground_truth.gender_axis is not None and ground_truth.coefficients is not None
    male = np.asarray(ground_truth.genders) == "male"
    correct = (shapes @ ground_truth.gender_axis > 0) == male[identity_indices]
    rows = np.unique(identity_indices)
    nearest_correct = [
        _nearest_gender(ground_truth.vertices[row], references) == ground_truth.genders[row] for row in rows
    ]
    fisher_correct = (ground_truth.coefficients[rows] @ ground_truth.gender_axis > 0) == male[rows]
    accuracy = float(identity_means(correct.astype(float), identity_indices).mean())
    return accuracy, (float(np.mean(nearest_correct)), float(fisher_correct.mean()))


def _explained_variance(
    shapes: Array | None, identity_indices: Array, ground_truth: MeshGroundTruth
) -> ExplainedVariance | None:
    if shapes is None or ground_truth.coefficients is None or ground_truth.upper_bound is None:
        return None
    rows = np.unique(identity_indices)
    if len(rows) < 4:
        return None
    predicted = identity_means(shapes, identity_indices)
    genders = np.asarray(ground_truth.genders)[rows]
    ours = explained_variance(predicted, ground_truth.coefficients[rows], genders)
    return ExplainedVariance(ground_truth.coefficient_names, ours, ground_truth.upper_bound)


def _to_json_values(values: Array) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]
