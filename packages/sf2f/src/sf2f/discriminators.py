"""Discriminators: real or generated image, identity of the face, and match of image and voice.

Letters: N images, C channels of the backbone, K identities. Parameter names are the published ones; backbones
are written as in the published option files, see `BackboneConfig`.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from sf2f.discriminator_config import BackboneConfig, DiscriminatorsConfig
from sf2f.discriminator_layers import build_backbone

__all__ = [
    "ConditionDiscriminator",
    "Discriminators",
    "GlobalAveragePool",
    "IdentityDiscriminator",
    "IdentityLogits",
    "ImageDiscriminator",
]


class IdentityLogits(NamedTuple):
    """Logits of an identity discriminator.

    Attributes:
        real: (N, 1), high for real images.
        identity: (N, K).
    """

    real: Tensor
    identity: Tensor


class ImageDiscriminator(nn.Module):
    """The published `PatchDiscriminator`."""

    def __init__(self, backbone: BackboneConfig) -> None:
        super().__init__()
        self.cnn, channels = build_backbone(backbone)
        self.classifier = nn.Conv2d(channels, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) to patch logits (N, 1, H', W'), high for real images."""
        return self.classifier(self.cnn(images))


class IdentityDiscriminator(nn.Module):
    """The published `AcDiscriminator`.

    Args:
        backbone: its layers.
        num_identities: number K of training identities.
        hidden_dim: features before the heads.
    """

    def __init__(self, backbone: BackboneConfig, num_identities: int, hidden_dim: int = 1024) -> None:
        super().__init__()
        if num_identities < 1:
            raise ValueError(f"an identity discriminator needs at least 1 identity, found {num_identities}")
        layers, channels = build_backbone(backbone)
        self.cnn = nn.Sequential(layers, GlobalAveragePool(), nn.Linear(channels, hidden_dim))
        self.real_classifier = nn.Linear(hidden_dim, 1)
        self.id_classifier = nn.Linear(hidden_dim, num_identities)

    def forward(self, images: Tensor) -> IdentityLogits:
        """Images (N, 3, H, W) to `IdentityLogits`."""
        features = self.cnn(images)
        return IdentityLogits(self.real_classifier(features), self.id_classifier(features))


class ConditionDiscriminator(nn.Module):
    """The published `CondPatchDiscriminator`: patch logits given a vector.

    Args:
        backbone: its layers.
        condition_dim: size of the vector.
    """

    def __init__(self, backbone: BackboneConfig, condition_dim: int) -> None:
        super().__init__()
        self.cnn, channels = build_backbone(backbone)
        self.joint_conv = nn.Sequential(
            nn.Conv2d(channels + condition_dim, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.LeakyReLU(0.2, inplace=True),
        )
        self.classifier = nn.Conv2d(channels, 1, 1)

    def forward(self, images: Tensor, conditions: Tensor) -> Tensor:
        """Images (N, 3, H, W) and vectors (N, D) to patch logits (N, 1, H', W'), high for a match."""
        maps = self.cnn(images)
        repeated = conditions[:, :, None, None].expand(-1, -1, *maps.shape[2:])
        return self.classifier(self.joint_conv(torch.cat([maps, repeated], dim=1)))


class GlobalAveragePool(nn.Module):
    """Mean over positions."""

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C)."""
        return maps.mean((2, 3))


class Discriminators(nn.Module):
    """All discriminators of a run; each list is ordered by image size, smallest first.

    They use the channels-last memory format, which is a little faster.

    Args:
        config: their backbones.
        num_identities: number of training identities; only needed for identity discriminators.
        embedding_dim: size of the voice embedding, for conditional discriminators.
    """

    def __init__(
        self, config: DiscriminatorsConfig | None = None, num_identities: int = 0, embedding_dim: int = 512
    ) -> None:
        super().__init__()
        self.config = config = config or DiscriminatorsConfig()
        self.image = nn.ModuleList(ImageDiscriminator(backbone) for backbone in config.image)
        self.identity = nn.ModuleList(
            IdentityDiscriminator(backbone, num_identities, config.hidden_dim) for backbone in config.identity
        )
        self.condition = nn.ModuleList(
            ConditionDiscriminator(backbone, embedding_dim) for backbone in config.condition
        )
        self.to(memory_format=torch.channels_last)
