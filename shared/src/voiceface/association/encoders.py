"""Encoders of both modalities: voice backbone with its front end, normalisation, freezing, crops.

Notation: B batch, S image side in pixels, T samples, F features of a backbone, D embedding length.
"""

from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from voiceface.association.encoder_config import VoiceBackboneConfig
from voiceface.audio.augmentation import mask_spectrogram
from voiceface.audio.frontends import SeekingShapeLogMel
from voiceface.models import thin_resnet

__all__ = [
    "Branch",
    "Encoders",
    "InputNormalization",
    "TwoBranchModel",
    "VoiceBackbone",
    "freeze",
    "num_identities",
    "sample_crop_interval",
]


def num_identities(configured: int | None, counted: int | None) -> int:
    """Determine the number of training identities C from the configuration and from the data.

    Raises:
        ValueError: neither is given, or they differ.
    """
    if configured is not None and counted is not None and configured != counted:
        raise ValueError(
            f"model.num_classes is {configured}, found {counted} training identities: set it to null"
        )
    classes = counted or configured
    if classes is None:
        raise ValueError("the number of training identities is unknown: set model.num_classes")
    return classes


class Encoders(nn.Module):
    """Base class of association models: two encoders into one embedding space."""

    def encode_faces(self, faces: Tensor) -> Tensor:
        """Encode images (B, 3, S, S), 0...255, as embeddings (B, D), not of unit length."""
        raise NotImplementedError

    def encode_voices(self, voices: Tensor) -> Tensor:
        """Encode waveforms (B, T) at 16 kHz as embeddings (B, D), not of unit length."""
        raise NotImplementedError

    def parameter_groups(self) -> list[dict[str, list[nn.Parameter]]]:
        """List the optimiser's parameter groups; by default one, of all parameters that require gradients."""
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]


class VoiceBackbone(thin_resnet.ThinResNet):
    """Thin ResNet-34 with its front end, which is part of published checkpoints (`torchfb`).

    Args:
        config: backbone and front end.
        features: length F of the output; None: no last linear layer (`fc`), the output is the pooled map, of
            the last width ("sap") or twice as long ("asp").
    """

    def __init__(self, config: VoiceBackboneConfig, features: int | None = 512) -> None:
        super().__init__(
            config.widths,
            config.blocks,
            config.strides,
            features=features,
            pooling=config.pooling,
            stem_stride=config.stem_stride,
        )
        self.torchfb = SeekingShapeLogMel(config.n_mels, f_min=config.f_min, f_max=config.f_max)

    def forward(self, waveforms: Tensor, masks: Tensor | None = None) -> Tensor:
        """Map waveforms (B, T) in the 16-bit range to features (B, F); `masks`: see `mask_spectrogram`."""
        log_mel = self.torchfb(waveforms)
        log_mel = log_mel if masks is None else mask_spectrogram(log_mel, masks)
        return super().forward(log_mel.to(torch.promote_types(log_mel.dtype, self.conv1.weight.dtype)))


class InputNormalization(nn.Module):
    """Normalise bytes to -1...1, (v - 127.5) / 127.5, by a frozen depth-wise 1x1 convolution."""

    def __init__(self, mean: float = 127.5, std: float = 127.5) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, groups=3)
        values = {"weight": torch.full((3, 1, 1, 1), 1 / std), "bias": torch.full((3,), -mean / std)}
        self.conv.load_state_dict(values)
        self.conv.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, S, S), 0...255, to the same shape, -1...1."""
        return self.conv(images.to(self.conv.weight.dtype))


class Branch(nn.Module):
    """Encoder of one modality; frozen batch norms keep their statistics in training mode."""

    def train(self, mode: bool = True) -> Self:
        """Set the mode; frozen batch norms of any class stay in evaluation mode."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm) and module.affine and not module.weight.requires_grad:
                module.eval()
        return self


class TwoBranchModel(Encoders):
    """Model with one branch per modality and normalised images.

    Attributes:
        branches: modality, "face" or "voice" -> published name of its branch in state dicts, face first.
        normalize: normalises images to -1...1.
    """

    branches: ClassVar[dict[str, str]]
    normalize: "InputNormalization"

    def encode_faces(self, faces: Tensor) -> Tensor:
        """Encode images (B, 3, S, S), 0...255, in the channel order of the configuration, as (B, D)."""
        return self.get_submodule(self.branches["face"])(self.normalize(faces))

    def encode_voices(self, voices: Tensor, masks: Tensor | None = None) -> Tensor:
        """Encode waveforms (B, T) in the 16-bit range at 16 kHz as embeddings (B, D).

        In training, rectangles of the log-mel bands may be masked: `masks` (B, K, 4), see `mask_spectrogram`.
        """
        branch = self.get_submodule(self.branches["voice"])
        return branch(voices) if masks is None else branch(voices, masks)

    def parameter_groups(self) -> list[dict[str, list[nn.Parameter]]]:
        """List one group per branch, face first: the order that numbers published optimiser states."""
        parts = [self.get_submodule(name) for name in self.branches.values()]
        return [{"params": [p for p in part.parameters() if p.requires_grad]} for part in parts]

    def freeze(self, modality: str) -> None:
        """Freeze the branch of a modality."""
        freeze(self.get_submodule(self.branches[modality]))


def freeze(branch: nn.Module) -> None:
    """Freeze a branch: no gradients, and its batch norms stay in evaluation mode."""
    branch.requires_grad_(False)
    branch.train(branch.training)


def sample_crop_interval(
    rng: np.random.Generator, samples: int, shortest: int = 40_000, longest: int = 80_000
) -> tuple[int, int]:
    """Sample the crop of one training batch: one start and length for all its clips.

    Args:
        rng: source of randomness; two draws.
        samples: length T of the clips.
        shortest: minimum length in samples, 2.5 s as published.
        longest: upper end of the length in samples, excluded, 5 s as published.

    Returns:
        (start, length) in samples, start + length <= samples.

    Raises:
        ValueError: an empty range, or clips shorter than `shortest`.
    """
    if not 0 < shortest <= min(longest - 1, samples):
        raise ValueError(f"crops of {shortest} to below {longest} samples do not fit {samples} samples")
    length = int(rng.integers(shortest, min(longest, samples + 1)))
    return int(rng.integers(0, max(1, samples - length))), length
