"""Training of the supervised head: voice to scale, shape and expression.

The supervised training was not released; this is a reading of the paper's supervised framework.
"""

import torch
from torch import Tensor, nn
from voiceface.datasets.augmentation import build_voice_augmentation
from voiceface.training.run import Run

from perceptionist.config import PerceptionistConfig, SupervisedLossConfig
from perceptionist.dataset.records import VoiceFaceDataset
from perceptionist.face_models.linear import LinearFaceModel
from perceptionist.losses import sum_terms
from perceptionist.models import SupervisedModel
from perceptionist.sampling import VoiceRegressionDataset, sample_batch_crop
from perceptionist.training_stages.stage import (
    InitialWeights,
    Terms,
    TrainingStage,
    build_batches,
    build_optimiser,
    initialise_voice_network,
)
from perceptionist.voice_to_mesh import VoiceToMesh

__all__ = [
    "build_supervised_stage",
    "supervised_terms",
    "train_supervised_step",
]


def build_supervised_stage(
    run: Run,
    config: PerceptionistConfig,
    dataset: VoiceFaceDataset,
    face_model: LinearFaceModel,
    initial_weights: InitialWeights,
) -> TrainingStage:
    """Build networks, optimiser and batches of the supervised head.

    Raises:
        ValueError: the data set has no ground truth, or the voice network is not trained and none is given.
    """
    networks, settings = config.networks, config.training
    assert networks.voice is not None and networks.head is not None
    ground_truth = dataset.ground_truth
    if ground_truth is None:
        raise ValueError(
            "The supervised kind learns from ground-truth faces, and this data set has none. Pass a "
            "synthetic population as --data, or a folder of fitted coefficients as --truth."
        )
    trained = settings.voice_network == "trained"
    unprepared = SupervisedModel(networks.voice, networks.head)
    initialise_voice_network(run, unprepared.e, initial_weights, required=not trained)
    unprepared.e.requires_grad_(trained)
    model = run.prepare(unprepared, wrap=False)
    assert isinstance(model, SupervisedModel)
    optimiser = build_optimiser(config.optimiser, model if trained else model.head)
    arrays = (ground_truth.scale, ground_truth.shape, ground_truth.expression)
    targets = face_model.cpu().supervised_targets(*map(torch.from_numpy, arrays))
    face_model.to(run.device)
    utterances = VoiceRegressionDataset(
        dataset.utterances,
        targets.numpy(),
        config.data.frames.clip,
        build_voice_augmentation(config.data.augmentation),
    )
    return TrainingStage(
        config,
        model,
        {"optimiser": optimiser},
        build_batches(run, utterances, config.training),
        face_model,
        voice_to_mesh=VoiceToMesh("supervised", model.e, face_model, head=model.head),
        train_voice_network=trained,
    )


def train_supervised_step(run: Run, stage: TrainingStage, step: int) -> Terms:
    """Run one optimisation step of the supervised head and return its weighted loss terms."""
    config = stage.config
    assert config.losses.supervised is not None
    batch = next(stage.batches)
    frames = sample_batch_crop(config.data.frames, run.seed, step)
    with run.autocast():
        predicted = stage.model(batch["voice"][:, :, frames])
    terms = supervised_terms(predicted.float(), batch["target"], stage.face_model, config.losses.supervised)
    run.backward_and_step(
        sum_terms(terms), stage.optimisers["optimiser"], clip_norm=config.optimiser.clip_gradient
    )
    return terms


def supervised_terms(
    predicted: Tensor, targets: Tensor, face_model: LinearFaceModel, config: SupervisedLossConfig
) -> Terms:
    """Weighted squared errors of whitened scale, shape and expression (B, 1 + S + E), or of vertices."""
    if config.target_space == "vertices":
        error = nn.functional.mse_loss(
            face_model.vertices_from_supervised(predicted), face_model.vertices_from_supervised(targets)
        )
        return {"vertices": config.shape * error}
    squared_error = (predicted - targets).square()
    parts = squared_error.split([1, face_model.num_shape, face_model.num_expression], 1)
    weights = {"scale": config.scale, "shape": config.shape, "expression": config.expression}
    return {name: weight * part.mean() for (name, weight), part in zip(weights.items(), parts, strict=True)}
