"""What share of the population's true factors frozen features hold, by linear probes on unseen identities.

Factors are standard normal within a sex, so the share is R² about the mean of the sex. Voice factors v and
face factors g have correlation c (docs/population.md): from a face, no observer can know more than c² of v.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from voiceface.metrics.bootstrap import Interval, bootstrap_counts, mean_interval, percentile_interval
from voiceface.synthetic.identities import FACTORS
from voiceface.synthetic.oracle import log_likelihood_ratio

from fop.ridge import LinearMap, fit_ridge

if TYPE_CHECKING:
    from voiceface.encoders.tables import FeatureSet
    from voiceface.synthetic.ground_truth import GroundTruth

__all__ = [
    "PROBES",
    "FactorProbe",
    "SpokenVoices",
    "fit_factor_map",
    "judge_spoken_voices",
    "probe_factors",
    "within_sex_r2",
]

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
PROBES = {
    "voice factors from the voice": ("voice", "voice"),
    "face factors from the face": ("face", "face"),
    "voice factors from the face": ("face", "voice"),
    "face factors from the voice": ("voice", "face"),
}
"""Name -> (modality of the features, modality of the factors)."""


@dataclass(frozen=True)
class FactorProbe:
    """How well a linear map of features predicts the factors of unseen identities.

    Attributes:
        name: key of `PROBES`.
        sex_accuracy: share of files whose sex is right, 0...1.
        r2: of each of the eight factors from one file.
        r2_mean_feature: the same from the mean feature of all files of an identity.
        mean_r2: mean of `r2` over the factors, with its interval over identities.
        upper_bound: of `r2` for an observer of the true factors of that modality, (8,).
    """

    name: str
    sex_accuracy: Interval
    r2: Array
    r2_mean_feature: Array
    mean_r2: Interval
    upper_bound: Array

    def to_values(self) -> dict[str, Any]:
        """Values for JSON."""
        return {
            "sex_accuracy": vars(self.sex_accuracy),
            "mean_r2": vars(self.mean_r2),
            "r2": dict(zip(FACTORS, self.r2.tolist())),
            "r2_mean_feature": dict(zip(FACTORS, self.r2_mean_feature.tolist())),
            "upper_bound": dict(zip(FACTORS, self.upper_bound.tolist())),
        }


@dataclass(frozen=True)
class SpokenVoices:
    """Voices spoken for faces, judged by the oracle.

    The oracle hears the factors of a spoken voice and chooses between the true voice of the person whose face
    it was spoken for, and the true voice of another test identity of the same sex.

    Attributes:
        matching: share of right choices, 0...1; chance .5.
        upper_bound: the same with the voices that the true face factors let one expect.
    """

    matching: Interval
    upper_bound: Interval

    def to_values(self) -> dict[str, Any]:
        """Values for JSON."""
        return {name: vars(value) for name, value in vars(self).items()}


def within_sex_r2(errors: Array, targets: Array, sex: Indices, weights: Array | None = None) -> Array:
    """Compute 1 - squared error / variance about the mean of each sex, of every column.

    Args:
        errors: prediction - target, (N, T).
        targets: (N, T).
        sex: (N,), 0 or 1.
        weights: of the rows, (B, N); None: all one.

    Returns:
        Shape (T,), or (B, T); at most 1.
    """
    counts = np.ones((1, len(sex))) if weights is None else weights
    squared = counts @ np.square(errors)
    variance = np.zeros_like(squared)
    for value in (0, 1):
        part = counts[:, sex == value]
        rows = targets[sex == value]
        total = np.maximum(part.sum(1, keepdims=True), 1e-12)
        variance += part @ np.square(rows) - np.square(part @ rows) / total
    with np.errstate(invalid="ignore", divide="ignore"):
        r2 = 1 - squared / variance
    return r2[0] if weights is None else r2


def fit_factor_map(
    features: "Mapping[str, FeatureSet]", truth: "GroundTruth", modality: str, factors: str
) -> LinearMap:
    """Fit sex and factors on features of single files of the training identities.

    Args:
        features: of the splits "train" and "val", whose identities choose the penalty.
        truth: of the population.
        modality: of the features, "voice" or "face".
        factors: "voice" or "face".

    Returns:
        Map to (sex, -1 or 1, and eight factors).
    """
    (vectors, owners), (held, of_held) = (_rows(features[split], modality) for split in ("train", "val"))
    targets, held_targets = (_targets(features[split], truth, factors) for split in ("train", "val"))
    return fit_ridge(vectors, targets[owners], held, held_targets[of_held])


def probe_factors(
    features: "Mapping[str, FeatureSet]", truth: "GroundTruth", name: str, *, replicates: int = 1000
) -> FactorProbe:
    """Fit one of `PROBES` on "train" (penalty on "val") and judge it on the identities of "test".

    Args:
        features: of the three splits.
        truth: of the population.
        name: key of `PROBES`.
        replicates: bootstrap samples of identities.
    """
    modality, factors = PROBES[name]
    linear = fit_factor_map(features, truth, modality, factors)
    vectors, owners = _rows(features["test"], modality)
    targets = _targets(features["test"], truth, factors)
    people, row_of = np.unique(owners, return_inverse=True)
    counts = np.bincount(row_of).astype(float)
    predicted = linear.predict(vectors)
    sex = (targets[:, 0] > 0).astype(np.int64)
    errors = predicted[:, 1:] - targets[owners, 1:]
    r2 = within_sex_r2(errors, targets[owners, 1:], sex[owners])
    draws = bootstrap_counts(len(people), replicates, 0)[:, row_of]
    again = within_sex_r2(errors, targets[owners, 1:], sex[owners], draws).mean(1)
    means = np.zeros((len(people), predicted.shape[1]))
    np.add.at(means, row_of, predicted)
    means /= counts[:, None]
    coupling = np.square(truth.coupling) if modality != factors else np.ones(len(FACTORS))
    return FactorProbe(
        name,
        mean_interval(((predicted[:, 0] > 0) == (sex[owners] == 1)).astype(float), owners),
        r2,
        within_sex_r2(means[:, 1:] - targets[people, 1:], targets[people, 1:], sex[people]),
        percentile_interval(float(r2.mean()), again),
        coupling,
    )


def judge_spoken_voices(linear: LinearMap, features: "FeatureSet", truth: "GroundTruth") -> SpokenVoices:
    """Let the oracle match the voices that are spoken for the faces of test identities, see `SpokenVoices`.

    Args:
        linear: map from face features to sex and voice factors.
        features: of the test identities; one voice is spoken for every picture.
        truth: of the population.
    """
    people = truth.select(features.identities)
    owners = features.face_identities
    spoken = linear.predict(features.faces)[:, 1:]
    expected = people.face_factors * people.coupling
    return SpokenVoices(
        _oracle_matching(spoken, owners, people),
        _oracle_matching(expected, np.arange(len(people.sex)), people),
    )


def _oracle_matching(spoken: Array, owners: Indices, people: "GroundTruth") -> Interval:
    """Share of other true voices of the same sex to which the oracle prefers the own one, mean over faces.

    Args:
        spoken: factors of the spoken voices, (N, 8): c times the face factors that they stand for.
        owners: row of the person in `people`, (N,).
        people: the test identities.
    """
    coupling = np.maximum(people.coupling, 1e-6)
    scores = log_likelihood_ratio(
        people.voice_factors, people.sex, spoken / coupling, people.sex[owners], people.coupling
    ).T
    own = scores[np.arange(len(owners)), owners][:, None]
    others = people.sex[owners][:, None] == people.sex[None]
    others[np.arange(len(owners)), owners] = False
    wins = ((own > scores) & others).sum(1) + 0.5 * ((own == scores) & others).sum(1)
    number = others.sum(1)
    return mean_interval(np.where(number > 0, wins / np.maximum(number, 1), np.nan), owners)


def _rows(features: "FeatureSet", modality: str) -> tuple[Array, Indices]:
    """Features of one modality, and the identity of every row."""
    if modality == "voice":
        return features.voices.astype(float), features.voice_identities
    return features.faces.astype(float), features.face_identities


def _targets(features: "FeatureSet", truth: "GroundTruth", factors: str) -> Array:
    """Sex, -1 or 1, and factors of every identity, (I, 9)."""
    people = truth.select(features.identities)
    values = people.voice_factors if factors == "voice" else people.face_factors
    return np.column_stack([2.0 * people.sex - 1, values])
