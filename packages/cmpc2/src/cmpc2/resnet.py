"""Residual networks of both branches (CMPC, docs/cmpc2.md), of torchvision's blocks, with channel pooling.

Names of parameters are those of the published checkpoints: torchvision's, with `.se.fc.0` and `.se.fc.2` of
squeeze-excitation. Notation: B batch, H x W size of a feature map, C channels.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, conv1x1

from cmpc2.model_config import WIDTHS, Stages

__all__ = ["RESNET_SPECS", "ResNet", "ResNetSpec", "SEBottleneck", "SqueezeExcitation", "pool_channels"]


class SqueezeExcitation(nn.Module):
    """Scale channels by a function of their means (Hu et al., CVPR 2018); no biases."""

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


class SEBottleneck(Bottleneck):
    """torchvision's bottleneck with squeeze-excitation before the sum."""

    def __init__(self, inplanes: int, planes: int, stride: int = 1, **options: Any) -> None:
        super().__init__(inplanes, planes, stride, **options)
        self.se = SqueezeExcitation(planes * self.expansion)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, C', H', W')."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.se(self.bn3(self.conv3(out)))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class ResNetSpec(NamedTuple):
    """Blocks per stage and their class."""

    blocks: Stages
    block: type[BasicBlock] | type[Bottleneck]

    @property
    def bottleneck(self) -> bool:
        return issubclass(self.block, Bottleneck)

    @property
    def squeeze_excitation(self) -> bool:
        return self.block is SEBottleneck


RESNET_SPECS: dict[str, ResNetSpec] = {
    "resnet18": ResNetSpec((2, 2, 2, 2), BasicBlock),
    "resnet34": ResNetSpec((3, 4, 6, 3), BasicBlock),
    "resnet50": ResNetSpec((3, 4, 6, 3), Bottleneck),
    "se_resnet50": ResNetSpec((3, 4, 6, 3), SEBottleneck),
}


class ResNet(nn.Module):
    """Residual network whose output is the spatial mean of its last maps, pooled to `out_dim` channels.

    torchvision's own class has fixed widths and three input channels. The last maps are outputs of a ReLU, so
    every component of an embedding is at least 0. Every layer pads: inputs of any size from 1 x 1 work.

    Args:
        arch: which of the published networks.
        in_channels: of the input: 1 for voices, 3 for faces.
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
            raise ValueError(f"unknown network {arch!r}; expected one of {', '.join(RESNET_SPECS)}")
        spec = RESNET_SPECS[arch]
        self.out_dim = out_dim
        self.conv1 = nn.Conv2d(in_channels, widths[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = widths[0]
        for number, (width, count) in enumerate(zip(widths, blocks or spec.blocks), 1):
            stage = []
            for index in range(count):
                stride = 2 if number > 1 and index == 0 else 1
                block = spec.block(channels, width, stride)
                out_channels = width * block.expansion
                if stride > 1 or channels != out_channels:
                    shortcut = conv1x1(channels, out_channels, stride), nn.BatchNorm2d(out_channels)
                    block.downsample = nn.Sequential(*shortcut)
                stage.append(block)
                channels = out_channels
            setattr(self, f"layer{number}", nn.Sequential(*stage))
        self.initialise()

    def initialise(self) -> None:
        """Draw He-normal convolutions (fan out); the first one keeps PyTorch's default, as published."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module is not self.conv1:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_intermediates(self, inputs: Tensor) -> list[Tensor]:
        """Outputs of the four stages for inputs (B, in_channels, H, W)."""
        maps = self.maxpool(self.relu(self.bn1(self.conv1(inputs))))
        stages = []
        for number in range(1, 5):
            maps = getattr(self, f"layer{number}")(maps)
            stages.append(maps)
        return stages

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs (B, in_channels, H, W) to embeddings (B, out_dim), not of unit length."""
        return pool_channels(self.forward_intermediates(inputs)[-1].mean((2, 3)), self.out_dim)


def pool_channels(features: Tensor, out_dim: int) -> Tensor:
    """Average channels adaptively: bin i averages floor(i C / o) ... ceil((i + 1) C / o) - 1.

    Args:
        features: shape (B, C).
        out_dim: number of bins o.

    Returns:
        Shape (B, o); `features` itself where o is C.
    """
    if features.shape[1] == out_dim:
        return features
    return torch.nn.functional.adaptive_avg_pool1d(features[:, None], out_dim)[:, 0]
