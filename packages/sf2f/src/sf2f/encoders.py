"""Voice encoder: log-mel windows to embeddings, by convolutions along time, plain or in four widths at once.

Letters: N windows, M mel bands, T frames, D embedding length, L frames after the network, about T / 32
(specification, section 3). Parameter names are the published ones.
"""

from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from voiceface.runtime.config import Config

from sf2f.fusers import FuserConfig, build_fuser

KERNEL_PADDING = {2: 1, 3: 1, 5: 2, 7: 3}
"""Padding by width of the filters in an inception block, in the order in which results are joined."""


class EncoderConfig(Config):
    """Sizes of the voice encoder; the defaults are the published ones of the SF2F models."""

    n_mels: int = Field(default=40, ge=1, description="mel bands M")
    channels: tuple[int, ...] = Field(
        default=(256, 384, 576, 864), min_length=1, description="of the blocks, each of which halves the time"
    )
    embedding_dim: int = Field(default=512, ge=1, description="length D of the embedding")
    inception: bool = Field(default=True, description="filters of 2, 3, 5 and 7 frames; else of 3 alone")
    normalise: bool = Field(default=True, description="embeddings have length one")
    noise_std: float = Field(
        default=0.0, ge=0, description="deviation of normal noise on the embedding; 0.05 in v2f"
    )
    noise_in_evaluation: bool = Field(
        default=False, description="noise outside training, too, as published: then no two pictures are alike"
    )

    @model_validator(mode="after")
    def _check_channels(self) -> Self:
        narrow = [
            width for width in self.channels if width < 1 or (self.inception and width % len(KERNEL_PADDING))
        ]
        if narrow:
            raise ValueError(f"channels must be positive, with inception multiples of 4; found {narrow}")
        return self


class VoiceEncoder(nn.Module):
    """The published `V2F1DCNN`.

    Args:
        config: sizes.
        fuser: also make the fuser of windows, `attn_fuser`, which published checkpoints keep in here.
    """

    def __init__(self, config: EncoderConfig | None = None, fuser: FuserConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or EncoderConfig()
        layers: list[nn.Module] = []
        before = config.n_mels
        for width in config.channels:
            if config.inception:
                layers.append(InceptionBlock(before, width))
            else:
                layers += build_conv_block(before, width, 3, 1)
            before = width
        self.model = nn.Sequential(*layers, nn.Conv1d(before, config.embedding_dim, 3, 2, 1))
        self.attn_fuser = None if fuser is None else build_fuser(fuser, config.embedding_dim)

    def forward(self, mel: Tensor, noise: Tensor | torch.Generator | None = None) -> Tensor:
        """Windows (N, M, T), T at least 1, to embeddings (N, D); errors as `sequence` and `forward_head`."""
        return self.forward_head(self.forward_features(mel), noise)

    def forward_features(self, mel: Tensor) -> Tensor:
        """Windows (N, M, T), normalised log-mel, to what the last convolution finds, (N, D, L).

        Raises:
            ValueError: another shape, no frame, or in training too few frames for batch statistics.
        """
        if mel.ndim != 3 or mel.shape[1] != self.config.n_mels:
            raise ValueError(f"windows must be (N, {self.config.n_mels}, T), found {tuple(mel.shape)}")
        if not mel.shape[2] or not mel.shape[0]:  # `len` would fix the number in an exported graph
            raise ValueError(f"at least one window of one frame needed, found shape {tuple(mel.shape)}")
        left = -(-mel.shape[2] // 2 ** len(self.config.channels))
        if self.model.training and len(mel) * left < 2:
            raise ValueError(
                f"one window of {mel.shape[2]} frames has too few for batch statistics in training: more "
                f"than {2 ** len(self.config.channels)} frames or two windows needed"
            )
        return self.model(mel)

    def forward_head(self, sequence: Tensor, noise: Tensor | torch.Generator | None = None) -> Tensor:
        """Mean over time, unit length, noise.

        Args:
            sequence: (N, D, L).
            noise: standard normal numbers (N, D), which are added in any mode, or where to draw them, which
                is done in training and with `noise_in_evaluation`.

        Returns:
            Embeddings (N, D).

        Raises:
            ValueError: noise is due but its source is absent, or noise is given to an encoder without.
        """
        deviation = self.config.noise_std
        embedding = sequence.mean(2)
        if self.config.normalise:
            embedding = l2_normalize(embedding)
        drawn = noise
        if not isinstance(noise, Tensor):
            if not deviation or not (self.training or self.config.noise_in_evaluation):
                return embedding
            if noise is None:
                raise ValueError(
                    f"embeddings get noise of deviation {deviation:g} here: give a torch.Generator or numbers"
                )
            drawn = torch.randn(embedding.shape, generator=noise, dtype=embedding.dtype, device=noise.device)
        elif not deviation:
            raise ValueError("noise was given, but the encoder's configuration has noise 0")
        assert isinstance(drawn, Tensor)
        if drawn.shape != embedding.shape:
            raise ValueError(f"noise must be {tuple(embedding.shape)}, found {tuple(drawn.shape)}")
        embedding = embedding + deviation * drawn.to(embedding)
        return l2_normalize(embedding) if self.config.normalise else embedding


class InceptionBlock(nn.Module):
    """Four filters of different width side by side, a quarter of the channels each; time is halved.

    The narrowest gives one frame more for an even number of frames; its last one is dropped after the norm,
    as published.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        quarter = out_channels // len(KERNEL_PADDING)
        self.conv_k2, self.conv_k3, self.conv_k5, self.conv_k7 = (
            Branch(in_channels, quarter, kernel, padding) for kernel, padding in KERNEL_PADDING.items()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T) to (N, width, ceil(T / 2))."""
        frames = -(-x.shape[2] // 2)
        found = [branch(x) for branch in (self.conv_k2, self.conv_k3, self.conv_k5, self.conv_k7)]
        return torch.cat([each[:, :, :frames] for each in found], dim=1)


class Branch(nn.Module):
    """One filter of an inception block."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, padding: int) -> None:
        super().__init__()
        self.model = nn.Sequential(*build_conv_block(in_channels, out_channels, kernel, padding))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T) to (N, width, about T / 2)."""
        return self.model(x)


def build_conv_block(in_channels: int, out_channels: int, kernel: int, padding: int) -> list[nn.Module]:
    """Convolution that halves the time, batch norm, ReLU."""
    convolution = nn.Conv1d(in_channels, out_channels, kernel, 2, padding, bias=False)
    return [convolution, nn.BatchNorm1d(out_channels), nn.ReLU(inplace=True)]


def l2_normalize(embeddings: Tensor) -> Tensor:
    """Rows of length one; rows shorter than 1e-12 are divided by that instead."""
    return nn.functional.normalize(embeddings, dim=1, eps=1e-12)
