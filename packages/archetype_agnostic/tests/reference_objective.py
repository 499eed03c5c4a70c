"""Reference implementation of the objective with loops over rows and pairs (docs/archetype_agnostic.md).

Factors without gradient are detached. Labels state which rows share an identity; those are no negatives of
each other.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

PAIRS = {"cross": ("face", "voice"), "face": ("face", "face_second"), "voice": ("voice", "voice_second")}


def l2_normalize(vector: Tensor) -> Tensor:
    """Scale a vector to unit length; zero stays zero."""
    return vector / vector.norm().clamp_min(1e-12)


def negative_rows(labels: Sequence[int], i: int) -> list[int]:
    """List the rows of other identities than that of row i."""
    return [j for j in range(len(labels)) if labels[j] != labels[i]]


def aasm_row_loss(
    candidates: Tensor, anchors: Tensor, labels: Sequence[int], i: int, temperature: float, constant: float
) -> Tensor:
    """AaSM loss of one row in one direction."""
    positive = l2_normalize(candidates[i]) @ anchors[i]
    total = torch.tensor(constant, dtype=anchors.dtype)
    for j in negative_rows(labels, i):
        total = total + torch.exp((l2_normalize(candidates[j]) @ anchors[i] - positive) / temperature)
    return torch.log(total)


def aasm_terms(
    embeddings: dict[str, Tensor],
    labels: Sequence[int],
    temperature: float = 0.5,
    cross_constant: float = 5.4,
    intra_constant: float = 6.0,
) -> dict[str, Tensor]:
    """Both terms of the AaSM loss."""
    means = {}
    for name, (a, b) in PAIRS.items():
        c = cross_constant if name == "cross" else intra_constant
        rows = [
            aasm_row_loss(embeddings[a], embeddings[b], labels, i, temperature, c) / 2
            + aasm_row_loss(embeddings[b], embeddings[a], labels, i, temperature, c) / 2
            for i in range(len(labels))
        ]
        means[name] = torch.stack(rows).mean()
    return {"crosssp_loss": means["cross"], "sim_loss": means["face"] + means["voice"]}


def row_score(
    candidates: Tensor,
    anchors: Tensor,
    labels: Sequence[int],
    i: int,
    form: str = "hinge",
    m_u: float = 0.15,
    m_l: float = 0.2,
    g: float = 0.15,
) -> Tensor:
    """Re-gauging score of one row in one direction."""
    zero = torch.zeros((), dtype=anchors.dtype)
    p = l2_normalize(candidates[i]) @ l2_normalize(anchors[i])
    total, count = zero, 0
    for j in negative_rows(labels, i):
        s = l2_normalize(candidates[j]) @ l2_normalize(anchors[i])
        q = l2_normalize(candidates[j]) @ l2_normalize(candidates[i])
        if form == "hinge":
            t = s - p + m_l
        else:
            alpha_p = torch.maximum(1 + m_l - p, zero).detach()
            alpha_n = torch.maximum(s + m_l, zero).detach()
            t = alpha_n * (s - m_l) - alpha_p * (p - (1 - m_l))
        if float(t.detach()) > 0:
            total = total + t + torch.maximum(q + g - p, zero) + torch.maximum(s - q + g, zero)
            count += 1
    return total / count if count and float(p.detach()) > m_u else zero


def bilateral_scores(
    embeddings: dict[str, Tensor], labels: Sequence[int], form: str = "hinge"
) -> dict[str, list[Tensor]]:
    """Re-gauging scores of every pairing, both directions combined."""
    scores = {}
    for name, (a, b) in PAIRS.items():
        rows = []
        for i in range(len(labels)):
            forward = row_score(embeddings[a], embeddings[b], labels, i, form)
            backward = row_score(embeddings[b], embeddings[a], labels, i, form)
            count = int(forward.detach() != 0) + int(backward.detach() != 0)
            rows.append((forward + backward) / count if count else forward + backward)
        scores[name] = rows
    return scores


def regauging_terms(
    embeddings: dict[str, Tensor], labels: Sequence[int], weights: Sequence[float], form: str = "hinge"
) -> dict[str, Tensor]:
    """The three re-gauging terms, each weight on its own row."""
    terms = {}
    names = {"cross": "trip_cross", "face": "trip_intra_v", "voice": "trip_intra_a"}
    for name, rows in bilateral_scores(embeddings, labels, form).items():
        products = [10 * row * weight for row, weight in zip(rows, weights)]
        nonzero = [product for product in products if product.detach() != 0]
        terms[names[name]] = torch.stack(nonzero).mean() if nonzero else torch.stack(rows).sum()
    return terms


def count_hits(embeddings: dict[str, Tensor], labels: Sequence[int]) -> list[tuple[int, int]]:
    """Hits and comparisons of every row, voices against faces."""
    counts = []
    for i in range(len(labels)):
        voice = l2_normalize(embeddings["voice"][i])
        positive = l2_normalize(embeddings["face"][i]) @ voice
        negatives = negative_rows(labels, i)
        hits = sum(bool(l2_normalize(embeddings["face"][j]) @ voice < positive) for j in negatives)
        counts.append((hits, len(negatives)))
    return counts


def normal_density(rates: Sequence[float]) -> list[float]:
    """Density of the normal distribution centred one deviation below the mean, at every rate."""
    mean = math.fsum(rates) / len(rates)
    spread = math.sqrt(math.fsum((rate - mean) ** 2 for rate in rates) / (len(rates) - 1))
    return [
        math.exp(-((rate - mean + spread) ** 2) / (2 * spread**2)) / (spread * math.sqrt(2 * math.pi))
        for rate in rates
    ]
