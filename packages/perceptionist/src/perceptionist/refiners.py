"""Networks that serve the training of an image-to-3D expert: landmarks refined, landmarks to parameters.

Letters: B batch, L landmarks. Parameter names are the published ones, `forwardDirection` and
`reverseDirection` (SynergyNet; specification, section 11).
"""

import torch
from pydantic import Field
from torch import Tensor, nn
from voiceface.runtime.config import Config


class RefinerConfig(Config):
    """Sizes of both networks; the defaults are the published ones."""

    point_channels: tuple[int, int] = Field(default=(64, 64), description="channels until the point features")
    global_channels: tuple[int, int, int] = Field(
        default=(64, 128, 1024), description="from there to the whole shape"
    )
    refine_channels: tuple[int, int, int] = Field(
        default=(512, 256, 128), description="hidden channels of refinement"
    )
    num_features: int = Field(default=1280, ge=1, description="pooled features of the image-to-3D network")
    pose: int = Field(default=12, ge=1)
    shape: int = Field(default=40, ge=1)
    expression: int = Field(default=10, ge=1)


class PointEncoder(nn.Module):
    """Point-wise convolutions, each with batch norm and ReLU, and the maximum over the points."""

    def __init__(self, config: RefinerConfig) -> None:
        super().__init__()
        before = 3
        for number, width in enumerate((*config.point_channels, *config.global_channels), 1):
            _add_layer(self, str(number), before, width)
            before = width

    def encode(self, landmarks: Tensor) -> tuple[Tensor, Tensor]:
        """Landmarks (B, 3, L) to point features (B, 64, L) and those of the whole shape (B, 1024, 1).

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
    """Landmark refinement: landmarks, picture and codes to a residual of the landmarks."""

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
        """Landmarks (B, 3, L), pooled features (B, P), codes (B, 40), (B, 10) to a residual (B, 3, L)."""
        points, whole = self.encode(landmarks)
        codes = torch.cat([pooled, shape, expression], 1)[:, :, None]
        every = torch.cat([whole, codes], 1).expand(-1, -1, points.shape[2])
        x = torch.cat([points, every], 1)
        for number in ("6", "7", "8", "9"):
            x = _apply_layer(self, number, x)
        return x


class ReverseDirection(PointEncoder):
    """Landmarks back to parameters."""

    def __init__(self, config: RefinerConfig | None = None) -> None:
        config = config or RefinerConfig()
        super().__init__(config)
        for number, width in enumerate((config.pose, config.shape, config.expression), 1):
            _add_layer(self, f"6_{number}", config.global_channels[2], width)

    def forward(self, landmarks: Tensor) -> Tensor:
        """Landmarks (B, 3, L) to whitened parameters (B, 62); ReLU bounds them below by 0, as published."""
        whole = self.encode(landmarks)[1]
        return torch.cat([_apply_layer(self, f"6_{number}", whole) for number in (1, 2, 3)], 1)[:, :, 0]


def _add_layer(module: nn.Module, number: str, in_channels: int, out_channels: int) -> None:
    module.add_module(f"conv{number}", nn.Conv1d(in_channels, out_channels, 1))
    module.add_module(f"bn{number}", nn.BatchNorm1d(out_channels))


def _apply_layer(module: nn.Module, number: str, x: Tensor) -> Tensor:
    return torch.relu(module.get_submodule(f"bn{number}")(module.get_submodule(f"conv{number}")(x)))
