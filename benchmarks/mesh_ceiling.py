"""The best that a voice can tell about the shape of a synthetic head.

`python benchmarks/mesh_ceiling.py POPULATION --split test` predicts heads from the sex and the true
voice factors of each person, by a linear regression that was fitted to 20,000 other people of the same
distribution. The factors of voice and face are jointly normal within a sex, so no program that hears
the voice explains more of the shape on average. It prints the errors of `perceptionist evaluate`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from perceptionist.evaluation import GENDER_MEAN_FACE, MEAN_FACE, evaluate
from perceptionist.face_models.synthetic_head import (
    PopulationHead,
    build_synthetic_face_model,
    frontal_vertices,
)
from perceptionist.ground_truth import load_synthetic_ground_truth
from voiceface.datasets.layouts import read_identities
from voiceface.synthetic.ground_truth import read_ground_truth
from voiceface.synthetic.head.shape_space import shape_coefficients
from voiceface.synthetic.identities import Identities, sample_identities
from voiceface.synthetic.layout import PopulationSettings, get_face_name

NUM_OTHERS = 20_000  # people of the regression


def build_predictors(people: Identities) -> NDArray[np.float64]:
    """Constant, sex, voice factors, and factors by sex: (N, 18)."""
    sex = np.asarray(people.sex, float)[:, None]
    factors = np.asarray(people.voice_factors, float)
    return np.hstack([np.ones_like(sex), sex, factors, factors * sex])


def fit_and_evaluate(root: Path, split: str) -> dict[str, tuple[float, float, float]]:
    """Error of the prediction, of the mean face and of the mean of the own gender, by name.

    Args:
        root: written population.
        split: train, val or test; the means are those of the training people, as in
            `perceptionist evaluate`.
    """
    settings = PopulationSettings(**read_ground_truth(root).settings)
    options = {word: getattr(settings, word) for word in ("seed", "rho", "share_sex", "confound")}
    first = max(settings.ids()) + 1
    others = sample_identities(list(range(first, first + NUM_OTHERS)), **options)
    weights = np.linalg.lstsq(build_predictors(others), shape_coefficients(others), rcond=None)[0]

    names = sorted({identity.face_id for identity in read_identities(root, split)})
    training = sorted({identity.face_id for identity in read_identities(root, "train")})
    number_of = {get_face_name(number, settings): number for number in settings.ids()}
    people = sample_identities([number_of[name] for name in names], **options)
    head = PopulationHead(settings.face_gain).model
    meshes = frontal_vertices(head, build_predictors(people) @ weights)
    result = evaluate(
        list(meshes),
        list(range(len(names))),
        load_synthetic_ground_truth(root, names, training),
        build_synthetic_face_model(settings.face_gain),
    )
    return {
        name: (
            error.ours.value,
            error.baselines[MEAN_FACE].value,
            error.baselines[GENDER_MEAN_FACE].value,
        )
        for name, error in result.errors.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("population", type=Path)
    parser.add_argument("--split", choices=("train", "val", "test"), default="test")
    options = parser.parse_args(arguments)
    print("| error | true voice factors | mean face | mean of own gender | factors / mean face |")
    print("|---|---|---|---|---|")
    for name, (ours, mean, gender) in fit_and_evaluate(options.population, options.split).items():
        print(f"| {name} | {ours:.4f} | {mean:.4f} | {gender:.4f} | {ours / mean:.2f} |")


if __name__ == "__main__":
    main()
