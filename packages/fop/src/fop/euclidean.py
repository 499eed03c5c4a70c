"""Euclidean distances as cosines, so that everything that compares by cosine ranks as the published program.

The published program compares by Euclidean distance. A voice v and a face f of norm 1 at most become

    v' = (v, 1, -|v|^2 / 2, rest, 0),    f' = (f, -|f|^2 / 2, 1, 0, rest),

where `rest` fills both up to the norm R = 1.5. Then v' · f' = v · f - |v|^2 / 2 - |f|^2 / 2 = -|v - f|^2 / 2,
and the cosine is -|v - f|^2 / (2 R^2): it falls as the distance grows.
"""

import torch
from torch import Tensor

__all__ = ["EXTRA_DIMENSIONS", "RADIUS", "distances_from_cosines", "lift_faces", "lift_voices"]

RADIUS = 1.5
EXTRA_DIMENSIONS = 4
TOLERANCE = 1e-4


def lift_voices(embeddings: Tensor) -> Tensor:
    """Map embeddings of voices (B, D), of norm 1 at most, to (B, D + 4) of norm 1.5.

    Raises:
        ValueError: an embedding is longer than 1.
    """
    half, rest = _half_and_rest(embeddings)
    return torch.cat([embeddings, torch.ones_like(half), -half, rest, torch.zeros_like(half)], dim=1)


def lift_faces(embeddings: Tensor) -> Tensor:
    """Map embeddings of faces (B, D), of norm 1 at most, to (B, D + 4) of norm 1.5.

    Raises:
        ValueError: an embedding is longer than 1.
    """
    half, rest = _half_and_rest(embeddings)
    return torch.cat([embeddings, -half, torch.ones_like(half), torch.zeros_like(half), rest], dim=1)


def distances_from_cosines(cosines: Tensor) -> Tensor:
    """Euclidean distances, of any shape, of the embeddings whose lifted forms have these cosines."""
    return torch.sqrt(torch.clamp(-2 * RADIUS**2 * cosines, min=0))


def _half_and_rest(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Half the squared norms, and what is missing to the radius, (B, 1) each."""
    squared = embeddings.square().sum(dim=1, keepdim=True)
    if len(squared) and float(squared.max()) > 1 + TOLERANCE:
        raise ValueError(
            "evaluation.score=euclidean compares embeddings of norm 1 at most, found "
            f"{float(squared.max()) ** 0.5:.3f}: use evaluation.score=cosine"
        )
    half = squared / 2
    return half, torch.sqrt(torch.clamp(RADIUS**2 - squared - 1 - half.square(), min=0))
