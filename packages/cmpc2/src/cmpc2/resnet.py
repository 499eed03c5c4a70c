"""The residual networks of both branches (CMPC, docs/cmpc2.md), with their channel pooling head.

Names of parameters are those of the published checkpoints: `conv1`, `bn1`, `layerL.B.convK`, `.bnK`,
`.downsample.0`, `.downsample.1`, `.se.fc.0`, `.se.fc.2`. Letters: B batch, H x W size of a map, C channels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cmpc2.model_config import WIDTHS, Stages


class ResNetSpec(NamedTuple):
    """Blocks per stage, whether they are bottlenecks, whether they squeeze and excite."""

    blocks: Stages
    bottleneck: bool
    squeeze_excitation: bool


RESNET_SPECS: dict[str, ResNetSpec] = {
    "resnet18": ResNetSpec((2, 2, 2, 2), False, False),
    "resnet34": ResNetSpec((3, 4, 6, 3), False, False),
    "resnet50": ResNetSpec((3, 4, 6, 3), True, False),
    "se_resnet50": ResNetSpec((3, 4, 6, 3), True, True),
}


class SqueezeExcitation(nn.Module):
    """Squeeze-excitation: channels scaled by what their means say; no biases."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        inner = max(1, channels // reduction)
        self.fc = nn.Sequential(
            nn.Linear(channels, inner, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(inner, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, H, W) to the same shape."""
        return maps * self.fc(maps.mean((2, 3)))[:, :, None, None]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; the stride sits on the first."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, squeeze_excitation: bool) -> None:
        super().__init__()
        self.conv1 = _conv2d(in_channels, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv2d(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.se = SqueezeExcitation(width) if squeeze_excitation else None
        self.downsample = _build_shortcut(in_channels, width, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, C', H', W')."""
        found = self.relu(self.bn1(self.conv1(maps)))
        found = self.bn2(self.conv2(found))
        found = found if self.se is None else self.se(found)
        return self.relu(found + (maps if self.downsample is None else self.downsample(maps)))


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride) and 1x1 convolution to four times the width, and a shortcut."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, squeeze_excitation: bool) -> None:
        super().__init__()
        self.conv1 = _conv2d(in_channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv2d(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv2d(width, width * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.se = SqueezeExcitation(width * self.expansion) if squeeze_excitation else None
        self.downsample = _build_shortcut(in_channels, width * self.expansion, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, C', H', W')."""
        found = self.relu(self.bn1(self.conv1(maps)))
        found = self.relu(self.bn2(self.conv2(found)))
        found = self.bn3(self.conv3(found))
        found = found if self.se is None else self.se(found)
        return self.relu(found + (maps if self.downsample is None else self.downsample(maps)))


class ResNet(nn.Module):
    """A residual network whose output is the spatial mean of its last maps, pooled to `out_dim` channels.

    The last maps are outputs of a ReLU, so every component of an embedding is at least 0. Every layer pads:
    inputs of any size from 1 x 1 work.

    Args:
        arch: which of the published networks.
        channels: of the input: 1 for voices, 3 for faces.
        out_dim: length of an embedding.
        widths: channels per stage (a quarter of the output for bottlenecks); the published ones by default.
        blocks: blocks per stage; None: those of `arch`.

    Raises:
        ValueError: an unknown `arch`.
    """

    def __init__(
        self,
        arch: str = "resnet34",
        in_channels: int = 3,
        out_dim: int = 512,
        widths: Sequence[int] = WIDTHS,
        blocks: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if arch not in RESNET_SPECS:
            raise ValueError(f"no network {arch!r}; there are {', '.join(RESNET_SPECS)}")
        plan = RESNET_SPECS[arch]
        kind = Bottleneck if plan.bottleneck else BasicBlock
        self.out_dim = out_dim
        self.conv1 = nn.Conv2d(in_channels, widths[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inside = widths[0]
        for number, (width, count) in enumerate(zip(widths, blocks or plan.blocks), 1):
            stage = []
            for block in range(count):
                stride = 2 if number > 1 and block == 0 else 1
                stage.append(kind(inside, width, stride, plan.squeeze_excitation))
                inside = width * kind.expansion
            setattr(self, f"layer{number}", nn.Sequential(*stage))
        self.initialise()

    def initialise(self) -> None:
        """He-normal convolutions (fan out); the first one keeps PyTorch's default, as published."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module is not self.conv1:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_intermediates(self, inputs: Tensor) -> list[Tensor]:
        """Outputs of the four stages for inputs (B, channels, H, W)."""
        found = self.maxpool(self.relu(self.bn1(self.conv1(inputs))))
        stages = []
        for number in range(1, 5):
            found = getattr(self, f"layer{number}")(found)
            stages.append(found)
        return stages

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs (B, channels, H, W) to embeddings (B, out_dim), not of unit length."""
        return pool_channels(self.forward_intermediates(inputs)[-1].mean((2, 3)), self.out_dim)


def pool_channels(features: Tensor, out_dim: int) -> Tensor:
    """Adaptive average pooling of channels: bin i averages floor(i C / o) ... ceil((i + 1) C / o) - 1.

    Args:
        features: shape (B, C).
        out_dim: number of bins o.

    Returns:
        Shape (B, o); `features` itself where o is C.
    """
    if features.shape[1] == out_dim:
        return features
    return torch.nn.functional.adaptive_avg_pool1d(features[:, None], out_dim)[:, 0]


def _conv2d(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False)


def _build_shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """1x1 convolution and batch norm where size or channels change."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(_conv2d(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))
