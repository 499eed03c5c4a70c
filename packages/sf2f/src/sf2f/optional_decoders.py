"""Decoders that came with the published code but with none of its released models.

Letters: N pictures, D embedding length, L frames of the encoder's sequence (specification, section 5.4).
Parameter names are the published ones.
"""

from typing import Literal, Self

import torch
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor, nn
from voiceface.runtime.config import Config

from sf2f.decoders import Deconvolution, Normalisation, UpBlock, build_deconvolutions, build_norm
from sf2f.fusers import Attention

NUM_QUERIES = 16  # one for each of 4 x 4 pixels, row by row


class MRDecoderConfig(Config):
    """Pictures of two or three sizes, each twice the one before."""

    kind: Literal["mr"] = "mr"
    channels: tuple[PositiveInt, ...] = Field(
        default=(1024, 512, 256, 128, 64), min_length=1, description="up to the smallest picture, as of v2f"
    )
    mid_channels: int = Field(default=32, ge=1, description="at twice its side")
    high_channels: int | None = Field(default=None, ge=1, description="at four times; null: no such picture")
    normalisation: Normalisation = Field(default="none", description="after the ReLU of each layer")
    use_up_blocks: bool = Field(default=False, description="nearest doubling and gates above the base")
    extra_feature_map: bool = Field(
        default=False, description="the embedding again, as a map, before each of these"
    )
    image_channels: int = Field(default=3, ge=1, description="channels of the pictures")

    @property
    def image_sizes(self) -> tuple[int, ...]:
        """Sides of the pictures in pixels, smallest first."""
        low = 4 * 2 ** (len(self.channels) - 1)
        return (low, 2 * low) if self.high_channels is None else (low, 2 * low, 4 * low)


class AttnV2FDecoderConfig(Config):
    """The v2f decoder whose levels may look back at the encoder's sequence."""

    kind: Literal["attn_v2f"] = "attn_v2f"
    channels: tuple[PositiveInt, ...] = Field(
        default=(1024, 512, 256, 128, 64), min_length=1, description="as of v2f"
    )
    attention_channels: tuple[NonNegativeInt, ...] = Field(
        default=(0, 0, 64, 0, 0), description="that attention adds to each level; 0: none"
    )
    normalisation: Normalisation = Field(default="none", description="after the ReLU of each layer")
    image_channels: int = Field(default=3, ge=1, description="channels of the picture")

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        if len(self.attention_channels) != len(self.channels):
            raise ValueError(
                f"one number of attention_channels for each level needed: {len(self.channels)} levels, "
                f"{len(self.attention_channels)} numbers"
            )
        return self

    @property
    def image_sizes(self) -> tuple[int, ...]:
        """Sides of the pictures in pixels, smallest first."""
        return (4 * 2 ** (len(self.channels) - 1),)


class MRDecoder(nn.Module):
    """Transposed convolutions with an output layer at each of the last sizes."""

    def __init__(self, config: MRDecoderConfig, embedding_dim: int) -> None:
        super().__init__()
        if config.extra_feature_map and embedding_dim % 16:
            raise ValueError(
                f"extra_map needs an embedding of a multiple of 16 numbers, found {embedding_dim}"
            )
        self.config = config
        before, norm = config.channels[-1], config.normalisation
        self.base_block = nn.Sequential(*build_deconvolutions(embedding_dim, config.channels, norm))
        self.low_output_layer = Deconvolution(before, config.image_channels, 1, 1, 0, False)
        self.levels = ["mid"] if config.high_channels is None else ["mid", "high"]
        for level, width in zip(self.levels, (config.mid_channels, config.high_channels)):
            assert width is not None
            if config.extra_feature_map:
                setattr(self, f"{level}_ef_block", ExtraFeatureMap(embedding_dim, norm))
                before += embedding_dim // 16
            hidden = (
                UpBlock(before, width)
                if config.use_up_blocks
                else Deconvolution(before, width, 4, 2, 1, True, norm)
            )
            setattr(self, f"{level}_hidden_layer", hidden)
            setattr(
                self, f"{level}_output_layer", Deconvolution(width, config.image_channels, 1, 1, 0, False)
            )
            before = width

    def forward(self, embeddings: Tensor) -> tuple[Tensor, ...]:
        """Embeddings (N, D) to pictures of all sizes, smallest first."""
        maps = self.base_block(embeddings[:, :, None, None])
        pictures = [self.low_output_layer(maps)]
        for level in self.levels:
            if self.config.extra_feature_map:
                extra = getattr(self, f"{level}_ef_block")(embeddings)
                maps = torch.cat([maps, resize_nearest(extra, maps)], dim=1)
            maps = getattr(self, f"{level}_hidden_layer")(maps)
            pictures.append(getattr(self, f"{level}_output_layer")(maps))
        return tuple(pictures)


