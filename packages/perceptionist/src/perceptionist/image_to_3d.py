"""Image-to-3D network (expert and student): a face image to the whitened parameters of a face model.

MobileNetV2 with one head per kind of parameter, as in SynergyNet. Letters: B batch, S image side, P pooled
features. Parameter names are the published ones.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from perceptionist.network_config import ImageTo3DConfig
from perceptionist.supervised_head import linear_head

__all__ = [
    "ImageTo3D",
    "InvertedResidual",
    "Regression",
]


class Regression(NamedTuple):
    """Outputs of the network for a batch of images.

    Attributes:
        parameters: whitened: pose 12, shape 40, expression 10, texture 40; shape (B, 102).
        pooled: means of the last feature map, shape (B, P).
        inter: feature map of an inner block, shape (B, 64, 8, 8).
    """

    parameters: Tensor
    pooled: Tensor
    inter: Tensor


class InvertedResidual(nn.Module):
    """1x1 expansion (none for factor 1), 3x3 depth-wise, 1x1 linear; residual if the shapes agree."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: float) -> None:
        super().__init__()
        hidden = round(in_channels * expansion)
        self.has_residual = stride == 1 and in_channels == out_channels
        layers: list[nn.Module] = [] if expansion == 1 else [_conv_bn_relu6(in_channels, hidden, 1)]
        layers += [
            _conv_bn_relu6(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.has_residual else self.conv(x)


class ImageTo3D(nn.Module):
    """The network, in channels-last memory format, which is faster on CPUs.

    On CPUs, batch statistics in single precision lose some digits in this format; `.to(memory_format=...)`
    changes it.
    """

    def __init__(self, config: ImageTo3DConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ImageTo3DConfig()
        blocks: list[nn.Module] = [_conv_bn_relu6(3, config.stem, 3, 2)]
        before = config.stem
        for stage in config.stages:
            for index in range(stage.blocks):
                stride = stage.stride if index == 0 else 1
                blocks.append(InvertedResidual(before, stage.channels, stride, stage.expansion))
                before = stage.channels
        blocks.append(_conv_bn_relu6(before, config.num_features, 1))
        self.features = nn.Sequential(*blocks)
        heads = {"ori": config.pose, "shape": config.shape}
        heads |= {"exp": config.expression, "texture": config.texture}
        self.heads = [f"classifier_{name}" for name, outputs in heads.items() if outputs]
        for name, outputs in heads.items():
            if outputs:
                self.add_module(
                    f"classifier_{name}", linear_head(config.num_features, outputs, config.dropout)
                )
        self.reset_parameters()
        self.to(memory_format=torch.channels_last)

    def reset_parameters(self) -> None:
        """Initialise convolutions Kaiming normal (fan out), linear layers N(0, 0.01) with zero bias."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Regression:
        """Images (B, 3, S, S), in the range and channel order of the training (-1...1), to parameters.

        Raises:
            ValueError: another shape.
        """
        expected = (3, self.config.image_size, self.config.image_size)
        if images.ndim != 4 or tuple(images.shape[1:]) != expected:
            raise ValueError(
                f"images must be (B, {expected[0]}, {expected[1]}, {expected[2]}), "
                f"found {tuple(images.shape)}"
            )
        first = self.config.inter_block + 1
        inter = self.features[:first](images)
        pooled = self.features[first:](inter).mean((2, 3))
        heads = [self.get_submodule(name)(pooled) for name in self.heads]
        return Regression(torch.cat(heads, 1), pooled, inter)


def _conv_bn_relu6(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU6."""
    return nn.Sequential(
        nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False
        ),
        nn.BatchNorm2d(out_channels),
        nn.ReLU6(inplace=True),
    )
