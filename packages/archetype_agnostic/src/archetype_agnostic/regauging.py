"""Bilateral connection re-gauging: credible pairs that violate a margin are pulled together.

Notation as in `archetype_agnostic.losses`; equations in docs/archetype_agnostic.md.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from archetype_agnostic.losses import Similarities

__all__ = [
    "TERMS",
    "Margins",
    "MeanOver",
    "ViolationForm",
    "Weighting",
    "bilateral_scores",
    "compute_row_scores",
    "regauging_terms",
]

ViolationForm = Literal["hinge", "circle"]
Weighting = Literal["per_row", "outer_product"]
MeanOver = Literal["loose", "all"]
TERMS = ("trip_cross", "trip_intra_v", "trip_intra_a")


class Margins(NamedTuple):
    """Constants of the re-gauging.

    Attributes:
        trust_threshold: m_u; rows with a positive similarity not above it are screened out.
        margin: m_l; distance of a negative below the positive (hinge), or relaxation of both targets
            (circle).
        inner_margin: g, of both refinements.
    """

    trust_threshold: float = 0.15
    margin: float = 0.2
    inner_margin: float = 0.15


def compute_row_scores(
    similarities: Similarities, form: ViolationForm = "hinge", margins: Margins | None = None
) -> Tensor:
    """Re-gauging scores: margin violations of each anchor, refined by the similarities among candidates.

    The selection of violating negatives, their number, and the adaptive factors of the circle form carry no
    gradient.

    Args:
        similarities: of the batch.
        form: violation t_ij; "hinge": S_ij - p_i + m_l; "circle": see docs/archetype_agnostic.md.
        margins: None: the published ones.

    Returns:
        Shape (6, B), at least 0; 0 for rows without violation or screened out.

    Raises:
        ValueError: unknown form.
    """
    if form not in ("hinge", "circle"):
        raise ValueError(f"form must be 'hinge' or 'circle', found {form!r}")
    trust_threshold, margin, inner_margin = margins or Margins()
    cross, intra = similarities.cross, similarities.intra_candidate
    positive = similarities.positives[..., None]
    if form == "hinge":
        violation = cross - (positive - margin)
    else:
        pull = (1 + margin - positive).clamp_min(0).detach()
        push = (cross + margin).clamp_min(0).detach()
        violation = push * (cross - margin) - pull * (positive - (1 - margin))
    with torch.no_grad():
        selected = ((violation > 0) & ~similarities.same_identity).to(cross.dtype)
        count = selected.sum(2)
        factor = torch.where(positive[..., 0] > trust_threshold, 1 / count.clamp_min(1), 0.0)
    refinement = (intra - (positive - inner_margin)).relu() + (cross - intra + inner_margin).relu()
    return ((violation + refinement) * selected).sum(2) * factor


def bilateral_scores(scores: Tensor) -> Tensor:
    """Combine both directions of each pairing: their mean, or the non-zero one.

    Args:
        scores: of `compute_row_scores`, shape (6, B).

    Returns:
        R of the pairings `PAIRINGS`, shape (3, B).
    """
    directions = scores.view(2, 3, -1)
    return directions.sum(0) / (directions.detach() != 0).sum(0).clamp_min(1)


def regauging_terms(
    scores: Tensor,
    weights: Tensor | None = None,
    *,
    scale: float = 10.0,
    weighting: Weighting = "per_row",
    mean_over: MeanOver = "loose",
    differentiable: bool = True,
) -> dict[str, Tensor]:
    """Re-gauging terms of the three pairings: mean over loose pairs of scale x score x identity weight.

    The defaults follow the method. The published code differs in three ways, each an option:
    `weighting="outer_product"` (scores of shape (B, 1) are multiplied by weights of shape (B,)),
    `mean_over="all"` if weighting is disabled, and `differentiable=False` (the scores are rebuilt from
    detached values, so the terms have no gradient).

    Args:
        scores: of `bilateral_scores`, shape (3, B).
        weights: identity weight of every row, shape (B,); None: weighting is disabled.
        scale: factor on every score.
        weighting: "per_row": each weight multiplies its row; "outer_product": every weight multiplies every
            row, and the mean is over the non-zero entries of that table.
        mean_over: without weights: rows with a score ("loose") or every row ("all").
        differentiable: propagate gradients.

    Returns:
        Scalars by name (`TERMS`); 0 if no pair is loose.

    Raises:
        ValueError: an unknown option, or not one weight per row.
    """
    if weighting not in ("per_row", "outer_product"):
        raise ValueError(f"weighting must be 'per_row' or 'outer_product', found {weighting!r}")
    if mean_over not in ("loose", "all"):
        raise ValueError(f"mean_over must be 'loose' or 'all', found {mean_over!r}")
    if weights is not None and weights.shape != scores.shape[1:]:
        raise ValueError(
            f"expected one weight per row, found {tuple(weights.shape)} for {scores.shape[1]} rows"
        )
    values = scale * (scores if differentiable else scores.detach())
    if weights is None:
        means = values.mean(1) if mean_over == "all" else _mean_of_nonzero(values)
    elif weighting == "per_row":
        means = _mean_of_nonzero(values * weights.to(values.dtype))
    else:
        means = _mean_of_nonzero(values) * _mean_of_nonzero(weights.to(values.dtype)[None])
    return dict(zip(TERMS, means.unbind()))


def _mean_of_nonzero(values: Tensor) -> Tensor:
    """Mean of the non-zero entries along the last axis; 0 if all are zero."""
    return values.sum(-1) / (values.detach() != 0).sum(-1).clamp_min(1)
