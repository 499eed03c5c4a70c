"""Generator `g`: a unit voice embedding to a face image; bilinear resizing of images.

The architecture is that of Wen et al. (NeurIPS 2019), which the paper builds on. Letters: B batch, D
embedding length, C channels, S image side. Parameter names are the published ones.
"""

from torch import Tensor, nn

from perceptionist.network_config import GeneratorConfig

__all__ = [
    "Generator",
    "resize_bilinear",
]


class Generator(nn.Module):
    """Transposed convolutions with ReLU between them, without normalization and final activation."""

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
        """Embeddings (B, D) to images (B, 3, S, S): RGB, nominally -1...1, not bounded.

        Raises:
            ValueError: another shape.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != self.config.embedding_dim:
            raise ValueError(
                f"embeddings must be (B, {self.config.embedding_dim}), found {tuple(embeddings.shape)}"
            )
        return self.model(embeddings[:, :, None, None])


def resize_bilinear(images: Tensor, size: int) -> Tensor:
    """Resize images (B, C, S, S) to (B, C, size, size), bilinear with aligned corners."""
    if images.shape[2:] == (size, size):
        return images
    return nn.functional.interpolate(images, size=(size, size), mode="bilinear", align_corners=True)
