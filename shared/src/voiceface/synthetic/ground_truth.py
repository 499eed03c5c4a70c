"""Ground truth of a written population, and two reference observers as embedding tables.

The gender-only baseline knows the sex of voice and face, the oracle their true factors (docs/population.md).
As embedding tables they are scored on trial lists by the same code as any model.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voiceface.datasets.corpus import Corpus
from voiceface.embeddings.table import EmbeddingTable
from voiceface.io.foreign_files import read_json, reading
from voiceface.synthetic.identities import FACTORS
from voiceface.synthetic.oracle import MAX_COUPLING, log_likelihood_ratio

__all__ = [
    "GroundTruth",
    "GroundTruthError",
    "oracle_embeddings",
    "read_ground_truth",
    "reference_embeddings",
]


class GroundTruthError(ValueError):
    """The ground truth of a population is corrupt or does not match the corpus."""


@dataclass(frozen=True)
class GroundTruth:
    """Ground truth of the identities of one population, one row each.

    Attributes:
        face_names: face names.
        sex: (N,) of the voice, 0 female, 1 male.
        voice_factors: (N, 8) voice factors.
        face_factors: (N, 8) face factors.
        coupling: (8,) correlation of voice and face factors within a sex.
        settings: fields of `PopulationSettings`.
    """

    face_names: tuple[str, ...]
    sex: NDArray[np.int64]
    voice_factors: NDArray[np.float64]
    face_factors: NDArray[np.float64]
    coupling: NDArray[np.float64]
    settings: dict[str, Any]

    def select(self, face_names: Sequence[str]) -> "GroundTruth":
        """Select the rows of these identities, in this order.

        Raises:
            GroundTruthError: an identity is not in the population.
        """
        row_of = {name: row for row, name in enumerate(self.face_names)}
        unknown = [name for name in face_names if name not in row_of]
        if unknown:
            raise GroundTruthError(
                f"{len(unknown)} identities are not in the population, the first is {unknown[0]}"
            )
        rows = [row_of[name] for name in face_names]
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
        """Log likelihood ratios of all voices and faces, (N, N); minus infinity where the sexes differ."""
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
    summary, table = folder / "population.json", folder / "identities.csv"
    if not summary.is_file() or not table.is_file():
        raise FileNotFoundError(
            f"{root} is no population: population.json or identities.csv is missing in {folder}"
        )
    what, remedy = "the truth of a population", "write the population again"
    record = read_json(summary, GroundTruthError, what, remedy=remedy)
    with reading(table, GroundTruthError, what, remedy=remedy) as file:
        rows = list(csv.DictReader(io.TextIOWrapper(file, "utf-8", newline="")))
        factors = {
            side: np.array([[float(row[f"{side}{j}"]) for j in range(len(FACTORS))] for row in rows])
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


def reference_embeddings(
    truth: GroundTruth, corpus: Corpus
) -> dict[str, tuple[EmbeddingTable, EmbeddingTable]]:
    """Build the embedding tables of the two observers for all clips and images of a corpus.

    Args:
        truth: of the population that the corpus belongs to.
        corpus: the identities.

    Returns:
        "gender-only baseline" and "oracle upper bound" -> (voices, faces). Cosines rank pairs exactly as the
        observer does.
    """
    selected = truth.select([record.identity.face_id for record in corpus.records])
    vectors = {
        "gender-only baseline": _gender_embeddings(selected),
        "oracle upper bound": oracle_embeddings(selected),
    }
    voices = [(path, row) for row, record in enumerate(corpus.records) for path in record.voices]
    faces = [(path, row) for row, record in enumerate(corpus.records) for path in record.faces]

    def build_table(items: list[tuple[str, int]], rows: NDArray[np.float64], name: str) -> EmbeddingTable:
        paths = [path for path, _ in items]
        values = rows[[row for _, row in items]].astype(np.float32)
        return EmbeddingTable(paths, values, f"{name} of the population")

    return {
        name: (build_table(voices, voice_rows, name), build_table(faces, face_rows, name))
        for name, (voice_rows, face_rows) in vectors.items()
    }


def oracle_embeddings(truth: GroundTruth) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute vectors of voices and faces whose cosine is an increasing function of the log likelihood ratio.

    The ratio is a sum of products of a voice term and a face term. A term for the sex outweighs every ratio
    that occurs. A padding term per side, which meets a zero on the other side, makes all lengths equal.

    Returns:
        Voices and faces, (N, 13) each; (N, 12) where voice and face do not share the sex.
    """
    coupling = np.minimum(truth.coupling, MAX_COUPLING)
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
    padding = [np.sqrt(square.max() - square) for square in squares]
    zero = np.zeros_like(one)
    return np.hstack([voices, padding[0], zero]), np.hstack([faces, zero, padding[1]])


def _gender_embeddings(truth: GroundTruth) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return one unit vector per sex."""
    vectors = np.eye(2)[truth.sex]
    return vectors, vectors
