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


def r1_penalty(scores: Tensor, pictures: Tensor) -> Tensor:
    """Mean over the batch of the squared norm of dD(x)/dx; differentiable itself.

    Args:
        scores: of `pictures`, which require gradients.
        pictures: real ones.
    """
    (gradient,) = torch.autograd.grad(scores.sum(), pictures, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()


def path_lengths(pictures: Tensor, latents: Tensor, noise: Tensor) -> Tensor:
    """How far a picture moves with its codes: root of the mean over the layers of |J^T y|^2, (N,).

    Args:
        pictures: made of `latents`, with a graph.
        latents: codes (N, L, D).
        noise: y before its division by the root of the number of pixels, N(0, 1), like `pictures`.
    """
    scaled = noise / math.sqrt(pictures.shape[2] * pictures.shape[3])
    (jacobian,) = torch.autograd.grad((pictures * scaled).sum(), latents, create_graph=True)
    return jacobian.square().sum(2).mean(1).sqrt()


def path_penalty(lengths: Tensor, mean: Tensor, decay: float = 0.01) -> tuple[Tensor, Tensor]:
    """Squared distance of path lengths from their running mean.

    Args:
        lengths: (N,).
        mean: running mean so far, scalar; 0 at the start.
        decay: share of the new mean.

    Returns:
        Penalty, with the mean that is already updated, and that mean, detached.
    """
    mean = mean + decay * (lengths.mean() - mean)
    return (lengths - mean).square().mean(), mean.detach()
