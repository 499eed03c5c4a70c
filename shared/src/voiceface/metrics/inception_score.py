"""Inception Score and VGGFace Score: scores of images from the probabilities of a classifier.

exp(mean over images of KL(p || mean p)) of each part of the images, then mean and population standard
deviation over the parts (Salimans et al., "Improved techniques for training GANs", NIPS 2016). High if
images belong clearly to classes and the classes differ; between 1 and the number of classes.
"""

from itertools import pairwise
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

__all__ = [
    "Remainder",
    "SplitScore",
    "inception_score_from_log_probs",
    "to_log_probabilities",
]

Remainder = Literal["spread", "drop"]


class SplitScore(NamedTuple):
    """Mean and population standard deviation over parts, and the score of each part."""

    mean: float
    std: float
    split_scores: tuple[float, ...]


def inception_score_from_log_probs(
    log_probabilities: Tensor,
    splits: int,
    remainder: Remainder = "spread",
    generator: torch.Generator | None = None,
    order: Tensor | None = None,
) -> SplitScore:
    """Compute the score from log probabilities; stable where probabilities underflow.

    Args:
        log_probabilities: (N, C), as `log_softmax` gives them; minus infinity counts as probability 0.
        splits: parts S.
        remainder: "spread": part k is rows kN//S to (k+1)N//S; "drop": N//S rows each, the rest is not used
            (as in the published validation).
        generator: shuffles the rows first; None keeps their order.
        order: int64 (N,), order of the rows, instead of a generator.

    Raises:
        ValueError: fewer rows than parts, NaN, an unknown rule, or both generator and order.
    """
    if log_probabilities.ndim != 2 or log_probabilities.isnan().any():
        raise ValueError(
            f"log probabilities must be (N, C) without NaN, found {tuple(log_probabilities.shape)}"
        )
    if not 1 <= splits <= len(log_probabilities):
        raise ValueError(f"{splits} parts need as many images or more, found {len(log_probabilities)}")
    if remainder not in get_args(Remainder):
        raise ValueError(f"remainder must be one of {get_args(Remainder)}, found {remainder!r}")
    if generator is not None and order is not None:
        raise ValueError("pass a generator or an order, not both")
    rows, count = log_probabilities.detach().double(), len(log_probabilities)
    if generator is not None:
        order = torch.randperm(count, generator=generator, device=generator.device)
    if order is not None:
        if not torch.equal(order.sort().values.cpu(), torch.arange(count)):
            raise ValueError(f"order must contain each of the {count} rows once")
        rows = rows[order.to(rows.device)]
    if remainder == "drop":
        edges = [k * (count // splits) for k in range(splits + 1)]
    else:
        edges = [k * count // splits for k in range(splits + 1)]
    scores = torch.stack([_split_score(rows[begin:end]) for begin, end in pairwise(edges)])
    return SplitScore(float(scores.mean()), float(scores.std(correction=0)), tuple(scores.tolist()))


def to_log_probabilities(probabilities: Tensor) -> Tensor:
    """Log probabilities (N, C) of rows of probabilities, scaled to the sum 1.

    Raises:
        ValueError: a negative probability, or a row of zeros.
    """
    values = probabilities.double()
    total = values.sum(-1, keepdim=True)
    if (values < 0).any() or not (total > 0).all():
        raise ValueError("probabilities must not be negative, and no row may be all zeros")
    return values.log() - total.log()


def _split_score(rows: Tensor) -> Tensor:
    """Exponential of the mean KL divergence from the mean."""
    mean = rows.logsumexp(0) - torch.tensor(len(rows), dtype=rows.dtype).log().to(rows.device)
    probabilities = rows.exp()
    terms = torch.where(probabilities > 0, probabilities * (rows - mean), torch.zeros_like(rows))
    return terms.sum(1).mean().exp()
