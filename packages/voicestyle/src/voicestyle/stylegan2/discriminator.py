"""Discriminator of StyleGAN2: residual blocks and minibatch standard deviation."""

import math

import torch
from pydantic import Field
from torch import Tensor, nn
from voiceface.runtime.distributed import all_gather_with_gradient, rank

from voicestyle.stylegan2.generator import NetworkConfig
from voicestyle.stylegan2.layers import EqualConv2d, EqualLinear, FIRFilter, FusedLeakyReLU, downsample

__all__ = [
    "Discriminator",
    "DiscriminatorConfig",
    "ResidualBlock",
    "minibatch_stddev",
]

EPSILON = 1e-8


class DiscriminatorConfig(NetworkConfig):
    """Image side, channels, and the group size of the minibatch standard deviation."""

    stddev_group: int = Field(
        default=4, ge=1, description="images per group of the minibatch standard deviation"
    )


class ResidualBlock(nn.Module):
    """(N, I, H, W) to (N, O, H/2, W/2).

    The published shortcut blurs at full size and drops three of four pixels in its 1x1 convolution; here only
    the remaining ones are computed.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            EqualConv2d(in_channels, in_channels, 3, padding=1), FusedLeakyReLU(in_channels)
        )
        self.conv2 = nn.Sequential(
            FIRFilter(pad=(2, 2)),
            EqualConv2d(in_channels, out_channels, 3, stride=2),
            FusedLeakyReLU(out_channels),
        )
        self.skip = nn.Sequential(downsample(), EqualConv2d(in_channels, out_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv2(self.conv1(x)) + self.skip(x)) / math.sqrt(2)


class Discriminator(nn.Module):
    """Images to scores; higher means more likely real."""

    def __init__(self, config: DiscriminatorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DiscriminatorConfig()
        width = config.channels_at(config.num_blocks)
        convs: list[nn.Module] = [nn.Sequential(EqualConv2d(3, width, 1), FusedLeakyReLU(width))]
        for block in range(config.num_blocks - 1, -1, -1):
            before, width = width, config.channels_at(block)
            convs.append(ResidualBlock(before, width))
        self.convs = nn.Sequential(*convs)
        self.final_conv = nn.Sequential(EqualConv2d(width + 1, width, 3, padding=1), FusedLeakyReLU(width))
        self.final_linear = nn.Sequential(
            EqualLinear(width * 16, width, activate=True), EqualLinear(width, 1)
        )

    def forward_features(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) to features at 4 pixels, (N, C, 4, 4)."""
        return self.convs(images.contiguous(memory_format=torch.channels_last))

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) to scores (N, 1).

        Raises:
            ValueError: N is larger than a group and not divisible into groups.
        """
        x = self.forward_features(images)
        deviation = minibatch_stddev(x, self.config.stddev_group)
        x = self.final_conv(torch.cat([x, deviation], 1))
        return self.final_linear(x.flatten(1))


def minibatch_stddev(x: Tensor, group_size: int) -> Tensor:
    """Mean standard deviation among the G = min(N, group_size) members of each group, as one more channel.

    Image n belongs to group n mod (N / G). Of several processes N is the number of all images, in the order
    of ranks.

    Args:
        x: (N, C, H, W), of this process's images; N divisible by G.
        group_size: largest number of members of a group.

    Returns:
        (N, 1, H, W).

    Raises:
        ValueError: N is not divisible by G.
    """
    own, _, height, width = x.shape
    x = all_gather_with_gradient(x)
    n, first = len(x), rank() * own
    members = min(n, group_size)
    if n % members:
        raise ValueError(f"a batch of {n} does not divide into groups of {members}; choose a multiple")
    grouped = x.reshape(members, n // members, *x.shape[1:])
    deviation = (grouped.var(0, unbiased=False) + EPSILON).sqrt().mean((1, 2, 3))
    return deviation.repeat(members)[first : first + own].reshape(own, 1, 1, 1).expand(own, 1, height, width)
