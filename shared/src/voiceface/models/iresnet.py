"""IR: the improved residual face networks of ArcFace and face.evoLVe, with or without squeeze-excitation.

Names and order of the parameters are those of face.evoLVe checkpoints, so that weights and optimiser states
of such files fit.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

BLOCKS: dict[str, tuple[int, ...]] = {
    "ir50": (3, 4, 14, 3),
    "ir101": (3, 13, 30, 3),
    "ir152": (3, 8, 36, 3),
}
WIDTHS = (64, 128, 256, 512)


class PReLU(nn.PReLU):
    """`nn.PReLU` with a faster backward pass on processors, the same to rounding.

    The stock one branches on every element. Here one vectorised threshold splits the gradient, picture by
    picture, so that the parts stay in the cache.
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
        learns = ctx.needs_input_grad[1]
        slope, to_x, to_weight = weight[:, None, None], torch.empty_like(x), torch.zeros_like(weight)
        for picture, out_gradient, into in zip(x, gradient, to_x):
            above = torch.ops.aten.threshold_backward(out_gradient, picture, 0)
            below = out_gradient - above
            torch.addcmul(above, below, slope, out=into)
            if learns:
                to_weight += below.mul_(picture).sum((1, 2))
        return to_x, to_weight if learns else None


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


class Unit(nn.Module):
    """Residual unit: BN, conv, PReLU, strided conv, BN (, SE); no activation after the sum.

    Where the widths agree the shortcut is a plain subsampling, else a strided 1x1 convolution and BN.

    Args:
        inside: channels in.
        outside: channels out.
        stride: of the second convolution and the shortcut.
        squeeze: add squeeze-excitation as `res_layer.5`.
    """

    def __init__(self, inside: int, outside: int, stride: int, squeeze: bool = False) -> None:
        super().__init__()
        self.stride = stride
        self.shortcut_layer: nn.Sequential | None = None
        if inside != outside:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside)
            )
        layers: list[nn.Module] = [
            nn.BatchNorm2d(inside),
            nn.Conv2d(inside, outside, 3, 1, 1, bias=False),
            PReLU(outside),
            nn.Conv2d(outside, outside, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outside),
        ]
        self.res_layer = nn.Sequential(*layers, *([SqueezeExcitation(outside)] if squeeze else []))

    def forward(self, x: Tensor) -> Tensor:
        if self.shortcut_layer is not None:
            return self.res_layer(x) + self.shortcut_layer(x)
        shortcut = x if self.stride == 1 else x[:, :, :: self.stride, :: self.stride]
        return self.res_layer(x) + shortcut


class IR(nn.Module):
    """Face pictures to feature vectors. Its memory format is channels-last, which is the faster one.

    Args:
        blocks: residual units per stage, four numbers (`BLOCKS` holds the published ones); the first unit of
            each stage halves the picture.
        widths: channels per stage; the first is also the width of the input layer.
        side: pixels along each edge of the input picture.
        features: length D of the feature vector; None leaves the output layer out: the network ends with its
            last feature map, and takes pictures of any size.
        dropout: share of the last feature map that is dropped in training (before the output layer).
        squeeze: the SE variant (reduction 16).
        stem_stride: of the input layer's convolution; 1 in the published networks, 2 makes small ones cheap.

    Raises:
        ValueError: blocks and widths differ in number.
    """

    def __init__(
        self,
        blocks: Sequence[int] = BLOCKS["ir50"],
        widths: Sequence[int] = WIDTHS,
        side: int = 112,
        features: int | None = 512,
        dropout: float = 0.5,
        squeeze: bool = False,
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        if len(blocks) != len(widths):
            raise ValueError(f"one width per stage: found {len(widths)} widths for {len(blocks)} stages")
        self.side, self.features = side, features
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, stem_stride, 1, bias=False),
            nn.BatchNorm2d(widths[0]),
            PReLU(widths[0]),
        )
        last = -(-side // stem_stride)
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
                units.append(Unit(before, width, 2 if index == 0 else 1, squeeze))
                before = width
        self.body = nn.Sequential(*units)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.to(memory_format=torch.channels_last)

    def forward(self, pictures: Tensor) -> Tensor:
        """Normalised pictures (B, 3, side, side), about -1...1, to features (B, D), or to maps (B, C, H, W).

        Raises:
            ValueError: the pictures have another size (where there is an output layer).
        """
        if self.output_layer is not None and tuple(pictures.shape[1:]) != (3, self.side, self.side):
            raise ValueError(
                f"face pictures must be (B, 3, {self.side}, {self.side}), found {tuple(pictures.shape)}"
            )
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        maps = self.body(self.input_layer(pictures))
        return maps if self.output_layer is None else self.output_layer(maps)
