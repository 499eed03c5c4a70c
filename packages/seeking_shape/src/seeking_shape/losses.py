"""Implicit alignment (shared classifier) and explicit alignment (contrast within the batch).

Notation: N batch, C identities, D embedding length.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as nnf

__all__ = [
    "EXPLICIT_CONSTANT",
    "TERMS",
    "PerSampleLosses",
    "Weighting",
    "apply_identity_weights",
    "compute_sample_losses",
    "directional_alignment_loss",
    "explicit_alignment_loss",
    "implicit_alignment_loss",
]

Weighting = Literal["per_sample", "batch_mean"]
EXPLICIT_CONSTANT = 5.4
TERMS = ("face_ce_loss", "voice_ce_loss", "crosssp_loss")


class PerSampleLosses(NamedTuple):
    """Unweighted losses of every sample, each of shape (N,); `explicit` is None when switched off."""

    face: Tensor
    voice: Tensor
    explicit: Tensor | None

    @property
    def hardness(self) -> Tensor:
        """Sum of both classification losses, detached, shape (N,): input of the identity re-weighting."""
        return (self.face + self.voice).detach()


def implicit_alignment_loss(
    logits: Tensor, labels: Tensor, margin: float = 0.0, label_smoothing: float = 0.0
) -> Tensor:
    """Implicit alignment: cross entropy of every sample against the shared class vectors.

    Args:
        logits: unscaled inner products with the class vectors, shape (N, C).
        labels: class of every sample, shape (N,), int64.
        margin: subtracted from the logit of the true class; 0 in the published runs.
        label_smoothing: share of the target spread over all classes, 0 to below 1; 0 in the published runs.

    Returns:
        Loss, shape (N,), at least 0.
    """
    logits = _to_float32(logits)
    if margin:
        logits = logits - margin * nnf.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return nnf.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing)


def directional_alignment_loss(
    anchors: Tensor, candidates: Tensor, same_identity: Tensor, constant: float = EXPLICIT_CONSTANT
) -> Tensor:
    """Explicit alignment, one direction: anchors against all candidates of the batch.

    ln(constant + sum over j of another identity of exp(a_i . c_j - a_i . c_i)), candidates c of unit length
    (equation 10, docs/seeking_shape.md).

    Args:
        anchors: raw embeddings, shape (N, D).
        candidates: embeddings of the other modality, row i of the same identity, shape (N, D).
        same_identity: true where rows i and j share an identity (the diagonal included), shape (N, N).
        constant: added to the sum, positive; published: 1, the 1 of the zeroed diagonal, and 3.4.

    Returns:
        Loss, shape (N,), at least ln(constant).
    """
    with torch.autocast(anchors.device.type, enabled=False):
        scores = _to_float32(anchors) @ nnf.normalize(_to_float32(candidates), dim=1, eps=1e-12).T
        gaps = (scores - scores.diagonal()[:, None]).masked_fill(same_identity, -torch.inf)
        floor = gaps.new_tensor(constant).log().expand(len(gaps), 1)
        return torch.logsumexp(torch.cat([floor, gaps], dim=1), dim=1)


def explicit_alignment_loss(
    face: Tensor, voice: Tensor, labels: Tensor | None = None, constant: float = EXPLICIT_CONSTANT
) -> Tensor:
    """Explicit alignment: mean of both directions of `directional_alignment_loss` for every sample.

    Args:
        face: face embeddings, shape (N, D).
        voice: voice embeddings, shape (N, D); row i shares the identity of face i.
        labels: identities, shape (N,); samples that share one are no negatives. None: all identities differ,
            as in the published batches.
        constant: see `directional_alignment_loss`.

    Returns:
        Loss, shape (N,).

    Raises:
        ValueError: the shapes differ or the constant is not positive.
    """
    if face.shape != voice.shape or face.ndim != 2:
        raise ValueError(f"one voice per face: found {tuple(face.shape)} and {tuple(voice.shape)}")
    if constant <= 0:
        raise ValueError(f"the explicit loss needs a positive constant, found {constant:g}")
    if labels is None:
        same_identity = torch.eye(len(face), dtype=torch.bool, device=face.device)
    else:
        same_identity = labels[:, None] == labels
    voice_to_face = directional_alignment_loss(voice, face, same_identity, constant)
    face_to_voice = directional_alignment_loss(face, voice, same_identity, constant)
    return (voice_to_face + face_to_voice) / 2


def compute_sample_losses(
    face: Tensor,
    voice: Tensor,
    face_logits: Tensor,
    voice_logits: Tensor,
    labels: Tensor,
    *,
    explicit: bool = True,
    constant: float = EXPLICIT_CONSTANT,
    label_smoothing: float = 0.0,
) -> PerSampleLosses:
    """Compute all unweighted losses of a batch (of one process, or gathered from all).

    Args:
        face: face embeddings, shape (N, D), not normalised.
        voice: voice embeddings, shape (N, D), not normalised.
        face_logits: shape (N, C).
        voice_logits: shape (N, C).
        labels: class of every sample, shape (N,).
        explicit: include the explicit loss.
        constant: of the explicit loss.
        label_smoothing: of the implicit loss.
    """
    return PerSampleLosses(
        implicit_alignment_loss(face_logits, labels, label_smoothing=label_smoothing),
        implicit_alignment_loss(voice_logits, labels, label_smoothing=label_smoothing),
        explicit_alignment_loss(face, voice, labels, constant) if explicit else None,
    )


def apply_identity_weights(
    losses: PerSampleLosses,
    weights: Tensor | None = None,
    *,
    weighting: Weighting = "per_sample",
    loss_weights: Sequence[float] = (1.0, 1.0, 1.0),
) -> dict[str, Tensor]:
    """Apply identity re-weighting; the sum of the returned scalar terms is the total loss.

    Args:
        losses: of the complete batch.
        weights: identity weight of every sample, shape (N,), mean about one; None: all one.
        weighting: "per_sample" weights each sample of every term (the method); "batch_mean" reproduces
            the published code: the classification losses are averaged first, so only the mean weight acts.
        loss_weights: of the face, voice and explicit term.

    Returns:
        `face_ce_loss`, `voice_ce_loss` and, unless switched off, `crosssp_loss`.

    Raises:
        ValueError: unknown weighting, or not three loss weights.
    """
    if weighting not in ("per_sample", "batch_mean"):
        raise ValueError(f"weighting must be 'per_sample' or 'batch_mean', found {weighting!r}")
    if len(loss_weights) != 3:
        raise ValueError(f"expected three loss weights (face, voice, explicit), found {list(loss_weights)}")
    terms = {}
    for name, loss, factor in zip(TERMS, losses, loss_weights):
        if loss is None:
            continue
        if weights is None:
            mean = loss.mean()
        elif weighting == "batch_mean" and name != TERMS[2]:
            mean = weights.mean() * loss.mean()
        else:
            mean = (weights * loss).mean()
        terms[name] = mean if factor == 1 else factor * mean
    return terms


def _to_float32(x: Tensor) -> Tensor:
    """Convert half precision to float32; keep float32 and float64."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
