"""Objectives of adversarial training. Scores are (N, 1) or (N,), images (N, 3, S, S)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from voiceface.runtime.distributed import all_reduce_sum, world_size

__all__ = [
    "discriminator_loss",
    "generator_loss",
    "path_length_penalty",
    "path_lengths",
    "r1_penalty",
]


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Logistic loss: mean softplus(-D(real)) + mean softplus(D(fake))."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """Non-saturating loss: mean softplus(-D(fake))."""
    return F.softplus(-fake).mean()


def r1_penalty(scores: Tensor, images: Tensor) -> Tensor:
    """R1 penalty (Mescheder et al., ICML 2018): batch mean of the squared norm of dD(x)/dx; differentiable.

    Args:
        scores: scores of `images`, which require gradients.
        images: real images.
    """
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()


def path_lengths(images: Tensor, latents: Tensor, noise: Tensor) -> Tensor:
    """Path lengths (N,) (Karras et al., CVPR 2020, equation 4): root of the layer mean of |J^T y|^2.

    Args:
        images: generated from `latents`, with a graph.
        latents: (N, L, D).
        noise: y before its division by the root of the number of pixels, N(0, 1), like `images`.
    """
    scaled = noise / math.sqrt(images.shape[2] * images.shape[3])
    (jacobian,) = torch.autograd.grad((images * scaled).sum(), latents, create_graph=True)
    return jacobian.square().sum(2).mean(1).sqrt()


def path_length_penalty(lengths: Tensor, running_mean: Tensor, decay: float = 0.01) -> tuple[Tensor, Tensor]:
    """Path-length regulariser: squared distance of path lengths from their moving average.

    Source: Karras et al., CVPR 2020, equation 4.

    Args:
        lengths: (N,), of this process's images; the average is that of all processes.
        running_mean: moving average so far, scalar; initially 0.
        decay: weight of the new mean.

    Returns:
        Penalty with respect to the updated moving average, and that average, detached.
    """
    mean = all_reduce_sum(lengths.mean()) / world_size()
    running_mean = running_mean + decay * (mean - running_mean)
    return (lengths - running_mean).square().mean(), running_mean.detach()
