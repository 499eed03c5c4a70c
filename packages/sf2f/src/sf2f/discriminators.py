"""Discriminators of pictures: real or made, whose face, and whether a picture fits a voice.

Letters: N pictures, C channels of the trunk, K identities (specification, section 6). Parameter names are the
published ones; the trunk is written as in the published option files, see `Trunk`.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from voiceface.runtime.config import Config

from sf2f.discriminator_layers import Trunk, build, require_side

SMALL, LARGE = "C4-64-2,C4-128-2,C4-256-2", "C4-64-2,C4-128-2,C4-256-2,C4-512-2"


class DiscriminatorsConfig(Config):
    """The discriminators, one for each size of picture, smallest first; none where a list is empty."""

    image: tuple[Trunk, ...] = Field(default=(Trunk(arch=SMALL),), description="real or made, patch by patch")
    identity: tuple[Trunk, ...] = Field(default=(Trunk(arch=SMALL),), description="real or made, and whose")
    condition: tuple[Trunk, ...] = Field(default=(), description="whether it fits the voice; never used")
    hidden: int = Field(default=1024, ge=1, description="features before the heads of identity")

    @model_validator(mode="after")
    def _as_many(self) -> Self:
        counts = {len(each) for each in (self.image, self.identity, self.condition) if each}
        if len(counts) > 1:
            raise ValueError(f"as many discriminators of each kind needed, found {sorted(counts)}")
        return self

    def require_sides(self, sides: Sequence[int]) -> None:
        """Check that every trunk takes the pictures that it will see.

        Args:
            sides: of the pictures in pixels, smallest first.

        Raises:
            ValueError: another number of trunks than sizes, or a picture is too small for its trunk.
        """
        for name in ("image", "identity", "condition"):
            trunks = getattr(self, name)
            if trunks and len(trunks) != len(sides):
                raise ValueError(
                    f"one {name} discriminator for each size of picture needed: {len(sides)} sizes "
                    f"({', '.join(map(str, sides))} pixels), {len(trunks)} discriminators"
                )
            for trunk, side in zip(trunks, sides):
                require_side(trunk, side)


class Verdict(NamedTuple):
    """Logits of an identity discriminator.

    Attributes:
        real: (N, 1), high for real.
        identity: (N, K).
    """

    real: Tensor
    identity: Tensor


class ImageDiscriminator(nn.Module):
    """The published `PatchDiscriminator`."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.cnn, channels = build(trunk)
        self.classifier = nn.Conv2d(channels, 1, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) to logits of patches (N, 1, H', W'), high for real."""
        return self.classifier(self.cnn(pictures))


class IdentityDiscriminator(nn.Module):
    """The published `AcDiscriminator`.

    Args:
        trunk: its layers.
        classes: identities K of the training.
        hidden: features before the heads.
    """

    def __init__(self, trunk: Trunk, classes: int, hidden: int = 1024) -> None:
        super().__init__()
        if classes < 1:
            raise ValueError(f"an identity discriminator needs at least 1 identity, found {classes}")
        layers, channels = build(trunk)
        self.cnn = nn.Sequential(layers, PositionMean(), nn.Linear(channels, hidden))
        self.real_classifier = nn.Linear(hidden, 1)
        self.id_classifier = nn.Linear(hidden, classes)

    def forward(self, pictures: Tensor) -> Verdict:
        """Pictures (N, 3, H, W) to `Verdict`."""
        features = self.cnn(pictures)
        return Verdict(self.real_classifier(features), self.id_classifier(features))


class ConditionDiscriminator(nn.Module):
    """The published `CondPatchDiscriminator`: patches beside a vector.

    Args:
        trunk: its layers.
        condition: length of the vector.
    """

    def __init__(self, trunk: Trunk, condition: int) -> None:
        super().__init__()
        self.cnn, channels = build(trunk)
        self.joint_conv = nn.Sequential(
            nn.Conv2d(channels + condition, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.LeakyReLU(0.2, inplace=True),
        )
        self.classifier = nn.Conv2d(channels, 1, 1)

    def forward(self, pictures: Tensor, conditions: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) and vectors (N, D) to logits of patches (N, 1, H', W'), high for fitting."""
        maps = self.cnn(pictures)
        repeated = conditions[:, :, None, None].expand(-1, -1, *maps.shape[2:])
        return self.classifier(self.joint_conv(torch.cat([maps, repeated], dim=1)))


class PositionMean(nn.Module):
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
        self, config: DiscriminatorsConfig | None = None, classes: int = 0, embedding: int = 512
    ) -> None:
        super().__init__()
        self.config = config = config or DiscriminatorsConfig()
        self.image = nn.ModuleList(ImageDiscriminator(trunk) for trunk in config.image)
        self.identity = nn.ModuleList(
            IdentityDiscriminator(trunk, classes, config.hidden) for trunk in config.identity
        )
        self.condition = nn.ModuleList(ConditionDiscriminator(trunk, embedding) for trunk in config.condition)
        self.to(memory_format=torch.channels_last)
