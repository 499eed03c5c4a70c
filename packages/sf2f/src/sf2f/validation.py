"""Judging a generator in training by held-out people, and what is shown of it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sf2f.config import Sf2fConfig
from sf2f.generation import (
    contact_sheet,
    enough_to_judge,
    equal_counts,
    face_truth_of,
    hear_people,
    pictures_of,
    real_pictures,
)
from sf2f.image_transforms import Statistics, denormalise
from sf2f.models import VoiceToFace
from sf2f.speakers import Speakers

if TYPE_CHECKING:
    from voiceface.synthetic.face.geometry_truth import FaceTruth
    from voiceface.synthetic.readers.attribute_reader import Judge, Reading

SHOWN = ("sex", "factors", "shape", "found 1", "found 10", "matching same sex")


@dataclass(frozen=True)
class Judged:
    """Held-out people with everything about them that does not change.

    Attributes:
        speakers: the people.
        real: their pictures, (P, 3, side, side) each, 0...1.
        config: of the run.
        truth: of invented people, else None.
        judge: the network that reads invented faces, else None.
        reading: what it reads in the real pictures, else None.
        facenet: FaceNet where it is given, with embeddings (N, D) of the people, else None.
    """

    speakers: Speakers
    real: tuple[Tensor, ...]
    config: Sf2fConfig
    truth: "FaceTruth | None" = None
    judge: "Judge | None" = None
    reading: "Reading | None" = None
    facenet: Any = None


def held_out(
    speakers: Speakers,
    config: Sf2fConfig,
    facenet: str | Path | None = None,
    device: torch.device | str = "cpu",
) -> Judged:
    """Prepare people to judge by.

    Args:
        speakers: the people.
        config: of the run.
        facenet: weights of FaceNet, or None.
        device: where FaceNet goes.
    """
    real = tuple(real_pictures(speakers, config.generator.sides[-1]))
    found = Judged(speakers, real, config, face_truth_of(speakers))
    if enough_to_judge(found.truth):
        from voiceface.synthetic.agreement.agreement import read_people
        from voiceface.synthetic.readers.attribute_reader import load

        judge = load("judge")
        found = replace(found, judge=judge, reading=read_people(judge, equal_counts(real)))
    if facenet is not None:
        from sf2f.metrics import FaceReader
        from sf2f.third_party_networks import read_facenet

        reader = FaceReader(read_facenet(facenet).to(device), config.perceptual.box)
        found = replace(found, facenet=(reader, reader.of_people(real)))
    return found


def judge(generator: nn.Module, jury: Judged) -> dict[str, float]:
    """Figures of a generator by its pictures of held-out people, one each of all their windows.

    `pixel`: mean absolute difference from the mean of the real pictures, 0...1. Of invented people what
    `voiceface.synthetic.agreement.agreement` finds; with FaceNet `cos` and `recall_10`. The generator is left
    in evaluation mode.
    """
    model = VoiceToFace(generator.eval(), jury.config.data)  # type: ignore[arg-type]
    made = pictures_of(model, hear_people(model, jury.speakers))
    mean = torch.stack([each.mean(0) for each in jury.real])
    found = {"pixel": float((made - mean).abs().mean())}
    if jury.judge is not None and jury.truth is not None and jury.reading is not None:
        from voiceface.synthetic.agreement.agreement import agreement_of, read_people

        ours = read_people(jury.judge, made[:, None])
        figures = agreement_of(jury.judge, ours, jury.reading, jury.truth, replicates=2).figures
        found |= {name.replace(" ", "_"): figures[name].value for name in SHOWN if name in figures}
    if jury.facenet is not None:
        from voiceface.metrics.generation import feature_distances, identity_retrieval

        reader, references = jury.facenet
        ours = reader.of_pictures(made)
        found["cos"] = float(feature_distances(ours, references).cosine)
        found["recall_10"] = float(identity_retrieval(ours, references, cutoffs=[10]).recall[10])
    return found


def preview(made: Tensor, real: Tensor, statistics: Statistics, count: int = 8) -> np.ndarray:
    """Made pictures (N, 3, S, S), normalised, above the real ones of the same people, as bytes."""
    both = torch.cat([made[:count], real[:count]]).detach().float().cpu()
    return contact_sheet(denormalise(both, statistics), min(count, len(made)))
