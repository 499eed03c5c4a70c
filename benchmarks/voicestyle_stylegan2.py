"""StyleGAN2 of 256 pixels on one thread: forward, forward and backward by latents and noise, resampling.

    python benchmarks/voicestyle_stylegan2.py [--repeats 3] [--json]

Ours is timed alternately with a reference implementation of the published operators, same weights: one weight
per sample and a grouped convolution, zeros inserted before filtering, separate elementwise operations,
contiguous memory format. Both must generate the same image. Processor time is reported; measure on an idle
machine. The goal is the largest ratio: target divided by the time of the published implementation on a CPU
(forward 1.2 s / 1.80 s; upsampling 1x128x128x128 0.12 s / 0.37 s; backward as forward).
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from timing import min_times_alternating

if TYPE_CHECKING:
    from torch import Tensor
    from voicestyle.stylegan2.generator import Generator
    from voicestyle.stylegan2.layers import ModulatedConv2d


class Task(NamedTuple):
    """Both implementations, and the largest ratio of their times."""

    ours: Callable[[], "Tensor"]
    reference: Callable[[], "Tensor"]
    max_ratio: float


def reference_upfirdn2d(x: "Tensor", kernel: "Tensor", up: int, pad: tuple[int, int]) -> "Tensor":
    """Insert zeros, pad, filter each channel."""
    import torch.nn.functional as F

    n, channels, height, width = x.shape
    wide = x.new_zeros(n * channels, 1, height, up, width, up)
    wide[:, :, :, 0, :, 0] = x.reshape(n * channels, 1, height, width)
    wide = F.pad(wide.reshape(n * channels, 1, height * up, width * up), (*pad, *pad))
    out = F.conv2d(wide, kernel.flip(0, 1)[None, None])
    return out.reshape(n, channels, *out.shape[2:])


def reference_convolution(layer: "ModulatedConv2d", x: "Tensor", style: "Tensor") -> "Tensor":
    """Grouped convolution in contiguous memory format."""
    import torch
    import torch.nn.functional as F

    n, inputs, height, width = x.shape
    weight = layer.weight * (layer.modulation(style) * layer.scale)[:, None, :, None, None]
    if layer.demodulate:
        weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
    x = x.reshape(1, n * inputs, height, width)
    if layer.resample == "up":
        transposed = weight.transpose(1, 2).flatten(0, 1)
        y = F.conv_transpose2d(x, transposed, stride=2, groups=n)
        assert layer.blur is not None
        return reference_upfirdn2d(y.unflatten(1, (n, -1))[0], layer.blur.kernel, 1, (1, 1))
    y = F.conv2d(x, weight.flatten(0, 1), padding=layer.padding, groups=n)
    return y.unflatten(1, (n, -1))[0]


def reference_synthesis(network: "Generator", latents: "Tensor", noise: Sequence["Tensor"]) -> "Tensor":
    """Published sequence of operations for one image."""
    import torch.nn.functional as F

    def styled(layer, x: "Tensor", at: int, number: int) -> "Tensor":
        y = reference_convolution(layer.conv, x, latents[:, at]) + layer.noise.weight * noise[number]
        return F.leaky_relu(y + layer.activate.bias[None, :, None, None], 0.2) * math.sqrt(2)

    x = styled(network.conv1, network.input(1).contiguous(), 0, 0)
    image = reference_convolution(network.to_rgb1.conv, x, latents[:, 1]) + network.to_rgb1.bias
    for block, to_rgb in enumerate(network.to_rgbs):
        at = 2 * block + 1
        x = styled(network.convs[at - 1], x, at, at)
        x = styled(network.convs[at], x, at + 1, at + 1)
        upsampled = reference_upfirdn2d(image, to_rgb.upsample.kernel, 2, (2, 1))
        image = reference_convolution(to_rgb.conv, x, latents[:, at + 2]) + to_rgb.bias + upsampled
    return image


def build_tasks() -> dict[str, Task]:
    """Build all tasks with the same random weights and inputs."""
    import torch
    from voicestyle.stylegan2.generator import Generator
    from voicestyle.stylegan2.operators import fir_kernel, upfirdn2d

    torch.manual_seed(0)
    network = Generator().eval().requires_grad_(False)
    for name, value in network.named_parameters():
        if name.endswith("noise.weight"):
            value.fill_(0.1)
    latents, noise = network.expand_latents(torch.randn(1, 512)), network.stored_noise()
    features, kernel = torch.randn(1, 128, 128, 128), fir_kernel(gain=4.0)

    def forward(synthesise: Callable[..., "Tensor"]) -> Callable[[], "Tensor"]:
        def call() -> "Tensor":
            with torch.no_grad():
                return synthesise(latents, noise)

        return call

    def forward_backward(synthesise: Callable[..., "Tensor"]) -> Callable[[], "Tensor"]:
        def call() -> "Tensor":
            leaf = latents.clone().requires_grad_()
            maps = [each.clone().requires_grad_() for each in noise]
            gradients = torch.autograd.grad(synthesise(leaf, maps).square().mean(), [leaf, *maps])
            return torch.cat([each.flatten() for each in gradients])

        return call

    def reference(latents: "Tensor", noise: Sequence["Tensor"]) -> "Tensor":
        return reference_synthesis(network, latents, noise)

    return {
        "forward": Task(forward(network.synthesise), forward(reference), 1.2 / 1.8),
        "forward and backward": Task(
            forward_backward(network.synthesise), forward_backward(reference), 1.2 / 1.8
        ),
        "upsampling 128x128x128": Task(
            lambda: upfirdn2d(features, kernel, 2, 1, (2, 1)),
            lambda: reference_upfirdn2d(features, kernel, 2, (2, 1)),
            0.12 / 0.37,
        ),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status is 1 if the two implementations disagree."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)

    import torch
    from voiceface.runtime.process import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()
    rows, agree = {}, True
    for name, task in build_tasks().items():
        ours, reference = task.ours(), task.reference()
        difference = float((ours - reference).abs().max() / reference.abs().max())
        agree &= difference < 1e-3
        calls = {"ours": task.ours, "reference": task.reference}
        times = min_times_alternating(calls, args.repeats, warm_up=False)
        seconds = {"ours_s": times["ours"].cpu, "reference_s": times["reference"].cpu}
        ratio = seconds["ours_s"] / seconds["reference_s"]
        rows[name] = {**seconds, "ratio": ratio, "max_ratio": task.max_ratio, "difference": difference}
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        print(f"{'':22} {'ours s':>8} {'ref. s':>8} {'ratio':>6} {'goal':>6}  largest relative difference")
        for name, row in rows.items():
            values = (
                f"{row['ours_s']:8.3f} {row['reference_s']:8.3f} {row['ratio']:6.2f} {row['max_ratio']:6.2f}"
            )
            print(f"{name:22} {values}  {row['difference']:.1e}")
    return 0 if agree else 1


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
