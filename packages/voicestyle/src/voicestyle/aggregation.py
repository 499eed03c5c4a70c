"""Step 5, aggregation: one starting code from the codes of several pictures. Specification, section 11."""

from typing import get_args

import torch
from torch import Tensor

from voicestyle.config import AggregationMethod


def aggregate_latents(
    latents: Tensor, method: AggregationMethod = "mean", weights: Tensor | None = None
) -> Tensor:
    """One code of P.

    Args:
        latents: (P, D), or (P, L, D) with a code for each layer.
        method: "mean" (published), "median" of each component, "medoid" (the code with the least sum of distances
            to the others), "similarity" (mean by `weights`), "nearest" (the code of the largest weight).
        weights: how well each picture fits the voice, such as a cosine, (P,); "similarity" uses their softmax
            over a tenth, so that a difference of .1 counts e times as much.

    Returns:
        (1, D) or (1, L, D).

    Raises:
        ValueError: no code, an unknown way, or one that needs weights without them.
    """
    if method not in get_args(AggregationMethod):
        raise ValueError(f"by must be one of {', '.join(get_args(AggregationMethod))}, found {method!r}")
    if not len(latents):
        raise ValueError("there is no code to aggregate: expected one picture at least")
    if method in ("similarity", "nearest"):
        if weights is None or weights.shape != latents.shape[:1]:
            found = None if weights is None else tuple(weights.shape)
            raise ValueError(f"{method} needs a weight for each of {len(latents)} codes, found {found}")
        if method == "nearest":
            return latents[int(weights.argmax())][None]
        shares = torch.softmax(weights.to(latents) / 0.1, 0)
        return torch.tensordot(shares, latents, 1)[None]
    if method == "median":
        return latents.quantile(0.5, 0, keepdim=True)
    if method == "medoid":
        flat = latents.flatten(1)
        return latents[int(torch.cdist(flat, flat).sum(1).argmin())][None]
    return latents.mean(0, keepdim=True)
