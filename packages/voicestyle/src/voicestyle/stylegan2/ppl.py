"""Perceptual path length of a generator: how much a picture changes along a small step of its code.

Specification, section 12.5; the measure of Karras et al., "A style-based generator architecture", CVPR 2019.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from voicestyle.stylegan2.generator import Generator

ImageDistance = Callable[[Tensor, Tensor], Tensor]
"""Two batches of pictures (N, 3, S, S) in -1...1 to N distances; published: LPIPS of VGG-16."""


@torch.no_grad()
def perceptual_path_length(
    generator: Generator,
    distance: ImageDistance,
    *,
    num_samples: int = 5_000,
    batch_size: int = 64,
    sampling: Literal["end", "full"] = "end",
    epsilon: float = 1e-4,
    crop: bool = False,
    seed: int = 0,
) -> float:
    """Mean distance of pictures a `epsilon` apart on lines between codes w, by its square.

    Args:
        generator: in evaluation mode.
        distance: see `ImageDistance`.
        num_samples: lines.
        batch_size: lines at a time.
        sampling: at their beginnings ("end", t = 0), or anywhere on them ("full").
        epsilon: part of the line between the two pictures of a pair.
        crop: keep what is around a face: rows 3/8 to 7/8, columns 1/4 to 3/4.
        seed: of codes, noise and places.

    Returns:
        The mean of the lengths from the 1st to the 99th percentile.
    """
    draw, found = torch.Generator().manual_seed(seed), []
    like = generator.input.input
    for start in range(0, num_samples, batch_size):
        rows = min(batch_size, num_samples - start)
        z = torch.randn(2 * rows, generator.config.style_dim, generator=draw).to(like)
        first, last = generator.mapping(z).chunk(2)
        t = torch.rand(rows, 1, generator=draw).to(like) if sampling == "full" else like.new_zeros(rows, 1)
        codes = torch.cat([torch.lerp(first, last, t), torch.lerp(first, last, t + epsilon)])
        noise = [torch.cat([each, each]) for each in generator.make_noise(rows, draw)]
        pictures, _ = generator(codes, input_is_latent=True, noise=noise)
        one, other = crop_and_downsample(pictures, crop).chunk(2)
        found.append(distance(one, other).flatten().double() / epsilon**2)
    lengths = torch.cat(found).sort().values
    low, high = (float(torch.quantile(lengths, share)) for share in (0.01, 0.99))
    return float(lengths[(lengths >= low) & (lengths <= high)].mean())


def crop_and_downsample(images: Tensor, crop: bool) -> Tensor:
    """Pictures cut, where asked for, and averaged down to 256 pixels where they are larger."""
    if crop:
        unit = images.shape[2] // 8
        images = images[:, :, 3 * unit : 7 * unit, 2 * unit : 6 * unit]
    factor = images.shape[2] // 256
    return F.avg_pool2d(images, factor) if factor > 1 else images
