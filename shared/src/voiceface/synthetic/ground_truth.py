"""Ground truth of a written population, and two reference observers.

`sex only` knows the sex of voice and face and nothing else; the `oracle` knows the true factors. Both are
given as embedding tables, so that lists score them by the same code as any model.
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voiceface.datasets.corpus import Corpus
from voiceface.embeddings.table import EmbeddingTable
from voiceface.synthetic.oracle import log_likelihood_ratio

NUM_FACTORS = 8
_MAX_COUPLING = 0.999


class GroundTruthError(ValueError):
    """The truth files of a population are corrupt or do not fit the corpus."""


@dataclass(frozen=True)
class GroundTruth:
    """Ground truth of the identities of one population, one row each.

    Attributes:
        face_names: face names.
        sex: (N,) 0 woman, 1 man, of the voice.
        voice_factors: (N, 8) voice factors.
        face_factors: (N, 8) face factors.
        coupling: (8,) coupling of v and g.
        settings: how the population was made.
    """

    face_names: tuple[str, ...]
    sex: NDArray[np.int64]
    voice_factors: NDArray[np.float64]
    face_factors: NDArray[np.float64]
    coupling: NDArray[np.float64]
    settings: dict

    def select(self, face_names: Sequence[str]) -> "GroundTruth":
        """The rows of these identities, in this order.

        Raises:
            GroundTruthError: somebody is not in the population.
        """
        place = {name: row for row, name in enumerate(self.face_names)}
        unknown = [name for name in face_names if name not in place]
        if unknown:
            raise GroundTruthError(
                f"{len(unknown)} identities are not in the population's truth, the first is {unknown[0]}"
            )
        rows = [place[name] for name in face_names]
        return GroundTruth(
            tuple(face_names),
            self.sex[rows],
            self.voice_factors[rows],
            self.face_factors[rows],
            self.coupling,
            self.settings,
        )

    @property
    def oracle_scores(self) -> NDArray[np.float64]:
        """Exact log likelihood ratio of every voice and face, (N, N), minus infinity across the sexes."""
        return log_likelihood_ratio(
            self.voice_factors,
            self.sex,
            self.face_factors,
            self.sex,
            self.coupling,
            share_sex=self.settings.get("share_sex", True),
        )


def read_ground_truth(root: str | Path) -> GroundTruth:
    """Read `truth/` of a population folder.

    Raises:
        FileNotFoundError: the folder is no population.
        GroundTruthError: the files are corrupt.
    """
    folder = Path(root) / "truth"
    marker, table = folder / "population.json", folder / "identities.csv"
    if not marker.is_file() or not table.is_file():
        raise FileNotFoundError(f"{root} is no population: {folder} lacks population.json or identities.csv")
    try:
        record = json.loads(marker.read_text("utf-8"))
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        factors = {
            side: np.array([[float(row[f"{side}{j}"]) for j in range(NUM_FACTORS)] for row in rows])
            for side in "vg"
        }
        return GroundTruth(
            face_names=tuple(row["name"] for row in rows),
            sex=np.array([int(row["sex"]) for row in rows]),
            voice_factors=factors["v"],
            face_factors=factors["g"],
            coupling=np.asarray(record["coupling"], float),
            settings=record["settings"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise GroundTruthError(f"{folder} cannot be read ({error!r}); write the population again") from error


def reference_embeddings(
    truth: GroundTruth, corpus: Corpus
) -> dict[str, tuple[EmbeddingTable, EmbeddingTable]]:
    """Voice and face tables of the two observers, for every clip and image of a corpus.

    Args:
        truth: of the population that the corpus belongs to.
        corpus: identities to answer for.

    Returns:
        "gender-only baseline" and "oracle upper bound" -> (voices, faces); cosines rank pairs exactly as the
        observer does.
    """
    here = truth.select([person.identity.face_id for person in corpus.records])
    found = {}
    for name, (voices, faces) in {
        "gender-only baseline": _gender_embeddings(here),
        "oracle upper bound": oracle_embeddings(here),
    }.items():
        items: tuple[tuple[list[str], list[int]], ...] = ([], []), ([], [])
        for row, person in enumerate(corpus.records):
            for side, paths in enumerate((person.voices, person.faces)):
                items[side][0].extend(paths)
                items[side][1].extend([row] * len(paths))
        left, right = (
            EmbeddingTable(paths, table[rows].astype(np.float32), f"{name} of the population")
            for (paths, rows), table in zip(items, (voices, faces))
        )
        found[name] = left, right
    return found


def oracle_embeddings(truth: GroundTruth) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Vectors of voices (N, 20) and faces (N, 20) whose cosine is an increasing function of the log ratio.

    The ratio is a sum of products of a voice term and a face term. A term for the sex lies beyond every ratio
    that occurs, and one filling term on each side, which meets a zero on the other, makes all lengths equal.
    """
    coupling = np.minimum(truth.coupling, _MAX_COUPLING)
    rest = 1 - coupling**2
    linear, square = np.sqrt(coupling / rest), coupling**2 / (2 * rest)
    one = np.ones((len(truth.sex), 1))
    voices = np.hstack([linear * truth.voice_factors, -(truth.voice_factors**2 @ square)[:, None], one])
    faces = np.hstack([linear * truth.face_factors, one, -(truth.face_factors**2 @ square)[:, None]])
    if truth.settings.get("share_sex", True):
        products = voices @ faces.T
        size = np.sqrt(products.max() - products.min() + 1)
        sign = size * (2 * truth.sex[:, None] - 1)
        voices, faces = np.hstack([voices, sign]), np.hstack([faces, sign])
    squares = [np.square(side).sum(1, keepdims=True) for side in (voices, faces)]
    fill = [np.sqrt(square.max() - square) for square in squares]
    zero = np.zeros_like(one)
    return np.hstack([voices, fill[0], zero]), np.hstack([faces, zero, fill[1]])


def _gender_embeddings(truth: GroundTruth) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One unit vector for each sex."""
    vectors = np.eye(2)[truth.sex]
    return vectors, vectors
