"""On-line validation: proportions of held-out people's faces, predicted from their voices."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from voiceface.metrics.geometry import explained_variance, identity_means

from perceptionist.config import EvaluationConfig
from perceptionist.dataset.records import VoiceFaceDataset, ratios_from_coefficients
from perceptionist.models import VoiceToMesh
from perceptionist.proportions import MEASURES

BATCH_SIZE = 16


@dataclass(frozen=True)
class ValidationSet:
    """Who judges a run.

    Attributes:
        dataset: with recordings and true proportions.
        mean_face_ratios: (4,) proportions of the mean face of the training people, or of the face model.
    """

    dataset: VoiceFaceDataset
    mean_face_ratios: NDArray[np.float64]


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


def build_validation_set(
    dataset: VoiceFaceDataset, training_dataset: VoiceFaceDataset, model: VoiceToMesh | None
) -> ValidationSet:
    """People to judge by, beside the mean face of those who are trained on.

    Raises:
        ValueError: nothing is known of their faces.
    """
    if dataset.ratios is None:
        raise ValueError(
            "nothing is known of the held-out people's faces: set training.validation_interval=null"
        )
    if training_dataset.ratios is not None:
        return ValidationSet(dataset, training_dataset.ratios.mean(0))
    if model is None:
        raise ValueError("the mean face needs the truth of the training people or a face model")
    face = model.face_model
    mean, _ = face.parameter_mean[12 : face.num_parameters].split([face.num_shape, face.num_expression])
    still = torch.zeros(1, face.num_expression)
    return ValidationSet(dataset, ratios_from_coefficients(face, mean[None].cpu().numpy(), still.numpy())[0])


@torch.no_grad()
def predict(
    model: VoiceToMesh,
    dataset: VoiceFaceDataset,
    utterances_per_identity: int,
    *,
    batch_size: int = BATCH_SIZE,
) -> Prediction:
    """Faces from the first recordings of each person; recordings of one length go together.

    Args:
        model: voice to mesh.
        dataset: with recordings.
        utterances_per_identity: of each person, at most.
        batch_size: recordings at a time.
    """
    labels = dataset.utterances.labels
    chosen = np.concatenate(
        [
            np.flatnonzero(labels == label)[:utterances_per_identity]
            for label in range(len(dataset.identities))
        ]
    )
    device = model.face_model.mean.device
    groups: dict[int, list[tuple[int, torch.Tensor]]] = {}
    for place, number in enumerate(chosen):
        bands = torch.from_numpy(dataset.utterances.read(int(number)).T.copy())
        groups.setdefault(bands.shape[1], []).append((place, bands))
    shapes = np.zeros((len(chosen), model.face_model.num_shape))
    shares = np.zeros((len(chosen), len(MEASURES)))
    for group in groups.values():
        for start in range(0, len(group), batch_size):
            part = group[start : start + batch_size]
            places = [place for place, _ in part]
            _, shape, expression = model.predict_coefficients(
                torch.stack([bands for _, bands in part]).to(device)
            )
            shapes[places] = shape.cpu().numpy()
            numbers = shape.cpu().numpy(), expression.cpu().numpy()
            shares[places] = ratios_from_coefficients(model.face_model, *numbers)
    return Prediction(labels[chosen], shares, shapes)


def compute_metrics(
    prediction: Prediction, validation_set: ValidationSet, mean_over: str = "people"
) -> dict[str, float]:
    """Mean absolute ratio errors, that of the mean face, and the explained variance where truth is known.

    `explained` is the mean over the shape coefficients that the population ties to the voice, within the
    sexes, one recording a row.
    """
    people = validation_set.dataset
    assert people.ratios is not None
    true = people.ratios[prediction.labels]
    errors = np.abs(prediction.ratios - true)
    plain = np.abs(validation_set.mean_face_ratios - true)
    if mean_over == "people":
        errors, plain = (identity_means(each, prediction.labels) for each in (errors, plain))
    result = dict(zip(MEASURES, errors.mean(0).tolist(), strict=True))
    result |= {"mean": float(errors.mean()), "mean_face": float(plain.mean())}
    if (
        people.ground_truth is not None
        and people.coefficient_basis is not None
        and people.genders is not None
    ):
        shape, known = (
            prediction.shape @ people.coefficient_basis,
            people.ground_truth.shape[prediction.labels] @ people.coefficient_basis,
        )
        shares = explained_variance(shape, known, people.genders[prediction.labels])
        result["explained"] = float(np.nanmean(shares))
    return result


def evaluate(
    model: VoiceToMesh,
    validation_set: ValidationSet,
    config: EvaluationConfig,
    *,
    batch_size: int = BATCH_SIZE,
) -> dict[str, float]:
    """Predict and compare; see `figures`."""
    return compute_metrics(
        predict(model, validation_set.dataset, config.utterances_per_identity, batch_size=batch_size),
        validation_set,
        config.mean_over,
    )