class AttnV2FDecoder(nn.Module):
    """The v2f decoder with attention to the encoder's sequence."""

    needs_sequence = True

    def __init__(self, config: AttnV2FDecoderConfig, embedding_dim: int) -> None:
        super().__init__()
        self.config = config
        before = embedding_dim
        for level, (width, extra) in enumerate(zip(config.channels, config.attention_channels)):
            place = (1, 0) if level == 0 else (2, 1)
            block = Deconvolution(before, width, 4, *place, True, config.normalisation)
            self.add_module(f"DeConv2DBLK{level}", block)
            if extra:
                self.add_module(f"AttnBlock{level}", AttentionMap(embedding_dim, extra))
            before = width + extra
        last = Deconvolution(before, config.image_channels, 1, 1, 0, False)
        self.add_module(f"DeConv2DBLK{len(config.channels)}", last)

    def forward(self, embeddings: Tensor, sequence: Tensor) -> tuple[Tensor, ...]:
        """Embeddings (N, D) and the encoder's sequences (N, D, L) to pictures ((N, 3, S, S),)."""
        maps = embeddings[:, :, None, None]
        for level, extra in enumerate(self.config.attention_channels):
            maps = self.get_submodule(f"DeConv2DBLK{level}")(maps)
            if extra:
                seen = self.get_submodule(f"AttnBlock{level}")(sequence)
                maps = torch.cat([maps, resize_nearest(seen, maps)], dim=1)
        return (self.get_submodule(f"DeConv2DBLK{len(self.config.channels)}")(maps),)


class ExtraFeatureMap(nn.Module):
    """The embedding as a map of 4 x 4 pixels."""

    def __init__(self, embedding_dim: int, normalisation: Normalisation) -> None:
        super().__init__()
        self.projection = nn.Linear(embedding_dim, embedding_dim)
        self.norm = nn.Sequential(*build_norm(normalisation, embedding_dim // 16))

    def forward(self, embeddings: Tensor) -> Tensor:
        """(N, D) to (N, D / 16, 4, 4)."""
        return self.norm(self.projection(embeddings).view(len(embeddings), -1, 4, 4))


class AttentionMap(nn.Module):
    """What learned queries find in a sequence, as a map of 4 x 4 pixels."""

    def __init__(self, embedding_dim: int, channels: int) -> None:
        super().__init__()
        self.attn_layer = LearnedQueryAttention(embedding_dim, channels)

    def forward(self, sequence: Tensor) -> Tensor:
        """(N, D, L) to (N, channels, 4, 4)."""
        found = self.attn_layer(sequence.transpose(1, 2))
        return found.transpose(1, 2).reshape(len(found), -1, 4, 4)


class LearnedQueryAttention(nn.Module):
    """Attention whose queries are parameters, the same for all items."""

    def __init__(self, embedding_dim: int, out_dim: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, NUM_QUERIES, embedding_dim))
        self.attention = Attention(embedding_dim, out_dim)

    def forward(self, context: Tensor) -> Tensor:
        """(N, L, D) to (N, 16, out)."""
        return self.attention(self.query.expand(len(context), -1, -1), context)[0]


def resize_nearest(maps: Tensor, reference: Tensor) -> Tensor:
    """A map at the size of another, each pixel repeated."""
    return nn.functional.interpolate(maps, size=reference.shape[2:], mode="nearest")
