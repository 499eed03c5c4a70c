"""Ground truth of synthetic faces that an image can show: sex, factors, shape and skin colour."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.head.shape_space import shape_coefficients
from voiceface.synthetic.head.traits import compute_skin_colours
from voiceface.synthetic.identities import Identities
from voiceface.synthetic.layout import PopulationSettings, generator_version

__all__ = [
    "FaceGroundTruth",
    "build_face_ground_truth",
    "generate_face_ground_truth",
    "read_face_ground_truth",
]

Array = NDArray[np.float64]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FaceGroundTruth:
    """Ground truth of the faces of N identities, one row each.

    Attributes:
        ids: (N,) identity numbers.
        sex: (N,) of the face, 1 = male.
        factors: (N, 8) face factors g0 ... g7.
        shape: (N, 40) shape coefficients of the head.
        skin: (N, 3) unlit display colour of the skin, RGB in [0, 1].
        coupling: (8,) correlation of voice and face factors within a sex.
        share_sex: voice and face have the same sex.
        confound: strength of the correlation of skin and voice through nationality, 0 to 1.
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
    """Build the ground truth of identities, in their order."""
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
    """Generate the ground truth of the identities `ids` of a population, in this order.

    People of an earlier version of the generator are named in a warning: no bundled reader knows them.
    """
    identities = settings.sample_identities(ids)
    truth = build_face_ground_truth(identities)
    if settings.generator == generator_version():
        return truth
    log.warning(
        "people of an earlier version of the population (%s): the bundled attribute readers know those of "
        "%s, and what they read from other images means little",
        settings.generator,
        generator_version(),
    )
    # In populations of earlier versions the skin did not go with the ancestry of the shape.
    return replace(truth, skin=compute_skin_colours(identities, with_ancestry=False))


def read_face_ground_truth(root: str | Path, face_names: Sequence[str]) -> FaceGroundTruth:
    """Read the ground truth of identities of a population folder, in this order.

    Args:
        root: folder written by `voiceface population`.
        face_names: face names, such as "Brumo_Tal.00042".

    Raises:
        FileNotFoundError: the folder is no population.
        GroundTruthError: an identity is not in it, its files are corrupt, or its factors are other ones.
    """
    import csv
    import io

    from voiceface.io.foreign_files import reading
    from voiceface.synthetic.ground_truth import GroundTruthError, read_ground_truth

    truth = read_ground_truth(root).select(face_names)
    table, what = Path(root) / "truth" / "identities.csv", "the truth of a population"
    with reading(table, GroundTruthError, what, remedy="write the population again") as file:
        settings = PopulationSettings(**truth.settings)
        rows = csv.DictReader(io.TextIOWrapper(file, "utf-8", newline=""))
        numbers = {row["name"]: int(row["k"]) for row in rows}
        numbers = {name: numbers[name] for name in face_names}
    faces = generate_face_ground_truth(settings, list(numbers.values()))
    if not np.allclose(faces.factors, truth.face_factors, atol=1e-6):
        raise GroundTruthError(
            f"{table}: its factors are not those of its settings (generator {settings.generator}); write "
            "the population again"
        )
    return faces
