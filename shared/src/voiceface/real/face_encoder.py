"""Embeddings of faces: aligned chips of 150 pixels to 128 numbers.

Source: dlib, `dnn_face_recognition_ex`: faces are aligned by five points to a mean face with a margin.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from voiceface.real.alignment import fit_similarity, warp_crop
from voiceface.real.backends import Backend, Network, load_network
from voiceface.real.networks import CHIP_SIDE

__all__ = [
    "CHIP_MARGIN",
    "MEAN_FACE",
    "SAME_PERSON_DISTANCE",
    "AlignedFaces",
    "FaceEncoder",
    "align_faces",
    "chip_points",
    "load_face_encoder",
]

Array = NDArray[np.float32]
Image = NDArray[np.uint8]
SAME_PERSON_DISTANCE = 0.6
"""Euclidean distance below which two embeddings count as one person's."""
CHIP_MARGIN = 0.25
MEAN_FACE = (
    (0.8595674595992, 0.2134981538014),
    (0.6460604764104, 0.2289674387677),
    (0.1205750620789, 0.2137274526848),
    (0.3340850613712, 0.2290642403242),
    (0.4901123135679, 0.6277975316475),
)
"""Outer and inner corner of the left eye, of the right eye, bottom of the nose, in a square of side 1."""


class AlignedFaces(NamedTuple):
    """Faces cut out for the encoder.

    Attributes:
        chips: (N, 150, 150, 3) uint8.
        matrices: (N, 2, 3), picture to chip.
    """

    chips: Image
    matrices: NDArray[np.float64]


class FaceEncoder:
    """Embeds aligned faces; from `load_face_encoder`.

    Args:
        network: chips (N, 3, 150, 150) to embeddings.

    Attributes:
        network: with licence and fingerprint.
    """

    def __init__(self, network: Network) -> None:
        self.network = network

    def embed(self, chips: Image) -> Array:
        """Embed aligned faces.

        Args:
            chips: RGB, (N, 150, 150, 3), 0...255, from `align_faces`.

        Returns:
            (N, 128), to be compared by Euclidean distance (`SAME_PERSON_DISTANCE`); not normalised.

        Raises:
            ValueError: another shape.
        """
        chips = np.asarray(chips)
        if chips.ndim != 4 or chips.shape[1:] != (CHIP_SIDE, CHIP_SIDE, 3):
            raise ValueError(f"chips must be (N, {CHIP_SIDE}, {CHIP_SIDE}, 3), found {chips.shape}")
        if not len(chips):
            return np.zeros((0, 128), np.float32)
        return self.network(chips.transpose(0, 3, 1, 2))[0]


def load_face_encoder(backend: Backend = "torch", device: str = "cpu") -> FaceEncoder:
    """Load the face encoder that `voiceface models get real` fetched.

    Args:
        backend: "torch" or "onnxruntime".
        device: for PyTorch.

    Raises:
        voiceface.real.installation.MissingModelError: it was not fetched.
    """
    return FaceEncoder(load_network("face_encoder", backend, device))


def chip_points() -> NDArray[np.float64]:
    """Where the five points of a face lie in its chip, (5, 2), pixels."""
    return (CHIP_MARGIN + np.array(MEAN_FACE)) / (2 * CHIP_MARGIN + 1) * CHIP_SIDE


def align_faces(image: Image, five_points: npt.ArrayLike) -> AlignedFaces:
    """Cut faces out of a picture so that their five points lie where the encoder expects them.

    Args:
        image: RGB, (H, W, 3) uint8.
        five_points: (N, 5, 2) as in `MEAN_FACE`, in pixels, such as `FaceMeshes.five_points`.

    Raises:
        ValueError: another shape, or points that coincide.
    """
    points = np.asarray(five_points, float)
    if points.ndim != 3 or points.shape[1:] != (5, 2):
        raise ValueError(f"five points must be (N, 5, 2), found {points.shape}")
    if not len(points):
        return AlignedFaces(np.zeros((0, CHIP_SIDE, CHIP_SIDE, 3), np.uint8), np.zeros((0, 2, 3)))
    matrices = fit_similarity(points, chip_points())
    return AlignedFaces(np.stack([warp_crop(image, each, CHIP_SIDE) for each in matrices]), matrices)
