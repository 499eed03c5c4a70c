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
from voiceface.models.lpips import Net, load_lpips
from voiceface.synthetic.readers.attribute_reader import Judge, load

LEAST_SIDE = 32  # of pictures that the bundled network takes


class Perceptual(Protocol):
    """How differently pictures look."""

    def maps(self, pictures: Tensor) -> list[Tensor]:
        """What is compared, of pictures (N, 3, S, S) in -1...1: tensors whose first axis is N."""
        ...

    def of_maps(self, ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
        """Distances, N values in any shape (N, 1, ...)."""
        ...


class Identity(Protocol):
    """Whom pictures show."""

    def features(self, pictures: Tensor) -> Tensor:
        """Unit vectors (N, D) of pictures (N, 3, S, S) in -1...1."""
        ...


class JudgePerceptual:
    """Maps and embedding of the bundled network for losses; it was trained on invented faces.

    Args:
        network: `voiceface.synthetic.readers.attribute_reader.load("perceptual")`.
    """

    def __init__(self, network: Judge | None = None) -> None:
        self.network = network or load("perceptual")

    def maps(self, pictures: Tensor) -> list[Tensor]:
        """Embedding, then maps whose vectors have unit length."""
        found = self.network(_for_judge(pictures))
        directions = [value * torch.rsqrt(value.square().sum(1, True) + 1e-4) for value in found.features]
        return [found.embedding[:, :, None, None], *directions]

    def of_maps(self, ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
        """Sum of five squared distances, each 0...4, (N,)."""
        parts = [(a - b).square().sum(1).mean((1, 2)) for a, b in zip(ours, theirs, strict=True)]
        return torch.stack(parts).sum(0)


class JudgeIdentity:
    """Embedding of the same network: tells invented people apart."""

    def __init__(self, network: Judge | None = None) -> None:
        self.network = network or load("perceptual")

    def features(self, pictures: Tensor) -> Tensor:
        """Unit vectors (N, D)."""
        return self.network(_for_judge(pictures)).embedding


class EmbedderIdentity:
    """Face branch of an association model, such as CMPC's.

    Args:
        network: pictures (N, 3, s, s) in -1...1 to embeddings (N, D).
        side: s.
    """

    def __init__(self, network: nn.Module, side: int) -> None:
        self.network, self.side = network, side

    def features(self, pictures: Tensor) -> Tensor:
        """Unit vectors (N, D)."""
        return F.normalize(self.network(resized(pictures, self.side)), dim=1)


def open_perceptual(
    trunk: Path | None = None, heads: Path | None = None, net: Net = "vgg", device: str = "cpu"
) -> Perceptual:
    """LPIPS of two published files, or the bundled network for invented faces where none is given.

    Raises:
        CheckpointError, FileNotFoundError: a file is absent or another one.
        ValueError: one file of the two.
    """
    if (trunk is None) != (heads is None):
        raise ValueError("LPIPS needs two files: the trunk's (torchvision) and the heads' (lpips v0.1)")
    if trunk is None or heads is None:
        return JudgePerceptual(load("perceptual", device))
    from voiceface.models.conv_winograd import with_frozen_convolutions

    network = load_lpips(trunk, heads, net).to(device)
    with_frozen_convolutions(network)
    return network


def open_identity(weights: Path | None = None, device: str = "cpu") -> Identity:
    """IR-SE50 of `model_ir_se50.pth`, or the bundled network for invented faces where none is given.

    Raises:
        CheckpointError, FileNotFoundError: the file is absent or another one.
    """
    if weights is None:
        return JudgeIdentity(load("perceptual", device))
    from voicestyle.identity import IdentityNetwork, load_ir_se50

    return IdentityNetwork(load_ir_se50(weights)).to(device)


def _for_judge(pictures: Tensor) -> Tensor:
    """Pictures in -1...1 as the bundled network takes them: in 0...1, small ones enlarged."""
    return ((resized(pictures, LEAST_SIDE) if pictures.shape[2] < LEAST_SIDE else pictures) + 1) / 2


def resized(pictures: Tensor, side: int) -> Tensor:
    """Pictures (N, 3, S, S) at another side, bilinear with smoothing; as they are where they have it."""
    if pictures.shape[2:] == (side, side):
        return pictures
    return F.interpolate(pictures, (side, side), mode="bilinear", align_corners=False, antialias=True)
