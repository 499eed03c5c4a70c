"""Losses of an image-to-3D expert on images with ground-truth parameters.

They are those of SynergyNet (Wu et al., 3DV 2021). Letters: B batch, L landmarks, K parameters: pose 12,
shape, expression.
"""

import math

import torch
from torch import Tensor

from perceptionist.network_config import Columns, ExpertLossConfig

__all__ = [
    "EPSILON",
    "NUM_POSE_PARAMETERS",
    "coefficient_error",
    "expert_terms",
    "parameter_error",
    "wing_loss",
]


NUM_POSE_PARAMETERS = 12
EPSILON = 1e-24  # lower bound under the root, whose slope at 0 is infinite


def expert_terms(
    landmarks: Tensor,
    true_landmarks: Tensor,
    parameters: Tensor,
    true_parameters: Tensor,
    residual: Tensor,
    reverse: Tensor,
    config: ExpertLossConfig | None = None,
) -> dict[str, Tensor]:
    """Compute the five weighted terms.

    Args:
        landmarks: of the regressed parameters, image space, pixels, (B, 3, L).
        true_landmarks: of the ground truth.
        parameters: regressed, whitened, (B, K or more); texture coefficients are ignored.
        true_parameters: whitened ground truth, (B, K).
        residual: of the refinement network, (B, 3, L).
        reverse: of the reverse network, (B, K).
        config: weights.
    """
    config = config or ExpertLossConfig()
    predicted = parameters[:, : true_parameters.shape[1]]
    refined = landmarks + config.residual_scale * residual
    return {
        "landmarks": config.landmarks * wing_loss(landmarks, true_landmarks),
        "parameters": config.parameters * parameter_error(predicted, true_parameters),
        "refined": config.refined * wing_loss(refined, true_landmarks),
        "reverse": config.reverse * coefficient_error(reverse, true_parameters, config.columns),
        "consistency": config.consistency * coefficient_error(reverse, predicted, config.columns),
    }


def wing_loss(predicted: Tensor, target: Tensor, width: float = 10.0, curvature: float = 2.0) -> Tensor:
    """Wing loss (Feng et al., CVPR 2018): logarithmic below `width`, linear above; mean over all elements.

    Args:
        predicted: any shape.
        target: the same shape.
        width: where the two parts meet, above 0.
        curvature: the smaller, the steeper near 0; above 0.

    Raises:
        ValueError: the shapes differ, or width or curvature is not positive.
    """
    _check_same_shape(predicted, target)
    if min(width, curvature) <= 0:
        raise ValueError(f"width and curvature must be above 0, found {width:g} and {curvature:g}")
    error = (predicted - target).abs()
    offset = width - width * math.log1p(width / curvature)
    return torch.where(error < width, width * torch.log1p(error / curvature), error - offset).mean()


def parameter_error(predicted: Tensor, target: Tensor) -> Tensor:
    """sqrt(mean squared pose error + mean squared error of the other parameters), mean over items.

    Args:
        predicted: whitened, (B, K).
        target: the same shape.
    """
    _check_same_shape(predicted, target)
    squared_error = (predicted - target).square()
    return (
        (squared_error[:, :NUM_POSE_PARAMETERS].mean(1) + squared_error[:, NUM_POSE_PARAMETERS:].mean(1))
        .clamp_min(EPSILON)
        .sqrt()
        .mean()
    )


def coefficient_error(reverse: Tensor, parameters: Tensor, columns: Columns = "matching") -> Tensor:
    """Root mean squared error between the coefficients of the reverse network and the given ones.

    Args:
        reverse: its outputs, (B, K).
        parameters: whitened, (B, K).
        columns: "first" compares the first outputs, which include the pose, as published.

    Raises:
        ValueError: the shapes differ, or the option is unknown.
    """
    _check_same_shape(reverse, parameters)
    if columns not in ("matching", "first"):
        raise ValueError(f'columns must be "matching" or "first", found {columns!r}')
    coefficients = parameters[:, NUM_POSE_PARAMETERS:]
    if columns == "matching":
        outputs = reverse[:, NUM_POSE_PARAMETERS:]
    else:
        outputs = reverse[:, : coefficients.shape[1]]
    return (outputs - coefficients).square().mean(1).clamp_min(EPSILON).sqrt().mean()


def _check_same_shape(predicted: Tensor, target: Tensor) -> None:
    if predicted.shape != target.shape:
        raise ValueError(
            f"predicted {tuple(predicted.shape)} and target {tuple(target.shape)} must have one shape"
        )
