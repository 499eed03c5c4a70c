"""Training of the image-to-3D expert: images to whitened parameters, with or without the refiners.

The objective is SynergyNet's (Wu et al., "Synergy between 3DMM and 3D Landmarks", 3DV 2021), which the paper
takes its expert from. Letters: B batch, S image side, K parameters.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from voiceface.training.run import Run

from perceptionist.config import PerceptionistConfig
from perceptionist.dataset.records import VoiceFaceDataset
from perceptionist.expert_losses import expert_terms, parameter_error, wing_loss
from perceptionist.face_models.linear import LinearFaceModel
from perceptionist.face_models.pose import NUM_POSE_PARAMETERS, Y_FLIP, split_pose
from perceptionist.generator import resize_bilinear
from perceptionist.losses import sum_terms
from perceptionist.models import ExpertWithRefiners
from perceptionist.network_config import ExpertLossConfig
from perceptionist.sampling import ImageRegressionDataset
from perceptionist.training_stages.stage import (
    InitialWeights,
    Terms,
    TrainingStage,
    build_batches,
    build_optimiser,
)

__all__ = [
    "build_expert_stage",
    "compute_expert_losses",
    "pose_whitening",
    "project_landmarks",
    "train_expert_step",
]


def build_expert_stage(
    run: Run,
    config: PerceptionistConfig,
    dataset: VoiceFaceDataset,
    face_model: LinearFaceModel,
    initial_weights: InitialWeights,
) -> TrainingStage:
    """Build networks, optimiser and batches of the expert.

    Raises:
        ValueError: the images have no ground truth.
    """
    data = config.data
    assert config.networks.expert is not None and config.losses.expert is not None
    targets = dataset.ground_truth.image_parameters if dataset.ground_truth else None
    if targets is None:
        raise ValueError(
            "An expert learns from images with ground-truth parameters, and this data set has none. "
            "Pass a synthetic population as --data."
        )
    model = run.prepare(ExpertWithRefiners(config.networks.expert, config.networks.refiners), wrap=False)
    assert isinstance(model, ExpertWithRefiners)
    images = ImageRegressionDataset(
        dataset.images,
        targets,
        data.expert_image_size,
        data.colour_jitter,
        max_blur_sigma=data.max_blur_sigma,
        max_shift=data.max_shift,
        max_zoom=data.max_zoom,
        pose_whitening=pose_whitening(face_model),
        published_preprocessing=data.expert_input == "published",
    )
    return TrainingStage(
        config,
        model,
        {"optimiser": build_optimiser(config.optimiser, model)},
        build_batches(run, images, config.training),
        face_model,
    )


def pose_whitening(face_model: LinearFaceModel) -> NDArray[np.float32]:
    """Mean and standard deviation (2, 12) of the pose parameters."""
    both = torch.stack([face_model.parameter_mean, face_model.parameter_std])
    return np.asarray(both[:, :NUM_POSE_PARAMETERS].cpu().numpy(), np.float32)


def train_expert_step(run: Run, stage: TrainingStage, step: int) -> Terms:
    """Run one optimisation step of the expert and return its weighted loss terms."""
    config, model = stage.config, stage.model
    assert isinstance(model, ExpertWithRefiners) and config.losses.expert is not None
    batch = next(stage.batches)
    with run.autocast():
        images = resize_bilinear(batch["face"], model.expert.config.image_size)
        terms = compute_expert_losses(model, images, batch["target"], stage.face_model, config.losses.expert)
    run.backward_and_step(
        sum_terms(terms), stage.optimisers["optimiser"], clip_norm=config.optimiser.clip_gradient
    )
    return terms


def compute_expert_losses(
    model: ExpertWithRefiners,
    images: Tensor,
    targets: Tensor,
    face_model: LinearFaceModel,
    config: ExpertLossConfig,
) -> Terms:
    """Weighted terms for images (B, 3, S, S) and their whitened parameters (B, K)."""
    regression = model.expert(images)
    parameters = regression.parameters[:, : targets.shape[1]].float()
    landmarks, true_landmarks = (
        project_landmarks(face_model, parameters),
        project_landmarks(face_model, targets),
    )
    if model.forward_direction is None or model.reverse_direction is None:
        return {
            "landmarks": config.landmarks * wing_loss(landmarks, true_landmarks),
            "parameters": config.parameters * parameter_error(parameters, targets),
        }
    shape, expression = parameters[:, NUM_POSE_PARAMETERS:].split(
        [face_model.num_shape, face_model.num_expression], 1
    )
    residual = model.forward_direction(landmarks, regression.pooled, shape, expression)
    reverse = model.reverse_direction(landmarks + config.residual_scale * residual)
    return expert_terms(landmarks, true_landmarks, parameters, targets, residual, reverse, config)


def project_landmarks(face_model: LinearFaceModel, parameters: Tensor) -> Tensor:
    """Landmarks (B, 3, 68) of whitened parameters, in pixels of a 120-pixel image, y down."""
    coefficients = face_model.unwhiten(parameters)
    pose = split_pose(coefficients.pose)
    landmarks = face_model.vertices_at(coefficients.shape, coefficients.expression)
    x, y, z = (pose.scaled_rotation @ landmarks + pose.translation).unbind(1)
    return torch.stack([x, Y_FLIP - y, z], 1)
