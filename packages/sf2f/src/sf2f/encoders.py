"""Voice encoder: log-mel windows to embeddings by 1-D convolutions, plain or with four parallel kernel sizes.

Letters: N windows, M mel bands, T frames, D embedding size, L frames after the network, about T / 32.
Parameter names are the published ones.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from voiceface.runtime.distributed import draw_rows

from sf2f.fusers import build_fuser
from sf2f.network_config import KERNEL_PADDING, EncoderConfig, FuserConfig

__all__ = [
    "Branch",
    "InceptionBlock",
    "VoiceEncoder",
    "build_conv_block",
]


class VoiceEncoder(nn.Module):
    """The published `V2F1DCNN`.

    Args:
        config: sizes.
        fuser: also build the window fuser, `attn_fuser`, which published checkpoints keep in the encoder.
    """

    def __init__(self, config: EncoderConfig | None = None, fuser: FuserConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or EncoderConfig()
        layers: list[nn.Module] = []
        in_channels = config.n_mels
        for out_channels in config.channels:
            if config.inception:
                layers.append(InceptionBlock(in_channels, out_channels))
            else:
                layers += build_conv_block(in_channels, out_channels, 3, 1)
            in_channels = out_channels
        self.model = nn.Sequential(*layers, nn.Conv1d(in_channels, config.embedding_dim, 3, 2, 1))
        self.attn_fuser = None if fuser is None else build_fuser(fuser, config.embedding_dim)

    def forward(self, mel: Tensor, noise: Tensor | torch.Generator | None = None) -> Tensor:
        """Encode windows (N, M, T), T at least 1, to embeddings (N, D); errors as the two methods below."""
        return self.forward_head(self.forward_features(mel), noise)

    def forward_features(self, mel: Tensor) -> Tensor:
        """Encode windows (N, M, T), normalised log-mel, to the output of the last convolution, (N, D, L).

        Raises:
            ValueError: another shape, no frame, or too few frames for batch statistics in training.
        """
        if mel.ndim != 3 or mel.shape[1] != self.config.n_mels:
            raise ValueError(f"windows must be (N, {self.config.n_mels}, T), found {tuple(mel.shape)}")
        if not mel.shape[2] or not mel.shape[0]:  # `len` would make the number constant in an exported graph
            raise ValueError(f"at least one window of one frame is required, found shape {tuple(mel.shape)}")
        frames = -(-mel.shape[2] // 2 ** len(self.config.channels))
        if self.model.training and len(mel) * frames < 2:
            raise ValueError(
                f"one window of {mel.shape[2]} frames has too few for batch statistics in training; use more "
                f"than {2 ** len(self.config.channels)} frames or at least two windows"
            )
        return self.model(mel)

    def forward_head(self, sequence: Tensor, noise: Tensor | torch.Generator | None = None) -> Tensor:
        """Average over time, normalise, and add noise.

        Args:
            sequence: (N, D, L).
            noise: standard normal numbers (N, D), which are added in any mode; or the generator that draws
                them, which happens in training and with `noise_in_evaluation`; each of several
                processes takes those of its rows.

        Returns:
            Embeddings (N, D).

        Raises:
            ValueError: noise is required but not passed, or passed to an encoder without noise.
        """
        std = self.config.noise_std
        embedding = sequence.mean(2)
        if self.config.normalise:
            embedding = F.normalize(embedding)
        sampled = noise
        if not isinstance(noise, Tensor):
            if not std or not (self.training or self.config.noise_in_evaluation):
                return embedding
            if noise is None:
                raise ValueError(
                    f"the encoder adds noise (standard deviation {std:g}); pass a torch.Generator or a tensor"
                )
            draw = partial(torch.randn, generator=noise, dtype=embedding.dtype, device=noise.device)
            sampled = draw_rows(draw, embedding.shape)
        elif not std:
            raise ValueError("noise was passed, but the encoder's noise_std is 0")
        assert isinstance(sampled, Tensor)
        if sampled.shape != embedding.shape:
            raise ValueError(f"noise must be {tuple(embedding.shape)}, found {tuple(sampled.shape)}")
        embedding = embedding + std * sampled.to(embedding)
        return F.normalize(embedding) if self.config.normalise else embedding


class InceptionBlock(nn.Module):
    """Four parallel convolutions of different kernel size, a quarter of the channels each; halves the time.

    The smallest kernel gives one frame more for an even number of frames; its last frame is dropped after the
    norm, as published.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        quarter = out_channels // len(KERNEL_PADDING)
        self.conv_k2, self.conv_k3, self.conv_k5, self.conv_k7 = (
            Branch(in_channels, quarter, kernel, padding) for kernel, padding in KERNEL_PADDING.items()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T) to (N, out_channels, ceil(T / 2))."""
        frames = (x.shape[2] + 1) // 2  # graphs divide towards zero
        outputs = [branch(x) for branch in (self.conv_k2, self.conv_k3, self.conv_k5, self.conv_k7)]
        return torch.cat([each[:, :, :frames] for each in outputs], dim=1)


class Branch(nn.Module):
    """One convolution of an inception block."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, padding: int) -> None:
        super().__init__()
        self.model = nn.Sequential(*build_conv_block(in_channels, out_channels, kernel, padding))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T) to (N, out_channels, about T / 2)."""
        return self.model(x)


def build_conv_block(in_channels: int, out_channels: int, kernel: int, padding: int) -> list[nn.Module]:
    """Build a stride-2 convolution, batch norm and ReLU."""
    convolution = nn.Conv1d(in_channels, out_channels, kernel, 2, padding, bias=False)
    return [convolution, nn.BatchNorm1d(out_channels), nn.ReLU(inplace=True)]
