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

from sf2f.models import VoiceToFace
from sf2f.sampling import faces_of_person, person_windows
from sf2f.speakers import Speakers

if TYPE_CHECKING:
    from voiceface.synthetic.face.geometry_truth import FaceTruth

BATCH = 256


@dataclass(frozen=True)
class Heard:
    """What a model hears of people.

    Attributes:
        windows: of each person, embeddings (S, D), in the order of their recordings.
    """

    windows: tuple[Tensor, ...]

    def __len__(self) -> int:
        """Number of people."""
        return len(self.windows)


def hear_people(model: VoiceToFace, speakers: Speakers) -> Heard:
    """Embeddings of all windows of people, recordings sorted, nothing at random (section 9.1)."""
    plan = model.data.windows.model_copy(update={"missing": "mask"})
    found = [person_windows(speakers, person, plan, model.data.mel) for person in range(len(speakers))]
    rows = torch.from_numpy(np.concatenate(found))
    device = next(model.generator.parameters()).device
    embedded = torch.cat([model.embed(part.to(device)) for part in rows.split(BATCH)])
    return Heard(tuple(embedded.split([len(each) for each in found])))


def pictures_of(model: VoiceToFace, heard: Heard, most: int | None = None) -> Tensor:
    """One picture of each person.

    Args:
        model: the generator.
        heard: embeddings of windows.
        most: windows to join, the first ones; None takes all. One window passes by a fuser, as published.

    Returns:
        (N, 3, side, side), 0...1, on the CPU.
    """
    joined = [
        each[:1] if most == 1 or (len(each) == 1 and not model.fuses) else model.join(each[:most])
        for each in heard.windows
    ]
    return decode_all(model, torch.cat(joined))


def pictures_of_windows(model: VoiceToFace, heard: Heard) -> list[Tensor]:
    """A picture of every window: of each person (S, 3, side, side), 0...1, on the CPU."""
    made = decode_all(model, torch.cat(heard.windows))
    return list(made.split([len(each) for each in heard.windows]))


def decode_all(model: VoiceToFace, embeddings: Tensor) -> Tensor:
    """Embeddings (N, D) to pictures (N, 3, side, side), 0...1, on the CPU, in batches."""
    return torch.cat([model.pictures(part).cpu() for part in embeddings.split(BATCH)])


def real_pictures(speakers: Speakers, side: int) -> list[Tensor]:
    """All pictures of each person, (P, 3, side, side), 0...1."""
    size = (side, side)
    return [torch.from_numpy(faces_of_person(speakers, person, size)) for person in range(len(speakers))]


def face_truth_of(speakers: Speakers) -> "FaceTruth | None":
    """What is true of invented people's faces, in their order; None for others."""
    if speakers.truth is None:
        return None
    from voiceface.synthetic.face import geometry_truth
    from voiceface.synthetic.layout import Settings, name_of

    settings = Settings(**speakers.truth.settings)
    number = {name_of(k, settings): k for k in settings.ids("all")}
    return geometry_truth.face_truth_of(settings, [number[name] for name in speakers.names])


def enough_to_judge(truth: "FaceTruth | None") -> bool:
    """Whether invented people can be held against their truth: two of each sex at least."""
    return truth is not None and min(int((truth.sex == sex).sum()) for sex in (0, 1)) >= 2


def equal_counts(pictures: Sequence[Tensor]) -> Tensor:
    """Pictures of people as one tensor (N, P, 3, side, side): of each as many as the poorest has."""
    count = min(len(each) for each in pictures)
    return torch.stack([each[:count] for each in pictures])


def as_bytes(picture: Tensor) -> "np.ndarray":
    """A picture (3, H, W), 0...1, to (H, W, 3) uint8, rounded."""
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def write_picture(path: Path, picture: Tensor) -> None:
    """Write a picture (3, H, W), 0...1, as PNG, atomically; folders are made."""
    write_png(path, as_bytes(picture))


def contact_sheet(pictures: Tensor, columns: int = 8, gap: int = 2) -> "np.ndarray":
    """Pictures (N, 3, H, W), 0...1, side by side on white, (rows, columns, 3) uint8."""
    count, _, height, width = pictures.shape
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, np.uint8)
    for at, picture in enumerate(map(as_bytes, pictures)):
        top, left = (gap + place * (side + gap) for place, side in zip(divmod(at, columns), (height, width)))
        sheet[top : top + height, left : left + width] = picture
    return sheet
