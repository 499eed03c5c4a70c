"""Face embedding `f` of pictures, and the heads on it that train the generator.

Letters: B batch, S picture side, D embedding length, C identities. Parameter names are the published ones
(specification, sections 4.3 and 4.4).
"""

from pydantic import Field
from torch import Tensor, nn
from voiceface.runtime.config import Config


class FaceNetworkConfig(Config):
    """Sizes of the face embedding; the defaults are the published ones, for 64 x 64 pixels."""

    image_channels: int = Field(default=3, ge=1, description="channels of the picture")
    channels: tuple[int, ...] = Field(
        default=(32, 64, 128, 256, 512),
        min_length=1,
        description="after the first layer and after each that halves the side, down to 4 x 4 pixels",
    )
    embedding_dim: int = Field(default=64, ge=1, description="length D of the embedding")

    @property
    def image_size(self) -> int:
        """Picture side S in pixels."""
        return 4 * 2 ** (len(self.channels) - 1)


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
        """Pictures (B, 3, S, S), RGB, -1...1, to embeddings (B, D).

        Raises:
            ValueError: another shape.
        """
        colours, side = self.config.image_channels, self.config.image_size
        if images.ndim != 4 or tuple(images.shape[1:]) != (colours, side, side):
            raise ValueError(f"pictures must be (B, {colours}, {side}, {side}), found {tuple(images.shape)}")
        return self.model(images).flatten(1)


class Discriminator(nn.Module):
    """Head `d`: real or made; no bias."""

    def __init__(self, embedding_dim: int = 64) -> None:
        super().__init__()
        self.model = nn.Linear(embedding_dim, 1, bias=False)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Face embeddings (B, D) to logits (B, 1), high for real."""
        return self.model(embeddings)


class Classifier(nn.Module):
    """Head `c`: whose face; no bias.

    Args:
        embedding: length D.
        classes: identities C of the training.
    """

    def __init__(self, embedding_dim: int, num_identities: int) -> None:
        super().__init__()
        self.model = nn.Linear(embedding_dim, num_identities, bias=False)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Face embeddings (B, D) to logits (B, C)."""
        return self.model(embeddings)
