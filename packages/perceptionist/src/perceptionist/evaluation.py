"""Predicted meshes against true ones: what `perceptionist evaluate` computes.

Letters: L predictions, N vertices, I people, S shape numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from voiceface.metrics.geometry import ErrorComparison, explained_variance, identity_means

from perceptionist.ground_truth import MeshGroundTruth
from perceptionist.proportions import GENDERS, compare_with_baselines, error_table, shape_errors

if TYPE_CHECKING:
    from perceptionist.face_models.linear import LinearFaceModel

Array = NDArray[Any]
MEAN_FACE, GENDER_MEAN_FACE = "mean face", "mean of own sex"
MESH_BATCH_SIZE = 32  # meshes that are measured together


@dataclass(frozen=True)
class ExplainedVariance:
    """Share of the variance of each shape coefficient, within sex, that the predictions explain.

    Attributes:
        names: (K,). ours: (K,), of the mean over a person's predictions. ceiling: (K,).
    """

    names: tuple[str, ...]
    ours: Array
    upper_bound: Array


@dataclass(frozen=True)
class Evaluation:
    """Figures of predictions.

    Attributes:
        num_identities, num_predictions: how many.
        errors: by name (`perceptionist.facial_proportions.ERRORS`): ours and the baselines with intervals over
            people, and the paired differences.
        gender_accuracy: share of predictions nearer the mean shape of the right sex; None where not known.
        fisher_gender_accuracy: the same with distances in units of what people of one sex differ by (`gender_axis`).
            The plain distance misjudges many true shapes, as it counts what says nothing about the sex.
        true_gender_accuracy: both shares of the true shapes, what the rules can reach.
        explained_variance: None where the true coefficients or the predicted ones are not known.
        disclaimer: what must be said beside every figure.
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

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        errors = {}
        for name, found in self.errors.items():
            each: dict[str, Any] = {"ours": vars(found.ours)}
            each |= {word: vars(interval) for word, interval in found.baselines.items()}
            each["ours minus"] = {word: vars(difference) for word, difference in found.differences.items()}
            errors[name] = each
        record: dict[str, Any] = {"format": "perceptionist-results-1", "people": self.num_identities}
        record |= {"predictions": self.num_predictions, "errors": errors}
        if self.gender_accuracy is not None:
            record["sex"] = self.gender_accuracy
        if self.fisher_gender_accuracy is not None:
            record["sex_in_spreads"] = self.fisher_gender_accuracy
        if self.true_gender_accuracy is not None:
            record["sex_of_the_truth"] = dict(
                zip(("sex", "sex_in_spreads"), self.true_gender_accuracy, strict=True)
            )
        if self.explained_variance is not None:
            e = self.explained_variance
            record["explained_variance_within_sex"] = {
                "ours": dict(zip(e.names, _to_json_values(e.ours))),
                "ceiling": dict(zip(e.names, _to_json_values(e.upper_bound))),
                "mean": float(np.nanmean(e.ours)),
                "mean_ceiling": float(np.nanmean(e.upper_bound)),
            }
        return record | {"disclaimer": self.disclaimer} | self.facts

    def format_table(self) -> str:
        """The errors as text, one line each."""
        baselines = list(next(iter(self.errors.values())).baselines)
        head = f"{'error':<10}{'ours':>9}  {'95 % interval':<20}"
        lines = [head + "".join(f"{word:>18}{'p':>8}" for word in baselines)]
        for name, found in self.errors.items():
            line = f"{name:<10}{found.ours.value:9.4f}  ({found.ours.low:.4f} ... {found.ours.high:.4f}) "
            for word in baselines:
                line += f"{found.baselines[word].value:18.4f}{found.differences[word].p_value:8.3f}"
            lines.append(line)
        if self.gender_accuracy is not None:
            lines.append(f"sex by the nearer mean shape: {100 * self.gender_accuracy:.1f} % right")
        if self.fisher_gender_accuracy is not None and self.true_gender_accuracy is not None:
            truth, spreads = (100 * share for share in self.true_gender_accuracy)
            lines[-1] += f" (true shapes {truth:.1f} %)"
            lines.append(
                f"sex, distances in spreads within the sexes: {100 * self.fisher_gender_accuracy:.1f} % right "
                f"(true shapes {spreads:.1f} %)"
            )
        if self.explained_variance is not None:
            e = self.explained_variance
            lines.append(
                f"variance of {len(e.names)} shape coefficients explained within sex: "
                f"{np.nanmean(e.ours):.3f} of at most {np.nanmean(e.upper_bound):.3f}"
            )
        lines.append(f"{self.num_predictions} predictions of {self.num_identities} people")
        return "\n".join(lines)


