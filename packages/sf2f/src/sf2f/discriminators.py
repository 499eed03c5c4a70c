"""Discriminators of pictures: real or made, whose face, and whether a picture fits a voice.

Letters: N pictures, C channels of the trunk, K identities (specification, section 6). Parameter names are the
published ones; the trunk is written as in the published option files, see `BackboneConfig`.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from voiceface.runtime.config import Config

from sf2f.discriminator_layers import BackboneConfig, build_backbone, compute_output_size

SMALL_ARCH, LARGE_ARCH = "C4-64-2,C4-128-2,C4-256-2", "C4-64-2,C4-128-2,C4-256-2,C4-512-2"


class DiscriminatorsConfig(Config):
    """The discriminators, one for each size of picture, smallest first; none where a list is empty."""

    image: tuple[BackboneConfig, ...] = Field(
        default=(BackboneConfig(arch=SMALL_ARCH),), description="real or made, patch by patch"
    )
    identity: tuple[BackboneConfig, ...] = Field(
        default=(BackboneConfig(arch=SMALL_ARCH),), description="real or made, and whose"
    )
    condition: tuple[BackboneConfig, ...] = Field(
        default=(), description="whether it fits the voice; never used"
    )
    hidden_dim: int = Field(default=1024, ge=1, description="features before the heads of identity")

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        counts = {len(each) for each in (self.image, self.identity, self.condition) if each}
        if len(counts) > 1:
            raise ValueError(f"as many discriminators of each kind needed, found {sorted(counts)}")
        return self

    def require_image_sizes(self, image_sizes: Sequence[int]) -> None:
        """Check that every trunk takes the pictures that it will see.

        Args:
            image_sizes: of the pictures in pixels, smallest first.

        Raises:
            ValueError: another number of trunks than sizes, or a picture is too small for its trunk.
        """
        for name in ("image", "identity", "condition"):
            trunks = getattr(self, name)
            if trunks and len(trunks) != len(image_sizes):
                raise ValueError(
                    f"one {name} discriminator for each size of picture needed: {len(image_sizes)} sizes "
                    f"({', '.join(map(str, image_sizes))} pixels), {len(trunks)} discriminators"
                )
            for trunk, side in zip(trunks, image_sizes):
                compute_output_size(trunk, side)


class IdentityLogits(NamedTuple):
    """Logits of an identity discriminator.

    Attributes:
        real: (N, 1), high for real.
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
        """Pictures (N, 3, H, W) to logits of patches (N, 1, H', W'), high for real."""
        return self.classifier(self.cnn(images))


class IdentityDiscriminator(nn.Module):
    """The published `AcDiscriminator`.

    Args:
        trunk: its layers.
        classes: identities K of the training.
        hidden: features before the heads.
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
        """Pictures (N, 3, H, W) to `IdentityLogits`."""
        features = self.cnn(images)
        return IdentityLogits(self.real_classifier(features), self.id_classifier(features))


class ConditionDiscriminator(nn.Module):
    """The published `CondPatchDiscriminator`: patches beside a vector.

    Args:
        trunk: its layers.
        condition: length of the vector.
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
        """Pictures (N, 3, H, W) and vectors (N, D) to logits of patches (N, 1, H', W'), high for fitting."""
        maps = self.cnn(images)
        repeated = conditions[:, :, None, None].expand(-1, -1, *maps.shape[2:])
        return self.classifier(self.joint_conv(torch.cat([maps, repeated], dim=1)))


class GlobalAveragePool(nn.Module):
    """Mean over positions."""

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C)."""
        return maps.mean((2, 3))


class Discriminators(nn.Module):
    """All discriminators of a run, each list by size of picture, smallest first.

    Their memory format is channels-last, which is a little faster.

    Args:
        config: their trunks.
        classes: identities of the training; only needed where there are identity discriminators.
        embedding: length of the voice embedding, for the conditional ones.
    """

    def __init__(
        self, config: DiscriminatorsConfig | None = None, num_identities: int = 0, embedding_dim: int = 512
    ) -> None:
        super().__init__()
        self.config = config = config or DiscriminatorsConfig()
        self.image = nn.ModuleList(ImageDiscriminator(trunk) for trunk in config.image)
        self.identity = nn.ModuleList(
            IdentityDiscriminator(trunk, num_identities, config.hidden_dim) for trunk in config.identity
        )
        self.condition = nn.ModuleList(
            ConditionDiscriminator(trunk, embedding_dim) for trunk in config.condition
        )
        self.to(memory_format=torch.channels_last)
