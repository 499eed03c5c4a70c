"""What is true of the faces of invented people, as far as a picture shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.face.appearance import skin_colours
from voiceface.synthetic.face.head import identity_coefficients
from voiceface.synthetic.identities import People, draw_people
from voiceface.synthetic.layout import Settings

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FaceTruth:
    """Truth behind the faces of N people, row by row.

    Attributes:
        k: (N,) identity numbers.
        sex: (N,) of the face, 1 = man.
        factors: (N, 8) face factors g0 ... g7.
        shape: (N, 40) shape coefficients of the head.
        skin: (N, 3) unlit display colour of the skin, red, green, blue in [0, 1].
        coupling: (8,) correlation of the voice's and the face's factor within a sex.
        share_sex: whether voice and face have the same sex.
        confound: how strongly nationality ties the skin to the voice, 0 to 1.
    """

    k: NDArray[np.int64]
    sex: NDArray[np.int64]
    factors: Array
    shape: Array
    skin: Array
    coupling: Array
    share_sex: bool = True
    confound: float = 0.0

    def __len__(self) -> int:
        """Number of people."""
        return len(self.k)


def face_truth(people: People) -> FaceTruth:
    """Truth of drawn people, in their order."""
    return FaceTruth(
        k=people.k,
        sex=people.face_sex,
        factors=people.g,
        shape=identity_coefficients(people),
        skin=skin_colours(people),
        coupling=people.c,
        share_sex=bool((people.sex == people.face_sex).all()),
        confound=people.confound,
    )


def face_truth_of(settings: Settings, ids: Sequence[int]) -> FaceTruth:
    """Truth of the identities `ids` of a population, in this order."""
    people = draw_people(
        np.asarray(ids, np.int64),
        seed=settings.seed,
        rho=settings.rho,
        share_sex=settings.share_sex,
        confound=settings.confound,
    )
    return face_truth(people)


def read_face_truth(root: str | Path, names: Sequence[str]) -> FaceTruth:
    """Truth of these people of a population folder, in this order.

    Args:
        root: folder that `voiceface population` wrote.
        names: face names, such as "Brumo_Tal.00042".

    Raises:
        FileNotFoundError: the folder is no population.
        TruthError: somebody is not in it, its files are damaged, or another generator wrote it.
    """
    import csv

    from voiceface.synthetic.ground_truth import TruthError, read_truth

    truth = read_truth(root).of(names)
    try:
        settings = Settings(**truth.settings)
        with (Path(root) / "truth" / "identities.csv").open(newline="", encoding="utf-8") as file:
            number = {row["name"]: int(row["k"]) for row in csv.DictReader(file)}
    except (TypeError, ValueError, KeyError) as error:
        raise TruthError(
            f"{root}: its truth cannot be read ({error!r}); write the population again"
        ) from error
    found = face_truth_of(settings, [number[name] for name in names])
    if not np.allclose(found.factors, truth.g, atol=1e-6):
        raise TruthError(f"{root} was written by another generator ({settings.generator}); write it again")
    return found
