"""Layers of StyleGAN2: equalised, modulated and resampling layers.

"Equalised" layers keep weights of unit variance and scale them at run time, so that Adam updates all layers
alike. Parameter names are the published ones; FIR kernels are constants and not part of a state dict.
Letters: N images, C channels (I in, O out), H rows, W columns, D length of a style.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from voiceface.models.conv_winograd import WinogradConv3x3

from voicestyle.stylegan2.operators import (
    ACTIVATION_GAIN,
    NEGATIVE_SLOPE,
    fir_kernel,
    fused_leaky_relu,
    noise_bias_leaky_relu,
    upfirdn2d,
)

__all__ = [
    "ConstantInput",
    "ConvImplementation",
    "EqualConv2d",
    "EqualLinear",
    "FIRFilter",
    "FusedLeakyReLU",
    "ModulatedConv2d",
    "NoiseInjection",
    "PixelNorm",
    "StyledConv",
    "ToRGB",
    "downsample",
    "upsample",
]

ConvImplementation = Literal["scaled", "grouped"]
EPSILON = 1e-8


class PixelNorm(nn.Module):
    """Normalise rows of (N, D) to unit mean square."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + EPSILON)


class EqualLinear(nn.Module):
    """(N, I) to (N, O): x W^T lr_mul / sqrt(I) + b lr_mul, and the fused leaky ReLU if `activate`.

    Args:
        in_features, out_features: I and O.
        bias: initial value of the bias.
        lr_mul: learning rate factor; weights start with standard deviation 1 / lr_mul.
        activate: end with the fused leaky ReLU.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: float = 0.0,
        lr_mul: float = 1.0,
        activate: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_mul)
        self.bias = nn.Parameter(torch.full((out_features,), float(bias)))
        self.lr_mul, self.activate = lr_mul, activate

    def forward(self, x: Tensor) -> Tensor:
        scale = self.lr_mul / math.sqrt(self.weight.shape[1])
        bias = self.bias * self.lr_mul if self.lr_mul != 1 else self.bias
        y = torch.addmm(bias, x, self.weight.T, alpha=scale)
        return F.leaky_relu(y, NEGATIVE_SLOPE) * ACTIVATION_GAIN if self.activate else y


class EqualConv2d(nn.Module):
    """Convolution without bias whose weight is scaled by 1 / sqrt(I k k)."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        scale = 1 / math.sqrt(self.weight[0].numel())
        return F.conv2d(x, self.weight * scale, stride=self.stride, padding=self.padding)


