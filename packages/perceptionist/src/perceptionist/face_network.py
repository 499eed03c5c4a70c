"""Face embedding network `f`, and its heads `d` (discriminator) and `c` (identity classifier).

Letters: B batch, S image side, D embedding length, C identities. Parameter names are the published ones.
"""

from torch import Tensor, nn

from perceptionist.network_config import FaceNetworkConfig

__all__ = [
    "Classifier",
    "Discriminator",
    "FaceNetwork",
]


class FaceNetwork(nn.Module):
    """Convolutions with leaky ReLU (0.2) between them."""

    def __init__(self, config: FaceNetworkConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or FaceNetworkConfig()
        first, *rest = config.channels
        layers: list[nn.Module] = [
            nn.Conv2d(config.image_channels, first, 1),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        before = first
        for width in rest:
            layers += [nn.Conv2d(before, width, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
            before = width
        self.model = nn.Sequential(*layers, nn.Conv2d(before, config.embedding_dim, 4))

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S), RGB, -1...1, to embeddings (B, D).

        Raises:
            ValueError: another shape.
        """
        channels, side = self.config.image_channels, self.config.image_size
        if images.ndim != 4 or tuple(images.shape[1:]) != (channels, side, side):
            raise ValueError(f"images must be (B, {channels}, {side}, {side}), found {tuple(images.shape)}")
        return self.model(images).flatten(1)


class Discriminator(nn.Module):
    """Discriminator head `d`: real or generated; no bias."""

    def __init__(self, embedding_dim: int = 64) -> None:
        super().__init__()
        self.model = nn.Linear(embedding_dim, 1, bias=False)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Face embeddings (B, D) to logits (B, 1), high for real."""
        return self.model(embeddings)


class Classifier(nn.Module):
    """Identity classifier head `c`; no bias.

    Args:
        embedding_dim: D.
        num_identities: C.
    """

    def __init__(self, embedding_dim: int, num_identities: int) -> None:
        super().__init__()
        self.model = nn.Linear(embedding_dim, num_identities, bias=False)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Face embeddings (B, D) to logits (B, C)."""
        return self.model(embeddings)
