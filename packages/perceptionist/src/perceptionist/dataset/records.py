"""Records of a data set: utterances, face images and ground truth of identities.

Letters: N identities, U utterances, P images, S shape and E expression coefficients.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceptionist import speech
from perceptionist.face_models.linear import LinearFaceModel

__all__ = [
    "MIN_FRAMES",
    "FaceImages",
    "GroundTruth",
    "Utterances",
    "VoiceFaceDataset",
    "ratios_from_coefficients",
    "scales_from_shape",
]


Array = NDArray[Any]

MIN_FRAMES = 1000  # shorter utterances are repeated to this length


@dataclass(frozen=True)
class Utterances:
    """Utterances of identities.

    Attributes:
        labels: (U,) identity indices.
        items: features (frames, 64), not repeated, or stored feature files.
    """

    labels: NDArray[np.int64]
    items: Sequence[Array | Path]

    def __len__(self) -> int:
        return len(self.items)

    def read(self, index: int) -> NDArray[np.float32]:
        """Read the features (frames, 64) of one utterance, at least 1000 frames."""
        item = self.items[index]
        features = speech.read_features(item) if isinstance(item, Path) else item
        if len(features) >= MIN_FRAMES:
            return features
        return np.tile(features, (-(-MIN_FRAMES // len(features)), 1))[:MIN_FRAMES]


@dataclass(frozen=True)
class FaceImages:
    """Face images of identities: labels (P,), and RGB arrays (h, w, 3), uint8, or files."""

    labels: NDArray[np.int64]
    items: Sequence[Array | Path]

    def __len__(self) -> int:
        return len(self.items)

    def read(self, index: int) -> NDArray[np.uint8]:
        """Read one image, (h, w, 3) uint8, RGB."""
        from voiceface.images.loading import load_image

        item = self.items[index]
        return load_image(item) if isinstance(item, Path) else item


@dataclass(frozen=True)
class GroundTruth:
    """Ground truth of identities, in coefficients of a face model.

    Attributes:
        shape: (N, S) un-whitened. expression: (N, E) un-whitened, of the face to predict from a voice.
        scale: (N,) pixels per unit of the model.
        image_parameters: (P, 12 + S + E) whitened parameters of each image; None if unknown.
    """

    shape: NDArray[np.float32]
    expression: NDArray[np.float32]
    scale: NDArray[np.float32]
    image_parameters: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class VoiceFaceDataset:
    """Identities with utterances, images and ground truth.

    Attributes:
        identities: (N,) names, alphabetical; the position is the class index.
        utterances, images: of the identities.
        ground_truth: coefficients of their faces; None if unknown.
        ratios: (N, 4) true proportions (`perceptionist.proportions.MEASURES`); None if unknown.
        genders: (N,) 1 for male; None if unknown.
        coefficient_basis: (S, K), from un-whitened shape coefficients to those of the explained variance.
        disclaimer: to show with every result, or empty.
    """

    identities: tuple[str, ...]
    utterances: Utterances
    images: FaceImages
    ground_truth: GroundTruth | None = None
    ratios: NDArray[np.float64] | None = None
    genders: NDArray[np.int64] | None = None
    coefficient_basis: NDArray[np.float64] | None = None
    disclaimer: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


def scales_from_shape(
    model: LinearFaceModel, shape: Array, box_fraction: float = 0.6, image_size: float = 120.0
) -> NDArray[np.float32]:
    """Pixels per unit (N,) at which the landmarks' box of faces (N, S) takes `box_fraction` of an image."""
    import torch

    coefficients = torch.from_numpy(np.asarray(shape, np.float32))
    neutral = torch.zeros(len(coefficients), model.num_expression)
    landmarks = model.cpu().vertices_at(coefficients, neutral)[:, :2]
    box = 0.5 * (landmarks.amax(2) - landmarks.amin(2)).sum(1)
    return (box_fraction * image_size / box).numpy()


def ratios_from_coefficients(model: LinearFaceModel, shape: Array, expression: Array) -> NDArray[np.float64]:
    """Proportions (B, 4) of faces, (B, S) and (B, E) un-whitened, without computing whole meshes."""
    import torch

    from perceptionist.proportions import MEASURES, REFERENCE_DISTANCE, ratios

    measures = (REFERENCE_DISTANCE, *MEASURES)
    vertex_indices = np.array([index for measure in measures for index in model.pairs[measure]])
    shapes, expressions = (
        torch.as_tensor(np.asarray(each), dtype=torch.float32, device=model.mean.device)
        for each in (shape, expression)
    )
    points = model.vertices_at(shapes, expressions, vertex_indices).transpose(1, 2).cpu().numpy()
    return ratios(points, {measure: (2 * i, 2 * i + 1) for i, measure in enumerate(measures)})
