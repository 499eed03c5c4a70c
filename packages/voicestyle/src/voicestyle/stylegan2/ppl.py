"""Perceptual path length (Karras et al., "A style-based generator architecture", CVPR 2019, section 4.1)."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from voicestyle.stylegan2.generator import Generator

__all__ = [
    "ImageDistance",
    "crop_and_downsample",
    "perceptual_path_length",
]

ImageDistance = Callable[[Tensor, Tensor], Tensor]
"""Two batches of images (N, 3, S, S) in -1...1 to N distances; published: LPIPS of VGG-16."""


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
    """Mean distance of images `epsilon` apart on paths between latents w, divided by its square.

    Args:
        generator: in evaluation mode.
        distance: see `ImageDistance`.
        num_samples: number of paths.
        batch_size: paths per batch.
        sampling: at the ends of the paths ("end", t = 0), or anywhere on them ("full").
        epsilon: fraction of the path between the two images of a pair.
        crop: keep the part around the face: rows 3/8 to 7/8, columns 1/4 to 3/4.
        seed: of latents, noise and positions.

    Returns:
        The mean of the lengths between the 1st and the 99th percentile.
    """
    rng, lengths = torch.Generator().manual_seed(seed), []
    like = generator.input.input
    for start in range(0, num_samples, batch_size):
        rows = min(batch_size, num_samples - start)
        z = torch.randn(2 * rows, generator.config.style_dim, generator=rng).to(like)
        first, last = generator.mapping(z).chunk(2)
        t = torch.rand(rows, 1, generator=rng).to(like) if sampling == "full" else like.new_zeros(rows, 1)
        latents = torch.cat([torch.lerp(first, last, t), torch.lerp(first, last, t + epsilon)])
        noise = [torch.cat([each, each]) for each in generator.make_noise(rows, rng)]
        images, _ = generator(latents, input_is_latent=True, noise=noise)
        one, other = crop_and_downsample(images, crop).chunk(2)
        lengths.append(distance(one, other).flatten().double() / epsilon**2)
    ordered = torch.cat(lengths).sort().values
    low, high = (float(torch.quantile(ordered, fraction)) for fraction in (0.01, 0.99))
    return float(ordered[(ordered >= low) & (ordered <= high)].mean())


def crop_and_downsample(images: Tensor, crop: bool) -> Tensor:
    """Crop images if `crop`, and average-pool them to 256 pixels if they are larger."""
    if crop:
        unit = images.shape[2] // 8
        images = images[:, :, 3 * unit : 7 * unit, 2 * unit : 6 * unit]
    factor = images.shape[2] // 256
    return F.avg_pool2d(images, factor) if factor > 1 else images
