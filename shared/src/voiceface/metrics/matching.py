"""1:N matching of voices and faces: scores of pairs and the share of correct choices.

Embeddings are rows that need not have unit length; a score is signed and higher means more alike. Work is
done in blocks, on the device of the tensors that come in.

Ties: "expected" gives the expected accuracy over random orders of equal scores, so a constant embedding
gets exactly chance level. "first" is the rule of published test loops: the first maximum wins, and since
the correct candidate stands first, a tie is correct. "strict" counts a tie as incorrect, as published
validation does.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = [
    "BLOCK_BYTES",
    "MATCHING_TIE_BREAKING",
    "l2_normalize",
    "matching_accuracy",
    "matching_correct",
    "pair_scores",
    "require_finite",
    "row_blocks",
]

MATCHING_TIE_BREAKING = ("expected", "first", "strict")

BLOCK_BYTES = 24 * 2**20  # of scores in memory at a time; fits a processor's last-level cache


def l2_normalize(vectors: Tensor, name: str = "embeddings") -> Tensor:
    """L2-normalise rows in single precision (double stays double); rows of zeros stay zeros.

    Args:
        vectors: (N, D), finite.
        name: of the vectors, for messages.

    Raises:
        ValueError: not a matrix, or holds NaN or infinity.
    """
    if vectors.ndim != 2:
        raise ValueError(f"{name}: expected one row per item, shape (N, D), got shape {tuple(vectors.shape)}")
    vectors = vectors if vectors.dtype == torch.float64 else vectors.float()
    length = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    broken = ~torch.isfinite(length[:, 0])
    if broken.any():
        first = int(broken.nonzero()[0])
        raise ValueError(
            f"{name}: {int(broken.sum())} of {len(vectors)} rows hold NaN or infinity, row {first} first"
        )
    return vectors / length.clamp_min(torch.finfo(vectors.dtype).tiny)


def pair_scores(probes: Tensor, candidates: Tensor, probe_index: Tensor, candidate_index: Tensor) -> Tensor:
    """Cosine similarity of listed pairs.

    Args:
        probes: embeddings (P, D).
        candidates: embeddings (C, D), same device.
        probe_index: int64 (L,), row of each line's probe.
        candidate_index: int64 (L,) or (L, N), rows of its candidates.

    Returns:
        Scores in [-1, 1], shape of `candidate_index`.

    Raises:
        ValueError: shapes do not match, or an index is out of range.
    """
    if probe_index.ndim != 1 or len(probe_index) != len(candidate_index):
        found = f"{tuple(probe_index.shape)} and {tuple(candidate_index.shape)}"
        raise ValueError(f"expected probe_index (L,) and candidate_index (L,) or (L, N), got {found}")
    if probes.shape[1:] != candidates.shape[1:]:
        raise ValueError(
            f"probes and candidates differ in width: {tuple(probes.shape)}, {tuple(candidates.shape)}"
        )
    device = probes.device
    probe_index = _checked_index(probe_index.to(device), len(probes), "probe_index")
    candidate_index = _checked_index(candidate_index.to(device), len(candidates), "candidate_index")
    lines, table = candidate_index.reshape(len(probe_index), -1), l2_normalize(candidates, "candidates")
    probes = l2_normalize(probes, "probes")
    scores = probes.new_empty(lines.shape)
    for rows in row_blocks(len(lines), lines.shape[1] * probes.shape[1] * probes.element_size()):
        left = probes[probe_index[rows]]
        for n in range(lines.shape[1]):  # over the N candidates of a line, not over lines
            torch.sum(left * table[lines[rows, n]], dim=1, out=scores[rows, n])
    return scores.reshape(candidate_index.shape)


def matching_correct(scores: Tensor, tie_breaking: str = "expected") -> Tensor:
    """Score each trial: 1 for a hit, 0 for a miss, a fraction for a tie.

    Args:
        scores: (L, N), the right candidate FIRST, N at least 2.
        tie_breaking: "expected" (one of k best counts 1/k), "first" (a tie is a hit), "strict" (a tie is a
            miss).

    Returns:
        Double (L,) in [0, 1].
    """
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise ValueError(
            f"expected scores (L, N) with at least 2 candidates, got shape {tuple(scores.shape)}"
        )
    if tie_breaking not in MATCHING_TIE_BREAKING:
        raise ValueError(f"ties must be one of {', '.join(MATCHING_TIE_BREAKING)}, got {tie_breaking!r}")
    require_finite(scores)
    right, wrong = scores[:, :1], scores[:, 1:]
    best = ~(wrong > right).any(dim=1)
    if tie_breaking == "first":
        return best.double()
    equal = (wrong == right).sum(dim=1)
    if tie_breaking == "strict":
        return (best & (equal == 0)).double()
    return best.double() / (1 + equal)


def matching_accuracy(scores: Tensor, tie_breaking: str = "expected") -> Tensor:
    """Share of lines whose right candidate (first column) scores highest; chance is 1/N.

    Example:
        >>> matching_accuracy(torch.tensor([[0.9, 0.2], [0.1, 0.5], [0.3, 0.3]])).item()  # right, wrong, tied
        0.5
    """
    return matching_correct(scores, tie_breaking).mean()


def row_blocks(count: int, bytes_each: int) -> Iterator[slice]:
    """Slices that cover range(count), each of about BLOCK_BYTES."""
    step = max(1, BLOCK_BYTES // max(1, bytes_each))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def _checked_index(index: Tensor, count: int, name: str) -> Tensor:
    if index.numel() and (int(index.min()) < 0 or int(index.max()) >= count):
        raise ValueError(
            f"{name} reaches from {int(index.min())} to {int(index.max())}, expected 0 to {count - 1}"
        )
    return index.long()


def require_finite(scores: Tensor) -> None:
    if scores.isnan().any():
        raise ValueError(f"{int(scores.isnan().sum())} of {scores.numel()} scores are NaN")
