"""Published distances of adult faces, and their measurement on the head."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["ANTHROPOMETRY", "Distance", "measure_distances"]

Array = NDArray[np.float64]

_FARKAS = "Farkas, Anthropometry of the Head and Face, 1994 (North American whites)"
_SAMPLE = "Maxillofacial Plastic and Reconstructive Surgery 2019, s40902-019-0191-7"


@dataclass(frozen=True)
class Distance:
    """A published distance between two landmarks.

    Attributes:
        landmarks: two iBUG numbers, 0-based.
        men, women: mean and standard deviation in mm.
        source: where the values are from.
    """

    landmarks: tuple[int, int]
    men: tuple[float, float]
    women: tuple[float, float]
    source: str


# Name of the distance by anthropometric points; several sources where they differ.
ANTHROPOMETRY: dict[str, tuple[Distance, ...]] = {
    "zy-zy": (
        Distance((1, 15), (137.0, 4.0), (130.0, 5.0), _FARKAS),
        Distance((1, 15), (133.8, 4.6), (130.1, 3.5), _SAMPLE),
    ),
    "go-go": (
        Distance((4, 12), (97.0, 6.0), (91.0, 6.0), _FARKAS),
        Distance((4, 12), (106.6, 5.9), (96.8, 2.9), _SAMPLE),
    ),
    "n-gn": (Distance((27, 8), (121.0, 7.0), (112.0, 5.0), _FARKAS),),
    "n-sn": (
        Distance((27, 33), (53.0, 3.5), (49.0, 2.6), _FARKAS),
        Distance((27, 33), (51.0, 1.9), (47.6, 3.1), _SAMPLE),
    ),
    "sn-gn": (Distance((33, 8), (76.4, 3.6), (69.5, 4.8), _SAMPLE),),
    "al-al": (
        Distance((31, 35), (35.0, 2.6), (31.0, 1.9), _FARKAS),
        Distance((31, 35), (43.2, 3.8), (40.7, 3.7), _SAMPLE),
    ),
    "en-en": (
        Distance((39, 42), (33.0, 2.7), (32.0, 2.4), _FARKAS),
        Distance((39, 42), (32.2, 1.9), (32.1, 1.4), _SAMPLE),
    ),
    "ex-ex": (
        Distance((36, 45), (89.0, 3.6), (87.0, 4.0), _FARKAS),
        Distance((36, 45), (98.2, 3.5), (94.4, 4.9), _SAMPLE),
    ),
    "ch-ch": (
        Distance((48, 54), (53.0, 3.3), (50.0, 3.2), _FARKAS),
        Distance((48, 54), (55.9, 3.3), (52.0, 4.0), _SAMPLE),
    ),
}


def measure_distances(landmarks: ArrayLike) -> dict[str, Array]:
    """Measure the distances of `ANTHROPOMETRY` in mm.

    Args:
        landmarks: (..., 68, 3) in mm.

    Returns:
        Array of the leading shape, by name.
    """
    points = np.asarray(landmarks, float)
    pairs = {name: sources[0].landmarks for name, sources in ANTHROPOMETRY.items()}
    return {
        name: np.linalg.norm(points[..., a, :] - points[..., b, :], axis=-1) for name, (a, b) in pairs.items()
    }
