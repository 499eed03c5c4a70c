"""IR: the improved residual face networks of ArcFace and face.evoLVe, with or without squeeze-excitation.

Names and order of the parameters are those of face.evoLVe checkpoints, so that weights and optimiser states
of such files fit.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from voiceface.models.architectures import IRESNET_BLOCKS as BLOCKS
from voiceface.models.architectures import IRESNET_WIDTHS as WIDTHS

__all__ = ["IR", "PReLU", "ResidualUnit", "SqueezeExcitation"]


class PReLU(nn.PReLU):
    """`nn.PReLU` with a faster backward pass on CPUs, equal to rounding.

    The stock layer branches on every element. Here one vectorised threshold splits the gradient, image by
    image, so that the parts stay in the cache.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or x.dtype != self.weight.dtype or not torch.is_grad_enabled():
            return super().forward(x)
        return _SplitPReLU.apply(x, self.weight)


class _SplitPReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.prelu(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
        x, weight = ctx.saved_tensors
        trainable = ctx.needs_input_grad[1]
        slope, to_x, to_weight = weight[:, None, None], torch.empty_like(x), torch.zeros_like(weight)
        for image, out_gradient, into in zip(x, gradient, to_x):
            above = torch.ops.aten.threshold_backward(out_gradient, image, 0)
            below = out_gradient - above
            torch.addcmul(above, below, slope, out=into)
            if trainable:
                to_weight += below.mul_(image).sum((1, 2))
        return to_x, to_weight if trainable else None


class SqueezeExcitation(nn.Module):
    """Scale each channel by a gate computed from all channel means; (B, C, H, W) to the same shape."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        inner = max(1, channels // reduction)
        self.fc1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.fc2 = nn.Conv2d(inner, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.fc2(torch.relu(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(gate)


class ResidualUnit(nn.Module):
    """Residual unit: BN, conv, PReLU, strided conv, BN (, SE); no activation after the sum.

    Where the widths agree the shortcut is a plain subsampling, else a strided 1x1 convolution and BN.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the second convolution and the shortcut.
        squeeze_excitation: add squeeze-excitation as `res_layer.5`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, squeeze_excitation: bool = False
    ) -> None:
        super().__init__()
        self.stride = stride
        self.shortcut_layer: nn.Sequential | None = None
        if in_channels != out_channels:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )
        layers: list[nn.Module] = [
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, out_channels, 3, 1, 1, bias=False),
            PReLU(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        ]
        self.res_layer = nn.Sequential(
            *layers, *([SqueezeExcitation(out_channels)] if squeeze_excitation else [])
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.shortcut_layer is not None:
            return self.res_layer(x) + self.shortcut_layer(x)
        shortcut = x if self.stride == 1 else x[:, :, :: self.stride, :: self.stride]
        return self.res_layer(x) + shortcut


class IR(nn.Module):
    """Face images to feature vectors. Its memory format is channels-last, which is faster.

    Args:
        blocks: residual units per stage, four numbers (`BLOCKS` holds the published ones); the first unit of
            each stage halves the resolution.
        widths: channels per stage; the first is also the width of the input layer.
        image_size: pixels along each edge of the input image.
        features: length D of the feature vector; None omits the output layer: the network ends with its last
            feature map and accepts images of any size.
        dropout: probability of dropout on the last feature map in training (before the output layer).
        squeeze_excitation: the SE variant (reduction 16).
        stem_stride: of the input layer's convolution; 1 in the published networks, 2 makes small ones cheap.

    Raises:
        ValueError: blocks and widths differ in number.
    """

    def __init__(
        self,
        blocks: Sequence[int] = BLOCKS["ir50"],
        widths: Sequence[int] = WIDTHS,
        image_size: int = 112,
        features: int | None = 512,
        dropout: float = 0.5,
        squeeze_excitation: bool = False,
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        if len(blocks) != len(widths):
            raise ValueError(f"one width per stage: found {len(widths)} widths for {len(blocks)} stages")
        self.image_size, self.features = image_size, features
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, stem_stride, 1, bias=False),
            nn.BatchNorm2d(widths[0]),
            PReLU(widths[0]),
        )
        last = -(-image_size // stem_stride)
        for _ in widths:
            last = (last + 1) // 2
        self.output_layer: nn.Sequential | None = None
        if features is not None:
            self.output_layer = nn.Sequential(
                nn.BatchNorm2d(widths[-1]),
                nn.Dropout(dropout),
                nn.Flatten(),
                nn.Linear(widths[-1] * last * last, features),
                nn.BatchNorm1d(features),
            )
        units, before = [], widths[0]
        for width, count in zip(widths, blocks):
            for index in range(count):
                units.append(ResidualUnit(before, width, 2 if index == 0 else 1, squeeze_excitation))
                before = width
        self.body = nn.Sequential(*units)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, side, side), about -1...1, to features (B, D), or to maps (B, C, H, W).

        Raises:
            ValueError: the images have another size (with an output layer).
        """
        if self.output_layer is not None and tuple(images.shape[1:]) != (3, self.image_size, self.image_size):
            raise ValueError(
                f"face images must be (B, 3, {self.image_size}, {self.image_size}), found "
                f"{tuple(images.shape)}"
            )
        images = images.contiguous(memory_format=torch.channels_last)
        maps = self.body(self.input_layer(images))
        return maps if self.output_layer is None else self.output_layer(maps)
