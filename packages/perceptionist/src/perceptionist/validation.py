"""On-line validation: facial proportions of held-out identities, predicted from their voices.

Letters: L predictions, S shape coefficients.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from voiceface.metrics.geometry import explained_variance, identity_means
from voiceface.runtime import distributed

from perceptionist.config import EvaluationConfig
from perceptionist.dataset.records import VoiceFaceDataset, ratios_from_coefficients
from perceptionist.face_models.pose import NUM_POSE_PARAMETERS
from perceptionist.proportions import MEASURES
from perceptionist.voice_to_mesh import VoiceToMesh

__all__ = [
    "BATCH_SIZE",
    "Prediction",
    "ValidationSet",
    "build_validation_set",
    "compute_metrics",
    "evaluate",
    "predict",
]


BATCH_SIZE = 16


@dataclass(frozen=True)
class ValidationSet:
    """Held-out identities and the mean-face baseline.

    Attributes:
        dataset: held-out identities with utterances and true proportions.
        mean_face_ratios: (4,) proportions of the mean face of the training identities, or of the face model.
    """

    dataset: VoiceFaceDataset
    mean_face_ratios: NDArray[np.float64]


@dataclass(frozen=True)
class Prediction:
    """Predictions of a model for utterances.

    Attributes:
        labels: (L,) identity indices.
        ratios: (L, 4) proportions.
        shape: (L, S) un-whitened shape coefficients.
    """

    labels: NDArray[np.int64]
    ratios: NDArray[np.float64]
    shape: NDArray[np.float64]


def build_validation_set(
    dataset: VoiceFaceDataset, training_dataset: VoiceFaceDataset, model: VoiceToMesh | None
) -> ValidationSet:
    """Combine held-out identities with the mean face of the training identities.

    Raises:
        ValueError: the true proportions of the held-out identities, or of a mean face, are unknown.
    """
    if dataset.ratios is None:
        raise ValueError(
            "The held-out identities have no ground-truth faces to validate on. Set "
            "training.validation_interval=null."
        )
    if training_dataset.ratios is not None:
        return ValidationSet(dataset, training_dataset.ratios.mean(0))
    if model is None:
        raise ValueError(
            "The mean-face baseline needs ground truth of the training identities or a face model; neither "
            "was "
            "given."
        )
    face = model.face_model
    mean_parameters = face.parameter_mean[NUM_POSE_PARAMETERS : face.num_parameters]
    mean_shape, _ = mean_parameters.split([face.num_shape, face.num_expression])
    neutral = np.zeros((1, face.num_expression), np.float32)
    return ValidationSet(dataset, ratios_from_coefficients(face, mean_shape[None].cpu().numpy(), neutral)[0])


@torch.no_grad()
def predict(
    model: VoiceToMesh,
    dataset: VoiceFaceDataset,
    utterances_per_identity: int,
    *,
    batch_size: int = BATCH_SIZE,
) -> Prediction:
    """Predict faces from the first utterances of each identity; utterances of equal length share batches.

    Of several processes each predicts a share of the batches; all return the same.

    Args:
        model: voice to mesh.
        dataset: identities with utterances.
        utterances_per_identity: at most.
        batch_size: utterances per batch.
    """
    labels = dataset.utterances.labels
    indices = np.concatenate(
        [
            np.flatnonzero(labels == label)[:utterances_per_identity]
            for label in range(len(dataset.identities))
        ]
    )
    device = model.face_model.mean.device
    by_length: dict[int, list[tuple[int, torch.Tensor]]] = {}
    for row, index in enumerate(indices):
        features = torch.from_numpy(dataset.utterances.read(int(index)).T.copy())
        by_length.setdefault(features.shape[1], []).append((row, features))
    shapes = np.zeros((len(indices), model.face_model.num_shape))
    ratios = np.zeros((len(indices), len(MEASURES)))
    batches = [
        group[start : start + batch_size]
        for group in by_length.values()
        for start in range(0, len(group), batch_size)
    ]
    own = batches[distributed.rank() :: distributed.world_size()]
    with distributed.alone():
        for each in own:
            rows, batch = zip(*each, strict=True)
            _, shape, expression = model.predict_coefficients(torch.stack(batch).to(device))
            coefficients = shape.cpu().numpy(), expression.cpu().numpy()
            shapes[list(rows)] = coefficients[0]
            ratios[list(rows)] = ratios_from_coefficients(model.face_model, *coefficients)
    parts = distributed.all_gather_objects((shapes, ratios))  # rows of other processes are 0
    shapes, ratios = (np.sum(part, axis=0) for part in zip(*parts, strict=True))
    return Prediction(labels[indices], ratios, shapes)


def compute_metrics(
    prediction: Prediction, validation_set: ValidationSet, mean_over: str = "identities"
) -> dict[str, float]:
    """Compute mean absolute ratio errors, the mean-face baseline, and explained variance where possible.

    `explained_variance` is the mean over the shape coefficients that depend on the voice in the synthetic
    population, within each gender, one utterance a row.
    """
    dataset = validation_set.dataset
    assert dataset.ratios is not None
    true_ratios = dataset.ratios[prediction.labels]
    errors = np.abs(prediction.ratios - true_ratios)
    baseline_errors = np.abs(validation_set.mean_face_ratios - true_ratios)
    if mean_over == "identities":
        errors = identity_means(errors, prediction.labels)
        baseline_errors = identity_means(baseline_errors, prediction.labels)
    metrics = dict(zip(MEASURES, errors.mean(0).tolist(), strict=True))
    metrics |= {"mean": float(errors.mean()), "mean_face_baseline": float(baseline_errors.mean())}
    ground_truth, basis, genders = dataset.ground_truth, dataset.coefficient_basis, dataset.genders
    if ground_truth is not None and basis is not None and genders is not None:
        predicted = prediction.shape @ basis
        true = ground_truth.shape[prediction.labels] @ basis
        explained = explained_variance(predicted, true, genders[prediction.labels])
        metrics["explained_variance"] = float(np.nanmean(explained))
    return metrics


def evaluate(
    model: VoiceToMesh,
    validation_set: ValidationSet,
    config: EvaluationConfig,
    *,
    batch_size: int = BATCH_SIZE,
) -> dict[str, float]:
    """Predict the faces of a validation set and compute their metrics; see `compute_metrics`."""
    prediction = predict(model, validation_set.dataset, config.utterances_per_identity, batch_size=batch_size)
    return compute_metrics(prediction, validation_set, config.mean_over)
