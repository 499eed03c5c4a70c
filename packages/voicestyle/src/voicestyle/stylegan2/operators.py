"""The two operators that StyleGAN2 compiles, in plain PyTorch: FIR resampling and biased leaky ReLU.

Upsampling is a transposed, downsampling a strided depth-wise convolution, so that no zeros are inserted and
no result is discarded. A small kernel is applied as it is: the libraries' depth-wise convolution is
memory-bound, so one pass over a 4x4 window costs less than two over 4. A larger separable kernel is applied
axis by axis.
Letters: N images, C channels, H rows, W columns.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "Pair",
    "fir_kernel",
    "fused_leaky_relu",
    "noise_bias_leaky_relu",
    "separable_factors",
    "upfirdn2d",
]

NEGATIVE_SLOPE, ACTIVATION_GAIN = 0.2, math.sqrt(2.0)
FIR_TAPS = (1.0, 3.0, 3.0, 1.0)
MAX_DIRECT_TAPS = 36  # taps up to which one two-dimensional pass is faster than two
Pair = int | Sequence[int]


def upfirdn2d(x: Tensor, kernel: Tensor, up: Pair = 1, down: Pair = 1, pad: Sequence[int] = (0, 0)) -> Tensor:
    """Insert `up` - 1 zeros after every sample, pad, convolve, keep every `down`-th sample.

    Args:
        x: (N, C, H, W).
        kernel: (kH, kW), or (k,) for the outer product with itself; a true convolution is computed.
        up: factor, or (x, y).
        down: factor, or (x, y).
        pad: (before, after) for both axes, or (x before, x after, y before, y after); zeros, in samples after
            upsampling; a negative number crops.

    Returns:
        (N, C, h, w), h = floor((H up + before + after - kH) / down) + 1, w likewise.

    Raises:
        ValueError: invalid factors, padding or kernel, or an empty result.
    """
    if kernel.ndim == 1:
        kernel = torch.outer(kernel, kernel)
    (up_x, up_y), (down_x, down_y) = _as_pair("up", up), _as_pair("down", down)
    if x.ndim != 4 or kernel.ndim != 2 or len(pad) not in (2, 4):
        raise ValueError(
            "expected x (N, C, H, W), a kernel of one or two axes and 2 or 4 numbers of padding, found "
            f"{tuple(x.shape)}, {tuple(kernel.shape)} and {tuple(pad)}"
        )
    x0, x1, y0, y1 = (*pad, *pad) if len(pad) == 2 else pad
    rows, columns = kernel.shape
    height = x.shape[2] * up_y + y0 + y1 - rows + 1
    width = x.shape[3] * up_x + x0 + x1 - columns + 1
    if height < 1 or width < 1:
        raise ValueError(
            f"a kernel of {rows}x{columns} does not fit into {tuple(x.shape[2:])} enlarged by "
            f"{(up_y, up_x)} and padded by {(y0, y1)}, {(x0, x1)}"
        )
    kernel = kernel.to(x)
    if kernel.numel() > MAX_DIRECT_TAPS and (factors := separable_factors(kernel)):
        column, row = factors
        x = _upfirdn2d_yx(x, row[None], (1, up_x), (1, down_x), (0, 0, x0, x1))
        return _upfirdn2d_yx(x, column[:, None], (up_y, 1), (down_y, 1), (y0, y1, 0, 0))
    return _upfirdn2d_yx(x, kernel, (up_y, up_x), (down_y, down_x), (y0, y1, x0, x1))


def fused_leaky_relu(
    x: Tensor,
    bias: Tensor | None = None,
    negative_slope: float = NEGATIVE_SLOPE,
    scale: float = ACTIVATION_GAIN,
) -> Tensor:
    """`scale` times the leaky ReLU of `x` + `bias`.

    The published operator ignores `negative_slope` on the CPU; here it is always used.

    Args:
        x: (N, C, ...).
        bias: (C,), or None.
        negative_slope: factor of negative values.
        scale: factor of the result; sqrt(2) keeps the variance.
    """
    if bias is not None:
        x = x + bias.reshape(1, -1, *[1] * (x.ndim - 2))
    return F.leaky_relu(x, negative_slope) * scale


def noise_bias_leaky_relu(x: Tensor, channel_scale: Tensor | None, noise: Tensor, bias: Tensor) -> Tensor:
    """sqrt(2) times the leaky ReLU of x channel_scale + noise + bias, in three passes over memory.

    The gain is multiplied into the three small tensors, since a leaky ReLU commutes with positive factors.

    Args:
        x: (N, C, H, W).
        channel_scale: (N, C, 1, 1), or None for 1.
        noise: (N or 1, 1, H, W).
        bias: (C,).
    """
    shift = (bias * ACTIVATION_GAIN).reshape(1, -1, 1, 1).to(x.dtype)
    y = (
        x * ACTIVATION_GAIN + shift
        if channel_scale is None
        else torch.addcmul(shift, x, (channel_scale * ACTIVATION_GAIN).to(x.dtype))
    )
    return F.leaky_relu_(y.add_(noise * ACTIVATION_GAIN), NEGATIVE_SLOPE)


def fir_kernel(taps: Sequence[float] | Tensor = FIR_TAPS, gain: float = 1.0) -> Tensor:
    """Outer product of `taps` with itself, (k, k) float32, scaled to the sum `gain`."""
    row = torch.as_tensor(taps, dtype=torch.float32)
    kernel = torch.outer(row, row)
    return kernel * (gain / kernel.sum())


def separable_factors(kernel: Tensor) -> tuple[Tensor, Tensor] | None:
    """Column (kH,) and row (kW,) whose outer product is the kernel; None if it is not separable."""
    largest = int(kernel.abs().argmax())
    row_at, column_at = divmod(largest, kernel.shape[1])
    peak = kernel[row_at, column_at]
    if not float(peak):
        return None
    column, row = kernel[:, column_at], kernel[row_at] / peak
    tolerance = 8 * torch.finfo(kernel.dtype).eps * float(peak.abs())
    return (column, row) if float((torch.outer(column, row) - kernel).abs().max()) <= tolerance else None


def _upfirdn2d_yx(
    x: Tensor, kernel: Tensor, up: tuple[int, int], down: tuple[int, int], pad: tuple[int, int, int, int]
) -> Tensor:
    """`upfirdn2d` with all arguments in the order y, x."""
    n, channels = x.shape[:2]
    alone = (
        x.dtype == torch.float64 and x.device.type == "cpu"
    )  # no depth-wise routine: treat channels as images
    if alone:
        x = x.reshape(n * channels, 1, *x.shape[2:])
    groups = x.shape[1]
    if up == (1, 1):
        y0, y1, x0, x1 = pad
        if y0 == y1 >= 0 and x0 == x1 >= 0:
            margin = (y0, x0)
        else:
            x, margin = F.pad(x, (x0, x1, y0, y1)), (0, 0)
        weight = kernel.flip(0, 1).expand(groups, 1, *kernel.shape)
        out = F.conv2d(x, weight, stride=down, padding=margin, groups=groups)
    else:
        out = _upsample_and_filter(x, kernel, up, pad)[:, :, :: down[0], :: down[1]]
    return out.reshape(n, channels, *out.shape[2:]) if alone else out


def _upsample_and_filter(
    x: Tensor, kernel: Tensor, up: tuple[int, int], pad: tuple[int, int, int, int]
) -> Tensor:
    """Upsample and filter: the part of the full convolution that the padding selects.

    The full convolution of an axis has (n - 1) up + k samples; the selected ones begin at k - 1 - before and
    number n up + before + after - k + 1. The transposed convolution crops as much of it as it can.
    """
    groups = x.shape[1]
    crop, rest, first = [], [], []
    for axis in (0, 1):
        size, taps = x.shape[2 + axis], kernel.shape[axis]
        before, after = pad[2 * axis : 2 * axis + 2]
        start, wanted = taps - 1 - before, size * up[axis] + before + after - taps + 1
        full = (size - 1) * up[axis] + taps
        inside = max(0, min(start, full - start - wanted + up[axis] - 1))  # cropped at both ends
        extra = min(max(0, start + wanted + inside - full), up[axis] - 1)  # restored at the far end
        crop.append(inside)
        rest.append(extra)
        first.append((start - inside, wanted))
    weight = kernel.expand(groups, 1, *kernel.shape)
    out = F.conv_transpose2d(x, weight, stride=up, padding=crop, output_padding=rest, groups=groups)
    if all(start == 0 and wanted == size for (start, wanted), size in zip(first, out.shape[2:])):
        return out
    margins = []
    for axis, (start, wanted) in enumerate(first, 2):
        size = out.shape[axis]
        low, high = min(max(start, 0), size), max(min(start + wanted, size), 0)
        out = out.narrow(axis, low, max(high - low, 0))
        ahead = min(max(-start, 0), wanted) if high > low else wanted
        margins.append((ahead, wanted - ahead - max(high - low, 0)))
    return F.pad(out, (*margins[1], *margins[0]))


def _as_pair(name: str, factor: Pair) -> tuple[int, int]:
    """(x, y) of a factor that may be one number."""
    pair = (factor, factor) if isinstance(factor, int) else tuple(factor)
    if len(pair) != 2 or min(pair) < 1:
        raise ValueError(f"{name}: expected a factor of at least 1, or two (x, y), found {factor!r}")
    return pair[0], pair[1]
