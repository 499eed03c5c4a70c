"""Agreement of images generated from voices with the true faces, measured by an attribute reader.

Each metric has a confidence interval over identities and two references: the chance level (images generated
for other identities of the same sex) and the value of another real image of the identity. Sex and the eight
factors depend on the voice; skin, hair, eyes and the rest of the shape do not, so no generator can predict
them (docs/population.md).
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from voiceface.metrics.bootstrap import bootstrap_counts, percentile_interval
from voiceface.synthetic.agreement import parts
from voiceface.synthetic.agreement.result import (
    METRIC_DESCRIPTIONS,
    PARTLY_DETERMINED,
    RANKS,
    VOICE_DETERMINED,
    VOICE_INDEPENDENT,
    Agreement,
    AgreementMetric,
)
from voiceface.synthetic.head.shape_space import factor_loadings
from voiceface.synthetic.identities import FACTORS
from voiceface.synthetic.oracle import max_shape_r2
from voiceface.synthetic.readers.attribute_reader import AttributePrediction, predict_batched

if TYPE_CHECKING:
    from voiceface.synthetic.head.geometry_truth import FaceGroundTruth
    from voiceface.synthetic.readers.attribute_reader import AttributeReader

__all__ = ["agreement_from_predictions", "measure_agreement", "predict_identities"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def measure_agreement(
    reader: "AttributeReader",
    generated: Tensor,
    real: Tensor,
    truth: "FaceGroundTruth",
    *,
    replicates: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Agreement:
    """Predict attributes of generated and real images and compare them.

    Args:
        reader: `load_reader("evaluation")`; not a network that the generator was trained with.
        generated: (N, 3, S, S), or (N, M, 3, S, S) for M images per identity, whose predictions are averaged;
            RGB, floating point in [0, 1] or uint8.
        real: (N, P, 3, S', S') real images of the same identities, in the same order. The first is the other
            real image, the rest is the gallery; with P = 1 the one image is the gallery.
        truth: of the same identities, see `voiceface.synthetic.head.geometry_truth`.
        replicates: bootstrap samples of identities.
        confidence: level of the intervals.
        seed: seed of the bootstrap.

    Raises:
        ValueError: numbers of identities differ or are too small, or images are invalid.
    """
    generated = generated[:, None] if generated.ndim == 4 else generated
    options: dict[str, Any] = {"replicates": replicates, "confidence": confidence, "seed": seed}
    predictions = predict_identities(reader, generated), predict_identities(reader, real)
    return agreement_from_predictions(reader, *predictions, truth, **options)


def predict_identities(reader: "AttributeReader", images: Tensor) -> AttributePrediction:
    """Predict attributes of images (N, M, 3, S, S), M per identity: fields (N, M, ...), no features.

    Raises:
        ValueError: images of another shape.
    """
    if images.ndim != 5:
        raise ValueError(f"expected images (identities, images, 3, S, S), got {tuple(images.shape)}")
    flat, num_identities = predict_batched(reader, images.flatten(0, 1)), len(images)

    def unflatten(value: Tensor) -> Tensor:
        return value.reshape(num_identities, -1, *value.shape[1:])

    return AttributePrediction(
        unflatten(flat.embedding),
        unflatten(flat.sex_logit),
        unflatten(flat.factors),
        unflatten(flat.shape),
        unflatten(flat.skin),
    )


def agreement_from_predictions(
    reader: "AttributeReader",
    generated: AttributePrediction,
    real: AttributePrediction,
    truth: "FaceGroundTruth",
    *,
    replicates: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Agreement:
    """Compute the agreement from predictions of `predict_identities`.

    Args:
        reader: the attribute reader behind the predictions; its R² per attribute is used.
        generated: fields (N, M, ...).
        real: fields (N, P, ...).
        truth: see `measure_agreement`, as all other arguments.
        replicates: likewise.
        confidence: likewise.
        seed: likewise.

    Raises:
        ValueError: numbers of identities differ or are too small, or a prediction is not finite.
    """
    num_identities, num_generated = generated.embedding.shape[:2]
    num_real = real.embedding.shape[1]
    _check_inputs(num_identities, len(real.embedding), truth)
    predictions = [parts.average_images(generated)]
    if num_real > 1:
        predictions.append(parts.average_images(parts.select_images(real, slice(0, 1))))
    gallery_images = slice(1, None) if num_real > 1 else slice(0, 1)
    gallery = parts.average_images(parts.select_images(real, gallery_images)).embedding
    factor_noise = np.maximum(1 - reader.factor_r2.cpu().double().numpy(), 0.05)
    readable = reader.readable_shape.cpu().numpy()
    counts = bootstrap_counts(num_identities, replicates, seed)

    outcomes: dict[str, list[parts.MetricOutcome]] = {}
    for name, (field, columns, within_sex) in _correlation_specs(readable).items():
        target = getattr(truth, field)[:, columns]
        values = [getattr(prediction, field)[:, columns] for prediction in predictions]
        outcomes[name] = [
            parts.mean_correlation(value, target, truth.sex, counts, within_sex=within_sex)
            for value in values
        ]
    for name, tables in _outcome_tables(predictions, gallery, truth, factor_noise).items():
        group = np.zeros_like(truth.sex) if name == "gender accuracy" else truth.sex
        outcomes[name] = [parts.diagonal_mean(table, group, counts) for table in tables]

    dependence = _voice_dependence(truth, readable)
    metrics = {}
    for name in (name for name in METRIC_DESCRIPTIONS if name in outcomes):
        outcome, *references = outcomes[name]
        interval = percentile_interval(outcome.value, outcome.replicates, confidence)
        real_value = references[0].value if references else None
        gap = 0.0 if real_value is None else real_value - outcome.chance
        metrics[name] = AgreementMetric(
            outcome.value,
            interval.standard_error,
            interval.low,
            interval.high,
            outcome.chance,
            real_value,
            (outcome.value - outcome.chance) / gap if abs(gap) > 1e-9 else None,
            *dependence[name],
        )
    digest = str(reader.metadata.get("sha256", ""))
    return Agreement(metrics, num_identities, num_generated, max(1, num_real - 1), confidence, digest)


def _check_inputs(num_generated: int, num_real: int, truth: "FaceGroundTruth") -> None:
    if not num_generated == num_real == len(truth):
        raise ValueError(
            "generated images, real images and ground truth must have the same identities: got "
            f"{num_generated}, {num_real} and {len(truth)}"
        )
    counts = np.unique(truth.sex, return_counts=True)[1]
    if counts.min() < 2:
        raise ValueError(f"at least two identities of each sex are required, got {counts.tolist()}")


def _correlation_specs(readable: Mask) -> dict[str, tuple[str, Mask, bool]]:
    """Map metrics to (field, columns, within a sex); metrics without a readable column are skipped."""
    driven = _factor_driven()
    specs = {"factors": ("factors", np.ones(len(FACTORS), bool), True)}
    specs |= {
        f"factor {name}": ("factors", np.arange(len(FACTORS)) == j, True) for j, name in enumerate(FACTORS)
    }
    specs |= {
        "shape": ("shape", readable & driven, False),
        "same-gender shape": ("shape", readable & driven, True),
        "voice-independent same-gender shape": ("shape", readable & ~driven, True),
        "skin": ("skin", np.ones(3, bool), False),
    }
    return {name: spec for name, spec in specs.items() if spec[1].any()}


def _outcome_tables(
    predictions: list[parts.MeanPrediction], gallery: Array, truth: "FaceGroundTruth", factor_noise: Array
) -> dict[str, list[Array]]:
    """Map metrics to outcome tables (N, N), one per prediction."""
    sex = truth.sex
    cosines = [prediction.embedding @ gallery.T for prediction in predictions]
    likelihoods = [
        parts.attribute_log_likelihood(prediction, sex, truth.factors, factor_noise)
        for prediction in predictions
    ]
    tables = {
        "gender accuracy": [parts.sex_correct(prediction, sex) for prediction in predictions],
        "skin distance": [parts.skin_distances(prediction, truth.skin) for prediction in predictions],
        "1:2 matching": [parts.fraction_beaten(scores, np.zeros_like(sex)) for scores in cosines],
    }
    for prefix, score_tables in (("", cosines), ("voice-determined ", likelihoods)):
        tables[f"{prefix}same-gender 1:2 matching"] = [
            parts.fraction_beaten(scores, sex) for scores in score_tables
        ]
        for k in RANKS:
            tables[f"{prefix}rank-{k} identification"] = [
                parts.rank_k_identification(scores, k) for scores in score_tables
            ]
    return tables


def _voice_dependence(truth: "FaceGroundTruth", readable: Mask) -> dict[str, tuple[str, float | None]]:
    """Map metrics to their dependence on the voice and the upper bound of a correlation within a sex."""
    coupled = bool(truth.coupling.max() > 0)
    by_factors = VOICE_DETERMINED if coupled else VOICE_INDEPENDENT
    partly_by_factors = PARTLY_DETERMINED if coupled else VOICE_INDEPENDENT
    overall = PARTLY_DETERMINED if truth.share_sex else partly_by_factors
    skin = PARTLY_DETERMINED if truth.confound > 0 else VOICE_INDEPENDENT
    bounds = np.sqrt(max_shape_r2(truth.coupling))[readable & _factor_driven()]
    dependence: dict[str, tuple[str, float | None]] = {name: (overall, None) for name in METRIC_DESCRIPTIONS}
    dependence |= {
        "gender accuracy": (VOICE_DETERMINED if truth.share_sex else VOICE_INDEPENDENT, None),
        "factors": (by_factors, float(truth.coupling.mean())),
        "same-gender shape": (partly_by_factors, float(bounds.mean()) if len(bounds) else None),
        "voice-independent same-gender shape": (VOICE_INDEPENDENT, 0.0),
        "skin": (skin, None),
        "skin distance": (skin, None),
        "same-gender 1:2 matching": (partly_by_factors, None),
        "voice-determined same-gender 1:2 matching": (by_factors, None),
    }
    for name, c in zip(FACTORS, truth.coupling.tolist()):
        dependence[f"factor {name}"] = (VOICE_DETERMINED if c > 0 else VOICE_INDEPENDENT, c)
    identification = VOICE_DETERMINED if coupled and truth.share_sex else overall
    for k in RANKS:
        dependence[f"voice-determined rank-{k} identification"] = (identification, None)
    return dependence


def _factor_driven() -> Mask:
    """Return a mask (40,) of the shape coefficients that depend on a factor."""
    return np.asarray(np.square(factor_loadings()).sum(1) > 0)
