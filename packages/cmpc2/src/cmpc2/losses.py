"""Losses of CMPC (docs/cmpc2.md): instance contrast, prototype contrast with recalibration.

Notation: B pairs in a batch, D embedding length, K clusters, R clusterings. Row i of every array belongs to
pair i. Embeddings are the outputs of the networks; they are normalised here.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from cmpc2.model_config import Agreement, ContrastForm, WeightRule
from cmpc2.prototypes import Clustering

__all__ = [
    "Clusterings",
    "LossTerms",
    "cmpc_terms",
    "compute_credibility",
    "instance_contrast",
    "prototype_contrast",
    "recalibration_weights",
]


class Clusterings(NamedTuple):
    """Latest clusterings of both banks, R each, with the same numbers of clusters."""

    voice: Sequence[Clustering]
    face: Sequence[Clustering]


class LossTerms(NamedTuple):
    """Losses of every pair, each of shape (B,), and the weights (B,) of the pairs (double precision)."""

    instance_voice: Tensor
    instance_face: Tensor
    prototype_voice: Tensor
    prototype_face: Tensor
    weight: Tensor

    @property
    def total(self) -> Tensor:
        """Weighted mean over pairs of the losses of voice and face anchors, summed."""
        voice = self.instance_voice + self.prototype_voice
        face = self.instance_face + self.prototype_face
        return (self.weight * (voice + face)).sum() / self.weight.sum()


def instance_contrast(voice: Tensor, face: Tensor, temperature: float = 0.03) -> tuple[Tensor, Tensor]:
    """Instance contrast: cross-entropy of the positive among all items of the batch, in both directions.

    Args:
        voice: embeddings (B, D).
        face: embeddings (B, D).
        temperature: divisor of the cosines.

    Returns:
        (losses of voice anchors, losses of face anchors), each (B,), at least 0.
    """
    scores = normalize(voice, dim=1) @ normalize(face, dim=1).T / temperature
    target = torch.arange(len(scores), device=scores.device)
    return cross_entropy(scores, target, reduction="none"), cross_entropy(scores.T, target, reduction="none")


def prototype_contrast(
    anchors: Tensor, index: Tensor, clusterings: Sequence[Clustering], form: ContrastForm = "all"
) -> Tensor:
    """Prototype contrast: cross-entropy of the positive's prototype in the clusterings of the *other* bank.

    "all": negatives are the prototypes of all other clusters, each divided by its own concentration; mean
    over the clusterings. "published": negatives are the prototypes of the batch, including those of the
    positive's own cluster; column m of the scores, after the positive is moved to the front, is divided by
    the concentration of batch sample m; after each clustering the running sum is divided by 4.

    Args:
        anchors: embeddings (B, D).
        index: rows of the pairs in the bank, int64 (B,).
        clusterings: R clusterings of the other modality's bank.
        form: see above.

    Returns:
        Losses (B,); zeros without clusterings.

    Raises:
        ValueError: unknown form.
    """
    if form not in ("all", "published"):
        raise ValueError(f"form must be all or published, found {form!r}")
    unit = normalize(anchors, dim=1)
    total = unit.new_zeros(len(unit))
    for clustering in clusterings:
        target = clustering.assignment[index]
        if form == "all":
            logits = unit @ normalize(clustering.centroids, dim=1).T / clustering.density
            total = total + cross_entropy(logits, target, reduction="none")
        else:
            total = (total + _contrast_within_batch(unit, clustering, target)) / 4
    return total / max(1, len(clusterings)) if form == "all" else total


def _contrast_within_batch(unit: Tensor, clustering: Clustering, target: Tensor) -> Tensor:
    """Compute the published contrast of one clustering, (B,)."""
    scores = unit @ normalize(clustering.centroids[target], dim=1).T
    rows = torch.arange(len(unit), device=unit.device)
    column = rows - (rows[None] <= rows[:, None]).long()  # row i: -1, 0 ... i - 1, i + 1 ...
    order = torch.where(rows == 0, rows[:, None], column)
    logits = scores.gather(1, order) / clustering.density[target]
    return logits.logsumexp(1) - logits[:, 0]


@torch.no_grad()
def compute_credibility(
    voice: Tensor,
    face: Tensor,
    index: Tensor,
    clusterings: Clusterings,
    *,
    centroids: Literal["raw", "unit"] = "raw",
    over: Literal["sum", "mean"] = "sum",
    agreement: Agreement = "subtracted",
) -> Tensor:
    """Credibility rho of every pair for the recalibration; a higher value gives more weight.

    As published, the cosine of the pair minus the agreement of its two prototypes. Mismatched pairs have less
    agreement, so this rule ranks them above matching ones (docs/cmpc2.md). "added" and "ignored" are
    extensions of this package.

    Args:
        voice: embeddings (B, D).
        face: embeddings (B, D).
        index: rows of the pairs in the bank, int64 (B,).
        clusterings: of both banks, R each.
        centroids: unchanged ("raw", as published), or of unit length.
        over: sum (as published) or mean of the agreement over the clusterings.
        agreement: "subtracted" (as published), "added" or "ignored".

    Returns:
        Shape (B,).
    """
    rho = (normalize(voice, dim=1) * normalize(face, dim=1)).sum(1)
    if agreement == "ignored":
        return rho
    total = torch.zeros_like(rho)
    for voices, faces in zip(clusterings.voice, clusterings.face, strict=True):
        a, b = voices.centroids[voices.assignment[index]], faces.centroids[faces.assignment[index]]
        if centroids == "unit":
            a, b = normalize(a, dim=1), normalize(b, dim=1)
        total += (a * b).sum(1)
    total = total / len(clusterings.voice) if over == "mean" else total
    return rho + total if agreement == "added" else rho - total


@torch.no_grad()
def recalibration_weights(
    rho: Tensor, *, delta: float = -1.0, kappa: float = 0.1, rule: WeightRule = "cumulative"
) -> Tensor:
    """Recalibration: weights of pairs that increase with their credibility.

    "cdf": the normal distribution function at rho, with mean mu + delta sd and variance kappa sd^2, where mu
    and sd are those of the batch. "cumulative" (as published): the density at the sorted rho is summed up to
    each rank and divided by the total, so the best pair has weight 1.

    Args:
        rho: credibility, shape (B,).
        delta: shift of the mean in standard deviations.
        kappa: factor on the variance, above 0.
        rule: see above.

    Returns:
        Shape (B,), double precision, in 0...1; all 1 if all rho are equal.

    Raises:
        ValueError: unknown rule.
    """
    if rule not in ("cumulative", "cdf"):
        raise ValueError(f"rule must be cumulative or cdf, found {rule!r}")
    rho = rho.double()
    spread = rho.std(correction=0)
    if not spread > 0:
        return torch.ones_like(rho)
    scaled = (rho - rho.mean() - delta * spread) / (spread * kappa**0.5)
    if rule == "cdf":
        return torch.special.ndtr(scaled)
    order = rho.argsort(stable=True)
    exponent = -0.5 * scaled[order].square()
    cumulative = (exponent - exponent.max()).exp().cumsum(0)  # the factor of the density cancels
    weight = torch.empty_like(rho)
    weight[order] = cumulative / cumulative[-1]
    return weight


def cmpc_terms(
    voice: Tensor,
    face: Tensor,
    index: Tensor,
    clusterings: Clusterings | None = None,
    *,
    temperature: float = 0.03,
    form: ContrastForm = "all",
    prototypes: bool = True,
    recalibrate: bool = True,
    delta: float = -1.0,
    kappa: float = 0.1,
    rule: WeightRule = "cumulative",
    centroids: Literal["raw", "unit"] = "raw",
    over: Literal["sum", "mean"] = "sum",
    agreement: Agreement = "subtracted",
) -> LossTerms:
    """Compute all losses of a batch: prototype contrast with recalibration, and instance contrast.

    Without clusterings, instance contrast alone, every pair with weight 1.

    Args:
        voice: embeddings (B, D).
        face: embeddings (B, D).
        index: rows of the pairs in the banks, int64 (B,).
        clusterings: the latest of both banks, or None.
        temperature: of the instance contrast.
        form: of the prototype contrast.
        prototypes: use the prototype contrast.
        recalibrate: weight the pairs.
        delta, kappa, rule: see `recalibration_weights`.
        centroids, over, agreement: see `compute_credibility`.
    """
    voice, face = (x if x.dtype == torch.float64 else x.float() for x in (voice, face))
    instance = instance_contrast(voice, face, temperature)
    zero = torch.zeros_like(instance[0])
    contrast = (zero, zero)
    weight = torch.ones(len(voice), dtype=torch.float64, device=voice.device)
    if clusterings is not None and clusterings.voice:
        if prototypes:
            contrast = (
                prototype_contrast(voice, index, clusterings.face, form),
                prototype_contrast(face, index, clusterings.voice, form),
            )
        if recalibrate:
            rho = compute_credibility(
                voice, face, index, clusterings, centroids=centroids, over=over, agreement=agreement
            )
            weight = recalibration_weights(rho, delta=delta, kappa=kappa, rule=rule)
    return LossTerms(*instance, *contrast, weight)
