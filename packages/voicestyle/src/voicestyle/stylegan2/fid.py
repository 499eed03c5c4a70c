"""Fréchet distance of a generator's pictures from real ones in a feature space (specification, section 12.5).

The published distance has 50,000 made pictures and 2,048 features of Inception; any function from pictures to
features will do. Values are comparable only where features and numbers of pictures are the same.
"""

import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from voiceface.io.atomic import atomic_path
from voiceface.metrics.frechet import FeatureStatistics, Gaussian, frechet_from_statistics

from voicestyle.stylegan2.generator import Generator

if TYPE_CHECKING:
    from voiceface.models.inception import Inception
    from voiceface.synthetic.readers.attribute_reader import AttributeReader

FeatureExtractor = Callable[[Tensor], Tensor]
"""Pictures (N, 3, S, S) in -1...1 to features (N, F)."""


@torch.no_grad()
def compute_image_statistics(images: Iterable[Tensor], features: FeatureExtractor) -> Gaussian:
    """Mean and covariance of the features of batches of pictures.

    Raises:
        ValueError: fewer than two pictures.
    """
    found = FeatureStatistics()
    for batch in images:
        found.update(features(batch))
    return found.gaussian()


@torch.no_grad()
def generate_images(
    generator: Generator, num_images: int, *, batch_size: int = 32, truncation: float = 1.0, seed: int = 0
) -> Iterator[Tensor]:
    """Batches of `num_images` pictures of normal z with fresh noise, -1...1, not clamped."""
    draw = torch.Generator().manual_seed(seed)
    like = generator.input.input
    for start in range(0, num_images, batch_size):
        z = torch.randn(min(batch_size, num_images - start), generator.config.style_dim, generator=draw)
        yield generator(z.to(like), truncation=truncation, generator=draw)[0]


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
    """Fréchet distance of a generator's pictures from real ones.

    Args:
        generator: in evaluation mode.
        features: see `Features`.
        real_statistics: the same features of real pictures, from `compute_image_statistics` or `load_statistics`.
        num_images: pictures to make.
        batch_size: at a time.
        truncation: psi, published 1.
        seed: of z and noise.
    """
    made = generate_images(generator, num_images, batch_size=batch_size, truncation=truncation, seed=seed)
    return frechet_from_statistics(real_statistics, compute_image_statistics(made, features))


def inception_features(network: "Inception") -> FeatureExtractor:
    """The published features: pooled, 2,048 of them, of pictures resized to 299 bilinearly, not clamped."""
    from voiceface.models.inception import preprocess_images

    return lambda pictures: network.forward_features(preprocess_images((pictures + 1) * 127.5, "pytorch"))[1]


def judge_features(attribute_reader: "AttributeReader") -> FeatureExtractor:
    """Features for invented faces: the judge's last map, averaged over its places."""
    return lambda pictures: attribute_reader((pictures.clamp(-1, 1) + 1) / 2).features[-1].mean((2, 3))


def load_statistics(path: str | Path) -> Gaussian:
    """Read mean and covariance of real pictures, running no code of the file.

    Args:
        path: a published `inception_NAME.pkl` (mean, cov, size, path), or an `.npz` with mu and sigma, as
            `save_statistics` and pytorch-fid write it.

    Raises:
        ValueError: damaged, unsafe, or the arrays do not fit each other.
        FileNotFoundError: no such file.
    """
    source = Path(path)
    if source.suffix == ".npz":
        content, words = read_npz(source), ("mu", "sigma")
    else:
        from voiceface.io.safe_pickle import read_pickle

        content, words = read_pickle(source), ("mean", "cov")
    try:
        mean, covariance = (np.asarray(content[word], np.float64) for word in words)
    except (KeyError, TypeError, IndexError):
        raise ValueError(f"{path} holds no statistics: expected the keys {' and '.join(words)}") from None
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        shapes = f"{words[0]} {mean.shape} and {words[1]} {covariance.shape}"
        raise ValueError(f"{path}: {shapes} do not fit each other")
    return Gaussian(torch.from_numpy(mean), torch.from_numpy(covariance))


def save_statistics(
    path: str | Path, statistics: Gaussian, *, features: str, size: int, num_images: int
) -> None:
    """Write mean and covariance as mu and sigma, and beside them what they are of, atomically.

    Args:
        path: a name that ends in .npz.
        statistics: of the features of real pictures.
        features: name of the features.
        size: side of the pictures before they were brought to the network.
        num_images: number of pictures.
    """
    if Path(path).suffix != ".npz":
        raise ValueError(f"{path}: statistics are written to a name that ends in .npz")
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
    """Name of the features that a file of statistics says it is of; empty where it does not say."""
    return str(read_npz(Path(path)).get("features", "")) if Path(path).suffix == ".npz" else ""


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays of an `.npz`, none of which may be pickled.

    Raises:
        ValueError: damaged or pickled.
        FileNotFoundError: no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except FileNotFoundError:
        raise FileNotFoundError(f"no statistics at {path}; check the path") from None
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no .npz of arrays: {error}") from error
