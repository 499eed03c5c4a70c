"""Decoders of the published code that no released model uses.

Letters: N images, D embedding size, L frames of the encoder's sequence. Parameter names are the published
ones.
"""

import torch
from torch import Tensor, nn

from sf2f.decoders import Deconvolution, UpBlock, build_deconvolutions, build_norm
from sf2f.fusers import Attention
from sf2f.network_config import AttnV2FDecoderConfig, MRDecoderConfig, Normalisation

__all__ = [
    "NUM_QUERIES",
    "AttentionMap",
    "AttnV2FDecoder",
    "ExtraFeatureMap",
    "LearnedQueryAttention",
    "MRDecoder",
    "resize_nearest",
]

NUM_QUERIES = 16  # one per pixel of a 4 x 4 map, row by row


class MRDecoder(nn.Module):
    """Transposed convolutions with an output layer at each of the last sizes."""

    def __init__(self, config: MRDecoderConfig, embedding_dim: int) -> None:
        super().__init__()
        if config.extra_feature_map and embedding_dim % 16:
            raise ValueError(
                f"extra_feature_map needs embedding_dim to be a multiple of 16, found {embedding_dim}"
            )
        self.config = config
        in_channels, norm = config.channels[-1], config.normalisation
        self.base_block = nn.Sequential(*build_deconvolutions(embedding_dim, config.channels, norm))
        self.low_output_layer = Deconvolution(in_channels, config.image_channels, 1, 1, 0, False)
        self.levels = ["mid"] if config.high_channels is None else ["mid", "high"]
        for level, out_channels in zip(self.levels, (config.mid_channels, config.high_channels)):
            assert out_channels is not None
            if config.extra_feature_map:
                setattr(self, f"{level}_ef_block", ExtraFeatureMap(embedding_dim, norm))
                in_channels += embedding_dim // 16
            hidden = (
                UpBlock(in_channels, out_channels)
                if config.use_up_blocks
                else Deconvolution(in_channels, out_channels, 4, 2, 1, True, norm)
            )
            setattr(self, f"{level}_hidden_layer", hidden)
            setattr(
                self,
                f"{level}_output_layer",
                Deconvolution(out_channels, config.image_channels, 1, 1, 0, False),
            )
            in_channels = out_channels

    def forward(self, embeddings: Tensor) -> tuple[Tensor, ...]:
        """Decode embeddings (N, D) to images of all sizes, smallest first."""
        maps = self.base_block(embeddings[:, :, None, None])
        images = [self.low_output_layer(maps)]
        for level in self.levels:
            if self.config.extra_feature_map:
                extra = getattr(self, f"{level}_ef_block")(embeddings)
                maps = torch.cat([maps, resize_nearest(extra, maps)], dim=1)
            maps = getattr(self, f"{level}_hidden_layer")(maps)
            images.append(getattr(self, f"{level}_output_layer")(maps))
        return tuple(images)


class AttnV2FDecoder(nn.Module):
    """The v2f decoder with attention to the encoder's sequence."""

    needs_sequence = True

    def __init__(self, config: AttnV2FDecoderConfig, embedding_dim: int) -> None:
        super().__init__()
        self.config = config
        in_channels = embedding_dim
        for level, (out_channels, extra) in enumerate(zip(config.channels, config.attention_channels)):
            stride_padding = (1, 0) if level == 0 else (2, 1)
            block = Deconvolution(in_channels, out_channels, 4, *stride_padding, True, config.normalisation)
            self.add_module(f"DeConv2DBLK{level}", block)
            if extra:
                self.add_module(f"AttnBlock{level}", AttentionMap(embedding_dim, extra))
            in_channels = out_channels + extra
        output = Deconvolution(in_channels, config.image_channels, 1, 1, 0, False)
        self.add_module(f"DeConv2DBLK{len(config.channels)}", output)

    def forward(self, embeddings: Tensor, sequence: Tensor) -> tuple[Tensor, ...]:
        """Decode embeddings (N, D) and encoder sequences (N, D, L) to images ((N, 3, S, S),)."""
        maps = embeddings[:, :, None, None]
        for level, extra in enumerate(self.config.attention_channels):
            maps = self.get_submodule(f"DeConv2DBLK{level}")(maps)
            if extra:
                attended = self.get_submodule(f"AttnBlock{level}")(sequence)
                maps = torch.cat([maps, resize_nearest(attended, maps)], dim=1)
        return (self.get_submodule(f"DeConv2DBLK{len(self.config.channels)}")(maps),)


class ExtraFeatureMap(nn.Module):
    """The embedding as a feature map of 4 x 4 pixels."""

    def __init__(self, embedding_dim: int, normalisation: Normalisation) -> None:
        super().__init__()
        self.projection = nn.Linear(embedding_dim, embedding_dim)
        self.norm = nn.Sequential(*build_norm(normalisation, embedding_dim // 16))

    def forward(self, embeddings: Tensor) -> Tensor:
        """(N, D) to (N, D / 16, 4, 4)."""
        return self.norm(self.projection(embeddings).view(len(embeddings), -1, 4, 4))


class AttentionMap(nn.Module):
    """Attention of learned queries to a sequence, as a feature map of 4 x 4 pixels."""

    def __init__(self, embedding_dim: int, channels: int) -> None:
        super().__init__()
        self.attn_layer = LearnedQueryAttention(embedding_dim, channels)

    def forward(self, sequence: Tensor) -> Tensor:
        """(N, D, L) to (N, channels, 4, 4)."""
        attended = self.attn_layer(sequence.transpose(1, 2))
        return attended.transpose(1, 2).reshape(len(attended), -1, 4, 4)


class LearnedQueryAttention(nn.Module):
    """Attention with learned queries, shared by all items."""

    def __init__(self, embedding_dim: int, out_dim: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, NUM_QUERIES, embedding_dim))
        self.attention = Attention(embedding_dim, out_dim)

    def forward(self, context: Tensor) -> Tensor:
        """(N, L, D) to (N, 16, out_dim)."""
        return self.attention(self.query.expand(len(context), -1, -1), context)[0]


def resize_nearest(maps: Tensor, reference: Tensor) -> Tensor:
    """Resize maps to the size of a reference by nearest neighbour."""
    return nn.functional.interpolate(maps, size=reference.shape[2:], mode="nearest")
