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
POSE = 12
LEAST = 1e-24  # below the root: its slope at 0 would be infinite


class ExpertLossConfig(Config):
    """Weights of the five terms, and which outputs of the reverse network they look at."""

    landmarks: float = Field(default=0.05, ge=0, description="wing loss of the landmarks")
    parameters: float = Field(default=0.02, ge=0, description="error of the parameters")
    refined: float = Field(default=0.05, ge=0, description="wing loss of the refined landmarks")
    residual: float = Field(default=0.05, ge=0, description="share of the residual that refines")
    reverse: float = Field(default=0.02, ge=0, description="reverse network against the truth")
    agreement: float = Field(default=0.001, ge=0, description="reverse network against the regressor")
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
    moved = landmarks + config.residual * residual
    return {
        "landmarks": config.landmarks * wing(landmarks, true_landmarks),
        "parameters": config.parameters * parameter_error(found, true_parameters),
        "refined": config.refined * wing(moved, true_landmarks),
        "reverse": config.reverse * code_error(reverse, true_parameters, config.columns),
        "agreement": config.agreement * code_error(reverse, found, config.columns),
    }


def wing(found: Tensor, truth: Tensor, width: float = 10.0, curvature: float = 2.0) -> Tensor:
    """Wing loss: logarithmic below `width`, linear above, mean over all numbers.

    Args:
        found: any shape.
        truth: the same shape.
        width: where the two parts meet, above 0.
        curvature: the smaller, the steeper near 0; above 0.

    Raises:
        ValueError: the shapes differ, or a number is not positive.
    """
    _require_alike(found, truth)
    if min(width, curvature) <= 0:
        raise ValueError(f"width and curvature must be above 0, found {width:g} and {curvature:g}")
    error = (found - truth).abs()
    offset = width - width * math.log1p(width / curvature)
    return torch.where(error < width, width * torch.log1p(error / curvature), error - offset).mean()


def parameter_error(found: Tensor, truth: Tensor) -> Tensor:
    """sqrt(mean square of the pose's errors + mean square of the others'), mean over items.

    Args:
        found: whitened, (B, K).
        truth: the same shape.
    """
    _require_alike(found, truth)
    square = (found - truth).square()
    return (square[:, :POSE].mean(1) + square[:, POSE:].mean(1)).clamp_min(LEAST).sqrt().mean()


def code_error(reverse: Tensor, parameters: Tensor, columns: Columns = "matching") -> Tensor:
    """Root of the mean square between shape and expression of the reverse network and those given.

    Args:
        reverse: its outputs, (B, K).
        parameters: whitened, (B, K).
        columns: "first" compares the first outputs instead, the pose ones among them, as published.

    Raises:
        ValueError: the shapes differ, or the option is unknown.
    """
    _require_alike(reverse, parameters)
    if columns not in ("matching", "first"):
        raise ValueError(f'columns must be "matching" or "first", found {columns!r}')
    codes = parameters[:, POSE:]
    ours = reverse[:, POSE:] if columns == "matching" else reverse[:, : codes.shape[1]]
    return (ours - codes).square().mean(1).clamp_min(LEAST).sqrt().mean()


def _require_alike(found: Tensor, truth: Tensor) -> None:
    if found.shape != truth.shape:
        raise ValueError(f"found {tuple(found.shape)} and truth {tuple(truth.shape)} must have one shape")