def evaluate(
    meshes: Sequence[Array],
    identity_indices: Sequence[int],
    ground_truth: MeshGroundTruth,
    model: "LinearFaceModel",
    shapes: Array | None = None,
    **options: Any,
) -> Evaluation:
    """Errors of predictions beside the mean face and the mean of one's own sex.

    Args:
        meshes: L meshes (N, 3), y up, any size.
        identity_indices: (L,) row of `ground_truth` of each.
        ground_truth: the truth.
        model: whose pairs and landmarks measure.
        shapes: (L, S) un-whitened shape numbers of the predictions, of the embedded head.
        options: `replicates`, `confidence`, `seed` of the intervals.

    Raises:
        ValueError: no predictions, or meshes of another number of vertices.
    """
    from perceptionist.meshio.mesh import MeshError

    who = np.asarray(identity_indices)
    if not len(meshes):
        raise ValueError("there are no predictions to judge")
    for mesh in [*meshes, *ground_truth.vertices]:
        if mesh.shape != (model.num_vertices, 3):
            raise MeshError(
                f"a mesh of {len(mesh)} vertices, the face model {model.name} has {model.num_vertices}; "
                "give the one it belongs to (--face-model)"
            )
    words = (MEAN_FACE, GENDER_MEAN_FACE) if all(ground_truth.genders) else (MEAN_FACE,)
    baselines: dict[str, list[Array]] = {word: [] for word in words}
    ours = []
    for start in range(0, len(meshes), MESH_BATCH_SIZE):
        rows = who[start : start + MESH_BATCH_SIZE]
        true = ground_truth.vertices[rows]
        mine = np.stack(meshes[start : start + MESH_BATCH_SIZE])
        ours.append(error_table(mine, true, model.pairs, model.landmarks))
        baselines[MEAN_FACE].append(
            error_table(ground_truth.baselines["all"], true, model.pairs, model.landmarks)
        )
        if GENDER_MEAN_FACE in baselines:
            theirs = np.stack([ground_truth.baselines[ground_truth.genders[row]] for row in rows])
            baselines[GENDER_MEAN_FACE].append(error_table(theirs, true, model.pairs, model.landmarks))
    tables = {word: np.concatenate(parts) for word, parts in baselines.items()}
    errors = compare_with_baselines(np.concatenate(ours), tables, who, **options)
    sex = None
    if all(ground_truth.genders) and {*GENDERS} <= {*model.references}:
        right = [
            _nearest_gender(mesh, model.references) == ground_truth.genders[row]
            for mesh, row in zip(meshes, who)
        ]
        sex = float(identity_means(np.asarray(right, float), who).mean())
    in_spreads, of_truth = None, None
    if sex is not None and shapes is not None and ground_truth.gender_axis is not None:
        in_spreads, of_truth = _fisher_gender_accuracy(shapes, who, ground_truth, model.references)
    return Evaluation(
        len(set(who.tolist())),
        len(meshes),
        errors,
        sex,
        _explained_variance(shapes, who, ground_truth),
        in_spreads,
        of_truth,
        ground_truth.disclaimer,
    )


def _nearest_gender(mesh: Array, references: Mapping[str, Array]) -> str:
    """The sex whose mean shape lies nearer, as `perceptionist.facial_proportions.describe` tells it."""
    errors = shape_errors(mesh, {sex: references[sex] for sex in GENDERS})
    return "male" if errors["male"] < errors["female"] else "female"


def _fisher_gender_accuracy(
    shapes: Array, identity_indices: Array, ground_truth: MeshGroundTruth, references: Mapping[str, Array]
) -> tuple[float, tuple[float, float]]:
    """Shares right along `gender_axis`: of the predictions; of the true shapes by both rules."""
    from perceptionist.face_models.synthetic_head import semantic_coefficients

    assert ground_truth.gender_axis is not None and ground_truth.coefficients is not None
    male = np.asarray(ground_truth.genders) == "male"
    right = (semantic_coefficients(shapes) @ ground_truth.gender_axis > 0) == male[identity_indices]
    rows = np.unique(identity_indices)
    plain = [
        _nearest_gender(ground_truth.vertices[row], references) == ground_truth.genders[row] for row in rows
    ]
    along = (ground_truth.coefficients[rows] @ ground_truth.gender_axis > 0) == male[rows]
    share = float(identity_means(right.astype(float), identity_indices).mean())
    return share, (float(np.mean(plain)), float(along.mean()))


def _explained_variance(
    shapes: Array | None, identity_indices: Array, ground_truth: MeshGroundTruth
) -> ExplainedVariance | None:
    if shapes is None or ground_truth.coefficients is None or ground_truth.upper_bound is None:
        return None
    from perceptionist.face_models.synthetic_head import semantic_coefficients

    rows = np.unique(identity_indices)
    if len(rows) < 4:
        return None
    predicted = identity_means(semantic_coefficients(shapes), identity_indices)
    sexes = np.asarray(ground_truth.genders)[rows]
    ours = explained_variance(predicted, ground_truth.coefficients[rows], sexes)
    return ExplainedVariance(ground_truth.coefficient_names, ours, ground_truth.upper_bound)


def _to_json_values(values: Array) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]
