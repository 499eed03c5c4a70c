"""Step 5, aggregation: one starting code from the codes of several pictures. Specification, section 11."""

from typing import get_args

import torch
from torch import Tensor

from voicestyle.config import Aggregate


def aggregate(codes: Tensor, by: Aggregate = "mean", weights: Tensor | None = None) -> Tensor:
    """One code of P.

    Args:
        codes: (P, D), or (P, L, D) with a code for each layer.
        by: "mean" (published), "median" of each component, "medoid" (the code with the least sum of distances
            to the others), "similarity" (mean by `weights`), "nearest" (the code of the largest weight).
        weights: how well each picture fits the voice, such as a cosine, (P,); "similarity" uses their softmax
            over a tenth, so that a difference of .1 counts e times as much.

    Returns:
        (1, D) or (1, L, D).

    Raises:
        ValueError: no code, an unknown way, or one that needs weights without them.
    """
    if by not in get_args(Aggregate):
        raise ValueError(f"by must be one of {', '.join(get_args(Aggregate))}, found {by!r}")
    if not len(codes):
        raise ValueError("there is no code to aggregate: expected one picture at least")
    if by in ("similarity", "nearest"):
        if weights is None or weights.shape != codes.shape[:1]:
            found = None if weights is None else tuple(weights.shape)
            raise ValueError(f"{by} needs a weight for each of {len(codes)} codes, found {found}")
        if by == "nearest":
            return codes[int(weights.argmax())][None]
        shares = torch.softmax(weights.to(codes) / 0.1, 0)
        return torch.tensordot(shares, codes, 1)[None]
    if by == "median":
        return codes.quantile(0.5, 0, keepdim=True)
    if by == "medoid":
        flat = codes.flatten(1)
        return codes[int(torch.cdist(flat, flat).sum(1).argmin())][None]
    return codes.mean(0, keepdim=True)
