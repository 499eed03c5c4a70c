"""Complete model: face branch, voice branch, shared classifier, identity weights.

Notation: B batch, S image side in pixels, T samples, D embedding length, C identities.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor, nn
from voiceface.association.encoders import (
    Branch,
    InputNormalization,
    TwoBranchModel,
    VoiceBackbone,
    num_identities,
)
from voiceface.checkpoints.published import CheckpointError
from voiceface.models import iresnet

from seeking_shape.config import SeekingShapeConfig
from seeking_shape.model_config import FaceConfig, ModelConfig, VoiceConfig
from seeking_shape.reweighting import IdentityWeights

__all__ = [
    "FaceBranch",
    "Head",
    "ModelOutput",
    "Voice2Face",
    "VoiceBranch",
    "build_model_for_checkpoint",
]


class ModelOutput(NamedTuple):
    """Embeddings (B, D), not normalised, and class logits (B, C) of a batch of pairs."""

    face: Tensor
    voice: Tensor
    face_logits: Tensor
    voice_logits: Tensor


class Head(nn.Sequential):
    """Backbone features to the embedding: BN, ReLU, linear without bias, dropout."""

    def __init__(self, in_features: int, embedding_dim: int, dropout: float) -> None:
        super().__init__(
            nn.BatchNorm1d(in_features),
            nn.ReLU(inplace=True),
            nn.Linear(in_features, embedding_dim, bias=False),
            nn.Dropout(dropout),
        )


class FaceBranch(Branch):
    """IR network, head, and the classifier that both branches share (`cls`)."""

    def __init__(self, config: FaceConfig, embedding_dim: int, num_classes: int) -> None:
        super().__init__()
        self.model = iresnet.IR(
            config.units,
            config.widths,
            config.image_size,
            config.num_features,
            config.dropout,
            config.squeeze_excitation,
            config.stem_stride,
        )
        self.fc = Head(config.num_features, embedding_dim, config.head_dropout)
        self.cls = nn.Linear(embedding_dim, num_classes, bias=False)
        nn.init.xavier_uniform_(self.cls.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (B, 3, S, S) to embeddings (B, D)."""
        return self.fc(self.model(images))


class VoiceBranch(Branch):
    """Voice backbone and head."""

    def __init__(self, config: VoiceConfig, embedding_dim: int) -> None:
        super().__init__()
        self.model = VoiceBackbone(config, config.num_features)
        self.fc = Head(config.num_features, embedding_dim, config.head_dropout)

    def forward(self, waveforms: Tensor, masks: Tensor | None = None) -> Tensor:
        """Map waveforms (B, T) in the 16-bit range to embeddings (B, D); `masks` (B, K, 4) hide bands."""
        return self.fc(self.model(waveforms, masks))


class Voice2Face(TwoBranchModel):
    """Both branches, with the state-dict keys of the published checkpoints.

    Args:
        config: architecture.
        num_classes: training identities C, unless the configuration states them.
        center: identity weights of the same C classes; None: all one, never updated.
        identity_names: identity of every class, if `center` is not given.

    Raises:
        ValueError: the number of classes is unknown or contradicts the configuration.
    """

    branches: ClassVar[dict[str, str]] = {"face": "F", "voice": "V"}

    def __init__(
        self,
        config: ModelConfig | None = None,
        num_classes: int | None = None,
        center: IdentityWeights | None = None,
        identity_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        config = config or ModelConfig()
        classes = num_identities(config.num_classes, num_classes)
        self.config = config.model_copy(update={"num_classes": classes})
        self.normalize = InputNormalization()
        self.V = VoiceBranch(config.voice, config.embedding_dim)
        self.F = FaceBranch(config.face, config.embedding_dim, classes)
        self.center = IdentityWeights(classes, identity_names=identity_names) if center is None else center
        if len(self.center.weight) != classes:
            raise ValueError(
                f"identity weights of {len(self.center.weight)} classes, expected {classes}: use those of "
                "the same training identities"
            )

    def forward(self, faces: Tensor, voices: Tensor, voice_masks: Tensor | None = None) -> ModelOutput:
        """Compute embeddings and logits of one training batch; row i of both inputs is one identity.

        Args:
            faces: images, channel order blue, green, red, 0...255, shape (B, 3, S, S).
            voices: waveforms in the 16-bit range at 16 kHz, shape (B, T), already cropped.
            voice_masks: rectangles (B, K, 4) of the voices' bands, see `mask_spectrogram`; None: no masks.
        """
        face, voice = self.encode_faces(faces), self.encode_voices(voices, voice_masks)
        return ModelOutput(face, voice, self.F.cls(face), self.F.cls(voice))


def build_model_for_checkpoint(
    config: SeekingShapeConfig, state: Mapping[str, Tensor], identity_names: tuple[str, ...] | None = None
) -> Voice2Face:
    """Build a model of the shapes of a checkpoint, without its weights.

    Args:
        config: the experiment that the checkpoint comes from.
        state: tensors by key.
        identity_names: identity of every class, if known.

    Raises:
        CheckpointError: the tensors are no complete model.
    """
    if "F.cls.weight" not in state:
        raise CheckpointError(
            "no classifier F.cls.weight in the file: expected a complete seeking_shape model"
        )
    return Voice2Face(config.model, len(state["F.cls.weight"]), identity_names=identity_names)
