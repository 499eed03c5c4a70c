"""SCRFD, the face detector of InsightFace's model packs, by the path of its ONNX file.

Source: Guo et al., 2021, "Sample and Computation Redistribution for Efficient Face Detection"; outputs as the
published program `insightface/model_zoo/scrfd.py` decodes them.
"""

import os
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from voiceface.faces.finding import FoundFace, describe_points, is_degenerate
from voiceface.faces.onnx_files import OnnxFile, open_onnx, wrong_file

__all__ = ["ScrfdFinder", "decode_outputs", "is_scrfd", "load_scrfd"]

Array = NDArray[np.float32]
Image = NDArray[np.uint8]
STRIDES = (8, 16, 32)
ANCHORS = 2  # at every place
SIDE = 640
MEAN, SCALE = 127.5, 128.0
WIDTHS = (1, 4, 10)  # score, distances to the sides of the box, five points


class ScrfdFinder:
    """Finds faces by SCRFD; from `load_scrfd`. Angles of the head are those of five points.

    Pictures are scaled into the upper left corner of a black square, and the network gets RGB,
    (x - 127.5) / 128.

    Args:
        graph: the opened file.
        side: of the square, pixels, a multiple of 32.
        min_score: of a face, 0...1.
        max_overlap: overlap (intersection over union) above which two boxes are one face.
    """

    def __init__(
        self, graph: OnnxFile, side: int = SIDE, *, min_score: float = 0.5, max_overlap: float = 0.4
    ) -> None:
        self.graph, self.side, self.min_score, self.max_overlap = graph, side, min_score, max_overlap

    @property
    def identity(self) -> str:
        """Names the file and the settings."""
        return f"scrfd {self.graph.digest} {self.side} {self.min_score} {self.max_overlap}"

    def find(self, images: Sequence[Image]) -> list[list[FoundFace]]:
        """Find the faces of RGB pictures, (H, W, 3) uint8, largest first."""
        return [self._find_one(np.asarray(image)) for image in images]

    def _find_one(self, image: Image) -> list[FoundFace]:
        height, width = image.shape[:2]
        scale = self.side / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        square = np.zeros((self.side, self.side, 3), np.uint8)
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        square[: size[1], : size[0]] = cv2.resize(image, size, interpolation=method)
        batch = ((square.astype(np.float32) - MEAN) / SCALE).transpose(2, 0, 1)[None]
        scores, boxes, points = decode_outputs(self.graph.run(batch), self.side, self.min_score)
        if not len(scores):
            return []
        extents = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
        kept = cv2.dnn.NMSBoxes(extents.tolist(), scores.tolist(), self.min_score, self.max_overlap)
        factor = np.array([width / size[0], height / size[1]])
        places = (points + 0.5) * factor - 0.5
        faces = [
            describe_points(image, (boxes[k].reshape(2, 2) * factor).reshape(4), places[k], float(scores[k]))
            for k in np.asarray(kept, int).ravel()
            if not is_degenerate(places[k])
        ]
        return sorted(faces, key=lambda face: -face.quality.eye_distance)


def decode_outputs(outputs: Sequence[Array], side: int, min_score: float) -> tuple[Array, Array, Array]:
    """Faces of the nine outputs: scores, box distances and points of the strides 8, 16 and 32.

    Row `2 (r w + c) + a` of an output belongs to anchor a of the place in row r and column c of the map,
    which has w columns; its centre is (c, r) times the stride. Distances and points are stated in strides.

    Args:
        outputs: scores (N, 1), boxes (N, 4) and points (N, 10), of three strides each, in this order; further
            axes of length 1 are ignored.
        side: of the input, pixels.
        min_score: of a face.

    Returns:
        Scores (K,), boxes (K, 4), points (K, 5, 2), pixels of the input.
    """
    parts = []
    for level, stride in enumerate(STRIDES):
        score, box, points = (
            outputs[level + len(STRIDES) * kind].reshape(-1, width) for kind, width in enumerate(WIDTHS)
        )
        columns = side // stride
        rows = np.flatnonzero(score[:, 0] >= min_score)
        place = rows // ANCHORS
        centres = np.stack([place % columns, place // columns], 1) * np.float32(stride)
        near, far = centres - box[rows, :2] * stride, centres + box[rows, 2:] * stride
        marks = centres[:, None] + points[rows].reshape(-1, 5, 2) * stride
        parts.append((score[rows, 0], np.hstack([near, far]), marks))
    scores, boxes, marks = (np.concatenate(each).astype(np.float32) for each in zip(*parts))
    return scores, boxes, marks


def is_scrfd(found: OnnxFile) -> bool:
    """Whether a graph has the outputs of SCRFD with five points: three of each width, in this order."""
    widths = [shape[-1] if shape else None for shape in found.outputs.values()]
    return widths == [width for width in WIDTHS for _ in STRIDES]


def load_scrfd(path: str | os.PathLike[str], found: OnnxFile | None = None) -> ScrfdFinder:
    """Load SCRFD.

    Args:
        path: its ONNX file, such as `det_10g.onnx`.
        found: the same file, opened before.

    Raises:
        FileNotFoundError: no such file.
        voiceface.faces.onnx_files.FaceModelFileError: another graph: expected a picture (1, 3, S, S) and nine
            outputs, scores (N, 1), boxes (N, 4) and points (N, 10) of the strides 8, 16 and 32.
    """
    graph = open_onnx(path, "an SCRFD face detector") if found is None else found
    (shape,) = graph.inputs.values()
    side = shape[2] if len(shape) == 4 and shape[2] is not None else SIDE
    square = len(shape) == 4 and shape[1] in (3, None) and shape[2] == shape[3] and side % STRIDES[-1] == 0
    if not is_scrfd(graph) or not square:
        expected = (
            "one of 1 x 3 x S x S (S a multiple of 32) and nine: N x 1, N x 4 and N x 10 of three strides"
        )
        raise wrong_file(graph, "an SCRFD face detector", expected)
    finder = ScrfdFinder(graph, side)
    outputs = graph.run(np.zeros((1, 3, side, side), np.float32))
    rows = [output.size // width for output, width in zip(outputs, np.repeat(WIDTHS, len(STRIDES)))]
    if rows != [ANCHORS * (side // stride) ** 2 for stride in STRIDES] * len(WIDTHS):
        raise wrong_file(
            graph, "an SCRFD face detector", f"{ANCHORS} anchors at every place, found {rows} rows"
        )
    return finder
