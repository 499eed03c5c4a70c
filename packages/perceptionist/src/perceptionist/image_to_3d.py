"""Image-to-3D network (expert and student): a face picture to the whitened parameters of a face model.

MobileNetV2 with one head for each kind of parameter. Letters: B batch, S picture side, P pooled features.
Parameter names are the published ones (specification, section 4.5).
"""

from typing import NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from voiceface.runtime.config import Config

from perceptionist.supervised_head import linear_head


class StageConfig(Config):
    """Some inverted residual blocks of one width; the first has the stride."""

    expansion: float = Field(ge=1, description="hidden channels over channels in; 1: no expanding layer")
    channels: int = Field(ge=1)
    blocks: int = Field(ge=1)
    stride: int = Field(ge=1, le=2)


PUBLISHED_STAGES = tuple(
    StageConfig(expansion=t, channels=c, blocks=n, stride=s)
    for t, c, n, s in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
)


class ImageTo3DConfig(Config):
    """Sizes of the network; the defaults are the published ones, 102 numbers from 120 x 120 pixels."""

    image_size: int = Field(default=120, ge=8, description="picture side S, pixels")
    stem: int = Field(default=32, ge=1, description="channels of the first layer, which halves the side")
    stages: tuple[StageConfig, ...] = Field(default=PUBLISHED_STAGES, min_length=1)
    num_features: int = Field(
        default=1280, ge=1, description="channels P of the last layer, which are pooled"
    )
    inter_block: int = Field(default=8, ge=0, description="number of the block whose output is returned too")
    pose: int = Field(default=12, ge=0, description="pose numbers: rows of [P | t]")
    shape: int = Field(default=40, ge=1, description="shape coefficients")
    expression: int = Field(default=10, ge=0, description="expression coefficients")
    texture: int = Field(default=40, ge=0, description="texture coefficients, which nothing uses; 0: no head")
    dropout: float = Field(default=0.2, ge=0, lt=1, description="before each head")

    @property
    def num_parameters(self) -> int:
        """Numbers that the network gives."""
        return self.pose + self.shape + self.expression + self.texture

    @property
    def num_blocks(self) -> int:
        """Number of the last block: the 1 x 1 convolution after the stages."""
        return 1 + sum(stage.blocks for stage in self.stages)

    @model_validator(mode="after")
    def _inter_is_a_block(self) -> Self:
        if self.inter_block > self.num_blocks:
            raise ValueError(
                f"inter must be one of the blocks 0...{self.num_blocks}, found {self.inter_block}"
            )
        return self


class Regression(NamedTuple):
    """What the network finds in a batch of pictures.

    Attributes:
        parameters: whitened: pose 12, shape 40, expression 10, texture 40; shape (B, 102).
        pooled: means of the last feature map, shape (B, P).
        inter: feature map of the block in the middle, shape (B, 64, 8, 8).
    """

    parameters: Tensor
    pooled: Tensor
    inter: Tensor


class InvertedResidual(nn.Module):
    """1x1 expansion (absent if there is none), 3x3 depth-wise, 1x1 linear; input added if it fits."""

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
    """The network; its memory format is channels-last, which is the faster one on processors.

    There batch statistics in single precision lose some digits in that format; `.to(memory_format=...)`
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
        """Convolutions Kaiming normal (fan out), batch norms 1 and 0, linear layers N(0, 0.01) and 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Regression:
        """Pictures (B, 3, S, S), in the range and channel order of the training (-1...1), to parameters.

        Raises:
            ValueError: another shape.
        """
        expected = (3, self.config.image_size, self.config.image_size)
        if images.ndim != 4 or tuple(images.shape[1:]) != expected:
            raise ValueError(
                f"pictures must be (B, {expected[0]}, {expected[1]}, {expected[2]}), "
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
