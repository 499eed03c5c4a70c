"""Step 5, aggregation: combine the latents of several images to one initial latent."""

from typing import get_args

import torch
from torch import Tensor

from voicestyle.config import AggregationMethod

__all__ = [
    "aggregate_latents",
]


def aggregate_latents(
    latents: Tensor, method: AggregationMethod = "mean", weights: Tensor | None = None
) -> Tensor:
    """Combine P latents to one.

    Args:
        latents: (P, D), or (P, L, D) with one latent per layer.
        method: "mean" (published), "median" of each component, "medoid" (the latent with the smallest sum of
            distances to the others), "similarity" (mean weighted by `weights`), "nearest" (largest weight).
        weights: similarity of each image with the voice, such as a cosine, (P,); "similarity" uses their
            softmax at temperature 0.1.

    Returns:
        (1, D) or (1, L, D).

    Raises:
        ValueError: there is no latent, the method is unknown, or its weights are missing.
    """
    if method not in get_args(AggregationMethod):
        raise ValueError(f"method must be one of {', '.join(get_args(AggregationMethod))}, found {method!r}")
    if not len(latents):
        raise ValueError("there is no latent to aggregate: expected at least one image")
    if method in ("similarity", "nearest"):
        if weights is None or weights.shape != latents.shape[:1]:
            shape = None if weights is None else tuple(weights.shape)
            raise ValueError(f"{method} needs one weight per latent ({len(latents)}), found {shape}")
        if method == "nearest":
            return latents[int(weights.argmax())][None]
        fractions = torch.softmax(weights.to(latents) / 0.1, 0)
        return torch.tensordot(fractions, latents, 1)[None]
    if method == "median":
        return latents.quantile(0.5, 0, keepdim=True)
    if method == "medoid":
        flat = latents.flatten(1)
        return latents[int(torch.cdist(flat, flat).sum(1).argmin())][None]
    return latents.mean(0, keepdim=True)
