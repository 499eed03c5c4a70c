"""The losses of CMPC (docs/cmpc2.md): instance contrast, prototype contrast, recalibration.

Letters: B pairs in a batch, D length of an embedding, K clusters, R clusterings. Row i of every array belongs
to pair i. Embeddings come in as the networks give them; unit vectors are made here.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from cmpc2.model_config import Agreement, ContrastForm, WeightRule
from cmpc2.prototypes import Clustering


class Clusterings(NamedTuple):
    """The latest clusterings of both banks, R each, of the same numbers of clusters."""

    voice: Sequence[Clustering]
    face: Sequence[Clustering]


class LossTerms(NamedTuple):
    """Losses by pair, each of shape (B,), and the weights (B,) of the pairs (double precision)."""

    instance_voice: Tensor
    instance_face: Tensor
    prototype_voice: Tensor
    prototype_face: Tensor
    weight: Tensor

    @property
    def total(self) -> Tensor:
        """Weighted means of what both kinds of anchors lose, summed."""
        voice = self.instance_voice + self.prototype_voice
        face = self.instance_face + self.prototype_face
        return (self.weight * (voice + face)).sum() / self.weight.sum()


def instance_contrast(voice: Tensor, face: Tensor, temperature: float = 0.03) -> tuple[Tensor, Tensor]:
    """Cross-entropy of finding the partner among all of the batch, both ways.

    Args:
        voice: embeddings (B, D).
        face: embeddings (B, D).
        temperature: divides the cosines.

    Returns:
        (losses of voice anchors, losses of face anchors), each (B,), at least 0.
    """
    scores = normalize(voice, dim=1) @ normalize(face, dim=1).T / temperature
    own = torch.arange(len(scores), device=scores.device)
    return cross_entropy(scores, own, reduction="none"), cross_entropy(scores.T, own, reduction="none")


def prototype_contrast(
    anchors: Tensor, index: Tensor, clusterings: Sequence[Clustering], form: ContrastForm = "all"
) -> Tensor:
    """How far anchors are from the prototypes of their partners, in the clusterings of the *other* bank.

    "all": the prototypes of all clusters compete, each divided by its own concentration; mean over the
    clusterings. "published": the prototypes of the batch compete, those of the anchor's own cluster included;
    column m of the table, the anchor's own prototype moved to the front, is divided by the concentration of
    batch sample m; after each clustering the running sum is divided by 4.

    Args:
        anchors: embeddings (B, D).
        index: rows of the pairs in the bank, int64 (B,).
        clusterings: R of the other modality's bank.
        form: see above.

    Returns:
        Losses (B,); zeros without clusterings.
    """
    if form not in ("all", "published"):
        raise ValueError(f"form must be all or published, found {form!r}")
    unit = normalize(anchors, dim=1)
    total = unit.new_zeros(len(unit))
    for found in clusterings:
        target = found.assignment[index]
        if form == "all":
            logits = unit @ normalize(found.centroids, dim=1).T / found.density
            total = total + cross_entropy(logits, target, reduction="none")
        else:
            total = (total + _contrast_within_batch(unit, found, target)) / 4
    return total / max(1, len(clusterings)) if form == "all" else total


def _contrast_within_batch(unit: Tensor, clustering: Clustering, target: Tensor) -> Tensor:
    """The published contrast of one clustering, (B,)."""
    scores = unit @ normalize(clustering.centroids[target], dim=1).T
    places = torch.arange(len(unit), device=unit.device)
    column = places - (places[None] <= places[:, None]).long()  # row i: -1, 0 ... i - 1, i + 1 ...
    order = torch.where(places == 0, places[:, None], column)
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
    """How much a pair's voice and face can be believed to fit: rho, higher for more weight.

    As published, the cosine of the pair minus the agreement of its two prototypes. Where pairs are wrong,
    their prototypes agree less, which this rule rewards: on videos given wrong faces it ranks wrong pairs
    above right ones (docs/cmpc2.md). "added" and "ignored" are of our own making.

    Args:
        voice: embeddings (B, D).
        face: embeddings (B, D).
        index: rows of the pairs in the bank, int64 (B,).
        clusterings: of both banks, R each.
        centroids: as they are (as published), or of unit length.
        over: the agreement is summed (as published) or averaged over the clusterings.
        agreement: what becomes of it: "subtracted" (as published), "added" or "ignored".

    Returns:
        Shape (B,).
    """
    rho = (normalize(voice, dim=1) * normalize(face, dim=1)).sum(1)
    if agreement == "ignored":
        return rho
    shared = torch.zeros_like(rho)
    for left, right in zip(clusterings.voice, clusterings.face, strict=True):
        a, b = left.centroids[left.assignment[index]], right.centroids[right.assignment[index]]
        if centroids == "unit":
            a, b = normalize(a, dim=1), normalize(b, dim=1)
        shared += (a * b).sum(1)
    shared = shared / len(clusterings.voice) if over == "mean" else shared
    return rho + shared if agreement == "added" else rho - shared


@torch.no_grad()
def recalibration_weights(
    rho: Tensor, *, delta: float = -1.0, kappa: float = 0.1, rule: WeightRule = "cumulative"
) -> Tensor:
    """Weights of pairs that rise with their credibility.

    "cdf": the normal distribution function at rho, with mean mu + delta sd and variance kappa sd^2, mu and sd
    those of the batch. "cumulative" (as published): the density at the sorted rho is summed up to each rank
    and divided by the whole sum, so that the best pair has weight 1.

    Args:
        rho: shape (B,).
        delta: shift of the mean in standard deviations.
        kappa: share of the variance.
        rule: see above.

    Returns:
        Shape (B,), double precision, in 0...1; all 1 where all rho are equal.
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
    rising = (exponent - exponent.max()).exp().cumsum(0)  # the factor of the density cancels
    weight = torch.empty_like(rho)
    weight[order] = rising / rising[-1]
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
    """All losses of a batch; without clusterings instance contrast alone, every pair with weight 1.

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
