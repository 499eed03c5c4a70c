"""StyleGAN2 of 256 pixels on one thread: forward, forward and backward by codes and noise, resampling.

    python benchmarks/voicestyle_stylegan2.py [--repeats 3] [--json]

Ours is measured against a plain build of the published operators with the same weights, turn by turn: weights
made for each sample and one grouped convolution, zeros inserted before filtering, every elementwise step on
its own, plain memory format. Both must draw the same picture. Processor time counts: that of an idle machine.
The goal is a ratio: that of the aim to what the published implementation took on a processor (forward 1.80 s,
aim 1.2 s; doubling 1x128x128x128 0.37 s, aim 0.12 s; backward: at least as for the forward).
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor
    from voicestyle.stylegan2.generator import Generator
    from voicestyle.stylegan2.layers import ModulatedConv2d


class Task(NamedTuple):
    """What is measured: both builds, and the share of the plain build's time that ours may take."""

    ours: Callable[[], "Tensor"]
    reference: Callable[[], "Tensor"]
    max_ratio: float


def reference_upfirdn2d(x: "Tensor", kernel: "Tensor", up: int, pad: tuple[int, int]) -> "Tensor":
    """Zeros inserted, padded, one channel at a time."""
    import torch.nn.functional as F

    n, channels, height, width = x.shape
    wide = x.new_zeros(n * channels, 1, height, up, width, up)
    wide[:, :, :, 0, :, 0] = x.reshape(n * channels, 1, height, width)
    wide = F.pad(wide.reshape(n * channels, 1, height * up, width * up), (*pad, *pad))
    out = F.conv2d(wide, kernel.flip(0, 1)[None, None])
    return out.reshape(n, channels, *out.shape[2:])


def reference_convolution(layer: "ModulatedConv2d", x: "Tensor", style: "Tensor") -> "Tensor":
    """The grouped form, in plain memory format."""
    import torch
    import torch.nn.functional as F

    n, inputs, height, width = x.shape
    weight = layer.weight * (layer.modulation(style) * layer.scale)[:, None, :, None, None]
    if layer.demodulate:
        weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
    x = x.reshape(1, n * inputs, height, width)
    if layer.resample == "up":
        turned = weight.transpose(1, 2).flatten(0, 1)
        y = F.conv_transpose2d(x, turned, stride=2, groups=n)
        assert layer.blur is not None
        return reference_upfirdn2d(y.unflatten(1, (n, -1))[0], layer.blur.kernel, 1, (1, 1))
    y = F.conv2d(x, weight.flatten(0, 1), padding=layer.padding, groups=n)
    return y.unflatten(1, (n, -1))[0]


def reference_synthesis(network: "Generator", latents: "Tensor", noise: Sequence["Tensor"]) -> "Tensor":
    """The published sequence of steps for one picture."""
    import torch.nn.functional as F

    def styled(layer, x: "Tensor", at: int, number: int) -> "Tensor":
        y = reference_convolution(layer.conv, x, latents[:, at]) + layer.noise.weight * noise[number]
        return F.leaky_relu(y + layer.activate.bias[None, :, None, None], 0.2) * math.sqrt(2)

    x = styled(network.conv1, network.input(1).contiguous(), 0, 0)
    picture = reference_convolution(network.to_rgb1.conv, x, latents[:, 1]) + network.to_rgb1.bias
    for block, to_rgb in enumerate(network.to_rgbs):
        at = 2 * block + 1
        x = styled(network.convs[at - 1], x, at, at)
        x = styled(network.convs[at], x, at + 1, at + 1)
        larger = reference_upfirdn2d(picture, to_rgb.upsample.kernel, 2, (2, 1))
        picture = reference_convolution(to_rgb.conv, x, latents[:, at + 2]) + to_rgb.bias + larger
    return picture


def build_tasks() -> dict[str, Task]:
    """Both builds of everything that is measured, on the same random weights and inputs."""
    import torch
    from voicestyle.stylegan2.generator import Generator
    from voicestyle.stylegan2.operators import fir_kernel, upfirdn2d

    torch.manual_seed(0)
    network = Generator().eval().requires_grad_(False)
    for name, value in network.named_parameters():
        if name.endswith("noise.weight"):
            value.fill_(0.1)
    latents, noise = network.expand_latents(torch.randn(1, 512)), network.stored_noise()
    maps, kernel = torch.randn(1, 128, 128, 128), fir_kernel(gain=4.0)

    def drawn(synthesise: Callable[..., "Tensor"]) -> Callable[[], "Tensor"]:
        def call() -> "Tensor":
            with torch.no_grad():
                return synthesise(latents, noise)

        return call

    def stepped(synthesise: Callable[..., "Tensor"]) -> Callable[[], "Tensor"]:
        def call() -> "Tensor":
            codes = latents.clone().requires_grad_()
            given = [each.clone().requires_grad_() for each in noise]
            found = torch.autograd.grad(synthesise(codes, given).square().mean(), [codes, *given])
            return torch.cat([each.flatten() for each in found])

        return call

    def plain(codes: "Tensor", given: Sequence["Tensor"]) -> "Tensor":
        return reference_synthesis(network, codes, given)

    return {
        "forward": Task(drawn(network.synthesise), drawn(plain), 1.2 / 1.8),
        "forward and backward": Task(stepped(network.synthesise), stepped(plain), 1.2 / 1.8),
        "doubling 128x128x128": Task(
            lambda: upfirdn2d(maps, kernel, 2, 1, (2, 1)),
            lambda: reference_upfirdn2d(maps, kernel, 2, (2, 1)),
            0.12 / 0.37,
        ),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; exit status 1 when the two builds disagree."""
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
        ours, plain = task.ours(), task.reference()
        apart = float((ours - plain).abs().max() / plain.abs().max())
        agree &= apart < 1e-3
        best = {"ours": math.inf, "plain": math.inf}
        for _ in range(args.repeats):
            for word, call in (("ours", task.ours), ("plain", task.reference)):
                began = time.process_time()
                call()
                best[word] = min(best[word], time.process_time() - began)
        rows[name] = {**best, "ratio": best["ours"] / best["plain"], "goal": task.max_ratio, "apart": apart}
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        print(
            f"{'':22} {'ours s':>8} {'plain s':>8} {'ratio':>6} {'goal':>6}  largest difference / deviation"
        )
        for name, row in rows.items():
            values = f"{row['ours']:8.3f} {row['plain']:8.3f} {row['ratio']:6.2f} {row['goal']:6.2f}"
            print(f"{name:22} {values}  {row['apart']:.1e}")
    return 0 if agree else 1


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
