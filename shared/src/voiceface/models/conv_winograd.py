"""3x3 convolutions with constant weights by Winograd's minimal filtering, F(4x4, 3x3), on a CPU.

Sixteen outputs of a tile cost 36 products instead of 144; the transforms around them are matrix products. For
wide layers on large images it is twice as fast from 256 channels on, when the weight is transformed once and
used often (frozen networks). Rounding errors are about seven times those of a direct convolution, 2e-6 of the
standard deviation of the values. Lavin and Gray, "Fast algorithms for convolutional neural
networks", CVPR 2016; points 0, 1, -1, 1/2, -2 and infinity. Letters: N images, C channels, O outputs.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "TransformedKernel",
    "WinogradConv2d",
    "WinogradConv3x3",
    "is_supported",
    "replace_with_winograd",
    "transform_weight",
    "winograd_conv2d",
]

INPUT_TILE, OUTPUT_TILE = 6, 4  # sides of a tile
MIN_CHANNELS, MIN_TILES = 96, 64
BLOCK_VALUES = 2**21  # values of a block of transformed tiles: about the last-level cache

# Coefficients, lowest power first, of the product of (t - q) over the points q other than the row's own.
INPUT_COEFFICIENTS = (
    (1.0, -1.5, -2.0, 1.5, 1.0, 0.0),
    (0.0, -1.0, 0.5, 2.5, 1.0, 0.0),
    (0.0, 1.0, -2.5, 0.5, 1.0, 0.0),
    (0.0, -2.0, -1.0, 2.0, 1.0, 0.0),
    (0.0, 0.5, -1.0, -0.5, 1.0, 0.0),
    (0.0, 1.0, -1.5, -2.0, 1.5, 1.0),
)
INTERPOLATION_POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)


class TransformedKernel(NamedTuple):
    """A transformed weight.

    Attributes:
        forward: (36, C, O).
        backward: (36, O, C), of the rotated weight, for the gradient.
    """

    forward: Tensor
    backward: Tensor


class WinogradConv3x3:
    """3x3 convolution, padding 1, by the faster algorithm; keeps the transform of a frozen weight.

    A frozen weight is transformed at its first use and again only after a change or a move. The transforms
    take eight times the memory of the weight.
    """

    def __init__(self) -> None:
        self._weight_version: tuple[int, int] | None = None
        self._kernel: TransformedKernel | None = None

    def __call__(self, x: Tensor, weight: Tensor) -> Tensor:
        """(N, C, H, W) and (O, C, 3, 3) to (N, O, H, W)."""
        if not is_supported(x, weight):
            return F.conv2d(x, weight, padding=1)
        state = (weight.data_ptr(), weight._version)
        if self._kernel is None or state != self._weight_version:
            self._weight_version, self._kernel = state, transform_weight(weight)
        return winograd_conv2d(x, self._kernel)


class WinogradConv2d(nn.Conv2d):
    """A 3x3 convolution layer with padding 1 that works as `WinogradConv3x3`; keys as `nn.Conv2d`."""

    def __init__(self, layer: nn.Conv2d) -> None:
        """Share the parameters of a layer."""
        with torch.device("meta"):
            super().__init__(layer.in_channels, layer.out_channels, 3, padding=1, bias=layer.bias is not None)
        self.weight, self.bias = layer.weight, layer.bias
        self._winograd = WinogradConv3x3()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, O, H, W)."""
        y = self._winograd(x, self.weight)
        return y if self.bias is None else y + self.bias[:, None, None]


def replace_with_winograd(module: nn.Module) -> nn.Module:
    """Replace the 3x3 layers inside a frozen module by `WinogradConv2d`; returns the module.

    Layers of another stride, padding, dilation or grouping stay. State dicts stay as they are.
    """
    for name, child in module.named_children():
        if type(child) is nn.Conv2d and _is_replaceable(child):
            setattr(module, name, WinogradConv2d(child))
        else:
            replace_with_winograd(child)
    return module


def _is_replaceable(layer: nn.Conv2d) -> bool:
    shape = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    plain = shape == ((3, 3), (1, 1), (1, 1), (1, 1)) and layer.padding_mode == "zeros"
    return plain and layer.groups == 1


