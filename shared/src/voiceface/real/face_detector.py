"""Faces in pictures: boxes, six points and scores.

Source: Bazarevsky et al., "BlazeFace", 2019: anchors section 3.2, blending of overlapping boxes section 3.3.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from voiceface.real.backends import Backend, Network, load_network
from voiceface.real.networks import ANCHORS_PER_CELL, DETECTOR_SIDE

__all__ = [
    "LEFT_EYE",
    "POINT_NAMES",
    "RIGHT_EYE",
    "FaceDetections",
    "FaceDetector",
    "blend_overlapping",
    "box_overlaps",
    "decode_boxes",
    "letterbox",
    "load_face_detector",
    "make_anchors",
]

Array = NDArray[np.float32]
Image = NDArray[np.uint8]
POINT_NAMES = ("right eye", "left eye", "nose tip", "mouth", "right ear", "left ear")
RIGHT_EYE, LEFT_EYE = 0, 1  # of the person; the right eye is on the left of a picture
MAX_LOGIT = 80.0


class FaceDetections(NamedTuple):
    """Faces of one picture, best first.

    Attributes:
        boxes: (N, 4) left, top, right, bottom in pixels; they may reach beyond the picture.
        points: (N, 6, 2) x and y in pixels, in the order of `POINT_NAMES`.
        scores: (N,), 0...1.
    """

    boxes: Array
    points: Array
    scores: Array


class FaceDetector:
    """Finds faces; from `load_face_detector`.

    Args:
        network: images (N, 3, 256, 256) to raw boxes and scores.

    Attributes:
        network: with licence and fingerprint.
    """

    def __init__(self, network: Network) -> None:
        self.network, self._anchors = network, make_anchors()

    def detect(
        self, images: Sequence[Image], *, min_score: float = 0.5, max_overlap: float = 0.3
    ) -> list[FaceDetections]:
        """Find the faces of pictures.

        Args:
            images: RGB, (H, W, 3) uint8, of any sizes.
            min_score: boxes with a smaller score are dropped, 0...1.
            max_overlap: boxes that share a larger part of their union are one face.

        Returns:
            Faces of each picture.

        Raises:
            ValueError: an array that is no RGB picture.
        """
        if not len(images):
            return []
        boxed = [letterbox(image) for image in images]
        boxes, scores = self.network(np.stack([each[0] for each in boxed]).transpose(0, 3, 1, 2))
        found = []
        for raw, logits, (_, scale, shift) in zip(boxes, scores, boxed):
            probability = 1 / (1 + np.exp(-np.clip(logits, -MAX_LOGIT, MAX_LOGIT)))
            chosen = np.flatnonzero(probability > min_score)
            corners, points = decode_boxes(raw[chosen], self._anchors[chosen])
            face = blend_overlapping(corners, points, probability[chosen], max_overlap)
            corners = (face.boxes.reshape(-1, 2, 2) - shift) / scale
            points = (face.points - shift) / scale
            found.append(
                FaceDetections(
                    corners.reshape(-1, 4).astype(np.float32), points.astype(np.float32), face.scores
                )
            )
        return found


def load_face_detector(backend: Backend = "torch", device: str = "cpu") -> FaceDetector:
    """Load the face detector that `voiceface models get real` fetched.

    Args:
        backend: "torch" or "onnxruntime".
        device: for PyTorch.

    Raises:
        voiceface.real.installation.MissingModelError: it was not fetched.
    """
    return FaceDetector(load_network("face_detector", backend, device))


def make_anchors(side: int = DETECTOR_SIDE) -> Array:
    """Centres of the 896 anchors in pixels of the input, (896, 2): 2 in each cell of 16x16, 6 of 8x8.

    Example:
        >>> make_anchors().shape, make_anchors()[0].tolist()
        ((896, 2), [8.0, 8.0])
    """
    parts = []
    for stride, count in zip((side // 16, side // 8), ANCHORS_PER_CELL):
        centres = (np.arange(side // stride, dtype=np.float32) + 0.5) * stride
        x, y = np.meshgrid(centres, centres)
        parts.append(np.repeat(np.stack([x.ravel(), y.ravel()], 1), count, axis=0))
    return np.concatenate(parts)


def letterbox(image: Image, side: int = DETECTOR_SIDE) -> tuple[Image, float, Array]:
    """Scale a picture to fit into a square, in the middle of black.

    Args:
        image: RGB, (H, W, 3) uint8.
        side: of the square.

    Returns:
        (square (side, side, 3), scale, shift): a point p of the picture is scale * p + shift in the square,
        where whole numbers are edges of pixels.

    Raises:
        ValueError: another shape or type, or no pixels.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"a picture must be (H, W, 3) uint8, found {image.shape} {image.dtype}")
    height, width = image.shape[:2]
    scale = side / max(height, width)
    inner_height, inner_width = (max(1, round(length * scale)) for length in (height, width))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    top, left = (side - inner_height) // 2, (side - inner_width) // 2
    square = np.zeros((side, side, 3), np.uint8)
    resized = cv2.resize(image, (inner_width, inner_height), interpolation=method)
    square[top : top + inner_height, left : left + inner_width] = resized
    return square, scale, np.array([left, top], np.float32)


