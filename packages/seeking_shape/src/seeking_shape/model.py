"""The whole network: face branch, voice branch, one shared classifier, identity weights.

Letters: B batch, S picture side in pixels, T samples, D embedding length, C identities.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple, Self

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from voiceface.backbones import ir, thin_resnet
from voiceface.config import Config
from voiceface.features import SeekingShapeLogMel

from seeking_shape.reweighting import IdentityWeights

Stages = tuple[int, int, int, int]
Stride = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
FACE_NAMES = {"SEResNet50IR": "ir50"}  # published name: says SE, builds the plain IR-50


class FaceConfig(Config):
    """Face branch; the defaults are the published IR-50."""

    arch: Literal["ir50", "ir101", "ir152"] = Field(
        default="ir50", description="units per stage, unless `blocks` says so"
    )
    blocks: Stages | None = Field(default=None, description="units per stage; None: those of `arch`")
    widths: Stages = Field(default=ir.WIDTHS, description="channels per stage")
    squeeze: bool = Field(
        default=False, description="squeeze-excitation in every unit (not in the published checkpoints)"
    )
    side: int = Field(default=112, ge=16, description="picture side, pixels")
    stem_stride: int = Field(default=1, ge=1, le=2, description="of the first convolution")
    features: int = Field(default=512, ge=1, description="length of the backbone's output")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="before the backbone's last linear layer")
    head_dropout: float = Field(default=0.5, ge=0, lt=1, description="on the embedding, in training")

    @field_validator("arch", mode="before")
    @classmethod
    def _published_name(cls, value: object) -> object:
        return FACE_NAMES.get(value, value) if isinstance(value, str) else value


class VoiceConfig(Config):
    """Voice branch; the defaults are the published thin ResNet-34."""

    blocks: Stages = Field(default=thin_resnet.BLOCKS, description="residual blocks per stage")
    widths: Stages = Field(default=thin_resnet.WIDTHS, description="channels per stage")
    stem_stride: Stride = Field(
        default=thin_resnet.STEM_STRIDE, description="(frequency, time) of the first convolution"
    )
    strides: tuple[Stride, Stride, Stride, Stride] = Field(
        default=thin_resnet.STRIDES, description="(frequency, time) of each stage"
    )
    pooling: Literal["sap", "asp"] = Field(
        default="sap", description="attentive mean, or mean and standard deviation"
    )
    features: int = Field(default=512, ge=1, description="length of the backbone's output")
    n_mels: int = Field(default=40, ge=4, description="mel bands")
    low: float = Field(default=0.0, ge=0, description="lower end of the mel bands, Hz")
    high: float = Field(default=8000.0, gt=0, le=8000, description="upper end of the mel bands, Hz")
    head_dropout: float = Field(default=0.5, ge=0, lt=1, description="on the embedding, in training")


class ModelConfig(Config):
    """Architecture. `num_classes` follows from the training identities where it is None."""

    face: FaceConfig = FaceConfig()
    voice: VoiceConfig = VoiceConfig()
    embedding: int = Field(default=128, ge=1, description="length D of the common embedding")
    num_classes: int | None = Field(default=None, ge=2, description="training identities C; None: counted")


class Output(NamedTuple):
    """Embeddings (B, D), not normalised, and class logits (B, C) of a batch of pairs."""

    face: Tensor
    voice: Tensor
    face_logits: Tensor
    voice_logits: Tensor


class Head(nn.Sequential):
    """BN, ReLU, linear without bias, dropout: backbone features to the embedding."""

    def __init__(self, features: int, embedding: int, dropout: float) -> None:
        super().__init__(
            nn.BatchNorm1d(features),
            nn.ReLU(inplace=True),
            nn.Linear(features, embedding, bias=False),
            nn.Dropout(dropout),
        )


class Branch(nn.Module):
    """One modality's network; batch norms whose weights are frozen keep their statistics in training, too."""

    def train(self, mode: bool = True) -> Self:
        """Set the mode, except for frozen batch norms, whichever layer takes their place."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm) and module.affine and not module.weight.requires_grad:
                module.eval()
        return self


class FaceBranch(Branch):
    """IR network, head, and the classifier that both branches share (`cls`)."""

    def __init__(self, config: FaceConfig, embedding: int, num_classes: int) -> None:
        super().__init__()
        blocks = config.blocks or ir.BLOCKS[config.arch]
        self.model = ir.IR(
            blocks,
            config.widths,
            config.side,
            config.features,
            config.dropout,
            config.squeeze,
            config.stem_stride,
        )
        self.fc = Head(config.features, embedding, config.head_dropout)
        self.cls = nn.Linear(embedding, num_classes, bias=False)
        nn.init.xavier_uniform_(self.cls.weight)

    def forward(self, pictures: Tensor) -> Tensor:
        """Normalised pictures (B, 3, S, S) to embeddings (B, D)."""
        return self.fc(self.model(pictures))


class VoiceBackbone(thin_resnet.ThinResNet):
    """Thin ResNet-34 with its front end, which published checkpoints keep inside it (`torchfb`)."""

    def __init__(self, config: VoiceConfig) -> None:
        super().__init__(
            config.widths,
            config.blocks,
            config.strides,
            features=config.features,
            pooling=config.pooling,
            stem_stride=config.stem_stride,
        )
        self.torchfb = SeekingShapeLogMel(config.n_mels, low=config.low, high=config.high)

    def forward(self, waves: Tensor) -> Tensor:
        """Waves (B, T) in the 16-bit range to features (B, F)."""
        bands = self.torchfb(waves)
        return super().forward(bands.to(torch.promote_types(bands.dtype, self.fc.weight.dtype)))


class VoiceBranch(Branch):
    """Voice backbone and head."""

    def __init__(self, config: VoiceConfig, embedding: int) -> None:
        super().__init__()
        self.model = VoiceBackbone(config)
        self.fc = Head(config.features, embedding, config.head_dropout)

    def forward(self, waves: Tensor) -> Tensor:
        """Waves (B, T) in the 16-bit range to embeddings (B, D)."""
        return self.fc(self.model(waves))


class Normalise(nn.Module):
    """Bytes to -1...1 per channel, (v - 127.5) / 127.5, kept as a frozen depth-wise 1x1 convolution."""

    def __init__(self, mean: float = 127.5, spread: float = 127.5) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, groups=3)
        values = {"weight": torch.full((3, 1, 1, 1), 1 / spread), "bias": torch.full((3,), -mean / spread)}
        self.conv.load_state_dict(values)
        self.conv.requires_grad_(False)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.conv(pictures.to(self.conv.weight.dtype))


class Voice2Face(nn.Module):
    """Both branches, with the state-dict keys of the published checkpoints.

    Args:
        config: architecture.
        num_classes: training identities C, when the configuration leaves it open.
        center: identity weights of the same C classes; None: all one, for good.
        names: identity of every class, where `center` is not given.

    Raises:
        ValueError: the number of classes is unknown or contradicts the configuration.
    """

    def __init__(
        self,
        config: ModelConfig | None = None,
        num_classes: int | None = None,
        center: IdentityWeights | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        config = config or ModelConfig()
        stated = config.num_classes
        if num_classes is not None and stated is not None and num_classes != stated:
            raise ValueError(
                f"model.num_classes is {stated}, there are {num_classes} training identities: leave it empty"
            )
        classes = num_classes or stated
        if classes is None:
            raise ValueError("the number of training identities is unknown: give num_classes")
        self.config = config.model_copy(update={"num_classes": classes})
        self.normalize = Normalise()
        self.V = VoiceBranch(config.voice, config.embedding)
        self.F = FaceBranch(config.face, config.embedding, classes)
        self.center = IdentityWeights(classes, names=names) if center is None else center
        if len(self.center.weight) != classes:
            raise ValueError(f"identity weights of {len(self.center.weight)} classes given for {classes}")

    def forward(self, faces: Tensor, voices: Tensor) -> Output:
        """One training batch, row i of both inputs from one person.

        Args:
            faces: pictures, channel order blue, green, red, 0...255, shape (B, 3, S, S).
            voices: waves in the 16-bit range at 16 kHz, shape (B, T), already cropped.
        """
        face, voice = self.encode_faces(faces), self.encode_voices(voices)
        return Output(face, voice, self.F.cls(face), self.F.cls(voice))

    def encode_faces(self, faces: Tensor) -> Tensor:
        """Pictures (B, 3, S, S), BGR, 0...255, to embeddings (B, D), not of unit length."""
        return self.F(self.normalize(faces))

    def encode_voices(self, voices: Tensor) -> Tensor:
        """Waves (B, T) in the 16-bit range at 16 kHz to embeddings (B, D), not of unit length."""
        return self.V(voices)


def parameter_groups(model: Voice2Face) -> list[dict[str, list[nn.Parameter]]]:
    """The optimiser's two groups, F then V, in the order that numbers published optimiser states."""
    return [{"params": [p for p in branch.parameters() if p.requires_grad]} for branch in (model.F, model.V)]


def freeze(branch: nn.Module) -> None:
    """Stop a branch from learning: no gradients, and its batch norms stay in evaluation mode for good."""
    branch.requires_grad_(False)
    branch.train(branch.training)


def draw_crop(
    rng: np.random.Generator, samples: int, shortest: int = 40_000, longest: int = 80_000
) -> tuple[int, int]:
    """The part of every clip that one training batch uses: one start and length for all its clips.

    Args:
        rng: source of randomness; two draws.
        samples: length T of the clips.
        shortest: least length in samples, 2.5 s as published.
        longest: upper end of the length in samples, excluded, 5 s as published.

    Returns:
        (start, length) in samples, start + length <= samples.

    Raises:
        ValueError: an empty range, or clips shorter than `shortest`.
    """
    if not 0 < shortest <= min(longest - 1, samples):
        raise ValueError(f"a crop of {shortest} to below {longest} samples does not fit clips of {samples}")
    length = int(rng.integers(shortest, min(longest, samples + 1)))
    return int(rng.integers(0, max(1, samples - length))), length
