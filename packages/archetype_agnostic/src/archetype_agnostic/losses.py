"""AaSM, archetype-agnostic subspace merging: contrast within the batch over three pairings.

Notation: B identities of a batch, D embedding length. Axis 0 of all tables is the direction (`DIRECTIONS`):
each pairing is compared both ways. Rows are anchors, columns are candidates; the positive of row i is column
i (docs/archetype_agnostic.md).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "CROSS_CONSTANT",
    "DIRECTIONS",
    "INTRA_CONSTANT",
    "PAIRINGS",
    "Similarities",
    "aasm_losses",
    "compute_similarities",
    "count_hits",
    "mean_terms",
]

DIRECTIONS = (
    ("voice", "face"),
    ("face_second", "face"),
    ("voice_second", "voice"),
    ("face", "voice"),
    ("face", "face_second"),
    ("voice", "voice_second"),
)
"""(anchors, candidates): the three pairings, then the same three with the roles exchanged."""
PAIRINGS = ("cross", "face", "voice")
CROSS_CONSTANT, INTRA_CONSTANT = 5.4, 6.0
EPSILON = 1e-12


class Similarities(NamedTuple):
    """Cosines of a batch in all six directions.

    Attributes:
        cross: S, anchors with candidates, shape (6, B, B).
        intra_candidate: Q, candidates with candidates, shape (6, B, B).
        anchor_norm: Euclidean norm of the anchors' raw embeddings, shape (6, B).
        same_identity: true where rows i and j share an identity (the diagonal included), shape (B, B).
        repeated_identity: the same without the diagonal; None if all identities are known to differ.
    """

    cross: Tensor
    intra_candidate: Tensor
    anchor_norm: Tensor
    same_identity: Tensor
    repeated_identity: Tensor | None

    @property
    def positives(self) -> Tensor:
        """Cosine p of each anchor with its positive, shape (6, B)."""
        return self.cross.diagonal(dim1=1, dim2=2)


def compute_similarities(
    face: Tensor, voice: Tensor, face_second: Tensor, voice_second: Tensor, labels: Tensor | None = None
) -> Similarities:
    """Compute all cosines of the objective with two batched products.

    Computed at least in single precision, also under autocast.

    Args:
        face: raw embeddings of the first images, shape (B, D).
        voice: of the first clips; row i of all four is one identity, shape (B, D).
        face_second: of the second images, shape (B, D).
        voice_second: of the second clips, shape (B, D).
        labels: identities, shape (B,): rows that share one are no negatives. None: all differ, as published.

    Raises:
        ValueError: the shapes differ, or there is not one label per row.
    """
    embeddings = (face, voice, face_second, voice_second)
    if face.ndim != 2 or any(each.shape != face.shape for each in embeddings):
        shapes = [tuple(each.shape) for each in embeddings]
        raise ValueError(f"expected four embeddings of one shape (B, D), found {shapes}")
    if labels is not None and labels.shape != face.shape[:1]:
        raise ValueError(f"expected one label per row, found {tuple(labels.shape)} for {len(face)} rows")
    with torch.autocast(face.device.type, enabled=False):
        raw = torch.stack(embeddings)
        raw = raw.float() if raw.dtype in (torch.float16, torch.bfloat16) else raw
        norm = torch.linalg.vector_norm(raw, dim=2)
        unit = raw / norm.clamp_min(EPSILON)[..., None]
        candidates, anchors = torch.cat([unit[:1], unit[:2]]), unit[1:]  # of the first three directions
        cross = torch.bmm(anchors, candidates.transpose(1, 2))
        within = torch.bmm(unit, unit.transpose(1, 2))
    diagonal = torch.eye(len(face), dtype=torch.bool, device=face.device)
    same_identity = diagonal if labels is None else labels[:, None] == labels
    return Similarities(
        torch.cat([cross, cross.transpose(1, 2)]),
        torch.cat([within[:1], within[:2], within[1:]]),
        torch.cat([norm[1:], norm[:1], norm[:2]]),
        same_identity,
        None if labels is None else same_identity & ~diagonal,
    )


def aasm_losses(
    similarities: Similarities,
    temperature: float = 0.5,
    cross_constant: float = CROSS_CONSTANT,
    intra_constant: float = INTRA_CONSTANT,
) -> Tensor:
    """AaSM loss: ln(constant + sum over negatives j of exp((d_ij - d_ii) / temperature)).

    d_ij is the inner product of the unit-length candidate j and the raw anchor i, whose norm is a learnt
    sharpness. Computed as a log-sum-exp, which cannot overflow (the published sum of exponentials does
    beyond 88).

    Args:
        similarities: of the batch.
        temperature: above 0.
        cross_constant: of face with voice; published: 1 + 3.4 and the 1 of the diagonal.
        intra_constant: of two faces or two voices; published: 2 + 3 and the 1 of the diagonal.

    Returns:
        Loss of every row in every direction, shape (6, B), at least ln(constant).

    Raises:
        ValueError: an argument is not positive.
    """
    if min(temperature, cross_constant, intra_constant) <= 0:
        raise ValueError(
            f"temperature and constants must be above 0, found {temperature:g}, {cross_constant:g}, "
            f"{intra_constant:g}"
        )
    gaps = (similarities.cross - similarities.positives[..., None]) * (
        similarities.anchor_norm / temperature
    )[..., None]
    floor = gaps.new_full((6, 1, 1), math.log(intra_constant))
    floor[0::3] = math.log(cross_constant)
    diagonal = torch.eye(gaps.shape[1], dtype=torch.bool, device=gaps.device)
    gaps = torch.where(diagonal, floor, gaps)  # the diagonal carries the constant
    if similarities.repeated_identity is not None:
        gaps = gaps.masked_fill(similarities.repeated_identity, -torch.inf)
    return torch.logsumexp(gaps, dim=2)


def mean_terms(losses: Tensor) -> dict[str, Tensor]:
    """Reduce the AaSM loss to two named terms: both directions averaged, intra pairings summed.

    Args:
        losses: of `aasm_losses`, shape (6, B).

    Returns:
        `sim_loss` (two faces, two voices) and `crosssp_loss` (face with voice), scalars.
    """
    cross, face, voice = losses.view(2, 3, -1).mean((0, 2))
    return {"sim_loss": face + voice, "crosssp_loss": cross}


@torch.no_grad()
def count_hits(similarities: Similarities) -> tuple[Tensor, Tensor]:
    """Count the negatives that each voice ranks strictly below its own face (docs/archetype_agnostic.md).

    Args:
        similarities: of the batch.

    Returns:
        (hits, comparisons), each of shape (B,), float32; comparisons are B - 1 if all identities differ.
    """
    cross, positives = similarities.cross[0], similarities.positives[0]
    negatives = ~similarities.same_identity
    return ((cross < positives[:, None]) & negatives).sum(1).float(), negatives.sum(1).float()
