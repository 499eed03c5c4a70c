"""YuNet, the face detector of OpenCV's model collection, by the path of its ONNX file.

Source: `cv2.FaceDetectorYN` of OpenCV, which decodes the outputs (Wu et al., 2023, "YuNet: A Tiny
Millisecond-level Face Detector").
"""

import os
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from voiceface.faces.finding import FoundFace, describe_points, is_degenerate
from voiceface.faces.onnx_files import FaceModelFileError, OnnxFile, open_onnx, wrong_file

__all__ = ["YuNetFinder", "is_yunet", "load_yunet"]

Image = NDArray[np.uint8]
STRIDES = (8, 16, 32)
OUTPUTS = {
    f"{kind}_{stride}": width
    for kind, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
    for stride in STRIDES
}
MAX_SIDE = 640
"""Larger pictures are searched at this longer side, in pixels."""


class YuNetFinder:
    """Finds faces by YuNet; from `load_yunet`. Angles of the head are those of five points.

    Args:
        path: the ONNX file.
        digest: SHA-256 of the file.
        min_score: of a face, 0...1.
        max_overlap: overlap (intersection over union) above which two boxes are one face.
    """

    def __init__(
        self, path: str | os.PathLike[str], digest: str, *, min_score: float = 0.6, max_overlap: float = 0.3
    ) -> None:
        self._settings = (min_score, max_overlap)
        self._digest = digest
        level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        try:  # OpenCV 5 prints a warning about its own default target
            self._detector = cv2.FaceDetectorYN.create(
                os.fspath(path), "", (320, 320), min_score, max_overlap, 5000
            )
        finally:
            cv2.utils.logging.setLogLevel(level)

    @property
    def identity(self) -> str:
        """Names the file and the settings."""
        return f"yunet {self._digest} {' '.join(map(str, self._settings))} {MAX_SIDE}"

    def find(self, images: Sequence[Image]) -> list[list[FoundFace]]:
        """Find the faces of RGB pictures, (H, W, 3) uint8, largest first."""
        return [self._find_one(np.asarray(image)) for image in images]

    def _find_one(self, image: Image) -> list[FoundFace]:
        height, width = image.shape[:2]
        scale = min(1.0, MAX_SIDE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
        self._detector.setInputSize(size)
        rows = self._detector.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1]
        factor = np.array([width / size[0], height / size[1]])
        faces = []
        for row in [] if rows is None else rows:
            corner, extent = row[:2] * factor, row[2:4] * factor
            points = (row[4:14].reshape(5, 2) + 0.5) * factor - 0.5
            box = np.concatenate([corner, corner + extent])
            if not is_degenerate(points):
                faces.append(describe_points(image, box, points, float(row[14])))
        return sorted(faces, key=lambda face: -face.quality.eye_distance)


def is_yunet(found: OnnxFile) -> bool:
    """Whether a graph has the outputs of YuNet."""
    return set(OUTPUTS) <= set(found.outputs)


def load_yunet(path: str | os.PathLike[str], found: OnnxFile | None = None) -> YuNetFinder:
    """Load YuNet.

    Args:
        path: its ONNX file, such as `face_detection_yunet_2023mar.onnx`.
        found: the same file, opened before.

    Raises:
        FileNotFoundError: no such file.
        FaceModelFileError: another graph: expected a picture (1, 3, H, W) and the outputs `cls`, `obj`,
            `bbox` and `kps` of the strides 8, 16 and 32.
    """
    graph = open_onnx(path, "a YuNet face detector") if found is None else found
    (shape,) = graph.inputs.values()
    widths = {name: graph.outputs[name][-1:] for name in OUTPUTS if name in graph.outputs}
    fits = all(each in ((OUTPUTS[name],), (None,)) for name, each in widths.items())
    if not is_yunet(graph) or len(shape) != 4 or shape[1] not in (3, None) or not fits:
        expected = "one of 1 x 3 x H x W and cls, obj, bbox and kps of the strides 8, 16 and 32"
        raise wrong_file(graph, "a YuNet face detector", expected)
    try:
        return YuNetFinder(path, graph.digest)
    except cv2.error as error:
        raise FaceModelFileError(f"{graph.name}: OpenCV cannot read it ({error.err})") from error
