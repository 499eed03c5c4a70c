"""What compares pictures in inversion: how they look, and whom they show.

Both are exchangeable. With their files, LPIPS and IR-SE50 as published; without any, small networks that know
invented faces alone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from voiceface.models.lpips import NetName, load_lpips
from voiceface.synthetic.readers.attribute_reader import AttributeReader, load_reader

MIN_SIDE = 32  # of pictures that the bundled network takes


class PerceptualDistance(Protocol):
    """How differently pictures look."""

    def extract_features(self, images: Tensor) -> list[Tensor]:
        """What is compared, of pictures (N, 3, S, S) in -1...1: tensors whose first axis is N."""
        ...

    def distance_from_features(self, features_a: Sequence[Tensor], features_b: Sequence[Tensor]) -> Tensor:
        """Distances, N values in any shape (N, 1, ...)."""
        ...


class IdentityEncoder(Protocol):
    """Whom pictures show."""

    def features(self, images: Tensor) -> Tensor:
        """Unit vectors (N, D) of pictures (N, 3, S, S) in -1...1."""
        ...


class BundledPerceptualDistance:
    """Maps and embedding of the bundled network for losses; it was trained on invented faces.

    Args:
        network: `voiceface.synthetic.readers.attribute_reader.load("perceptual")`.
    """

    def __init__(self, network: AttributeReader | None = None) -> None:
        self.network = network or load_reader("perceptual")

    def extract_features(self, images: Tensor) -> list[Tensor]:
        """Embedding, then maps whose vectors have unit length."""
        found = self.network(_to_bundled_input(images))
        directions = [value * torch.rsqrt(value.square().sum(1, True) + 1e-4) for value in found.features]
        return [found.embedding[:, :, None, None], *directions]

    def distance_from_features(self, features_a: Sequence[Tensor], features_b: Sequence[Tensor]) -> Tensor:
        """Sum of five squared distances, each 0...4, (N,)."""
        parts = [(a - b).square().sum(1).mean((1, 2)) for a, b in zip(features_a, features_b, strict=True)]
        return torch.stack(parts).sum(0)


class BundledIdentityEncoder:
    """Embedding of the same network: tells invented people apart."""

    def __init__(self, network: AttributeReader | None = None) -> None:
        self.network = network or load_reader("perceptual")

    def features(self, images: Tensor) -> Tensor:
        """Unit vectors (N, D)."""
        return self.network(_to_bundled_input(images)).embedding


class EmbedderIdentityEncoder:
    """Face branch of an association model, such as CMPC's.

    Args:
        network: pictures (N, 3, s, s) in -1...1 to embeddings (N, D).
        side: s.
    """

    def __init__(self, network: nn.Module, side: int) -> None:
        self.network, self.side = network, side

    def features(self, images: Tensor) -> Tensor:
        """Unit vectors (N, D)."""
        return F.normalize(self.network(resize_images(images, self.side)), dim=1)


def load_perceptual_distance(
    backbone: Path | None = None, heads: Path | None = None, net: NetName = "vgg", device: str = "cpu"
) -> PerceptualDistance:
    """LPIPS of two published files, or the bundled network for invented faces where none is given.

    Raises:
        CheckpointError, FileNotFoundError: a file is absent or another one.
        ValueError: one file of the two.
    """
    if (backbone is None) != (heads is None):
        raise ValueError("LPIPS needs two files: the trunk's (torchvision) and the heads' (lpips v0.1)")
    if backbone is None or heads is None:
        return BundledPerceptualDistance(load_reader("perceptual", device))
    from voiceface.models.conv_winograd import replace_with_winograd

    network = load_lpips(backbone, heads, net).to(device)
    replace_with_winograd(network)
    return network


def load_identity_encoder(weights: Path | None = None, device: str = "cpu") -> IdentityEncoder:
    """IR-SE50 of `model_ir_se50.pth`, or the bundled network for invented faces where none is given.

    Raises:
        CheckpointError, FileNotFoundError: the file is absent or another one.
    """
    if weights is None:
        return BundledIdentityEncoder(load_reader("perceptual", device))
    from voicestyle.identity_loss import IRIdentityEncoder, load_ir_se50

    return IRIdentityEncoder(load_ir_se50(weights)).to(device)


def _to_bundled_input(images: Tensor) -> Tensor:
    """Pictures in -1...1 as the bundled network takes them: in 0...1, small ones enlarged."""
    return ((resize_images(images, MIN_SIDE) if images.shape[2] < MIN_SIDE else images) + 1) / 2


def resize_images(images: Tensor, side: int) -> Tensor:
    """Pictures (N, 3, S, S) at another side, bilinear with smoothing; as they are where they have it."""
    if images.shape[2:] == (side, side):
        return images
    return F.interpolate(images, (side, side), mode="bilinear", align_corners=False, antialias=True)
