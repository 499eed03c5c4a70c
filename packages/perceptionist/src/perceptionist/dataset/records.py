"""Who a run learns from and who it is judged by: recordings, pictures, truth.

Letters: N people, V recordings, P pictures, S shape and E expression numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perceptionist import speech
from perceptionist.face_models.linear import LinearFaceModel

Array = NDArray[Any]

MIN_FRAMES = 1000  # shorter recordings are repeated to so many


@dataclass(frozen=True)
class Utterances:
    """Recordings of people.

    Attributes:
        labels: (V,) whose.
        items: features (frames, 64), not repeated, or stored feature files.
    """

    labels: NDArray[np.int64]
    items: Sequence[Array | Path]

    def __len__(self) -> int:
        return len(self.items)

    def read(self, index: int) -> NDArray[np.float32]:
        """Features (frames, 64) of one recording, at least 1000 frames."""
        item = self.items[index]
        bands = speech.read_features(item) if isinstance(item, Path) else item
        if len(bands) >= MIN_FRAMES:
            return bands
        return np.tile(bands, (-(-MIN_FRAMES // len(bands)), 1))[:MIN_FRAMES]


@dataclass(frozen=True)
class FaceImages:
    """Pictures of people: labels (P,), and R G B arrays (h, w, 3), uint8, or files."""

    labels: NDArray[np.int64]
    items: Sequence[Array | Path]

    def __len__(self) -> int:
        return len(self.items)

    def read(self, index: int) -> NDArray[np.uint8]:
        """One picture, (h, w, 3) uint8, R G B."""
        from voiceface.images.loading import decode

        item = self.items[index]
        return decode(item) if isinstance(item, Path) else item


@dataclass(frozen=True)
class GroundTruth:
    """What is true of people, in numbers of a face model.

    Attributes:
        shape: (N, S) un-whitened. expression: (N, E) un-whitened, of the face that a voice is to give.
        scale: (N,) pixels per unit of the model.
        image_parameters: (P, 12 + S + E) whitened parameters of each picture; None where not known.
    """

    shape: NDArray[np.float32]
    expression: NDArray[np.float32]
    scale: NDArray[np.float32]
    image_parameters: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class VoiceFaceDataset:
    """Some people with what is known of them.

    Attributes:
        identities: (N,), alphabetical; the place is the class number.
        utterances, images: their recordings and pictures.
        ground_truth: their faces in numbers; None where not known.
        ratios: (N, 4) true proportions (`perceptionist.facial_proportions.MEASURES`); None where not known.
        genders: (N,) 1 for men; None where not known.
        coefficient_basis: (S, K) brings un-whitened shape numbers to those that explained variance is stated for.
        disclaimer: what readers of results must be told, or empty.
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
    """Pixels per unit (N,) at which the landmarks' box of faces (N, S) takes its share of a picture."""
    import torch

    numbers = torch.from_numpy(np.asarray(shape, np.float32))
    still = torch.zeros(len(numbers), model.num_expression)
    marks = model.cpu().vertices_at(numbers, still)[:, :2]
    box = 0.5 * (marks.amax(2) - marks.amin(2)).sum(1)
    return (box_fraction * image_size / box).numpy()


def ratios_from_coefficients(model: LinearFaceModel, shape: Array, expression: Array) -> NDArray[np.float64]:
    """Proportions (B, 4) of faces, (B, S) and (B, E) un-whitened, without making whole meshes."""
    import torch

    from perceptionist.proportions import MEASURES, REFERENCE_DISTANCE, ratios

    words = (REFERENCE_DISTANCE, *MEASURES)
    corners = [corner for word in words for corner in model.pairs[word]]
    where = model.mean.device
    numbers = torch.as_tensor(np.asarray(shape), dtype=torch.float32, device=where)
    codes = torch.as_tensor(np.asarray(expression), dtype=torch.float32, device=where)
    points = model.vertices_at(numbers, codes, np.array(corners)).transpose(1, 2).cpu().numpy()
    return ratios(points, {word: (2 * place, 2 * place + 1) for place, word in enumerate(words)})
