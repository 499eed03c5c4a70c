"""Finding faces behind one small interface: box, five points, presence, quality.

The built-in finder is the detector and the mesh of `voiceface.real`. The detector proposes, the presence
score of the mesh keeps false finds out. Where nothing is found, the picture is searched again with a border:
in a tight crop the detector lacks the surroundings of the head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from voiceface.faces.crops import ENCODER_CHIP, crop_face
from voiceface.faces.quality import FaceQuality, measure_quality
from voiceface.real.backends import Backend
from voiceface.real.face_detector import FaceDetections, FaceDetector, load_face_detector
from voiceface.real.face_encoder import align_faces
from voiceface.real.face_mesh import FIVE_POINTS, MIN_PRESENCE, FaceMesh, FaceMeshes, load_face_mesh

__all__ = [
    "BORDER",
    "FaceFinder",
    "FoundFace",
    "MeshFaceFinder",
    "describe_points",
    "is_degenerate",
    "load_face_finder",
]

Array = NDArray[np.float32]
Image = NDArray[np.uint8]
BORDER = 0.3
"""Border on each side of a picture in which nothing is found, as a fraction of its shorter side."""
EYES, NOSE_TIP, MOUTH = ((33, 133), (362, 263)), 1, (61, 291)


@dataclass(frozen=True)
class FoundFace:
    """One face of a picture.

    Attributes:
        box: (4,) left, top, right, bottom in pixels; it may reach beyond the picture.
        points: (5, 2) middle of the left and right eye (of the picture), tip of the nose, corners of the
            mouth; pixels.
        score: of the detector, 0...1.
        presence: probability that it is a face, 0...1.
        quality: measures.
        mesh: (468, 3), pixels; None: the finder fits none.
    """

    box: Array
    points: Array
    score: float
    presence: float
    quality: FaceQuality
    mesh: Array | None = None

    @property
    def encoder_points(self) -> Array | None:
        """The five points by which `voiceface.real.align_faces` aligns, (5, 2); None without a mesh."""
        return None if self.mesh is None else self.mesh[list(FIVE_POINTS), :2]

    def encoder_chip(self, image: Image) -> Image:
        """The face as `voiceface.real.FaceEncoder` expects it, (150, 150, 3), cut out of its picture."""
        if self.encoder_points is None:
            return crop_face(image, self.points, ENCODER_CHIP)
        return align_faces(image, self.encoder_points[None]).chips[0]


class FaceFinder(Protocol):
    """What finds faces: pictures to the faces of each, largest first.

    Attributes:
        identity: names networks and settings; keys caches.
    """

    @property
    def identity(self) -> str:
        """Names networks and settings; keys caches."""
        ...

    def find(self, images: Sequence[Image]) -> list[list[FoundFace]]:
        """Find the faces of RGB pictures, (H, W, 3) uint8."""
        ...


class MeshFaceFinder:
    """Finds faces by detector and mesh; from `load_face_finder`.

    Args:
        detector: proposes boxes.
        mesh: fits points and tells faces from other things.
        min_score: of the detector.
        min_presence: of the mesh.
        border: border that is added where nothing is found, as a fraction of the shorter side; 0: never.
    """

    def __init__(
        self,
        detector: FaceDetector,
        mesh: FaceMesh,
        *,
        min_score: float = 0.5,
        min_presence: float = MIN_PRESENCE,
        border: float = BORDER,
    ) -> None:
        self.detector, self.mesh = detector, mesh
        self.min_score, self.min_presence, self.border = min_score, min_presence, border

    @property
    def identity(self) -> str:
        """Names the two networks and the settings; the same for both back ends."""
        networks = (self.detector.network.fingerprint, self.mesh.network.fingerprint)
        return " ".join(map(str, (*networks, self.min_score, self.min_presence, self.border)))

    def find(self, images: Sequence[Image]) -> list[list[FoundFace]]:
        """Find the faces of pictures.

        Args:
            images: RGB, (H, W, 3) uint8, of any sizes.

        Returns:
            Faces of each picture, largest first; empty where there is none.

        Raises:
            ValueError: an array that is no RGB picture.
        """
        found = [self._faces(*each) for each in zip(images, *self._search(images))]
        empty = [k for k, faces in enumerate(found) if not faces] if self.border > 0 else []
        widths = [max(1, round(self.border * min(images[k].shape[:2]))) for k in empty]
        wider = [
            np.asarray(
                cv2.copyMakeBorder(images[k], width, width, width, width, cv2.BORDER_REPLICATE), np.uint8
            )
            for k, width in zip(empty, widths)
        ]
        for k, width, boxes, meshes in zip(empty, widths, *self._search(wider)):
            found[k] = self._faces(images[k], _moved_boxes(boxes, -width), _moved_mesh(meshes, -width))
        return found

    def _search(self, images: Sequence[Image]) -> tuple[list[FaceDetections], list[FaceMeshes]]:
        boxes = self.detector.detect(images, min_score=self.min_score)
        return boxes, self.mesh.fit(images, boxes)

    def _faces(self, image: Image, boxes: FaceDetections, meshes: FaceMeshes) -> list[FoundFace]:
        """Faces with enough presence, one for every place, largest first."""
        kept: list[FoundFace] = []
        for k in np.flatnonzero(meshes.presence >= self.min_presence):
            mesh = meshes.points[k]
            points = _five_points(mesh)
            if is_degenerate(points) or any(_same_place(points, other.points) for other in kept):
                continue
            quality = measure_quality(image, points, mesh)
            score, presence = float(boxes.scores[k]), float(meshes.presence[k])
            kept.append(FoundFace(boxes.boxes[k], points, score, presence, quality, mesh))
        return sorted(kept, key=lambda face: -face.quality.eye_distance)


def describe_points(image: Image, box: NDArray, points: NDArray, score: float) -> FoundFace:
    """Build a face from what a detector without a mesh finds; its score stands for the presence.

    Args:
        image: RGB, (H, W, 3) uint8.
        box: (4,) left, top, right, bottom, pixels.
        points: (5, 2), pixels.
        score: 0...1.
    """
    places = np.asarray(points, np.float32)
    quality = measure_quality(image, places)
    return FoundFace(np.asarray(box, np.float32), places, score, score, quality)


def is_degenerate(points: Array) -> bool:
    """Whether the eyes of a face, (5, 2) points in pixels, are less than a pixel apart: no face is seen."""
    return bool(np.hypot(*(points[1] - points[0])) < 1)


def load_face_finder(backend: Backend = "torch", device: str = "cpu") -> MeshFaceFinder:
    """Load the finder of the networks that `voiceface models get real` fetched.

    Args:
        backend: "torch" or "onnxruntime".
        device: for PyTorch.

    Raises:
        voiceface.real.installation.MissingModelError: they were not fetched.
    """
    return MeshFaceFinder(load_face_detector(backend, device), load_face_mesh(backend, device))


def _five_points(mesh: Array) -> Array:
    eyes = [mesh[list(corners), :2].mean(0) for corners in EYES]
    return np.stack([*eyes, mesh[NOSE_TIP, :2], *(mesh[corner, :2] for corner in MOUTH)]).astype(np.float32)


def _same_place(points: Array, others: Array) -> bool:
    """Whether two meshes are of one face: their noses are nearer than half the eyes of the larger one."""
    distance = max(float(np.hypot(*(each[1] - each[0]))) for each in (points, others))
    return bool(np.hypot(*(points[2] - others[2])) < distance / 2)


def _moved_boxes(faces: FaceDetections, shift: float) -> FaceDetections:
    return FaceDetections(faces.boxes + shift, faces.points + shift, faces.scores)


def _moved_mesh(meshes: FaceMeshes, shift: float) -> FaceMeshes:
    return FaceMeshes(meshes.points + np.array([shift, shift, 0], np.float32), meshes.presence)
