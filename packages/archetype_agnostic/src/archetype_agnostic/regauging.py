"""Bilateral connection re-gauging: pairs that can be trusted and yet violate a margin are drawn tighter.

Letters as in `losses`; docs/archetype_agnostic.md
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from archetype_agnostic.losses import Similarities

ViolationForm = Literal["hinge", "circle"]
Weighting = Literal["per_row", "outer_product"]
MeanOver = Literal["loose", "all"]
TERMS = ("trip_cross", "trip_intra_v", "trip_intra_a")


class Margins(NamedTuple):
    """Constants of the re-gauging.

    Attributes:
        trusted: m_u, rows whose own similarity does not exceed it are screened out.
        loose: m_l, by how much a negative must stay below the own similarity (hinge), or the relaxation of
            both aims (circle).
        inner: g, of both refinements.
    """

    trust_threshold: float = 0.15
    margin: float = 0.2
    inner_margin: float = 0.15


def compute_row_scores(
    similarities: Similarities, form: ViolationForm = "hinge", margins: Margins | None = None
) -> Tensor:
    """How far each anchor's negatives violate its margin, refined by what the candidates are to each other.

    Which negatives violate, how many they are, and the adaptive factors of the circle form are constants to
    the gradient.

    Args:
        found: of the batch.
        form: violation is "hinge" S_ij - p_i + m_l (equation of section 6.1) or "circle" (6.2).
        margins: None: the published ones.

    Returns:
        Shape (6, B), at least 0; 0 where nothing violates or the row is screened out.

    Raises:
        ValueError: unknown form.
    """
    if form not in ("hinge", "circle"):
        raise ValueError(f"form must be 'hinge' or 'circle', found {form!r}")
    trusted, loose, inner = margins or Margins()
    cross, within, own = similarities.cross, similarities.intra_candidate, similarities.positives[..., None]
    if form == "hinge":
        violation = cross - (own - loose)
    else:
        pull = (1 + loose - own).clamp_min(0).detach()
        push = (cross + loose).clamp_min(0).detach()
        violation = push * (cross - loose) - pull * (own - (1 - loose))
    with torch.no_grad():
        chosen = ((violation > 0) & ~similarities.same_identity).to(cross.dtype)
        count = chosen.sum(2)
        share = torch.where(own[..., 0] > trusted, 1 / count.clamp_min(1), 0.0)
    refined = (within - (own - inner)).relu() + (cross - within + inner).relu()
    return ((violation + refined) * chosen).sum(2) * share


def bilateral_scores(scores: Tensor) -> Tensor:
    """Both ways of each pairing together: their mean, or the one that is not zero.

    Args:
        scores: of `compute_row_scores`, shape (6, B).

    Returns:
        R of the pairings `PAIRINGS`, shape (3, B).
    """
    both = scores.view(2, 3, -1)
    return both.sum(0) / (both.detach() != 0).sum(0).clamp_min(1)


def regauging_terms(
    scores: Tensor,
    weights: Tensor | None = None,
    *,
    scale: float = 10.0,
    weighting: Weighting = "per_row",
    mean_over: MeanOver = "loose",
    differentiable: bool = True,
) -> dict[str, Tensor]:
    """The three named terms: mean over the loose pairs of scale x score x identity weight.

    The defaults are what the method means. The published code differs in three ways that change numbers, each
    an option here: `weighting="outer_product"` (scores of shape (B, 1) met weights of shape (B,)),
    `mean_over="all"` where weighting is switched off, and `differentiable=False` (the scores were rebuilt
    from detached numbers, so that the terms trained nothing).

    Args:
        scores: of `bilateral_scores`, shape (3, B).
        weights: identity weight of every row, shape (B,); None: weighting is switched off.
        scale: factor on every score.
        weighting: "per_row": each weight multiplies its own row; "outer_product": every weight meets every
            row, and the mean is over the entries of that table that are not zero.
        mean_over: without weights, "loose": rows with a score; "all": every row.
        differentiable: let gradients through.

    Returns:
        Scalars by name (`TERMS`); 0 where no pair is loose.

    Raises:
        ValueError: an unknown option, or not one weight a row.
    """
    if weighting not in ("per_row", "outer_product"):
        raise ValueError(f"weighting must be 'per_row' or 'outer_product', found {weighting!r}")
    if mean_over not in ("loose", "all"):
        raise ValueError(f"mean_over must be 'loose' or 'all', found {mean_over!r}")
    if weights is not None and weights.shape != scores.shape[1:]:
        raise ValueError(f"one weight a row: found {tuple(weights.shape)} for {scores.shape[1]} rows")
    values = scale * (scores if differentiable else scores.detach())
    if weights is None:
        means = values.mean(1) if mean_over == "all" else _mean_of_nonzero(values)
    elif weighting == "per_row":
        means = _mean_of_nonzero(values * weights.to(values.dtype))
    else:
        means = _mean_of_nonzero(values) * _mean_of_nonzero(weights.to(values.dtype)[None])
    return dict(zip(TERMS, means.unbind()))


def _mean_of_nonzero(values: Tensor) -> Tensor:
    """Mean over the last axis of what is not zero; 0 where all is."""
    return values.sum(-1) / (values.detach() != 0).sum(-1).clamp_min(1)
