"""What is true of the faces of synthetic identities, as far as an image shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.face.appearance import compute_skin_colours
from voiceface.synthetic.face.head import shape_coefficients
from voiceface.synthetic.identities import Identities, sample_identities
from voiceface.synthetic.layout import PopulationSettings

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FaceGroundTruth:
    """Truth behind the faces of N identities, row by row.

    Attributes:
        ids: (N,) identity numbers.
        sex: (N,) of the face, 1 = man.
        factors: (N, 8) face factors g0 ... g7.
        shape: (N, 40) shape coefficients of the head.
        skin: (N, 3) unlit display colour of the skin, red, green, blue in [0, 1].
        coupling: (8,) correlation of the voice's and the face's factor within a sex.
        share_sex: whether voice and face have the same sex.
        confound: how strongly nationality ties the skin to the voice, 0 to 1.
    """

    ids: NDArray[np.int64]
    sex: NDArray[np.int64]
    factors: Array
    shape: Array
    skin: Array
    coupling: Array
    share_sex: bool = True
    confound: float = 0.0

    def __len__(self) -> int:
        """Number of identities."""
        return len(self.ids)


def build_face_ground_truth(identities: Identities) -> FaceGroundTruth:
    """Truth of drawn identities, in their order."""
    return FaceGroundTruth(
        ids=identities.ids,
        sex=identities.face_sex,
        factors=identities.face_factors,
        shape=shape_coefficients(identities),
        skin=compute_skin_colours(identities),
        coupling=identities.coupling,
        share_sex=bool((identities.sex == identities.face_sex).all()),
        confound=identities.confound,
    )


def generate_face_ground_truth(settings: PopulationSettings, ids: Sequence[int]) -> FaceGroundTruth:
    """Truth of the identities `ids` of a population, in this order."""
    people = sample_identities(
        np.asarray(ids, np.int64),
        seed=settings.seed,
        rho=settings.rho,
        share_sex=settings.share_sex,
        confound=settings.confound,
    )
    return build_face_ground_truth(people)


def read_face_ground_truth(root: str | Path, face_names: Sequence[str]) -> FaceGroundTruth:
    """Truth of these identities of a population folder, in this order.

    Args:
        root: folder that `voiceface population` wrote.
        face_names: face names, such as "Brumo_Tal.00042".

    Raises:
        FileNotFoundError: the folder is no population.
        GroundTruthError: somebody is not in it, its files are corrupt, or another generator wrote it.
    """
    import csv

    from voiceface.synthetic.ground_truth import GroundTruthError, read_ground_truth

    truth = read_ground_truth(root).select(face_names)
    try:
        settings = PopulationSettings(**truth.settings)
        with (Path(root) / "truth" / "identities.csv").open(newline="", encoding="utf-8") as file:
            number = {row["name"]: int(row["k"]) for row in csv.DictReader(file)}
    except (TypeError, ValueError, KeyError) as error:
        raise GroundTruthError(
            f"{root}: its truth cannot be read ({error!r}); write the population again"
        ) from error
    found = generate_face_ground_truth(settings, [number[name] for name in face_names])
    if not np.allclose(found.factors, truth.face_factors, atol=1e-6):
        raise GroundTruthError(
            f"{root} was written by another generator ({settings.generator}); write it again"
        )
    return found
