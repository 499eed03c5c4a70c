"""3x3 convolutions whose constant weights are stored in the memory layout of oneDNN.

PyTorch reorders the weight at every call, in both directions of a step. With one image at a time a deep
network spends a sixth of its time on that. Here it happens once; results are bit-equal. It takes twice the
memory of the weights in addition.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input

__all__ = ["PackedConv2d", "is_supported", "replace_with_prepacked"]

MIN_CHANNELS = 16


class PackedConv2d(nn.Conv2d):
    """A 3x3 convolution layer with padding 1 that packs its frozen weight at first use; keys as `nn.Conv2d`.

    With trainable weights, on other devices and in other precisions it is the stock layer. The weight is
    packed again after a change or a move.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        """Share the parameters of a layer."""
        with torch.device("meta"):
            stride = layer.stride[0]
            super().__init__(layer.in_channels, layer.out_channels, 3, stride, 1, bias=layer.bias is not None)
        self.weight, self.bias = layer.weight, layer.bias
        self._packing = _PackedWeights()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, O, H / stride, W / stride), channels last in memory."""
        if not is_supported(x, self.weight, self.bias):
            return super().forward(x)
        x = x.contiguous(memory_format=torch.channels_last)
        return _Convolution.apply(x, self)

    def forward_packed(self, x: Tensor) -> Tensor:
        """Convolution in single precision on a CPU."""
        return _convolve(x, self._packing.get(self, x)[0], self.bias, self.stride[0])

    def backward_packed(self, gradient: Tensor, input_shape: torch.Size) -> Tensor:
        """Gradient with respect to inputs of a shape, from that of the output."""
        if self.stride[0] != 1:
            return conv2d_input(input_shape, self.weight, gradient, self.stride[0], 1)
        turned = self._packing.get(self, gradient)[1]
        return _convolve(gradient.contiguous(memory_format=torch.channels_last), turned, None, 1)


def replace_with_prepacked(module: nn.Module) -> nn.Module:
    """Replace the 3x3 layers inside a frozen module by `PackedConv2d`; returns the module.

    Layers of another padding, dilation or grouping stay. State dicts stay as they are.
    """
    for name, child in module.named_children():
        if type(child) is nn.Conv2d and _is_replaceable(child):
            setattr(module, name, PackedConv2d(child))
        else:
            replace_with_prepacked(child)
    return module


def is_supported(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> bool:
    """Whether packing applies: single precision, a CPU with oneDNN, frozen weight and bias."""
    trainable = weight.requires_grad or (bias is not None and bias.requires_grad)
    return (
        not trainable
        and x.ndim == 4
        and x.device.type == weight.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        and not torch.is_autocast_enabled("cpu")
    )


class _PackedWeights:
    """Packed weights of a layer, for both directions; copies of it start empty."""

    def __init__(self) -> None:
        self._state: tuple[int, int] | None = None
        self._packed: tuple[Tensor, Tensor | None] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "_PackedWeights":
        return _PackedWeights()

    def __reduce__(self) -> tuple[type["_PackedWeights"], tuple[()]]:
        return _PackedWeights, ()

    def get(self, layer: PackedConv2d, x: Tensor) -> tuple[Tensor, Any]:
        """Both packed weights; the layout is optimised for the shape of `x`, other sizes work as well."""
        weight, stride = layer.weight, layer.stride[0]
        state = (weight.data_ptr(), weight._version)
        if self._packed is None or state != self._state:
            sides = [len(x), *x.shape[2:]]
            turned = _pack_weight(weight.flip(2, 3).transpose(0, 1), sides, 1) if stride == 1 else None
            self._packed, self._state = (_pack_weight(weight, sides, stride), turned), state
        return self._packed


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: PackedConv2d) -> Tensor:
        ctx.layer, ctx.shape = layer, x.shape
        return layer.forward_packed(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.layer.backward_packed(gradient, ctx.shape), None


def _convolve(x: Tensor, packed: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    convolve = torch.ops.mkldnn._convolution_pointwise
    return convolve(x, packed, bias, [1, 1], [stride, stride], [1, 1], 1, "none", [], "")


@torch.no_grad()
def _pack_weight(weight: Tensor, sides: list[int], stride: int) -> Tensor:
    """Reorder a weight (O, C, 3, 3) to oneDNN's layout for a batch of N images of given sides."""
    size = [sides[0], weight.shape[1], *sides[1:]]
    reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
    dense = weight.detach().contiguous().to_mkldnn()
    return reorder(dense, [1, 1], [stride, stride], [1, 1], 1, size)


def _is_replaceable(layer: nn.Conv2d) -> bool:
    shape = (layer.kernel_size, layer.padding, layer.dilation, layer.groups, layer.padding_mode)
    even = layer.stride[0] == layer.stride[1] and min(layer.in_channels, layer.out_channels) >= MIN_CHANNELS
    return even and shape == ((3, 3), (1, 1), (1, 1), 1, "zeros")
