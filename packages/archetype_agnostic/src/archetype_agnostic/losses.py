"""The objective: contrast inside the batch over three pairings (AaSM), with loose pairs re-gauged.

Letters: B people of a batch, D embedding length. Axis 0 of all tables below is the direction (`DIRECTIONS`):
each of the three pairings is asked both ways. Rows are anchors, columns are candidates, and the right
candidate of row i is column i (docs/archetype_agnostic.md).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

DIRECTIONS = (
    ("voice", "face"),
    ("face_second", "face"),
    ("voice_second", "voice"),
    ("face", "voice"),
    ("face", "face_second"),
    ("voice", "voice_second"),
)
"""(anchors, candidates): the three pairings, then the same three with the sides exchanged."""
PAIRINGS = ("cross", "face", "voice")
CROSS_CONSTANT, INTRA_CONSTANT = 5.4, 6.0
EPSILON = 1e-12


class Similarities(NamedTuple):
    """Cosines of a batch in all six directions.

    Attributes:
        cross: S, anchors with candidates, shape (6, B, B).
        within: Q, candidates with candidates, shape (6, B, B).
        length: Euclidean length of the anchors' raw embeddings, shape (6, B).
        same: true where rows i and j are one identity (the diagonal included), shape (B, B).
        repeats: the same without the diagonal; None where all identities are known to differ.
    """

    cross: Tensor
    intra_candidate: Tensor
    anchor_norm: Tensor
    same_identity: Tensor
    repeated_identity: Tensor | None

    @property
    def positives(self) -> Tensor:
        """p, each anchor with its own candidate, shape (6, B)."""
        return self.cross.diagonal(dim1=1, dim2=2)


def compute_similarities(
    face: Tensor, voice: Tensor, face_second: Tensor, voice_second: Tensor, labels: Tensor | None = None
) -> Similarities:
    """All cosines that the objective needs, from one batched product of each kind.

    Computed in single precision at least, also under autocast.

    Args:
        face: raw embeddings of the first pictures, shape (B, D).
        voice: of the first clips; row i of all four belongs to one person, shape (B, D).
        face_second: of the second pictures, shape (B, D).
        voice_second: of the second clips, shape (B, D).
        labels: identities, shape (B,): pairs that share one are no negatives. None: all differ, as published.

    Raises:
        ValueError: the shapes differ, or the labels are not one a row.
    """
    sets = (face, voice, face_second, voice_second)
    if face.ndim != 2 or any(each.shape != face.shape for each in sets):
        raise ValueError(
            f"four embeddings of one shape (B, D) are needed, found {[tuple(each.shape) for each in sets]}"
        )
    if labels is not None and labels.shape != face.shape[:1]:
        raise ValueError(f"one label a row: found {tuple(labels.shape)} for {len(face)} rows")
    with torch.autocast(face.device.type, enabled=False):
        raw = torch.stack(sets)
        raw = raw.float() if raw.dtype in (torch.float16, torch.bfloat16) else raw
        length = torch.linalg.vector_norm(raw, dim=2)
        unit = raw / length.clamp_min(EPSILON)[..., None]
        first, second = torch.cat([unit[:1], unit[:2]]), unit[1:]  # candidates, anchors of one way
        there = torch.bmm(second, first.transpose(1, 2))
        alike = torch.bmm(unit, unit.transpose(1, 2))
    diagonal = torch.eye(len(face), dtype=torch.bool, device=face.device)
    same = diagonal if labels is None else labels[:, None] == labels
    return Similarities(
        torch.cat([there, there.transpose(1, 2)]),
        torch.cat([alike[:1], alike[:2], alike[1:]]),
        torch.cat([length[1:], length[:1], length[:2]]),
        same,
        None if labels is None else same & ~diagonal,
    )


def aasm_losses(
    similarities: Similarities,
    temperature: float = 0.5,
    cross_constant: float = CROSS_CONSTANT,
    intra_constant: float = INTRA_CONSTANT,
) -> Tensor:
    """ln(constant + sum over negatives j of exp((d_ij - d_ii) / temperature)), d_ij = candidate . raw anchor.

    The candidate is of unit length, the anchor is not: its length is a learnt sharpness. Computed as a
    log-sum-exp, which cannot overflow (the published sum of exponentials does beyond 88).

    Args:
        found: of the batch.
        temperature: above 0.
        cross_constant: of face with voice; published 1 + 3.4 and the diagonal's 1.
        intra_constant: of two faces or two voices; published 2 + 3 and the diagonal's 1.

    Returns:
        Loss of every row in every direction, shape (6, B); ln(constant) at least.

    Raises:
        ValueError: a number is not positive.
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
    gaps = torch.where(diagonal, floor, gaps)  # the diagonal's place carries the constant
    if similarities.repeated_identity is not None:
        gaps = gaps.masked_fill(similarities.repeated_identity, -torch.inf)
    return torch.logsumexp(gaps, dim=2)


def mean_terms(losses: Tensor) -> dict[str, Tensor]:
    """The two named terms of the AaSM loss: both ways averaged, intra pairings summed.

    Args:
        losses: of `aasm_losses`, shape (6, B).

    Returns:
        `sim_loss` (two faces, two voices) and `crosssp_loss` (face with voice), scalars.
    """
    cross, face, voice = losses.view(2, 3, -1).mean((0, 2))
    return {"sim_loss": face + voice, "crosssp_loss": cross}


@torch.no_grad()
def count_hits(similarities: Similarities) -> tuple[Tensor, Tensor]:
    """How many negatives each voice ranks below its own face, strictly (docs/archetype_agnostic.md).

    Args:
        found: of the batch.

    Returns:
        (hits, comparisons), each of shape (B,), float32; comparisons are B - 1 where all identities differ.
    """
    cross, own, others = similarities.cross[0], similarities.positives[0], ~similarities.same_identity
    return ((cross < own[:, None]) & others).sum(1).float(), others.sum(1).float()
