"""Thin SE-ResNet-34 over log-mel bands with attentive pooling: the "lite" network of voxceleb_trainer.

Names and order of the parameters are those of its checkpoints.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from voiceface.models.architectures import THIN_RESNET_BLOCKS as BLOCKS
from voiceface.models.architectures import THIN_RESNET_STEM_STRIDE as STEM_STRIDE
from voiceface.models.architectures import THIN_RESNET_STRIDES as STRIDES
from voiceface.models.architectures import THIN_RESNET_WIDTHS as WIDTHS

__all__ = ["ResidualBlock", "SqueezeExcitationGate", "ThinResNet"]


class SqueezeExcitationGate(nn.Module):
    """Squeeze-excitation with biases (reduction 8); gives the gates only, (B, C, H, W) to (B, C, 1, 1)."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        inner = max(1, channels // reduction)
        self.fc = nn.Sequential(
            nn.Linear(channels, inner), nn.ReLU(inplace=True), nn.Linear(inner, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.mean((2, 3)))[:, :, None, None]


class ResidualBlock(nn.Module):
    """Residual block: conv, ReLU, BN (in this order), conv, BN, SE, sum with the shortcut, ReLU.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: (frequency, time) of the first convolution and the shortcut.
        project: shortcut is a strided 1x1 convolution with batch norm; else the identity.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: tuple[int, int], project: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.se = SqueezeExcitationGate(out_channels)
        self.downsample: nn.Sequential | None = None
        if project:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.bn1(torch.relu_(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu_(torch.addcmul(shortcut, y, self.se(y)))


class ThinResNet(nn.Module):
    """Standardised log-mel bands to feature vectors.

    Args:
        widths: channels of the four stages.
        blocks: residual blocks per stage.
        strides: (frequency, time) of each stage's first block.
        features: length D of the feature vector; None omits the last linear layer.
        pooling: "sap" (attentive mean) or "asp" (attentive mean and standard deviation).
        stem_stride: (frequency, time) of the input convolution; larger ones make small networks cheap.

    Raises:
        ValueError: unknown pooling, or widths, blocks and strides differ in number.
    """

    def __init__(
        self,
        widths: Sequence[int] = WIDTHS,
        blocks: Sequence[int] = BLOCKS,
        strides: Sequence[tuple[int, int]] = STRIDES,
        features: int | None = 512,
        pooling: Literal["sap", "asp"] = "sap",
        stem_stride: tuple[int, int] = STEM_STRIDE,
    ) -> None:
        super().__init__()
        if pooling not in ("sap", "asp"):
            raise ValueError(f"pooling must be 'sap' or 'asp', found {pooling!r}")
        if not len(widths) == len(blocks) == len(strides) == 4:
            raise ValueError(f"four stages needed, found widths {widths}, blocks {blocks}, strides {strides}")
        last = widths[-1]
        pooled = last if pooling == "sap" else 2 * last
        self.pooling, self.features = pooling, pooled if features is None else features
        self.attention = nn.Parameter(torch.empty(last, 1))
        self.conv1 = nn.Conv2d(1, widths[0], 7, (stem_stride[0], stem_stride[1]), 3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        before, stages = widths[0], []
        for width, count, (high, wide) in zip(widths, blocks, strides):
            stride = high, wide
            first = ResidualBlock(before, width, stride, stride != (1, 1) or before != width)
            rest = [ResidualBlock(width, width, (1, 1), False) for _ in range(count - 1)]
            stages.append(nn.Sequential(first, *rest))
            before = width
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.sap_linear = nn.Linear(last, last)
        self.fc = None if features is None else nn.Linear(pooled, features)
        nn.init.xavier_normal_(self.attention)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def attention_weights(self, frames: Tensor) -> Tensor:
        """Attention over time: frames (B, T, C) to weights (B, T) that sum to one."""
        return torch.softmax((torch.tanh(self.sap_linear(frames)) @ self.attention)[..., 0], dim=1)

    def pool(self, frames: Tensor) -> Tensor:
        """Frames (B, T, C) to one vector, (B, C) for "sap" and (B, 2 C) for "asp"."""
        weight = self.attention_weights(frames)[:, None]
        mean = (weight @ frames)[:, 0]
        if self.pooling == "sap":
            return mean
        variance = (weight @ frames.square())[:, 0] - mean.square()
        return torch.cat([mean, variance.clamp_min(1e-5).sqrt()], dim=1)

    def forward_frames(self, bands: Tensor) -> Tensor:
        """Bands (B, M, T) to feature frames (B, T', C), averaged over frequency."""
        x = torch.relu_(self.bn1(self.conv1(bands[:, None])))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean(2).transpose(1, 2)

    def forward(self, bands: Tensor) -> Tensor:
        """Bands (B, M, T) to features (B, D)."""
        pooled = self.pool(self.forward_frames(bands))
        return pooled if self.fc is None else self.fc(pooled)
