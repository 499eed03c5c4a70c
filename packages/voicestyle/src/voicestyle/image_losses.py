"""Losses that compare images in inversion: perceptual distance and identity.

Published: LPIPS and IR-SE50, if their files are given. Otherwise small bundled networks, which were trained
on synthetic faces.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from voiceface.models.lpips import NetName, load_lpips
from voiceface.synthetic.readers.attribute_reader import AttributeReader, load_reader

__all__ = [
    "BundledIdentityEncoder",
    "BundledPerceptualDistance",
    "IdentityEncoder",
    "PerceptualDistance",
    "load_identity_encoder",
    "load_perceptual_distance",
    "resize_images",
]

MIN_SIDE = 32  # smallest side of images that the bundled network accepts


class PerceptualDistance(Protocol):
    """Perceptual distance of images."""

    def extract_features(self, images: Tensor) -> list[Tensor]:
        """Return features of images (N, 3, S, S) in -1...1: tensors whose first axis is N."""
        ...

    def distance_from_features(self, features_a: Sequence[Tensor], features_b: Sequence[Tensor]) -> Tensor:
        """Return N distances in any shape (N, 1, ...)."""
        ...


class IdentityEncoder(Protocol):
    """Face recognition features of images."""

    def features(self, images: Tensor) -> Tensor:
        """Return unit features (N, D) of images (N, 3, S, S) in -1...1."""
        ...


class BundledPerceptualDistance:
    """Distance of the feature maps and embeddings of the bundled network, trained on synthetic faces.

    Args:
        network: `voiceface.synthetic.readers.attribute_reader.load_reader("perceptual")`.
    """

    def __init__(self, network: AttributeReader | None = None) -> None:
        self.network = network or load_reader("perceptual")

    def extract_features(self, images: Tensor) -> list[Tensor]:
        """Return the embedding, then feature maps normalised along channels."""
        prediction = self.network(_to_bundled_input(images))
        maps = [value * torch.rsqrt(value.square().sum(1, True) + 1e-4) for value in prediction.features]
        return [prediction.embedding[:, :, None, None], *maps]

    def distance_from_features(self, features_a: Sequence[Tensor], features_b: Sequence[Tensor]) -> Tensor:
        """Return the sum of five squared distances, each in 0...4, (N,)."""
        parts = [(a - b).square().sum(1).mean((1, 2)) for a, b in zip(features_a, features_b, strict=True)]
        return torch.stack(parts).sum(0)


class BundledIdentityEncoder:
    """Embedding of the same network, which distinguishes synthetic identities."""

    def __init__(self, network: AttributeReader | None = None) -> None:
        self.network = network or load_reader("perceptual")

    def features(self, images: Tensor) -> Tensor:
        """Return unit features (N, D)."""
        return self.network(_to_bundled_input(images)).embedding


def load_perceptual_distance(
    backbone: Path | None = None, heads: Path | None = None, net: NetName = "vgg", device: str = "cpu"
) -> PerceptualDistance:
    """Load LPIPS from its two published files, or the bundled network if none is given.

    Raises:
        CheckpointError, FileNotFoundError: a file is missing or belongs to another network.
        ValueError: only one of the two files is given.
    """
    if (backbone is None) != (heads is None):
        raise ValueError("LPIPS needs two files: the backbone's (torchvision) and the heads' (lpips v0.1)")
    if backbone is None or heads is None:
        return BundledPerceptualDistance(load_reader("perceptual", device))
    from voiceface.models.conv_winograd import replace_with_winograd

    network = load_lpips(backbone, heads, net).to(device)
    replace_with_winograd(network)
    return network


def load_identity_encoder(weights: Path | None = None, device: str = "cpu") -> IdentityEncoder:
    """Load IR-SE50 from `model_ir_se50.pth`, or the bundled network if no file is given.

    Raises:
        CheckpointError, FileNotFoundError: the file is missing or belongs to another network.
    """
    if weights is None:
        return BundledIdentityEncoder(load_reader("perceptual", device))
    from voicestyle.identity_loss import IRIdentityEncoder, load_ir_se50

    return IRIdentityEncoder(load_ir_se50(weights)).to(device)


def _to_bundled_input(images: Tensor) -> Tensor:
    """Convert images in -1...1 to the bundled network's input: in 0...1, small ones enlarged."""
    return ((resize_images(images, MIN_SIDE) if images.shape[2] < MIN_SIDE else images) + 1) / 2


def resize_images(images: Tensor, side: int) -> Tensor:
    """Resize images (N, 3, S, S), bilinear and antialiased; return them unchanged if they have the side."""
    if images.shape[2:] == (side, side):
        return images
    return F.interpolate(images, (side, side), mode="bilinear", align_corners=False, antialias=True)