def decode_boxes(raw: Array, anchors: Array) -> tuple[Array, Array]:
    """Boxes and points from the output of the network.

    Args:
        raw: (N, 16): centre, width and height, six points; offsets to the anchor in pixels.
        anchors: (N, 2), pixels.

    Returns:
        (boxes (N, 4) left, top, right, bottom; points (N, 6, 2)), pixels of the input.
    """
    pairs = raw.reshape(-1, 8, 2)
    centre, half = pairs[:, 0] + anchors, pairs[:, 1] / 2
    return np.concatenate([centre - half, centre + half], 1), pairs[:, 2:] + anchors[:, None]


def box_overlaps(box: NDArray[Any], boxes: NDArray[Any]) -> NDArray[np.float64]:
    """Intersection over union of a box (4,) with others (N, 4), (N,) in 0...1; empty boxes give 0.

    Example:
        >>> others = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]])
        >>> box_overlaps(np.array([0, 0, 2, 2]), others).tolist()
        [1.0, 0.3333333333333333, 0.0]
    """
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    union = np.prod(box[2:] - box[:2]) + np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - shared
    return np.divide(shared, union, out=np.zeros_like(union, float), where=union > 0)


def blend_overlapping(boxes: Array, points: Array, scores: Array, max_overlap: float = 0.3) -> FaceDetections:
    """Blend boxes of one face: the mean of all that overlap the best one, weighted by score.

    Args:
        boxes: (N, 4) left, top, right, bottom; those without area are dropped.
        points: (N, 6, 2).
        scores: (N,), positive.
        max_overlap: intersection over union above which boxes are one face.

    Returns:
        One entry per face with the best score of its boxes, best first.
    """
    usable = (boxes[:, 2:] > boxes[:, :2]).all(1)
    order = np.flatnonzero(usable)[np.argsort(-scores[usable], kind="stable")]
    flat = points.reshape(len(points), points.shape[1] * 2)
    rows = np.concatenate([boxes, flat], 1)[order].astype(np.float64)
    values, blended, best = scores[order], [], []
    while len(rows):
        same = box_overlaps(rows[0, :4], rows[:, :4]) > max_overlap
        same[0] = True
        blended.append(np.average(rows[same], axis=0, weights=values[same]))
        best.append(values[0])
        rows, values = rows[~same], values[~same]
    merged = np.array(blended, np.float32).reshape(-1, rows.shape[1])
    return FaceDetections(
        merged[:, :4], merged[:, 4:].reshape(len(merged), points.shape[1], 2), np.array(best, np.float32)
    )
