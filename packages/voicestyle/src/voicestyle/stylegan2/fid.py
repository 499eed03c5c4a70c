"""Fréchet distance between made and real pictures in a feature space (specification, section 12.5).

The published distance has 50,000 made pictures and 2,048 features of Inception; any function from pictures to
features will do, and distances are comparable only where it and the numbers of pictures are the same.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voicestyle.stylegan2.generator import Generator

Features = Callable[[Tensor], Tensor]
"""Pictures (N, 3, S, S) in -1...1 to features (N, F)."""


@dataclass(frozen=True)
class Statistics:
    """What the distance needs of a set of features.

    Attributes:
        mean: (F,). covariance: (F, F), unbiased. count: how many pictures.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    count: int


def statistics_of(rows: Iterable[Tensor | NDArray[np.floating]]) -> Statistics:
    """Mean and unbiased covariance of batches of features (N, F), in double precision, one batch at a time.

    Raises:
        ValueError: fewer than two rows in all.
    """
    count, mean, scatter = 0, np.zeros(0), np.zeros((0, 0))
    for batch in rows:
        x = np.asarray(batch.detach().cpu() if isinstance(batch, Tensor) else batch, np.float64)
        if not len(x):
            continue
        if not count:
            mean, scatter = np.zeros(x.shape[1]), np.zeros((x.shape[1],) * 2)
        centre = x.mean(0)
        gap, total = centre - mean, count + len(x)
        centred = x - centre
        scatter += centred.T @ centred + np.outer(gap, gap) * (count * len(x) / total)
        mean, count = mean + gap * (len(x) / total), total
    if count < 2:
        raise ValueError(f"a covariance needs at least two pictures, found {count}")
    return Statistics(mean, scatter / (count - 1), count)


def frechet(a: Statistics, b: Statistics) -> float:
    """|mean difference|^2 + tr(A + B - 2 (A B)^(1/2)).

    The trace of the root is the sum of the roots of the eigenvalues of A^(1/2) B A^(1/2), which is symmetric:
    singular covariances need no offset.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"features of different lengths: {a.mean.shape[0]} and {b.mean.shape[0]}")
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    mixed = np.linalg.eigvalsh(root @ b.covariance @ root)
    gap = a.mean - b.mean
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    return float(gap @ gap + traces - 2 * np.sqrt(np.maximum(mixed, 0)).sum())


def frechet_of_features(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Distance of two sets of features (N, F), (M, F)."""
    return frechet(statistics_of([a]), statistics_of([b]))


@torch.no_grad()
def made_pictures(
    generator: Generator,
    count: int,
    *,
    batch: int = 32,
    truncation: float = 1.0,
    seed: int = 0,
) -> Iterator[Tensor]:
    """Batches of pictures of normal z with fresh noise, in -1...1, not clamped."""
    draw = torch.Generator().manual_seed(seed)
    like = generator.input.input
    for start in range(0, count, batch):
        z = torch.randn(min(batch, count - start), generator.config.style_dim, generator=draw)
        yield generator(z.to(like), truncation=truncation, generator=draw)[0]


@torch.no_grad()
def generator_distance(
    generator: Generator,
    features: Features,
    real: Statistics,
    *,
    count: int = 50_000,
    batch: int = 32,
    truncation: float = 1.0,
    seed: int = 0,
) -> float:
    """Fréchet distance of a generator's pictures from real ones.

    Args:
        generator: in evaluation mode.
        features: see `Features`.
        real: statistics of the same features of real pictures.
        count: pictures to make.
        batch: at a time.
        truncation: psi, published 1.
        seed: of z and noise.
    """
    made = made_pictures(generator, count, batch=batch, truncation=truncation, seed=seed)
    return frechet(statistics_of(features(pictures) for pictures in made), real)


def load_statistics(path: str | Path) -> Statistics:
    """Read a published `inception_NAME.pkl` (mean, cov, size, path), running none of its code.

    Raises:
        ValueError: damaged, unsafe, or the arrays do not fit each other.
    """
    from voiceface.array_pickles import read_pickle

    content = read_pickle(path)
    try:
        mean, covariance = (np.asarray(content[word], np.float64) for word in ("mean", "cov"))
    except (KeyError, TypeError, IndexError):
        raise ValueError(f"{path} holds no statistics: expected the keys mean and cov") from None
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise ValueError(f"{path}: mean {mean.shape} and cov {covariance.shape} do not fit each other")
    return Statistics(mean, covariance, int(content.get("n_sample", 0)))
