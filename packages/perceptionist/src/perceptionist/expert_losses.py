"""The objective of an image-to-3D expert that learns from pictures with true parameters (SynergyNet's).

Letters: B batch, L landmarks, K parameters: pose 12, shape, expression (specification, section 11).
"""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from voiceface.runtime.config import Config

Columns = Literal["matching", "first"]
NUM_POSE_PARAMETERS = 12
EPSILON = 1e-24  # below the root: its slope at 0 would be infinite


class ExpertLossConfig(Config):
    """Weights of the five terms, and which outputs of the reverse network they look at."""

    landmarks: float = Field(default=0.05, ge=0, description="wing loss of the landmarks")
    parameters: float = Field(default=0.02, ge=0, description="error of the parameters")
    refined: float = Field(default=0.05, ge=0, description="wing loss of the refined landmarks")
    residual_scale: float = Field(default=0.05, ge=0, description="share of the residual that refines")
    reverse: float = Field(default=0.02, ge=0, description="reverse network against the truth")
    consistency: float = Field(default=0.001, ge=0, description="reverse network against the regressor")
    columns: Columns = Field(
        default="matching",
        description="matching: shape and expression with shape and expression; first: the reverse network's "
        "first 50 outputs with them, pose included, as published",
    )


def expert_terms(
    landmarks: Tensor,
    true_landmarks: Tensor,
    parameters: Tensor,
    true_parameters: Tensor,
    residual: Tensor,
    reverse: Tensor,
    config: ExpertLossConfig | None = None,
) -> dict[str, Tensor]:
    """The five weighted terms.

    Args:
        landmarks: of the regressed parameters, image space, pixels, (B, 3, L).
        true_landmarks: the same of the truth.
        parameters: regressed, whitened, (B, K or more); texture numbers are left aside.
        true_parameters: whitened truth, (B, K).
        residual: of the refinement network, (B, 3, L).
        reverse: of the reverse network, (B, K).
        config: weights.
    """
    config = config or ExpertLossConfig()
    found = parameters[:, : true_parameters.shape[1]]
    moved = landmarks + config.residual_scale * residual
    return {
        "landmarks": config.landmarks * wing_loss(landmarks, true_landmarks),
        "parameters": config.parameters * parameter_error(found, true_parameters),
        "refined": config.refined * wing_loss(moved, true_landmarks),
        "reverse": config.reverse * coefficient_error(reverse, true_parameters, config.columns),
        "consistency": config.consistency * coefficient_error(reverse, found, config.columns),
    }


def wing_loss(predicted: Tensor, target: Tensor, width: float = 10.0, curvature: float = 2.0) -> Tensor:
    """Wing loss: logarithmic below `width`, linear above, mean over all numbers.

    Args:
        predicted: any shape.
        target: the same shape.
        width: where the two parts meet, above 0.
        curvature: the smaller, the steeper near 0; above 0.

    Raises:
        ValueError: the shapes differ, or a number is not positive.
    """
    _check_same_shape(predicted, target)
    if min(width, curvature) <= 0:
        raise ValueError(f"width and curvature must be above 0, found {width:g} and {curvature:g}")
    error = (predicted - target).abs()
    offset = width - width * math.log1p(width / curvature)
    return torch.where(error < width, width * torch.log1p(error / curvature), error - offset).mean()


def parameter_error(predicted: Tensor, target: Tensor) -> Tensor:
    """sqrt(mean square of the pose's errors + mean square of the others'), mean over items.

    Args:
        predicted: whitened, (B, K).
        target: the same shape.
    """
    _check_same_shape(predicted, target)
    square = (predicted - target).square()
    return (
        (square[:, :NUM_POSE_PARAMETERS].mean(1) + square[:, NUM_POSE_PARAMETERS:].mean(1))
        .clamp_min(EPSILON)
        .sqrt()
        .mean()
    )


def coefficient_error(reverse: Tensor, parameters: Tensor, columns: Columns = "matching") -> Tensor:
    """Root of the mean square between shape and expression of the reverse network and those given.

    Args:
        reverse: its outputs, (B, K).
        parameters: whitened, (B, K).
        columns: "first" compares the first outputs instead, the pose ones among them, as published.

    Raises:
        ValueError: the shapes differ, or the option is unknown.
    """
    _check_same_shape(reverse, parameters)
    if columns not in ("matching", "first"):
        raise ValueError(f'columns must be "matching" or "first", found {columns!r}')
    codes = parameters[:, NUM_POSE_PARAMETERS:]
    ours = reverse[:, NUM_POSE_PARAMETERS:] if columns == "matching" else reverse[:, : codes.shape[1]]
    return (ours - codes).square().mean(1).clamp_min(EPSILON).sqrt().mean()


def _check_same_shape(predicted: Tensor, target: Tensor) -> None:
    if predicted.shape != target.shape:
        raise ValueError(
            f"found {tuple(predicted.shape)} and truth {tuple(target.shape)} must have one shape"
        )
