"""Generator `g`: a unit voice embedding to a face picture; and pictures in the sizes and ranges others need.

Letters: B batch, D embedding length, S picture side. Parameter names are the published ones (specification,
section 4.2).
"""

from pydantic import Field
from torch import Tensor, nn
from voiceface.runtime.config import Config


class GeneratorConfig(Config):
    """Sizes of the generator; the defaults are the published ones, 64 x 64 pixels."""

    embedding_dim: int = Field(default=64, ge=1, description="length D of the embedding")
    channels: tuple[int, ...] = Field(
        default=(1024, 512, 256, 128, 64),
        min_length=1,
        description="after the first layer (4 x 4 pixels) and after each that doubles the side",
    )
    image_channels: int = Field(default=3, ge=1, description="channels of the picture")

    @property
    def image_size(self) -> int:
        """Picture side S in pixels."""
        return 4 * 2 ** (len(self.channels) - 1)


class Generator(nn.Module):
    """Transposed convolutions with ReLU between them, no normalisation, no activation at the end."""

    def __init__(self, config: GeneratorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or GeneratorConfig()
        first, *rest = config.channels
        layers: list[nn.Module] = [nn.ConvTranspose2d(config.embedding_dim, first, 4), nn.ReLU(inplace=True)]
        before = first
        for width in rest:
            layers += [nn.ConvTranspose2d(before, width, 4, 2, 1), nn.ReLU(inplace=True)]
            before = width
        self.model = nn.Sequential(*layers, nn.ConvTranspose2d(before, config.image_channels, 1))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Embeddings (B, D) to pictures (B, 3, S, S): RGB, nominally -1...1, not bounded.

        Raises:
            ValueError: another shape.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != self.config.embedding_dim:
            raise ValueError(
                f"embeddings must be (B, {self.config.embedding_dim}), found {tuple(embeddings.shape)}"
            )
        return self.model(embeddings[:, :, None, None])


def resize_bilinear(images: Tensor, size: int) -> Tensor:
    """Pictures (B, C, S, S) to (B, C, side, side), bilinear, corner pixels on corner pixels (section 7)."""
    if images.shape[2:] == (size, size):
        return images
    return nn.functional.interpolate(images, size=(size, size), mode="bilinear", align_corners=True)
