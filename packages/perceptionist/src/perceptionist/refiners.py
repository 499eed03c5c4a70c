"""Refiners of the expert's training: landmark refinement, and landmarks to parameters.

Published as `forwardDirection` and `reverseDirection` of SynergyNet (Wu et al., 3DV 2021). Letters: B batch,
L landmarks, P pooled features. Parameter names are the published ones.
"""

import torch
from torch import Tensor, nn

from perceptionist.network_config import RefinerConfig

__all__ = [
    "ForwardDirection",
    "PointEncoder",
    "ReverseDirection",
]


class PointEncoder(nn.Module):
    """Point-wise convolutions, each with batch norm and ReLU, and max pooling over the points."""

    def __init__(self, config: RefinerConfig) -> None:
        super().__init__()
        before = 3
        for number, width in enumerate((*config.point_channels, *config.global_channels), 1):
            _add_layer(self, str(number), before, width)
            before = width

    def encode(self, landmarks: Tensor) -> tuple[Tensor, Tensor]:
        """Landmarks (B, 3, L) to point features (B, 64, L) and global features (B, 1024, 1).

        Raises:
            ValueError: another shape.
        """
        if landmarks.ndim != 3 or landmarks.shape[1] != 3 or not landmarks.shape[2]:
            raise ValueError(f"landmarks must be (B, 3, L), found {tuple(landmarks.shape)}")
        points = _apply_layer(self, "2", _apply_layer(self, "1", landmarks))
        x = points
        for number in ("3", "4", "5"):
            x = _apply_layer(self, number, x)
        return points, x.amax(2, keepdim=True)


class ForwardDirection(PointEncoder):
    """Landmark refinement: landmarks, image features and coefficients to a residual of the landmarks."""

    def __init__(self, config: RefinerConfig | None = None) -> None:
        config = config or RefinerConfig()
        super().__init__(config)
        before = (
            config.point_channels[1]
            + config.global_channels[2]
            + config.num_features
            + config.shape
            + config.expression
        )
        for number, width in enumerate((*config.refine_channels, 3), 6):
            _add_layer(self, str(number), before, width)
            before = width

    def forward(self, landmarks: Tensor, pooled: Tensor, shape: Tensor, expression: Tensor) -> Tensor:
        """Landmarks (B, 3, L), pooled (B, P), coefficients (B, 40), (B, 10) to a residual (B, 3, L)."""
        point_features, global_features = self.encode(landmarks)
        context = torch.cat([pooled, shape, expression], 1)[:, :, None]
        context = torch.cat([global_features, context], 1).expand(-1, -1, point_features.shape[2])
        x = torch.cat([point_features, context], 1)
        for number in ("6", "7", "8", "9"):
            x = _apply_layer(self, number, x)
        return x


class ReverseDirection(PointEncoder):
    """Landmarks to parameters."""

    def __init__(self, config: RefinerConfig | None = None) -> None:
        config = config or RefinerConfig()
        super().__init__(config)
        for number, width in enumerate((config.pose, config.shape, config.expression), 1):
            _add_layer(self, f"6_{number}", config.global_channels[2], width)

    def forward(self, landmarks: Tensor) -> Tensor:
        """Landmarks (B, 3, L) to whitened parameters (B, 62); ReLU bounds them below by 0, as published."""
        features = self.encode(landmarks)[1]
        return torch.cat([_apply_layer(self, f"6_{number}", features) for number in (1, 2, 3)], 1)[:, :, 0]


def _add_layer(module: nn.Module, number: str, in_channels: int, out_channels: int) -> None:
    module.add_module(f"conv{number}", nn.Conv1d(in_channels, out_channels, 1))
    module.add_module(f"bn{number}", nn.BatchNorm1d(out_channels))


def _apply_layer(module: nn.Module, number: str, x: Tensor) -> Tensor:
    return torch.relu(module.get_submodule(f"bn{number}")(module.get_submodule(f"conv{number}")(x)))