class FusedLeakyReLU(nn.Module):
    """Bias per channel, leaky ReLU, times sqrt(2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return fused_leaky_relu(x, self.bias)


class FIRFilter(nn.Module):
    """FIR filter [1, 3, 3, 1]: blur, upsample or downsample.

    Args:
        gain: sum of the kernel.
        up, down: factors.
        pad: zeros before and after each axis, after upsampling.
    """

    kernel: Tensor

    def __init__(self, *, gain: float = 1.0, up: int = 1, down: int = 1, pad: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("kernel", fir_kernel(gain=gain), persistent=False)
        self.up, self.down, self.pad = up, down, pad

    def forward(self, x: Tensor) -> Tensor:
        return upfirdn2d(x, self.kernel, self.up, self.down, self.pad)


def upsample() -> FIRFilter:
    """Filter that doubles the side."""
    return FIRFilter(gain=4.0, up=2, pad=(2, 1))


def downsample() -> FIRFilter:
    """Filter that halves the side."""
    return FIRFilter(down=2, pad=(1, 1))


class ModulatedConv2d(nn.Module):
    """Convolution whose weight is scaled per input channel by a style and demodulated.

    W'[o, i] = W[o, i] s_i / sqrt(I k k), s = modulation(style); demodulated W'[o] / sqrt(sum W'[o]^2 + 1e-8)
    (Karras et al., CVPR 2020, equations 1 and 3). Upsampling: transposed convolution of stride 2, then the
    blur with gain 4. Downsampling: blur, then stride 2.

    Two equivalent implementations (difference about 1e-6): `scaled` multiplies the input channels by s and
    the output channels by the demodulation, one convolution with one weight; `grouped` builds every sample's
    weight, as published. The first is faster: the batch shares a weight, and a frozen one is prepared once.

    Args:
        in_channels, out_channels: I and O.
        kernel_size: pixels along each edge of the kernel.
        style_dim: D.
        demodulate: normalise each output channel's weight.
        resample: "up", "down" or None.
        implementation: see above.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        style_dim: int,
        *,
        demodulate: bool = True,
        resample: Literal["up", "down"] | None = None,
        implementation: ConvImplementation = "scaled",
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, out_channels, in_channels, kernel_size, kernel_size))
        self.modulation = EqualLinear(style_dim, in_channels, bias=1.0)
        self.demodulate, self.resample, self.implementation = demodulate, resample, implementation
        self.scale, self.padding = 1 / math.sqrt(in_channels * kernel_size * kernel_size), kernel_size // 2
        self.blur: FIRFilter | None = None
        if resample == "up":  # the transposed convolution gives (H - 1) 2 + k samples, the blur 2 H
            self.blur = FIRFilter(gain=4.0, pad=((5 - kernel_size + 1) // 2, (5 - kernel_size) // 2))
        elif resample == "down":
            self.blur = FIRFilter(pad=((2 + kernel_size) // 2, (1 + kernel_size) // 2))
        self._frozen = WinogradConv3x3()
        self._cached_weight_sums: tuple[tuple[int, int], Tensor] | None = None

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """(N, I, H, W) and (N, D) to (N, O, h, w)."""
        y, factor = self.forward_factored(x, style)
        return y if factor is None else y * factor

    def forward_factored(self, x: Tensor, style: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return (N, O, h, w), and the factors its channels must still be multiplied by, or None."""
        s = self.modulation(style) * self.scale
        if self.implementation == "grouped":
            return self._grouped(x, s), None
        if self.weight.shape[3] == 1 and self.resample is None:
            y = self._pointwise(x, s)
        else:
            y = self._convolve(x * s[:, :, None, None], self.weight[0])
        return y, self.demodulation(s)[:, :, None, None] if self.demodulate else None

    def demodulation(self, s: Tensor) -> Tensor:
        """Factors of the output channels, (N, O), for scaled styles (N, I)."""
        return torch.rsqrt(s.square() @ self.squared_weight_sums().T + EPSILON)

    def squared_weight_sums(self) -> Tensor:
        """Squared weights summed over the kernel, (O, I); of a frozen weight computed once."""
        if self.weight.requires_grad:
            return self.weight[0].square().sum((2, 3))
        state = (self.weight.data_ptr(), self.weight._version)
        if self._cached_weight_sums is None or self._cached_weight_sums[0] != state:
            self._cached_weight_sums = (state, self.weight[0].square().sum((2, 3)))
        return self._cached_weight_sums[1]

    def _pointwise(self, x: Tensor, s: Tensor) -> Tensor:
        """1x1 convolution as a matrix product with each sample's own small weight."""
        weight = self.weight[0, :, :, 0, 0] * s[:, None]
        if x.is_contiguous(memory_format=torch.channels_last):
            flat = x.permute(0, 2, 3, 1).flatten(1, 2) @ weight.transpose(1, 2)
            return flat.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
        return (weight @ x.flatten(2)).unflatten(2, x.shape[2:])

    def _convolve(self, x: Tensor, weight: Tensor, groups: int = 1) -> Tensor:
        """One convolution of (N, G I, H, W) with (G O, I, k, k), with resampling."""
        if self.resample == "up":
            assert self.blur is not None
            turned = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
            return self.blur(F.conv_transpose2d(x, turned, stride=2, groups=groups))
        if self.resample == "down":
            assert self.blur is not None
            return F.conv2d(self.blur(x), weight, stride=2, groups=groups)
        if groups == 1:
            return self._frozen(x, weight) if self.padding == 1 else F.conv2d(x, weight, padding=self.padding)
        return F.conv2d(x, weight, padding=self.padding, groups=groups)

    def _grouped(self, x: Tensor, s: Tensor) -> Tensor:
        """Published implementation: one convolution group per sample."""
        n, inputs = x.shape[:2]
        weight = self.weight * s[:, None, :, None, None]
        if self.demodulate:
            weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + EPSILON)
        y = self._convolve(x.reshape(1, n * inputs, *x.shape[2:]), weight.flatten(0, 1), groups=n)
        return y.reshape(n, -1, *y.shape[2:])


class NoiseInjection(nn.Module):
    """x + weight * noise; one strength per layer, noise (N, 1, H, W) shared by the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        return x + self.weight * noise


class ConstantInput(nn.Module):
    """Learned 4x4 input of the synthesis."""

    def __init__(self, channels: int, side: int = 4) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, channels, side, side))

    def forward(self, batch_size: int) -> Tensor:
        return self.input.expand(batch_size, -1, -1, -1)


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias and leaky ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, style_dim: int, *, resample: Literal["up"] | None = None
    ) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(in_channels, out_channels, 3, style_dim, resample=resample)
        self.noise = NoiseInjection()
        self.activate = FusedLeakyReLU(out_channels)

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        """(N, I, H, W), (N, D) and (N or 1, 1, h, w) to (N, O, h, w)."""
        y, factor = self.conv.forward_factored(x, style)
        return noise_bias_leaky_relu(y, factor, self.noise.weight * noise, self.activate.bias)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to three channels, bias, and the upsampled image of the previous block."""

    def __init__(self, in_channels: int, style_dim: int, *, with_upsample: bool = True) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(in_channels, 3, 1, style_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        self.upsample = upsample() if with_upsample else None

    def forward(self, x: Tensor, style: Tensor, skip: Tensor | None = None) -> Tensor:
        """(N, I, H, W), (N, D) and the image (N, 3, H/2, W/2) to (N, 3, H, W)."""
        y = self.conv(x, style) + self.bias
        if skip is None:
            return y
        assert self.upsample is not None
        return y + self.upsample(skip)
