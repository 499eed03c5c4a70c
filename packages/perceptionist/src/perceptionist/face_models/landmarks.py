"""Landmarks of face models: measuring pairs between them, and the default whitening of the pose."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["LANDMARK_PAIRS", "NUM_LANDMARKS", "PAIR_NAMES", "default_pose_whitening", "pairs_from_landmarks"]

Array = NDArray[Any]

NUM_LANDMARKS = 68
PAIR_NAMES = ("oicd", "forehead", "cheek", "ear", "midline")
# iBUG landmarks of the measuring pairs of models that have none of their own.
LANDMARK_PAIRS = dict(zip(PAIR_NAMES, ((36, 45), (17, 26), (4, 12), (0, 16), (2, 14))))


def pairs_from_landmarks(landmarks: ArrayLike) -> dict[str, tuple[int, int]]:
    """Measuring pairs (vertex indices) for a model without its own, from its landmarks (68,)."""
    numbers = np.asarray(landmarks)
    return {word: (int(numbers[a]), int(numbers[b])) for word, (a, b) in LANDMARK_PAIRS.items()}


def default_pose_whitening(
    mean: ArrayLike, landmarks: ArrayLike, image_size: float = 120.0
) -> tuple[Array, Array]:
    """Mean and deviation (12,) of the pose for a model without its own.

    The landmarks' box of the mean face takes 60 % of a square image, as face detectors crop; the deviations
    correspond to rotations of about 14, 6 and 4 degrees and 5 % of scale.

    Args:
        mean: (3N,) or (N, 3) mean vertices, y up.
        landmarks: (68,).
        image_size: of the image in pixels.
    """
    points = np.asarray(mean, float).reshape(-1, 3)[np.asarray(landmarks)]
    scale = 0.6 * image_size / (0.5 * np.ptp(points[:, :2], axis=0).sum())
    middle = scale * (points.min(axis=0) + points.max(axis=0)) / 2
    offset = np.array([0.5 * image_size, (1 - 0.56) * image_size, -0.55 * image_size]) - [
        middle[0],
        middle[1],
        0,
    ]
    turn = scale * np.array([[0.05, 0.08, 0.24], [0.08, 0.05, 0.11], [0.24, 0.11, 0.05]])
    deviation = np.concatenate([turn, np.array([[0.05], [0.05], [0.17]]) * image_size], axis=1)
    return np.concatenate([np.eye(3) * scale, offset[:, None]], axis=1).ravel(), deviation.ravel()
