"""Pictures of people from their recordings: from one window, from several, from all.

Letters: N people, S windows of one, D embedding length, P real pictures of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from voiceface.io.atomic import write_png

from sf2f.models import Sf2fModel
from sf2f.sampling import load_identity_faces, load_identity_windows
from sf2f.speakers import Speakers

if TYPE_CHECKING:
    from voiceface.synthetic.face.geometry_truth import FaceGroundTruth

BATCH_SIZE = 256


@dataclass(frozen=True)
class WindowEmbeddings:
    """What a model hears of people.

    Attributes:
        windows: of each person, embeddings (S, D), in the order of their recordings.
    """

    windows: tuple[Tensor, ...]

    def __len__(self) -> int:
        """Number of people."""
        return len(self.windows)


def embed_speakers(model: Sf2fModel, speakers: Speakers) -> WindowEmbeddings:
    """Embeddings of all windows of people, recordings sorted, nothing at random (section 9.1)."""
    plan = model.data.windows.model_copy(update={"missing": "mask"})
    found = [load_identity_windows(speakers, person, plan, model.data.mel) for person in range(len(speakers))]
    rows = torch.from_numpy(np.concatenate(found))
    device = next(model.generator.parameters()).device
    embedded = torch.cat([model.embed(part.to(device)) for part in rows.split(BATCH_SIZE)])
    return WindowEmbeddings(tuple(embedded.split([len(each) for each in found])))


def generate_images(model: Sf2fModel, embeddings: WindowEmbeddings, max_windows: int | None = None) -> Tensor:
    """One picture of each person.

    Args:
        model: the generator.
        embeddings: embeddings of windows.
        max_windows: windows to join, the first ones; None takes all. One window passes by a fuser, as published.

    Returns:
        (N, 3, side, side), 0...1, on the CPU.
    """
    joined = [
        each[:1]
        if max_windows == 1 or (len(each) == 1 and not model.has_fuser)
        else model.pool_embeddings(each[:max_windows])
        for each in embeddings.windows
    ]
    return decode_in_batches(model, torch.cat(joined))


def generate_window_images(model: Sf2fModel, embeddings: WindowEmbeddings) -> list[Tensor]:
    """A picture of every window: of each person (S, 3, side, side), 0...1, on the CPU."""
    made = decode_in_batches(model, torch.cat(embeddings.windows))
    return list(made.split([len(each) for each in embeddings.windows]))


def decode_in_batches(model: Sf2fModel, embeddings: Tensor) -> Tensor:
    """Embeddings (N, D) to pictures (N, 3, side, side), 0...1, on the CPU, in batches."""
    return torch.cat([model.decode_images(part).cpu() for part in embeddings.split(BATCH_SIZE)])


def load_real_images(speakers: Speakers, image_size: int) -> list[Tensor]:
    """All pictures of each person, (P, 3, side, side), 0...1."""
    size = (image_size, image_size)
    return [torch.from_numpy(load_identity_faces(speakers, person, size)) for person in range(len(speakers))]


def face_ground_truth(speakers: Speakers) -> "FaceGroundTruth | None":
    """What is true of invented people's faces, in their order; None for others."""
    if speakers.ground_truth is None:
        return None
    from voiceface.synthetic.face import geometry_truth
    from voiceface.synthetic.layout import PopulationSettings, get_face_name

    settings = PopulationSettings(**speakers.ground_truth.settings)
    number = {get_face_name(k, settings): k for k in settings.ids("all")}
    return geometry_truth.generate_face_ground_truth(settings, [number[name] for name in speakers.names])


def has_enough_identities(ground_truth: "FaceGroundTruth | None") -> bool:
    """Whether invented people can be held against their truth: two of each sex at least."""
    return ground_truth is not None and min(int((ground_truth.sex == sex).sum()) for sex in (0, 1)) >= 2


def stack_equal_counts(images: Sequence[Tensor]) -> Tensor:
    """Pictures of people as one tensor (N, P, 3, side, side): of each as many as the poorest has."""
    count = min(len(each) for each in images)
    return torch.stack([each[:count] for each in images])


def image_to_uint8(image: Tensor) -> "np.ndarray":
    """A picture (3, H, W), 0...1, to (H, W, 3) uint8, rounded."""
    return (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def write_image(path: Path, image: Tensor) -> None:
    """Write a picture (3, H, W), 0...1, as PNG, atomically; folders are made."""
    write_png(path, image_to_uint8(image))


def contact_sheet(images: Tensor, columns: int = 8, gap: int = 2) -> "np.ndarray":
    """Pictures (N, 3, H, W), 0...1, side by side on white, (rows, columns, 3) uint8."""
    count, _, height, width = images.shape
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, np.uint8)
    for at, picture in enumerate(map(image_to_uint8, images)):
        top, left = (gap + place * (side + gap) for place, side in zip(divmod(at, columns), (height, width)))
        sheet[top : top + height, left : left + width] = picture
    return sheet
