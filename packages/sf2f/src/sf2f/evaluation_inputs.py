"""Windows and real images of the evaluated identities; those whose files cannot be read are listed."""

from dataclasses import dataclass

import torch
from torch import Tensor
from voiceface.metrics.unavailable import UnavailableResult

from sf2f.models import Sf2fModel
from sf2f.sampling import load_identity_faces, load_identity_windows
from sf2f.speakers import Array, DataError, Speakers

__all__ = ["EvaluationInputs", "load_evaluation_inputs"]


@dataclass(frozen=True)
class EvaluationInputs:
    """What an evaluation reads from files.

    Attributes:
        speakers: the identities whose files can be read.
        rows: index of each among the given identities.
        windows: windows of each.
        real_images: real images of each, (P, 3, side, side), 0...1.
        unavailable: the other identities with the reasons.
    """

    speakers: Speakers
    rows: tuple[int, ...]
    windows: tuple[Array, ...]
    real_images: tuple[Tensor, ...]
    unavailable: tuple[UnavailableResult, ...] = ()


def load_evaluation_inputs(model: Sf2fModel, speakers: Speakers) -> EvaluationInputs:
    """Read the windows and images of all identities before anything is generated.

    Args:
        model: the generator, for the windows and the side of its images.
        speakers: the identities.

    Raises:
        DataError: the files of no identity can be read.
    """
    config = model.data.windows.model_copy(update={"missing": "mask"})
    side = model.generator.image_sizes[-1]
    kept: list[int] = []
    windows: list[Array] = []
    images: list[Tensor] = []
    unavailable: list[UnavailableResult] = []
    for identity, name in enumerate(speakers.names):
        try:
            found = load_identity_windows(speakers, identity, config, model.data.mel)
            faces = torch.from_numpy(load_identity_faces(speakers, identity, (side, side)))
        except (ValueError, OSError) as error:
            unavailable.append(UnavailableResult.from_error(f"identity {name}", error))
            continue
        kept.append(identity)
        windows.append(found)
        images.append(faces)
    if not kept:
        shown = "; ".join(map(str, unavailable[:5]))
        raise DataError(f"the files of none of {len(speakers)} identities can be read: {shown}")
    selected = speakers if len(kept) == len(speakers) else speakers.subset(kept)
    return EvaluationInputs(selected, tuple(kept), tuple(windows), tuple(images), tuple(unavailable))
