"""How far linear maps of frozen features can match voices with faces: what fop could reach.

    python benchmarks/fop_feature_bounds.py --preset standard --data POPULATION

Two references beside fop's heads, on the features of its two encoders for a population:

- a ridge regression of the true sex and factors of the training people, which no association system sees;
- a canonical correlation analysis of the mean features of each training person, with a penalty on what
  varies between the clips and between the images of one person.

Penalties and the number of canonical dimensions are chosen on the validation people: by the squared error
of each target, and by matching (same gender, one clip and one image). The test people are matched once.
`--means` also trains fop's head on features that are means of one to four clips, and of images, of a person.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from voiceface.evaluation.all_pairs import score_matrix
from voiceface.evaluation.all_pairs_comparison import AllPairsComparison, compare_all_pairs

if TYPE_CHECKING:
    from voiceface.encoders.tables import FeatureSet
    from voiceface.synthetic.ground_truth import GroundTruth

NUM_AVERAGED = 4
STRENGTHS = 10.0 ** np.arange(-4, 1.01, 0.5)  # of the mean variance of a feature
DIMENSIONS = (5, 7, 9, 12, 16)
Array = NDArray[np.float64]


class People(NamedTuple):
    """Features and truth of one split; clips and images one after the other, `NUM_AVERAGED` of each used.

    Attributes:
        voices, faces: (N, K, D), standardised as the training features.
        truth: of the same people.
    """

    voices: Array
    faces: Array
    truth: "GroundTruth"


def read_splits(data: Path, preset: str) -> "dict[str, FeatureSet]":
    """Features of the three splits, from the folder beside the data where they are kept."""
    from fop.config import FopConfig
    from fop.training_data import encode_training_set
    from voiceface.association.data import load_split
    from voiceface.runtime.config import load_config

    config = load_config(preset, FopConfig, "fop", ())
    cache = data.with_name(f"{data.name}.features")
    return {
        split: encode_training_set(load_split(data, split), data, config, cache=cache)
        for split in ("train", "val", "test")
    }


def take_rows(features: Array, owners: NDArray[np.int64], number: int, count: int | None) -> Array:
    """(N, K, D): the first `count` rows of each person, or as many as everybody has."""
    rows = [np.flatnonzero(owners == person) for person in range(number)]
    shortest = min(map(len, rows))
    count = shortest if count is None else min(count, shortest)
    return np.stack([features[each[:count]] for each in rows]).astype(float)


def build_people(data: Path, splits: "dict[str, FeatureSet]") -> dict[str, People]:
    """Standardise the features by those of the training people, and add the truth."""
    from voiceface.synthetic.ground_truth import read_ground_truth

    truth = read_ground_truth(data)
    training = splits["train"]
    scale = {
        name: (rows.mean(0), rows.std(0) + 1e-6)
        for name, rows in (("voices", training.voices), ("faces", training.faces))
    }
    found = {}
    for split, features in splits.items():
        number, count = len(features.people), None if split == "train" else NUM_AVERAGED
        voices = take_rows(features.voices, features.voice_identities, number, count)
        faces = take_rows(features.faces, features.face_identities, number, count)
        found[split] = People(
            (voices - scale["voices"][0]) / scale["voices"][1],
            (faces - scale["faces"][0]) / scale["faces"][1],
            truth.select([person.face_id for person in features.people]),
        )
    return found


def fit_canonical(people: People, strength: float, count: int) -> tuple[Array, Array]:
    """Canonical directions (Dv, count) and (Df, count) of mean features, scaled by their correlations."""
    means, whiteners = [], []
    for features in (people.voices, people.faces):
        centred = features.mean(1) - features.mean((0, 1))
        inside = (features - features.mean(1, keepdims=True)).reshape(-1, features.shape[2])
        penalty = inside.T @ inside / len(inside)
        covariance = centred.T @ centred / len(centred) + strength * (penalty + 0.1 * np.eye(len(penalty)))
        means.append(centred)
        whiteners.append(scipy.linalg.inv(scipy.linalg.cholesky(covariance)))
    cross = whiteners[0].T @ (means[0].T @ means[1] / len(means[0])) @ whiteners[1]
    left, values, right = np.linalg.svd(cross)
    scale = np.sqrt(values[:count])
    return whiteners[0] @ left[:, :count] * scale, whiteners[1] @ right[:count].T * scale


def compare(people: People, maps: tuple[Array, Array]) -> dict[str, AllPairsComparison]:
    """Metrics of cosine similarities of mapped features: of single pairs, and of means of all."""
    voices, faces = people.voices @ maps[0], people.faces @ maps[1]
    pairs = [score_matrix(voices[:, k], faces[:, k]) for k in range(voices.shape[1])]
    both = {"single": pairs, "mean": [score_matrix(voices, faces)]}
    return {
        name: compare_all_pairs({"": scores}, people.truth.sex, setting=name, replicates=200)
        for name, scores in both.items()
    }


def same_gender(found: dict[str, AllPairsComparison]) -> tuple[float, float]:
    """Accuracy within a gender of single pairs, and of means."""
    single, mean = (each.systems[""]["g"].value for each in (found["single"], found["mean"]))
    return single, mean


def choose_regression(people: dict[str, People]) -> tuple[Array, Array]:
    """Maps to sex and factors, each with the penalty that is best on the validation people."""
    from fop.ridge import fit_ridge

    def build_rows(split: str, modality: str) -> tuple[Array, Array]:
        features, truth = getattr(people[split], f"{modality}s"), people[split].truth
        targets = np.hstack([2.0 * truth.sex[:, None] - 1, getattr(truth, f"{modality}_factors")])
        return features.reshape(-1, features.shape[2]), np.repeat(targets, features.shape[1], axis=0)

    # Without the bias, which is the mean of all and tells nobody apart.
    voices, faces = (
        fit_ridge(*build_rows("train", modality), *build_rows("val", modality)).weight
        for modality in ("voice", "face")
    )
    return voices, faces


def choose_canonical(people: dict[str, People]) -> tuple[Array, Array]:
    """Canonical maps; strength and number are the best on the validation people."""
    every = [
        fit_canonical(people["train"], strength, count) for strength in STRENGTHS for count in DIMENSIONS
    ]
    return max(every, key=lambda maps: same_gender(compare(people["val"], maps)))


def average_rows(features: "FeatureSet", largest: int, seed: int) -> "FeatureSet":
    """Replace each row by the mean of itself and up to `largest` - 1 others of the same person."""
    rng = np.random.default_rng(seed)

    def average(rows: NDArray[np.float32], owners: NDArray[np.int64]) -> NDArray[np.float32]:
        result = rows.copy()
        for person in np.unique(owners):
            own = np.flatnonzero(owners == person)
            for row in own:
                others = rng.permutation(own[own != row])[: rng.integers(0, largest)]
                result[row] = rows[[row, *others]].mean(0)
        return result

    return replace(
        features,
        voices=average(features.voices, features.voice_identities),
        faces=average(features.faces, features.face_identities),
    )


def score_head(
    splits: "dict[str, FeatureSet]", preset: str, seed: int, largest: int, split: str
) -> list[float]:
    """Train fop on means of one to `largest` rows; accuracy within a gender, of single pairs and of means."""
    import fop
    from fop.config import FopConfig
    from fop.train import train
    from fop.training_data import load_feature_data
    from voiceface.runtime.config import load_config

    config = load_config(preset, FopConfig, "fop", [f"training.seed={seed}"])
    training = splits["train"] if largest == 1 else average_rows(splits["train"], largest, seed)
    found = load_feature_data(config, training, splits["val"])
    with tempfile.TemporaryDirectory() as folder:
        train(config, found.dataset, Path(folder) / "run", validation=found.validation, threads=1)
        voices, faces = fop.load(Path(folder) / "run").embed_features(splits[split])
    features, number = splits[split], len(splits[split].people)
    left = take_rows(voices.vectors, features.voice_identities, number, NUM_AVERAGED)
    right = take_rows(faces.vectors, features.face_identities, number, NUM_AVERAGED)
    sex = np.array([person.gender == "m" for person in features.people], int)
    pairs = [score_matrix(left[:, k], right[:, k]) for k in range(left.shape[1])]
    return [
        compare_all_pairs({"": scores}, sex, replicates=2).systems[""]["g"].value
        for scores in (pairs, [score_matrix(left, right)])
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="fop_feature_bounds", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--preset", default="standard", choices=["quick", "standard"])
    parser.add_argument("--data", type=Path, required=True, help="population of this preset")
    parser.add_argument("--means", action="store_true", help="train fop on means of clips and images, too")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="of these trainings (default 1)")
    options = parser.parse_args(argv)
    splits = read_splits(options.data, options.preset)
    people = build_people(options.data, splits)
    for name, choose in (("regression of the truth", choose_regression), ("canonical", choose_canonical)):
        maps = choose(people)
        print(
            f"{name}, {maps[0].shape[1]} dimensions, same gender, one clip and image; mean of {NUM_AVERAGED}"
        )
        for split in ("val", "test"):
            print(f"  {split:5} {same_gender(compare(people[split], maps))[0]:.3f}", end="")
            print(f"  {same_gender(compare(people[split], maps))[1]:.3f}")
    for largest in (1, NUM_AVERAGED) if options.means else ():
        found = [score_head(splits, options.preset, seed, largest, "val") for seed in options.seeds]
        values = " ".join(f"{value:.3f}" for value in np.mean(found, axis=0))
        print(f"fop, means of 1 to {largest}, validation people, {len(found)} seeds: {values}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
