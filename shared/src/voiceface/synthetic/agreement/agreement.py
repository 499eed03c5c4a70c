"""Agreement of images generated from voices with the true faces, measured by an attribute reader.

Each metric stands between chance (the images made for other identities of the same sex, every one of them)
and a ceiling (another real image of the identity in place of the made one, through the same attribute
reader), with an interval over identities. What the population ties to the voice is sex and the eight factors;
skin, hair, eyes and the rest of the shape are free, and no honest maker gets them right (see
docs/population.md).
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
from voiceface.synthetic.face.head_bases import factor_loadings
from voiceface.synthetic.identities import FACTORS
from voiceface.synthetic.oracle import max_shape_r2
from voiceface.synthetic.readers.attribute_reader import AttributePrediction, predict_batched

if TYPE_CHECKING:
    from voiceface.synthetic.face.geometry_truth import FaceGroundTruth
    from voiceface.synthetic.readers.attribute_reader import AttributeReader

__all__ = [
    "METRIC_DESCRIPTIONS",
    "Agreement",
    "AgreementMetric",
    "agreement_from_predictions",
    "measure_agreement",
    "predict_identities",
]

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
    """Read made and real images and compare them.

    Args:
        reader: `reader.load("reader")`; never the network that the maker was trained on.
        generated: (N, 3, S, S), or (N, M, 3, S, S) for M images an identity, whose readings are averaged;
            red, green, blue, floating in [0, 1] or uint8.
        real: (N, P, 3, S', S') real images of the same identities, in the same order. The first one is kept
            for the value of another real image, the others make the gallery; with P = 1 there is no ceiling.
        truth: of the same identities, see `voiceface.synthetic.face.geometry_truth`.
        replicates: of the bootstrap over identities.
        confidence: of the intervals.
        seed: of the bootstrap.

    Raises:
        ValueError: numbers of identities differ, there are too few, or an image cannot be read.
    """
    generated = generated[:, None] if generated.ndim == 4 else generated
    rule: dict[str, Any] = {"replicates": replicates, "confidence": confidence, "seed": seed}
    return agreement_from_predictions(
        reader, predict_identities(reader, generated), predict_identities(reader, real), truth, **rule
    )


def predict_identities(reader: "AttributeReader", images: Tensor) -> AttributePrediction:
    """Readings of several images an identity, (N, M, 3, S, S) -> fields (N, M, ...), without maps."""
    if images.ndim != 5:
        raise ValueError(f"expected images (identities, images, 3, S, S), got {tuple(images.shape)}")
    found, people = predict_batched(reader, images.flatten(0, 1)), len(images)

    def split(value: Tensor) -> Tensor:
        return value.reshape(people, -1, *value.shape[1:])

    return AttributePrediction(
        split(found.embedding),
        split(found.sex_logit),
        split(found.factors),
        split(found.shape),
        split(found.skin),
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
    """The same as `agree` from readings, fields (N, M, ...) and (N, P, ...), as `read_people` gives them.

    Args:
        reader: what read them; tells which coefficients it can see and how well it reads the factors.
        generated, real, truth, replicates, confidence, seed: see `agree`.
    """
    people, shown = generated.embedding.shape[:2]
    behind = real.embedding.shape[1]
    _check_inputs(people, len(real.embedding), truth)
    sides = [parts.average_images(generated)]
    if behind > 1:
        sides.append(parts.average_images(parts.select_images(real, slice(0, 1))))
    gallery = parts.average_images(
        parts.select_images(real, slice(1, None) if behind > 1 else slice(0, 1))
    ).embedding
    noise = np.maximum(1 - reader.factor_r2.cpu().double().numpy(), 0.05)
    readable = reader.readable_shape.cpu().numpy()
    draws = bootstrap_counts(people, replicates, seed)
    everybody = np.zeros(people, np.int64)

    outcomes: dict[str, list[parts.MetricOutcome]] = {}
    for name, (field, chosen, within) in _correlation_specs(readable).items():
        aim = getattr(truth, field)[:, chosen]
        outcomes[name] = [
            parts.mean_correlation(getattr(side, field)[:, chosen], aim, truth.sex, draws, within_sex=within)
            for side in sides
        ]
    for name, tables in _outcome_tables(sides, gallery, truth, noise).items():
        group = everybody if name == "gender accuracy" else truth.sex
        outcomes[name] = [parts.diagonal_mean(table, group, draws) for table in tables]

    ties = _voice_dependence(truth, readable)
    figures = {}
    for name in (name for name in METRIC_DESCRIPTIONS if name in outcomes):
        first, *rest = outcomes[name]
        span = percentile_interval(first.value, first.replicates, confidence)
        ceiling = rest[0].value if rest else None
        gap = 0.0 if ceiling is None else ceiling - first.chance
        position = (first.value - first.chance) / gap if abs(gap) > 1e-9 else None
        figures[name] = AgreementMetric(
            first.value,
            span.standard_error,
            span.low,
            span.high,
            first.chance,
            ceiling,
            position,
            *ties[name],
        )
    digest = str(reader.metadata.get("sha256", ""))
    return Agreement(figures, people, shown, max(1, behind - 1), confidence, digest)


def _check_inputs(num_generated: int, num_real: int, truth: "FaceGroundTruth") -> None:
    if not num_generated == num_real == len(truth):
        raise ValueError(
            "generated images, real images and truth must be of the same identities: got "
            f"{num_generated}, {num_real} and "
            f"{len(truth)}"
        )
    counts = np.unique(truth.sex, return_counts=True)[1]
    if counts.min() < 2:
        raise ValueError(f"at least two identities of each sex are needed, got {counts.tolist()}")


def _correlation_specs(readable: Mask) -> dict[str, tuple[str, Mask, bool]]:
    """Metric -> (field, columns, within a sex); metrics without a readable column are skipped."""
    moved = _factor_driven()
    every = np.ones(len(FACTORS), bool)
    found = {"factors": ("factors", every, True)}
    found |= {
        f"factor {name}": ("factors", np.arange(len(FACTORS)) == j, True) for j, name in enumerate(FACTORS)
    }
    found |= {
        "shape": ("shape", readable & moved, False),
        "same-gender shape": ("shape", readable & moved, True),
        "voice-independent same-gender shape": ("shape", readable & ~moved, True),
        "skin": ("skin", np.ones(3, bool), False),
    }
    return {name: row for name, row in found.items() if row[1].any()}


def _outcome_tables(
    predictions: list[parts.MeanPrediction], gallery: Array, truth: "FaceGroundTruth", factor_noise: Array
) -> dict[str, list[Array]]:
    """Metric -> outcome table (N, N) of each side."""
    sex = truth.sex
    whole = [side.embedding @ gallery.T for side in predictions]
    tied = [parts.attribute_log_likelihood(side, sex, truth.factors, factor_noise) for side in predictions]
    found = {
        "gender accuracy": [parts.sex_correct(side, sex) for side in predictions],
        "skin distance": [parts.skin_distances(side, truth.skin) for side in predictions],
        "1:2 matching": [parts.fraction_beaten(scores, np.zeros_like(sex)) for scores in whole],
        "same-gender 1:2 matching": [parts.fraction_beaten(scores, sex) for scores in whole],
        "voice-determined same-gender 1:2 matching": [parts.fraction_beaten(scores, sex) for scores in tied],
    }
    for k in RANKS:
        found[f"rank-{k} identification"] = [parts.rank_k_identification(scores, k) for scores in whole]
        found[f"voice-determined rank-{k} identification"] = [
            parts.rank_k_identification(scores, k) for scores in tied
        ]
    return found


def _voice_dependence(truth: "FaceGroundTruth", readable: Mask) -> dict[str, tuple[str, float | None]]:
    """Metric -> whether the population ties it to the voice, and the bound of a correlation within a sex."""
    coupled = bool(truth.coupling.max() > 0)
    tied, part = (VOICE_DETERMINED, PARTLY_DETERMINED) if coupled else (VOICE_INDEPENDENT, VOICE_INDEPENDENT)
    either = PARTLY_DETERMINED if truth.share_sex else part
    skin = PARTLY_DETERMINED if truth.confound > 0 else VOICE_INDEPENDENT
    seen = readable & _factor_driven()
    reach = np.sqrt(max_shape_r2(truth.coupling))[seen]
    found: dict[str, tuple[str, float | None]] = {name: (either, None) for name in METRIC_DESCRIPTIONS}
    found |= {
        "gender accuracy": (VOICE_DETERMINED if truth.share_sex else VOICE_INDEPENDENT, None),
        "factors": (tied, float(truth.coupling.mean())),
        "same-gender shape": (part, float(reach.mean()) if len(reach) else None),
        "voice-independent same-gender shape": (VOICE_INDEPENDENT, 0.0),
        "skin": (skin, None),
        "skin distance": (skin, None),
        "same-gender 1:2 matching": (part, None),
        "voice-determined same-gender 1:2 matching": (tied, None),
    }
    for name, c in zip(FACTORS, truth.coupling.tolist()):
        found[f"factor {name}"] = (VOICE_DETERMINED if c > 0 else VOICE_INDEPENDENT, c)
    for k in RANKS:
        found[f"voice-determined rank-{k} identification"] = (
            VOICE_DETERMINED if coupled and truth.share_sex else either,
            None,
        )
    return found


def _factor_driven() -> Mask:
    """(40,) shape coefficients that a factor moves."""
    return np.asarray(np.square(factor_loadings()).sum(1) > 0)