def is_supported(x: Tensor, weight: Tensor) -> bool:
    """Whether Winograd is faster: single precision, a CPU, a frozen weight, wide and large enough."""
    outputs, inputs = weight.shape[:2]
    tiles = len(x) * -(-x.shape[2] // OUTPUT_TILE) * -(-x.shape[3] // OUTPUT_TILE)
    return (
        not weight.requires_grad
        and weight.shape[2:] == (3, 3)
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and min(outputs, inputs) >= MIN_CHANNELS
        and tiles >= MIN_TILES
        and not torch.is_autocast_enabled("cpu")
    )


def winograd_conv2d(x: Tensor, kernel: TransformedKernel) -> Tensor:
    """Convolution of (N, C, H, W) with padding 1; differentiable by x any number of times.

    Returns:
        (N, O, H, W), channels last in memory.
    """
    return _Convolution.apply(x, *kernel)


def transform_weight(weight: Tensor) -> TransformedKernel:
    """Transform a weight (O, C, 3, 3) for both directions."""
    turned = weight.flip(2, 3).transpose(0, 1)
    return TransformedKernel(_transform_weight(weight), _transform_weight(turned))


class _Convolution(torch.autograd.Function):
    """Linear in x; its transpose is the convolution with the other kernel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ahead: Tensor, back: Tensor) -> Tensor:
        ctx.kernels = (back, ahead)
        return _convolve_tiles(x, ahead)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return _Convolution.apply(gradient, *ctx.kernels), None, None


def _convolve_tiles(x: Tensor, kernel: Tensor) -> Tensor:
    """Convolve all images, a block of rows of tiles at a time, so that intermediate values stay cached."""
    count, channels, height, width = x.shape
    outputs, (down, along) = kernel.shape[2], (-(-height // OUTPUT_TILE), -(-width // OUTPUT_TILE))
    spare = (OUTPUT_TILE * down - height, OUTPUT_TILE * along - width)
    padded = x.new_empty(count, height + 2 + spare[0], width + 2 + spare[1], channels)
    for border in (padded[:, :1], padded[:, 1 + height :], padded[:, :, :1], padded[:, :, 1 + width :]):
        border.zero_()
    padded[:, 1 : 1 + height, 1 : 1 + width] = x.permute(0, 2, 3, 1)
    image, row, column, _ = padded.stride()
    out = x.new_empty(count, OUTPUT_TILE * down, OUTPUT_TILE * along, outputs)
    inwards, outwards = _kron_square(_input_transform()).to(x), _kron_square(_output_transform()).to(x)
    rows = max(1, min(down, BLOCK_VALUES // (INPUT_TILE * INPUT_TILE * along * max(channels, outputs))))
    for number in range(count):
        for first in range(0, down, rows):
            taken = min(rows, down - first)
            tiles = padded.as_strided(
                (INPUT_TILE, INPUT_TILE, taken, along, channels),
                (row, column, OUTPUT_TILE * row, OUTPUT_TILE * column, 1),
                number * image + OUTPUT_TILE * first * row,
            )
            read = (inwards @ tiles.reshape(INPUT_TILE * INPUT_TILE, -1)).view(
                INPUT_TILE * INPUT_TILE, taken * along, channels
            )
            results = outwards @ torch.bmm(read, kernel).view(INPUT_TILE * INPUT_TILE, -1)
            block = out[number, OUTPUT_TILE * first : OUTPUT_TILE * (first + taken)].view(
                taken, OUTPUT_TILE, along, OUTPUT_TILE, outputs
            )
            block.copy_(results.view(OUTPUT_TILE, OUTPUT_TILE, taken, along, outputs).permute(2, 0, 3, 1, 4))
    return out[:, :height, :width].permute(0, 3, 1, 2)


def _transform_weight(weight: Tensor) -> Tensor:
    """Transform (O, C, 3, 3) to (36, C, O), in double precision."""
    grow = _weight_transform().to(weight.device)
    wide = torch.einsum("ai,bj,ocij->abco", grow, grow, weight.detach().double())
    return wide.reshape(INPUT_TILE * INPUT_TILE, weight.shape[1], weight.shape[0]).float().contiguous()


def _input_transform() -> Tensor:
    """(6, 6): coefficients of prod over the other points of (t - q); last row over all points."""
    return torch.tensor(INPUT_COEFFICIENTS, dtype=torch.float64)


def _weight_transform() -> Tensor:
    """(6, 3): powers of each point over the product of its distances from the others."""
    rows = []
    for at, point in enumerate(INTERPOLATION_POINTS):
        distance = 1.0
        for other in INTERPOLATION_POINTS[:at] + INTERPOLATION_POINTS[at + 1 :]:
            distance *= point - other
        rows.append([point**power / distance for power in range(3)])
    return torch.tensor([*rows, [0.0, 0.0, 1.0]], dtype=torch.float64)


def _output_transform() -> Tensor:
    """(4, 6): powers of each point."""
    rows = [
        [point**power for point in INTERPOLATION_POINTS] + [float(power == OUTPUT_TILE - 1)]
        for power in range(OUTPUT_TILE)
    ]
    return torch.tensor(rows, dtype=torch.float64)


def _kron_square(matrix: Tensor) -> Tensor:
    """What a matrix does to both axes of a tile at once."""
    return torch.kron(matrix, matrix)
