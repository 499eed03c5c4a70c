"""Oracle of the synthetic population: exact scores of an observer that knows the true factors.

The oracle is the upper bound of every association metric (docs/population.md, "Reference observers").
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voiceface.synthetic.identities import FACTORS

__all__ = ["MAX_COUPLING", "log_likelihood_ratio", "max_shape_r2"]

MAX_COUPLING = 0.999  # couplings are clipped here; at 1 the likelihood ratio is infinite


def log_likelihood_ratio(
    voice_factors: ArrayLike,
    voice_sex: ArrayLike,
    face_factors: ArrayLike,
    face_sex: ArrayLike,
    coupling: ArrayLike,
    *,
    share_sex: bool = True,
) -> NDArray[np.float64]:
    """Compute the log likelihood ratio "same identity" to "different identities" of all voice-face pairs.

    Per factor, voice v and face g are standard normal with correlation c for one identity and independent for
    two, so the ratio is (c v g - c² (v² + g²) / 2) / (1 - c²) - log(1 - c²) / 2, summed over factors.

    Args:
        voice_factors: factors of V voices, shape (V, 8).
        voice_sex: their sexes, shape (V,).
        face_factors: factors of F faces, shape (F, 8).
        face_sex: their sexes, shape (F,).
        coupling: correlation of voice and face factors in [0, 1], one number or shape (8,); clipped to 0.999.
        share_sex: voice and face of one identity have the same sex; off, the sex carries no information.

    Returns:
        Shape (V, F); minus infinity where the sexes differ. The constant of equal sexes is omitted.

    Raises:
        ValueError: shapes do not match, or a coupling lies outside [0, 1].
    """
    voices, faces = np.asarray(voice_factors, float), np.asarray(face_factors, float)
    voice_labels, face_labels = np.asarray(voice_sex), np.asarray(face_sex)
    if voices.ndim != 2 or faces.ndim != 2 or voices.shape[1] != faces.shape[1]:
        raise ValueError(f"factors must be (V, J) and (F, J), got {voices.shape} and {faces.shape}")
    if voice_labels.shape != voices.shape[:1] or face_labels.shape != faces.shape[:1]:
        raise ValueError(f"expected one sex per row, got {voice_labels.shape} and {face_labels.shape}")
    given = np.asarray(coupling, float)
    if not ((given >= 0) & (given <= 1)).all():
        raise ValueError(f"couplings must lie in 0 ... 1, got {given.tolist()}")
    c = np.broadcast_to(np.minimum(given, MAX_COUPLING), voices.shape[1:])
    rest = 1 - c**2
    square = c**2 / (2 * rest)
    ratio = (voices * (c / rest)) @ faces.T
    ratio -= (voices**2 @ square)[:, None] + (faces**2 @ square)
    ratio -= 0.5 * np.log(rest).sum()
    if share_sex:
        ratio[voice_labels[:, None] != face_labels] = -np.inf
    return ratio


def max_shape_r2(coupling: ArrayLike, loadings: ArrayLike | None = None) -> NDArray[np.float64]:
    """Compute the R² within a sex with which the true voice factors predict each shape coefficient.

    Args:
        coupling: correlation of voice and face factors, one number or shape (8,).
        loadings: shape coefficients on face factors, (K, 8), unit variance within a sex; default: the head's.

    Returns:
        Shape (K,).

    Raises:
        ValueError: loadings of another shape, or squared loadings of a coefficient sum to more than 1.
    """
    if loadings is None:
        from voiceface.synthetic.head.shape_space import factor_loadings

        loadings = factor_loadings()
    table = np.asarray(loadings, float)
    if table.ndim != 2 or table.shape[1] != len(FACTORS):
        raise ValueError(f"loadings must be (K, {len(FACTORS)}), got {table.shape}")
    if (np.square(table).sum(1) > 1).any():
        raise ValueError("the squared loadings of a coefficient sum to more than 1")
    return np.square(table * np.asarray(coupling, float)).sum(1)
