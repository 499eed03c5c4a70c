"""Building blocks of the face detector and the face mesh: depthwise separable convolutions with a shortcut.

Source: Bazarevsky et al., "BlazeFace: Sub-millisecond neural face detection on mobile GPUs", 2019, section
3.1. Padding is that of TensorFlow ("SAME"): at stride 2 the larger part lies below and to the right.
"""

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ConvBlock", "DepthwiseBlock", "SamePaddedConv2d", "same_padding"]


def same_padding(kernel: int, stride: int) -> tuple[int, int]:
    """Padding (before, after) of a side whose length is a multiple of the stride.

    Example:
        >>> same_padding(3, 1), same_padding(3, 2), same_padding(5, 2)
        ((1, 1), (0, 1), (1, 2))
    """
    total = max(kernel - stride, 0)
    return total // 2, total - total // 2


class SamePaddedConv2d(nn.Conv2d):
    """Convolution of (N, C, H, W) to (N, D, H / stride, W / stride); sides are multiples of the stride."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        before, after = same_padding(kernel, stride)
        padding = before if before == after else 0
        super().__init__(in_channels, out_channels, kernel, stride, padding, groups=groups)
        self.outer_padding = (before, after, before, after) if before != after else None

    def forward(self, x: Tensor) -> Tensor:
        if self.outer_padding is not None:
            x = functional.pad(x, self.outer_padding)
        return super().forward(x)


def _activation(channels: int, prelu: bool) -> nn.Module:
    return nn.PReLU(channels) if prelu else nn.ReLU()


class ConvBlock(nn.Module):
    """Convolution and activation.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        kernel: side of the kernel.
        stride: 1 or 2.
        prelu: PReLU with a slope per channel instead of ReLU.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, *, prelu: bool
    ) -> None:
        super().__init__()
        self.conv = SamePaddedConv2d(in_channels, out_channels, kernel, stride)
        self.activation = _activation(out_channels, prelu)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.conv(x))


class DepthwiseBlock(nn.Module):
    """Depthwise 3x3 and pointwise convolution, the input added, activation.

    At stride 2 the input is max-pooled before it is added; channels that the block adds get zeros.

    Args:
        in_channels: of the input.
        out_channels: of the output, not fewer.
        stride: 1 or 2.
        prelu: PReLU with a slope per channel instead of ReLU.
        shortcut: add the input.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, *, prelu: bool, shortcut: bool = True
    ) -> None:
        super().__init__()
        self.stride, self.shortcut = stride, shortcut
        self.new_channels = out_channels - in_channels
        self.depthwise = SamePaddedConv2d(in_channels, in_channels, 3, stride, groups=in_channels)
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1)
        self.activation = _activation(out_channels, prelu)

    def forward(self, x: Tensor) -> Tensor:
        y = self.pointwise(self.depthwise(x))
        if self.shortcut:
            x = functional.max_pool2d(x, 2) if self.stride == 2 else x
            y = y + (functional.pad(x, (0, 0, 0, 0, 0, self.new_channels)) if self.new_channels else x)
        return self.activation(y)
