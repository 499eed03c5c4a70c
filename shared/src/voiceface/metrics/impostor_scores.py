"""Distribution of the scores of impostor pairs: what a cosine of a model means.

Cosines of two models cannot be compared, and a cosine alone does not say whether it is high. The scores of
voices with faces of *other* identities, measured on validation identities, give the scale: the percentile of
a score is the share of impostor pairs that score lower.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "MAX_FILES",
    "PROBABILITIES",
    "SIGNIFICANCE",
    "ImpostorScores",
    "format_percentile",
    "measure_impostor_scores",
    "spread",
]

MAX_FILES = 2000
"""Most files of each modality that are compared; of more, evenly spaced ones."""
SIGNIFICANCE = 0.05
"""The best candidate stands out if impostors reach its score with a lower probability."""
PROBABILITIES: NDArray[np.float64] = np.concatenate(
    [np.linspace(0, 0.98, 99), 1 - np.geomspace(0.01, 1e-5, 31), [1.0]]
)
"""Probabilities of the stored quantiles: dense in the upper tail, where good candidates are."""


@dataclass(frozen=True)
class ImpostorScores:
    """Scores of impostor pairs of one model.

    Attributes:
        quantiles: scores at `PROBABILITIES`, ascending.
        num_pairs: number of impostor pairs.
        num_identities: number of identities.
        source: where the identities come from.
    """

    quantiles: tuple[float, ...]
    num_pairs: int
    num_identities: int
    source: str

    @classmethod
    def from_values(cls, values: Mapping[str, Any] | None) -> Self | None:
        """Read what `to_values` gave; None if there is nothing, or nothing usable."""
        try:
            quantiles = tuple(map(float, values["quantiles"]))  # type: ignore[index]
            scores = cls(
                quantiles,
                int(values["num_pairs"]),  # type: ignore[index]
                int(values["num_identities"]),  # type: ignore[index]
                str(values["source"]),  # type: ignore[index]
            )
        except (TypeError, KeyError, ValueError):
            return None
        fits = len(quantiles) == len(PROBABILITIES) and np.isfinite(quantiles).all()
        return scores if fits and scores.num_pairs > 0 else None

    def to_values(self) -> dict[str, Any]:
        """Plain values, for the metadata of a checkpoint."""
        return {**asdict(self), "quantiles": list(self.quantiles)}

    def percentiles(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Share of impostor pairs that score lower, 0...1, of the shape of `scores`; NaN for NaN.

        Never exactly 1: beyond the highest impostor pair it is n / (n + 1) of n pairs.
        """
        values = np.asarray(scores, np.float64)
        shares = np.interp(values, self.quantiles, PROBABILITIES)
        return np.where(np.isnan(values), np.nan, np.minimum(shares, self.num_pairs / (self.num_pairs + 1)))

    def describe(self) -> str:
        """State what the percentiles are shares of."""
        return (
            f"the share of {self.num_pairs:,} impostor pairs of {self.num_identities} identities that score "
            f"lower ({self.source})"
        )

    @staticmethod
    def describe_best(percentile: float, gallery_size: int) -> str:
        """Say whether the best of a gallery stands out from impostors.

        Args:
            percentile: that of the best candidate, from `percentiles`.
            gallery_size: number of candidates.
        """
        chance = ImpostorScores.chance_of_best(percentile, gallery_size)
        found = "the best candidate stands out" if chance < SIGNIFICANCE else "nothing stands out"
        of = "a single impostor" if gallery_size == 1 else f"the best of {gallery_size} impostors"
        return f"{found}: {of} would score this high with probability {chance:.2g}"

    @staticmethod
    def chance_of_best(percentile: float, gallery_size: int) -> float:
        """Probability that the best of `gallery_size` impostors reaches a percentile, 0...1.

        It takes the candidates as independent: 1 - percentile ** gallery_size.
        """
        return float(-np.expm1(gallery_size * np.log(percentile))) if percentile > 0 else 1.0


def format_percentile(percentile: float) -> str:
    """Format a percentile, 0...1, in per cent: one decimal, and more above 99.9, so that it is never 100.

    Example:
        >>> format_percentile(0.987), format_percentile(0.99987)
        ('98.7', '99.98')
    """
    digits = 1
    while digits < 4 and percentile >= 1 - 10.0 ** -(digits + 2):
        digits += 1
    return f"{np.floor(percentile * 10 ** (digits + 2)) / 10**digits:.{digits}f}"


def measure_impostor_scores(
    voices: NDArray[Any],
    faces: NDArray[Any],
    voice_identities: Sequence[Any],
    face_identities: Sequence[Any],
    *,
    source: str,
) -> ImpostorScores | None:
    """Measure the cosines of all voices with the faces of other identities.

    Args:
        voices, faces: embeddings (V, D) and (F, D), of any length.
        voice_identities, face_identities: identity of each.
        source: where the identities come from, for messages.

    Returns:
        The distribution; None without a pair of different identities.
    """
    rows = [spread(len(side)) for side in (voices, faces)]
    voice_ids, face_ids = (
        np.asarray(ids, dtype=object)[index]
        for ids, index in zip((voice_identities, face_identities), rows, strict=True)
    )
    unit = [_normalise(side[index]) for side, index in zip((voices, faces), rows, strict=True)]
    impostors = (unit[0] @ unit[1].T)[voice_ids[:, None] != face_ids[None, :]]
    impostors = impostors[np.isfinite(impostors)]
    if not len(impostors):
        return None
    quantiles = np.quantile(impostors, PROBABILITIES)
    return ImpostorScores(
        tuple(round(float(value), 6) for value in quantiles),
        len(impostors),
        len({*voice_ids, *face_ids}),
        source,
    )


def spread(count: int) -> NDArray[np.int64]:
    """Return the rows of at most `MAX_FILES` of `count` items, evenly spaced."""
    kept = min(count, MAX_FILES)
    return np.arange(kept) * count // max(1, kept)


def _normalise(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """Rows of unit length; zero rows become NaN."""
    values = np.asarray(vectors, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return values / np.linalg.norm(values, axis=1, keepdims=True)
