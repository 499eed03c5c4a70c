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

FRAMES = 1000  # shorter recordings are repeated to so many


@dataclass(frozen=True)
class Voices:
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
        if len(bands) >= FRAMES:
            return bands
        return np.tile(bands, (-(-FRAMES // len(bands)), 1))[:FRAMES]


@dataclass(frozen=True)
class Pictures:
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
class Truth:
    """What is true of people, in numbers of a face model.

    Attributes:
        shape: (N, S) un-whitened. expression: (N, E) un-whitened, of the face that a voice is to give.
        scale: (N,) pixels per unit of the model.
        pictures: (P, 12 + S + E) whitened parameters of each picture; None where not known.
    """

    shape: NDArray[np.float32]
    expression: NDArray[np.float32]
    scale: NDArray[np.float32]
    pictures: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class People:
    """Some people with what is known of them.

    Attributes:
        names: (N,), alphabetical; the place is the class number.
        voices, faces: their recordings and pictures.
        truth: their faces in numbers; None where not known.
        ratios: (N, 4) true proportions (`perceptionist.proportions.MEASURES`); None where not known.
        sexes: (N,) 1 for men; None where not known.
        judged: (S, K) brings un-whitened shape numbers to those that explained variance is stated for.
        notice: what readers of results must be told, or empty.
    """

    names: tuple[str, ...]
    voices: Voices
    faces: Pictures
    truth: Truth | None = None
    ratios: NDArray[np.float64] | None = None
    sexes: NDArray[np.int64] | None = None
    judged: NDArray[np.float64] | None = None
    notice: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


def scales_of(
    model: LinearFaceModel, shape: Array, share: float = 0.6, side: float = 120.0
) -> NDArray[np.float32]:
    """Pixels per unit (N,) at which the landmarks' box of faces (N, S) takes its share of a picture."""
    import torch

    numbers = torch.from_numpy(np.asarray(shape, np.float32))
    still = torch.zeros(len(numbers), model.expression_count)
    marks = model.cpu().points(numbers, still)[:, :2]
    box = 0.5 * (marks.amax(2) - marks.amin(2)).sum(1)
    return (share * side / box).numpy()


def ratios_of(model: LinearFaceModel, shape: Array, expression: Array) -> NDArray[np.float64]:
    """Proportions (B, 4) of faces, (B, S) and (B, E) un-whitened, without making whole meshes."""
    import torch

    from perceptionist.proportions import MEASURES, REFERENCE_DISTANCE, ratios

    words = (REFERENCE_DISTANCE, *MEASURES)
    corners = [corner for word in words for corner in model.pairs[word]]
    where = model.mean.device
    numbers = torch.as_tensor(np.asarray(shape), dtype=torch.float32, device=where)
    codes = torch.as_tensor(np.asarray(expression), dtype=torch.float32, device=where)
    points = model.points(numbers, codes, np.array(corners)).transpose(1, 2).cpu().numpy()
    return ratios(points, {word: (2 * place, 2 * place + 1) for place, word in enumerate(words)})
