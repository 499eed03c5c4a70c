"""Coefficients of the head: names, loadings on the face factors, and how they are distributed."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "EXPRESSION_NAMES",
    "EXPRESSION_SD",
    "SHAPE_NAMES",
    "SHAPE_TABLE",
    "FaceFactors",
    "factor_loadings",
    "residual_scale",
    "sex_shift",
    "shape_coefficients",
]

Array = NDArray[np.float64]

# Name, loadings on the eight face factors, half the male-female shift (scaled by 0.9 in `sex_shift`).
SHAPE_TABLE: tuple[tuple[str, dict[int, float], float], ...] = (
    ("lowlen", {1: 0.88}, 0.6),
    ("midlen", {2: 0.80}, 0.4),
    ("forehead", {1: 0.45}, 0.0),
    ("facew", {5: 0.70}, 0.3),
    ("jaww", {0: -0.80}, 0.9),
    ("chinw", {0: -0.60}, 0.8),
    ("chinp", {0: -0.45}, 0.5),
    ("jawsq", {2: 0.55}, 0.0),
    ("headw", {5: 0.40}, 0.0),
    ("headd", {}, 0.0),
    ("brow", {0: -0.75}, 1.0),
    ("eyesp", {5: 0.80}, 0.0),
    ("eyelen", {}, 0.0),
    ("eyeop", {7: -0.60}, -0.5),
    ("eyesl", {}, 0.0),
    ("sock", {}, 0.0),
    ("nosew", {3: 0.85}, 0.5),
    ("nosep", {3: 0.60}, 0.4),
    ("noseb", {3: 0.50}, 0.0),
    ("noset", {7: -0.60}, 0.0),
    ("mouthw", {4: 0.75}, 0.0),
    ("ulip", {4: 0.75}, -0.5),
    ("llip", {4: 0.75}, -0.4),
    ("lipp", {4: 0.60}, 0.0),
    ("philt", {1: 0.35}, 0.0),
    ("cheekf", {6: 0.85}, 0.0),
    ("cheekb", {2: -0.60}, -0.5),
    ("neck", {6: 0.75}, 0.9),
    ("browh", {7: -0.60}, -0.8),
    ("browt", {}, 0.0),
    ("temple", {5: 0.60}, 0.0),
    ("ear", {}, 0.0),
    ("fslope", {}, 0.5),
    ("asn", {}, 0.0),
    ("asm", {}, 0.0),
    ("asj", {}, 0.0),
    ("rbf0", {}, 0.0),
    ("rbf1", {}, 0.0),
    ("rbf2", {}, 0.0),
    ("rbf3", {}, 0.0),
)
SHAPE_NAMES = tuple(row[0] for row in SHAPE_TABLE)
EXPRESSION_NAMES = (
    *("jaw_open", "smile", "frown", "pucker", "brow_raise"),
    *("brow_frown", "blink", "cheek_puff", "sneer", "lip_press"),
)
EXPRESSION_SD = np.array([0.35, 0.6, 0.3, 0.25, 0.5, 0.5, 0.5, 0.2, 0.3, 0.4])


class FaceFactors(Protocol):
    """Fields of identities that determine the head."""

    @property
    def face_sex(self) -> Any:
        """(N,), 1 = male."""

    @property
    def face_factors(self) -> Any:
        """(N, 8), coupled to the voice factors."""

    @property
    def shape_nuisance(self) -> Any:
        """(N, 40), independent of the voice."""


def factor_loadings() -> Array:
    """Return A, (40, 8): change of each shape coefficient per SD of each face factor."""
    table = np.zeros((len(SHAPE_TABLE), 8))
    for row, (_, loadings, _) in enumerate(SHAPE_TABLE):
        for factor, loading in loadings.items():
            table[row, factor] = loading
    return table


def sex_shift() -> Array:
    """Return the shift of each shape coefficient for men, (40,); women have its negative."""
    return 0.9 * np.array([shift for _, _, shift in SHAPE_TABLE])


def residual_scale() -> Array:
    """Return D, (40,): scale of the residual, so that every coefficient is N(0, 1) within a sex."""
    return np.sqrt(1.0 - (factor_loadings() ** 2).sum(axis=1))


def shape_coefficients(identities: FaceFactors) -> Array:
    """Compute shape coefficients of N identities: alpha = A g + D q ± 0.9 S, shape (N, 40), float64."""
    coupled = np.asarray(identities.face_factors, float) @ factor_loadings().T
    residual = np.asarray(identities.shape_nuisance, float) * residual_scale()
    sign = 2.0 * np.asarray(identities.face_sex, float) - 1.0
    return coupled + residual + sign[..., None] * sex_shift()
