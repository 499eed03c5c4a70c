"""On-line validation: proportions of held-out people's faces, predicted from their voices."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from voiceface.metrics.geometry import explained_variance, person_means

from perceptionist.config import EvaluationConfig
from perceptionist.dataset.records import People, ratios_of
from perceptionist.models import VoiceToMesh
from perceptionist.proportions import MEASURES

BATCH = 16


@dataclass(frozen=True)
class HeldOut:
    """Who judges a run.

    Attributes:
        people: with recordings and true proportions.
        mean_face: (4,) proportions of the mean face of the training people, or of the face model.
    """

    people: People
    mean_face: NDArray[np.float64]


@dataclass(frozen=True)
class Prediction:
    """What a model makes of recordings.

    Attributes:
        labels: (L,) whose they are.
        ratios: (L, 4) proportions.
        shape: (L, S) un-whitened shape numbers.
    """

    labels: NDArray[np.int64]
    ratios: NDArray[np.float64]
    shape: NDArray[np.float64]


def held_out(people: People, trained_on: People, model: VoiceToMesh | None) -> HeldOut:
    """People to judge by, beside the mean face of those who are trained on.

    Raises:
        ValueError: nothing is known of their faces.
    """
    if people.ratios is None:
        raise ValueError("nothing is known of the held-out people's faces: set training.validate_every=-1")
    if trained_on.ratios is not None:
        return HeldOut(people, trained_on.ratios.mean(0))
    if model is None:
        raise ValueError("the mean face needs the truth of the training people or a face model")
    face = model.face_model
    mean, _ = face.parameter_mean[12 : face.parameter_count].split([face.shape_count, face.expression_count])
    still = torch.zeros(1, face.expression_count)
    return HeldOut(people, ratios_of(face, mean[None].cpu().numpy(), still.numpy())[0])


@torch.no_grad()
def predict(model: VoiceToMesh, people: People, files: int, *, batch: int = BATCH) -> Prediction:
    """Faces from the first recordings of each person; recordings of one length go together.

    Args:
        model: voice to mesh.
        people: with recordings.
        files: of each person, at most.
        batch: recordings at a time.
    """
    labels = people.voices.labels
    chosen = np.concatenate([np.flatnonzero(labels == label)[:files] for label in range(len(people.names))])
    device = model.face_model.mean.device
    groups: dict[int, list[tuple[int, torch.Tensor]]] = {}
    for place, number in enumerate(chosen):
        bands = torch.from_numpy(people.voices.read(int(number)).T.copy())
        groups.setdefault(bands.shape[1], []).append((place, bands))
    shapes = np.zeros((len(chosen), model.face_model.shape_count))
    shares = np.zeros((len(chosen), len(MEASURES)))
    for group in groups.values():
        for start in range(0, len(group), batch):
            part = group[start : start + batch]
            places = [place for place, _ in part]
            _, shape, expression = model.codes(torch.stack([bands for _, bands in part]).to(device))
            shapes[places] = shape.cpu().numpy()
            numbers = shape.cpu().numpy(), expression.cpu().numpy()
            shares[places] = ratios_of(model.face_model, *numbers)
    return Prediction(labels[chosen], shares, shapes)


def figures(found: Prediction, judges: HeldOut, mean_over: str = "people") -> dict[str, float]:
    """Mean absolute ratio errors, that of the mean face, and the explained variance where truth is known.

    `explained` is the mean over the shape coefficients that the population ties to the voice, within the
    sexes, one recording a row.
    """
    people = judges.people
    assert people.ratios is not None
    true = people.ratios[found.labels]
    errors = np.abs(found.ratios - true)
    plain = np.abs(judges.mean_face - true)
    if mean_over == "people":
        errors, plain = (person_means(each, found.labels) for each in (errors, plain))
    result = dict(zip(MEASURES, errors.mean(0).tolist(), strict=True))
    result |= {"mean": float(errors.mean()), "mean_face": float(plain.mean())}
    if people.truth is not None and people.judged is not None and people.sexes is not None:
        shape, known = found.shape @ people.judged, people.truth.shape[found.labels] @ people.judged
        shares = explained_variance(shape, known, people.sexes[found.labels])
        result["explained"] = float(np.nanmean(shares))
    return result


def judge(
    model: VoiceToMesh, judges: HeldOut, config: EvaluationConfig, *, batch: int = BATCH
) -> dict[str, float]:
    """Predict and compare; see `figures`."""
    return figures(predict(model, judges.people, config.files, batch=batch), judges, config.mean_over)
