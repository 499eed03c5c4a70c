"""Scores of voices and faces: cosine, or the negated Euclidean distance of the published programs."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

__all__ = ["ScoreName", "score_matrix", "score_rows"]

ScoreName = Literal["cosine", "euclidean"]


def score_matrix(voices: Tensor, faces: Tensor, score: ScoreName) -> Tensor:
    """Score every voice with every face; higher is more alike.

    Args:
        voices: (N, D), as `FopModel.encode_voices` gives them.
        faces: (M, D).
        score: "cosine" (-1...1), or "euclidean": the negated distance, 0 or less.

    Returns:
        (N, M).
    """
    if score == "cosine":
        return normalize(voices, dim=1) @ normalize(faces, dim=1).T
    return -torch.cdist(voices, faces, compute_mode="donot_use_mm_for_euclid_dist")


def score_rows(voices: Tensor, faces: Tensor, score: ScoreName) -> Tensor:
    """Score voices and faces along the last axis, (..., D); other axes are broadcast. See `score_matrix`."""
    if score == "cosine":
        return cosine_similarity(voices, faces, dim=-1)
    return -torch.linalg.vector_norm(voices - faces, dim=-1)
