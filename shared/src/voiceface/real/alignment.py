"""Similarity transforms of image points, and crops of pictures that follow them.

A transform is a matrix (2, 3) that maps points (x, y) of the picture to points of the crop; whole numbers are
centres of pixels.
"""

import cv2
import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

__all__ = [
    "apply_affine",
    "crop_matrix",
    "fit_similarity",
    "invert_affine",
    "warp_crop",
]

Array = NDArray[np.float64]
Image = NDArray[np.uint8]


def fit_similarity(source: npt.ArrayLike, target: npt.ArrayLike) -> Array:
    """Fit rotation, scale and shift that map points to others by least squares, without reflection.

    Args:
        source: (..., K, 2), K at least 2 points that do not all coincide.
        target: (..., K, 2), or (K, 2) for all.

    Returns:
        Matrices (..., 2, 3).

    Raises:
        ValueError: other shapes, or the source points coincide.

    Example:
        >>> fit_similarity([[0, 0], [1, 0]], [[5, 5], [5, 7]]).round(6).tolist()
        [[0.0, -2.0, 5.0], [2.0, 0.0, 5.0]]
    """
    a, b = np.asarray(source, float), np.asarray(target, float)
    if a.ndim < 2 or a.shape[-1] != 2 or a.shape[-2:] != b.shape[-2:] or a.shape[-2] < 2:
        raise ValueError(
            f"expected two sets of two points or more (..., K, 2), found {a.shape} and {b.shape}"
        )
    p, q = a[..., 0] + 1j * a[..., 1], b[..., 0] + 1j * b[..., 1]
    p_mean, q_mean = p.mean(-1, keepdims=True), q.mean(-1, keepdims=True)
    size = (np.abs(p - p_mean) ** 2).sum(-1)
    if not (size > 0).all():
        raise ValueError("the points to be aligned coincide")
    factor = (np.conj(p - p_mean) * (q - q_mean)).sum(-1) / size
    shift = q_mean[..., 0] - factor * p_mean[..., 0]
    rows = [[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def crop_matrix(centre: npt.ArrayLike, side: float, angle: float, pixels: int) -> Array:
    """Matrix of a square crop.

    Args:
        centre: (x, y) of the crop in the picture.
        side: its side in the picture, in pixels, positive.
        angle: direction of its x axis in the picture, in radians.
        pixels: side of the result.

    Returns:
        Matrix (2, 3) that maps the centre to the centre of the result.
    """
    if side <= 0:
        raise ValueError(f"the side of a crop must be positive, found {side:g}")
    scale = pixels / side
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cos, sin], [-sin, cos]])
    middle = np.full(2, (pixels - 1) / 2)
    return np.hstack([linear, (middle - linear @ np.asarray(centre, float))[:, None]])


def apply_affine(matrix: npt.ArrayLike, points: npt.ArrayLike) -> Array:
    """Map points (..., 2) by a matrix (2, 3)."""
    m = np.asarray(matrix, float)
    return np.asarray(points, float) @ m[:, :2].T + m[:, 2]


def invert_affine(matrix: npt.ArrayLike) -> Array:
    """Matrix (2, 3) of the inverse transform.

    Example:
        >>> invert_affine([[2, 0, 4], [0, 2, 0]]).tolist()
        [[0.5, 0.0, -2.0], [0.0, 0.5, 0.0]]
    """
    m = np.asarray(matrix, float)
    inverse = np.linalg.inv(m[:, :2])
    return np.hstack([inverse, -(inverse @ m[:, 2])[:, None]]) + 0.0


def warp_crop(image: Image, matrix: npt.ArrayLike, pixels: int) -> Image:
    """Cut a square crop out of a picture, bilinear; what lies outside of the picture is black.

    Where the crop is at most half as large as its part of the picture, this part is averaged over blocks of
    pixels first, so that fine structure does not turn into noise.

    Args:
        image: (H, W, 3) uint8.
        matrix: (2, 3), picture to crop.
        pixels: side of the crop.

    Returns:
        (pixels, pixels, 3) uint8.
    """
    m = np.array(matrix, float)
    factor = int(1 / max(np.sqrt(abs(np.linalg.det(m[:, :2]))), 1e-6))
    if factor >= 2:
        corners = np.array([[0, 0], [pixels, 0], [0, pixels], [pixels, pixels]], float) - 0.5
        places = apply_affine(invert_affine(m), corners)
        limits = np.array([image.shape[1], image.shape[0]])
        low = np.clip(np.floor(places.min(0)).astype(int) - factor, 0, limits)
        high = np.clip(np.ceil(places.max(0)).astype(int) + factor, 0, limits)
        counts = (high - low) // factor
        if counts.min() > 0:
            high = low + counts * factor
            part = image[low[1] : high[1], low[0] : high[0]]
            image = np.asarray(
                cv2.resize(part, (int(counts[0]), int(counts[1])), interpolation=cv2.INTER_AREA), np.uint8
            )
            m[:, 2] += m[:, :2] @ (low + (factor - 1) / 2)
            m[:, :2] *= factor
    return np.asarray(cv2.warpAffine(image, m, (pixels, pixels), flags=cv2.INTER_LINEAR), np.uint8)
