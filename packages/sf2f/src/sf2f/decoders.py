"""Face decoders of the released models: a voice embedding to images of one or two sizes.

Letters: N images, D embedding size, S image side, a power of two from 4. Images are in the normalised space
of the training images and not bounded. Parameter names are the published ones. The published decoders ignore
image size, norm and activation of the option files; here `channels` alone determines the network, and
`published_options.generator_config_from_options` checks those options against it.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from sf2f.network_config import FaceGanDecoderConfig, FaceGanV2DecoderConfig, Normalisation, V2FDecoderConfig

__all__ = [
    "UPSAMPLING_TAPS",
    "Deconvolution",
    "FaceGanDecoder",
    "FaceGanV2Decoder",
    "PointDeconvolution",
    "UpBlock",
    "V2FDecoder",
    "build_deconvolutions",
    "build_input_layer",
    "build_norm",
    "build_output_layers",
    "build_up_blocks",
    "project_to_4x4",
    "upsampling_filters",
]

UPSAMPLING_TAPS = ((0, 0, 1), (0, 1, 1), (1, 1, 0), (1, 0, 0))
"""For each tap of the fused 4-tap kernel, which of the 3 taps fall on the same input pixel."""


class V2FDecoder(nn.Module):
    """Transposed convolutions with ReLU, and a 1 x 1 output layer."""

    def __init__(self, config: V2FDecoderConfig, embedding_dim: int) -> None:
        super().__init__()
        self.config = config
        blocks = build_deconvolutions(embedding_dim, config.channels, config.normalisation)
        output = Deconvolution(config.channels[-1], config.image_channels, 1, 1, 0, False)
        self.model = nn.Sequential(*blocks, output)

    def forward(self, embeddings: Tensor) -> tuple[Tensor, ...]:
        """Decode embeddings (N, D) to images ((N, 3, S, S),)."""
        return (self.model(embeddings[:, :, None, None]),)


class FaceGanDecoder(nn.Module):
    """A linear layer with GLU to 4 x 4 pixels, upsampling blocks, two output convolutions."""

    def __init__(self, config: FaceGanDecoderConfig, embedding_dim: int) -> None:
        super().__init__()
        self.config = config
        self.fc = build_input_layer(embedding_dim, config.channels[0])
        self.up_layers = build_up_blocks(config.channels)
        self.gnet = build_output_layers(config.channels[-1], config.image_channels)

    def forward(self, embeddings: Tensor) -> tuple[Tensor, ...]:
        """Decode embeddings (N, D) to images ((N, 3, S, S),).

        Raises:
            ValueError: a single item in training.
        """
        return (self.gnet(self.up_layers(project_to_4x4(self.fc, embeddings))),)


class FaceGanV2Decoder(nn.Module):
    """`FaceGanDecoder` with one more upsampling block for a second image of twice the size."""

    def __init__(self, config: FaceGanV2DecoderConfig, embedding_dim: int) -> None:
        super().__init__()
        self.config = config
        low, mid = config.channels[-1], config.mid_channels
        self.fc = build_input_layer(embedding_dim, config.channels[0])
        self.up_low_layers = build_up_blocks(config.channels)
        self.up_mid_layer = UpBlock(low, mid)
        self.gnet_low = build_output_layers(low, config.image_channels)
        self.gnet_mid = build_output_layers(mid, config.image_channels)

    def forward(self, embeddings: Tensor) -> tuple[Tensor, ...]:
        """Decode embeddings (N, D) to images (N, 3, S, S) and (N, 3, 2S, 2S).

        Raises:
            ValueError: a single item in training.
        """
        code = self.up_low_layers(project_to_4x4(self.fc, embeddings))
        return self.gnet_low(code), self.gnet_mid(self.up_mid_layer(code))


class Deconvolution(nn.Module):
    """Transposed convolution, then optional ReLU and norm, in this order."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int,
        padding: int,
        use_relu: bool = True,
        normalisation: Normalisation = "none",
    ) -> None:
        super().__init__()
        kind = PointDeconvolution if (stride, padding) == (1, 0) else nn.ConvTranspose2d
        layers: list[nn.Module] = [kind(in_channels, out_channels, kernel, stride, padding)]
        if use_relu:
            layers.append(nn.ReLU(inplace=normalisation == "none"))
        self.model = nn.Sequential(*layers, *build_norm(normalisation, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H', W')."""
        return self.model(x)


class PointDeconvolution(nn.ConvTranspose2d):
    """Transposed convolution that maps a single pixel by one matrix product (twice as fast)."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(N, C, H, W), as the parent class."""
        if input.shape[2:] != (1, 1) or output_size is not None:
            return super().forward(input, output_size)
        assert self.bias is not None
        spread = input.flatten(1) @ self.weight.flatten(1)
        return spread.view(len(input), *self.weight.shape[1:]) + self.bias[:, None, None]


class UpBlock(nn.Sequential):
    """Nearest-neighbour upsampling by 2, 3 x 3 convolution, batch norm, GLU.

    Upsampling and convolution run as one transposed convolution of the small image with 4 x 4 kernels, which
    are sums of the 3 x 3 ones, because neighbouring upsampled pixels often share an input pixel. The result
    differs by rounding only; it needs 4 products instead of 9 and no upsampled image in memory. For few
    pixels, computing the sums would take longer than it saves, and the layers run one by one.
    """

    MIN_FUSED_PIXELS = 32  # pixels of all images of a batch

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv2d(in_channels, 2 * out_channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(2 * out_channels),
            nn.GLU(dim=1),
        )

    def forward(self, input: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, 2H, 2W)."""
        if input.shape[0] * input.shape[2] * input.shape[3] <= self.MIN_FUSED_PIXELS:
            return super().forward(input)
        _, convolution, norm, gate = self
        assert isinstance(convolution, nn.Conv2d)
        filters = upsampling_filters(convolution.weight)
        return gate(norm(nn.functional.conv_transpose2d(input, filters, stride=2, padding=1)))


def upsampling_filters(weight: Tensor) -> Tensor:
    """Fuse 3 x 3 kernels (O, I, 3, 3) with upsampling by 2 to 4 x 4 kernels (I, O, 4, 4)."""
    taps = torch.tensor(UPSAMPLING_TAPS, dtype=weight.dtype, device=weight.device)
    outer, inner = weight.shape[:2]
    sums = weight.transpose(0, 1).reshape(-1, 9) @ torch.kron(taps, taps).T
    return sums.view(inner, outer, 4, 4)


def build_deconvolutions(
    in_channels: int, channels: tuple[int, ...], normalisation: Normalisation
) -> list[Deconvolution]:
    """Build the layer to 4 x 4 pixels and the upsampling layers."""
    blocks = [Deconvolution(in_channels, channels[0], 4, 1, 0, True, normalisation)]
    for inner, outer in pairwise(channels):
        blocks.append(Deconvolution(inner, outer, 4, 2, 1, True, normalisation))
    return blocks


def build_input_layer(embedding_dim: int, channels: int) -> nn.Sequential:
    """Build linear, batch norm and GLU from the embedding to channels x 4 x 4 numbers."""
    numbers = 16 * channels
    return nn.Sequential(
        nn.Linear(embedding_dim, 2 * numbers, bias=False), nn.BatchNorm1d(2 * numbers), nn.GLU(dim=1)
    )


def project_to_4x4(fc: nn.Sequential, embeddings: Tensor) -> Tensor:
    """Apply `build_input_layer`'s module to embeddings (N, D); returns maps (N, channels, 4, 4)."""
    if fc.training and len(embeddings) < 2:
        raise ValueError(
            "in training the decoder needs at least 2 items per batch for its batch norms, found 1"
        )
    return fc(embeddings).view(len(embeddings), -1, 4, 4)


def build_up_blocks(channels: tuple[int, ...]) -> nn.Sequential:
    """Build the upsampling blocks between neighbouring channel numbers."""
    return nn.Sequential(
        *(UpBlock(in_channels, out_channels) for in_channels, out_channels in pairwise(channels))
    )


def build_output_layers(channels: int, image_channels: int) -> nn.Sequential:
    """Build two convolutions with a leaky ReLU; its slope is 0.01 whatever the option files say."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, 1, 1),
        nn.LeakyReLU(0.01, inplace=True),
        nn.Conv2d(channels, image_channels, 1),
    )


def build_norm(normalisation: Normalisation, channels: int) -> list[nn.Module]:
    """Build the norm of a layer of feature maps; empty for "none"."""
    if normalisation == "batch":
        return [nn.BatchNorm2d(channels)]
    return [nn.InstanceNorm2d(channels)] if normalisation == "instance" else []
