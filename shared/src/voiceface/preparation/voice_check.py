"""Whether every clip of a person has the person's voice.

Each clip is compared with the mean of the person's other clips by the cosine of their voice embeddings
(`voiceface.real.voice_encoder`). The least similar clip is dropped first, so that it does not spoil the mean
for the others, until all that remain agree.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

__all__ = ["MIN_COSINE", "check_voices", "leave_one_out_cosines", "unchecked_people"]

MIN_COSINE = 0.65
"""Least cosine of a clip and the mean of the person's other clips; docs/data.md has the figures."""


def check_voices(
    embeddings: npt.ArrayLike, people: Sequence[str], *, min_cosine: float = MIN_COSINE
) -> list[str]:
    """Find clips with another voice than the person's other clips.

    A person with one clip cannot be checked; the clip is kept (`unchecked_people`). If no more than half of a
    person's clips agree, which of them are right cannot be told, and all are dropped.

    Args:
        embeddings: (N, D), unit length.
        people: person of each clip.
        min_cosine: of a clip and the mean of the person's other clips.

    Returns:
        Reason of each clip that is dropped, "" of the others.

    Raises:
        ValueError: another number of people than embeddings, or values that are not finite.
    """
    vectors = _check(embeddings, people)
    reasons = [""] * len(vectors)
    for rows in _rows_of_people(people):
        kept, found = rows, {}
        while len(kept) > 1:
            cosines = leave_one_out_cosines(vectors[kept])
            worst = int(cosines.argmin())
            if cosines[worst] >= min_cosine:
                break
            found[int(kept[worst])] = float(cosines[worst])
            kept = np.delete(kept, worst)
        for row, cosine in found.items():
            reasons[row] = f"another voice: cosine {cosine:.2f} to the person's other clips"
        if found and len(kept) <= len(rows) / 2:
            for row in kept.tolist():
                reasons[row] = (
                    f"voices disagree: {len(found)} of the person's {len(rows)} clips sound otherwise"
                )
    return reasons


def unchecked_people(people: Sequence[str]) -> list[str]:
    """Find people with one clip, whose voice cannot be checked.

    Args:
        people: person of each clip.
    """
    return [people[int(rows[0])] for rows in _rows_of_people(people) if len(rows) == 1]


def leave_one_out_cosines(embeddings: npt.ArrayLike) -> NDArray[np.float64]:
    """Cosine of each embedding of one person and the mean of the others.

    Args:
        embeddings: (N, D).

    Returns:
        (N,); NaN for a single embedding, which cannot be checked.
    """
    vectors = np.asarray(embeddings, float)
    if len(vectors) < 2:
        return np.full(len(vectors), np.nan)
    others = vectors.sum(axis=0) - vectors
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(others, axis=1)
    return np.sum(vectors * others, axis=1) / np.maximum(norms, 1e-12)


def _check(embeddings: npt.ArrayLike, people: Sequence[str]) -> NDArray[np.float64]:
    vectors = np.asarray(embeddings, float)
    if vectors.ndim != 2 or len(vectors) != len(people):
        raise ValueError(
            f"expected embeddings (N, D) and N people, found {vectors.shape} and {len(people)} people"
        )
    if not np.isfinite(vectors).all():
        raise ValueError("the embeddings have values that are not finite")
    return vectors


def _rows_of_people(people: Sequence[str]) -> list[NDArray[np.int64]]:
    """Rows of each person, in the order of the first."""
    rows: dict[str, list[int]] = {}
    for index, name in enumerate(people):
        rows.setdefault(name, []).append(index)
    return [np.array(each) for each in rows.values()]
