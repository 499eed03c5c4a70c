"""The 468 points of the face mesh, and whether there is a face.

Source: Kartynnik et al., "Real-time facial surface geometry from monocular video on mobile GPUs", 2019.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from voiceface.real.alignment import apply_affine, crop_matrix, invert_affine, warp_crop
from voiceface.real.backends import Backend, Network, load_network
from voiceface.real.face_detector import LEFT_EYE, RIGHT_EYE, FaceDetections
from voiceface.real.networks import MESH_SIDE

__all__ = [
    "FIVE_POINTS",
    "MIN_PRESENCE",
    "REGION_SCALE",
    "FaceMesh",
    "FaceMeshes",
    "face_regions",
    "load_face_mesh",
]

Array = NDArray[np.float32]
Image = NDArray[np.uint8]
REGION_SCALE = 1.5
"""Side of the crop by the longer side of the box."""
MIN_PRESENCE = 0.9933
"""Probability (logit 5) below which a found face counts as false; MediaPipe itself takes 0.5."""
FIVE_POINTS = (263, 362, 33, 133, 2)
"""Left eye outer and inner corner, right eye outer and inner corner (of the person), bottom of the nose."""


class FaceMeshes(NamedTuple):
    """Meshes of the faces of one picture.

    Attributes:
        points: (N, 468, 3) x, y and depth in pixels of the picture; depth is relative to the head's centre,
            smaller is nearer.
        presence: (N,), probability that the crop holds a face.
    """

    points: Array
    presence: Array

    @property
    def five_points(self) -> Array:
        """The five points of `FIVE_POINTS`, (N, 5, 2), by which faces are aligned."""
        return self.points[:, list(FIVE_POINTS), :2]


class FaceMesh:
    """Fits the mesh to found faces; from `load_face_mesh`.

    Args:
        network: crops (N, 3, 192, 192) to points and presence.

    Attributes:
        network: with licence and fingerprint.
    """

    def __init__(self, network: Network) -> None:
        self.network = network

    def fit(self, images: Sequence[Image], faces: Sequence[FaceDetections]) -> list[FaceMeshes]:
        """Fit the mesh to all faces of pictures.

        Args:
            images: RGB, (H, W, 3) uint8.
            faces: of each picture, from the detector.

        Returns:
            Meshes of each picture, in the order of its faces.

        Raises:
            ValueError: numbers of pictures and of entries differ.
        """
        if len(images) != len(faces):
            raise ValueError(f"{len(images)} pictures and faces of {len(faces)}")
        matrices = [face_regions(each) for each in faces]
        crops = [
            warp_crop(image, matrix, MESH_SIDE)
            for image, of_image in zip(images, matrices)
            for matrix in of_image
        ]
        if not crops:
            return [_no_meshes() for _ in images]
        points, logits = self.network(np.stack(crops).transpose(0, 3, 1, 2))
        presence = 1 / (1 + np.exp(-logits.clip(-80, 80)))
        flat = [matrix for of_image in matrices for matrix in of_image]
        placed = np.stack([_place(each, matrix) for each, matrix in zip(points, flat)])
        ends = np.cumsum([len(of_image) for of_image in matrices])
        return [
            FaceMeshes(placed[end - len(part) : end], presence[end - len(part) : end])
            for end, part in zip(ends, matrices)
        ]


def load_face_mesh(backend: Backend = "torch", device: str = "cpu") -> FaceMesh:
    """Load the face mesh that `voiceface models get real` fetched.

    Args:
        backend: "torch" or "onnxruntime".
        device: for PyTorch.

    Raises:
        voiceface.real.installation.MissingModelError: it was not fetched.
    """
    return FaceMesh(load_network("face_mesh", backend, device))


def face_regions(faces: FaceDetections) -> list[NDArray[np.float64]]:
    """Matrices (2, 3) of the crops of faces: 1.5 times the box, turned until the eyes are level."""
    matrices = []
    for box, points in zip(faces.boxes.astype(float), faces.points.astype(float)):
        across = points[LEFT_EYE] - points[RIGHT_EYE]
        side = REGION_SCALE * max(box[2] - box[0], box[3] - box[1])
        centre = (box[:2] + box[2:]) / 2 - 0.5
        matrices.append(crop_matrix(centre, side, float(np.arctan2(across[1], across[0])), MESH_SIDE))
    return matrices


def _place(points: Array, matrix: NDArray[np.float64]) -> Array:
    """Points of a crop (468, 3) in its picture."""
    back = invert_affine(matrix)
    depth = points[:, 2:] * np.sqrt(abs(np.linalg.det(back[:, :2])))
    return np.hstack([apply_affine(back, points[:, :2]), depth]).astype(np.float32)


def _no_meshes() -> FaceMeshes:
    return FaceMeshes(np.zeros((0, 468, 3), np.float32), np.zeros(0, np.float32))
