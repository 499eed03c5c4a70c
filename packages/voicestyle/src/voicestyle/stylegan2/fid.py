"""Fréchet distance of generated and real images in a feature space (Heusel et al., NeurIPS 2017).

The published metric uses 50,000 generated images and 2,048 features of Inception; any function from images to
features can be used. Values are comparable only for the same features and numbers of images.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from voiceface.io.atomic import atomic_path
from voiceface.io.safe_pickle import read_npz, read_pickle
from voiceface.metrics.frechet import FeatureStatistics, Gaussian, frechet_from_statistics

from voicestyle.stylegan2.generator import Generator

if TYPE_CHECKING:
    from voiceface.models.inception import Inception
    from voiceface.synthetic.readers.attribute_reader import AttributeReader

__all__ = [
    "FeatureExtractor",
    "attribute_features",
    "compute_fid",
    "compute_image_statistics",
    "generate_images",
    "inception_features",
    "load_statistics",
    "read_feature_name",
    "save_statistics",
]

FeatureExtractor = Callable[[Tensor], Tensor]
"""Images (N, 3, S, S) in -1...1 to features (N, F)."""


@torch.no_grad()
def compute_image_statistics(images: Iterable[Tensor], features: FeatureExtractor) -> Gaussian:
    """Compute mean and covariance of the features of batches of images.

    Raises:
        ValueError: there are fewer than two images.
    """
    statistics = FeatureStatistics()
    for batch in images:
        statistics.update(features(batch))
    return statistics.gaussian()


@torch.no_grad()
def generate_images(
    generator: Generator, num_images: int, *, batch_size: int = 32, truncation: float = 1.0, seed: int = 0
) -> Iterator[Tensor]:
    """Yield batches of `num_images` images of normal z with new noise, nominally in -1...1, not clamped."""
    rng = torch.Generator().manual_seed(seed)
    like = generator.input.input
    for start in range(0, num_images, batch_size):
        z = torch.randn(min(batch_size, num_images - start), generator.config.style_dim, generator=rng)
        yield generator(z.to(like), truncation=truncation, generator=rng)[0]


def compute_fid(
    generator: Generator,
    features: FeatureExtractor,
    real_statistics: Gaussian,
    *,
    num_images: int = 50_000,
    batch_size: int = 32,
    truncation: float = 1.0,
    seed: int = 0,
) -> float:
    """Compute the Fréchet distance of a generator's images and real ones.

    Args:
        generator: in evaluation mode.
        features: see `FeatureExtractor`.
        real_statistics: the same features of real images, from `compute_image_statistics` or
            `load_statistics`.
        num_images: number of images to generate.
        batch_size: images per batch.
        truncation: psi, published 1.
        seed: of z and noise.
    """
    generated = generate_images(
        generator, num_images, batch_size=batch_size, truncation=truncation, seed=seed
    )
    return frechet_from_statistics(real_statistics, compute_image_statistics(generated, features))


def inception_features(network: "Inception") -> FeatureExtractor:
    """Published features: 2,048 pooled ones of images resized to 299 pixels (bilinear), not clamped."""
    from voiceface.models.inception import preprocess_images

    return lambda images: network.forward_features(preprocess_images((images + 1) * 127.5, "pytorch"))[1]


def attribute_features(attribute_reader: "AttributeReader") -> FeatureExtractor:
    """Features of synthetic faces: the attribute reader's last feature map, averaged over positions."""
    return lambda images: attribute_reader((images.clamp(-1, 1) + 1) / 2).features[-1].mean((2, 3))


def load_statistics(path: str | Path) -> Gaussian:
    """Read mean and covariance of real images; no code of the file is executed.

    Args:
        path: published `inception_NAME.pkl` (mean, cov, size, path), or `.npz` with mu and sigma, as written
            by `save_statistics` and pytorch-fid.

    Raises:
        ValueError: the file is corrupt or unsafe, or the shapes do not match.
        FileNotFoundError: the file is missing.
    """
    source = Path(path)
    content: Any
    if source.suffix == ".npz":
        content, words = read_npz(source), ("mu", "sigma")
    else:
        content, words = read_pickle(source), ("mean", "cov")
    try:
        mean, covariance = (np.asarray(content[word], np.float64) for word in words)
    except (LookupError, TypeError, ValueError):
        raise ValueError(f"{path} contains no statistics: expected the keys {' and '.join(words)}") from None
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        shapes = f"{words[0]} {mean.shape} and {words[1]} {covariance.shape}"
        raise ValueError(f"{path}: {shapes} do not fit each other")
    return Gaussian(torch.from_numpy(mean), torch.from_numpy(covariance))


def save_statistics(
    path: str | Path, statistics: Gaussian, *, features: str, size: int, num_images: int
) -> None:
    """Write mean and covariance as mu and sigma, with a description, atomically.

    Args:
        path: name ending in .npz.
        statistics: of the features of real images.
        features: name of the features.
        size: side of the images before preprocessing.
        num_images: number of images.
    """
    if Path(path).suffix != ".npz":
        raise ValueError(f"{path}: expected a name ending in .npz")
    with atomic_path(path) as temporary:
        np.savez(
            temporary,
            mu=statistics.mean.cpu().numpy(),
            sigma=statistics.covariance.cpu().numpy(),
            features=features,
            size=size,
            count=num_images,
        )


def read_feature_name(path: str | Path) -> str:
    """Name of the features in a file of statistics; empty if it is not stored."""
    return str(read_npz(Path(path)).get("features", "")) if Path(path).suffix == ".npz" else ""
