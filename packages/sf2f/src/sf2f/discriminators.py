"""Discriminators: real or generated image, identity of the face, and match of image and voice.

Letters: N images, C channels of the backbone, K identities. Parameter names are the published ones;
backbones
are written as in the published option files, see `BackboneConfig`.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from voiceface.runtime.config import Config

from sf2f.discriminator_layers import BackboneConfig, build_backbone, compute_output_size

__all__ = [
    "LARGE_ARCH",
    "SMALL_ARCH",
    "ConditionDiscriminator",
    "Discriminators",
    "DiscriminatorsConfig",
    "GlobalAveragePool",
    "IdentityDiscriminator",
    "IdentityLogits",
    "ImageDiscriminator",
]

SMALL_ARCH, LARGE_ARCH = "C4-64-2,C4-128-2,C4-256-2", "C4-64-2,C4-128-2,C4-256-2,C4-512-2"


class DiscriminatorsConfig(Config):
    """Discriminators, one per image size, smallest first; an empty list means none."""

    image: tuple[BackboneConfig, ...] = Field(
        default=(BackboneConfig(arch=SMALL_ARCH),), description="real or generated, per patch"
    )
    identity: tuple[BackboneConfig, ...] = Field(
        default=(BackboneConfig(arch=SMALL_ARCH),), description="real or generated, and identity"
    )
    condition: tuple[BackboneConfig, ...] = Field(
        default=(), description="whether image and voice match; no released model uses it"
    )
    hidden_dim: int = Field(
        default=1024, ge=1, description="features before the heads of the identity discriminators"
    )

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        counts = {len(each) for each in (self.image, self.identity, self.condition) if each}
        if len(counts) > 1:
            raise ValueError(f"every kind needs the same number of discriminators, found {sorted(counts)}")
        return self

    def require_image_sizes(self, image_sizes: Sequence[int]) -> None:
        """Check that every backbone accepts its images.

        Args:
            image_sizes: in pixels, smallest first.

        Raises:
            ValueError: the numbers of backbones and sizes differ, or images are too small for a backbone.
        """
        for name in ("image", "identity", "condition"):
            backbones = getattr(self, name)
            if backbones and len(backbones) != len(image_sizes):
                raise ValueError(
                    f"one {name} discriminator per image size is required: {len(image_sizes)} sizes "
                    f"({', '.join(map(str, image_sizes))} pixels), {len(backbones)} discriminators"
                )
            for backbone, image_size in zip(backbones, image_sizes):
                compute_output_size(backbone, image_size)


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
