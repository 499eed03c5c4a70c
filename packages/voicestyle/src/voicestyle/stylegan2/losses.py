"""Objectives of adversarial training (section 12.5). Scores are (N, 1) or (N,), pictures (N, 3, S, S)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Mean softplus(-D(real)) + mean softplus(D(fake))."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """Mean softplus(-D(fake)), the loss that does not saturate."""
    return F.softplus(-fake).mean()


def r1_penalty(scores: Tensor, images: Tensor) -> Tensor:
    """Mean over the batch of the squared norm of dD(x)/dx; differentiable itself.

    Args:
        scores: of `images`, which require gradients.
        images: real ones.
    """
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()


def path_lengths(images: Tensor, latents: Tensor, noise: Tensor) -> Tensor:
    """How far a picture moves with its codes: root of the mean over the layers of |J^T y|^2, (N,).

    Args:
        images: made of `latents`, with a graph.
        latents: codes (N, L, D).
        noise: y before its division by the root of the number of pixels, N(0, 1), like `images`.
    """
    scaled = noise / math.sqrt(images.shape[2] * images.shape[3])
    (jacobian,) = torch.autograd.grad((images * scaled).sum(), latents, create_graph=True)
    return jacobian.square().sum(2).mean(1).sqrt()


def path_length_penalty(lengths: Tensor, running_mean: Tensor, decay: float = 0.01) -> tuple[Tensor, Tensor]:
    """Squared distance of path lengths from their running mean.

    Args:
        lengths: (N,).
        mean: running mean so far, scalar; 0 at the start.
        decay: share of the new mean.

    Returns:
        Penalty, with the mean that is already updated, and that mean, detached.
    """
    running_mean = running_mean + decay * (lengths.mean() - running_mean)
    return (lengths - running_mean).square().mean(), running_mean.detach()
