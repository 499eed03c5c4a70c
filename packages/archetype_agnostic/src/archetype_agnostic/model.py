"""Complete model: face encoder, voice encoder, and the identity weights.

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

from archetype_agnostic.config import ArchetypeAgnosticConfig
from archetype_agnostic.equilibrium import Equilibrium
from archetype_agnostic.model_config import FaceConfig, ModelConfig, VoiceConfig

__all__ = ["Aasm", "FaceBranch", "Head", "ModelOutput", "VoiceBranch", "build_model_for_checkpoint"]


class ModelOutput(NamedTuple):
    """Embeddings of a batch of identities, each of shape (B, D), not normalised."""

    face: Tensor
    voice: Tensor
    face_second: Tensor
    voice_second: Tensor


class Head(nn.Sequential):
    """Backbone features to the embedding: linear, ReLU, linear, both without bias."""

    def __init__(self, in_features: int, hidden_dim: int, embedding_dim: int) -> None:
        super().__init__(
            nn.Linear(in_features, hidden_dim, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_dim, embedding_dim, bias=False),
        )


class FaceBranch(Branch):
    """IR backbone without its recognition layer, spatial mean, head."""

    def __init__(self, config: FaceConfig, embedding_dim: int) -> None:
        super().__init__()
        self.model = iresnet.IR(
            config.units,
            config.widths,
            config.image_size,
            features=None,
            squeeze_excitation=config.squeeze_excitation,
            stem_stride=config.stem_stride,
        )
        self.fc = Head(config.widths[-1], config.hidden_dim, embedding_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (B, 3, S, S) to embeddings (B, D)."""
        return self.fc(self.model(images).mean((2, 3)))


class VoiceBranch(Branch):
    """Thin SE-ResNet with its front end and attentive pooling, head."""

    def __init__(self, config: VoiceConfig, embedding_dim: int) -> None:
        super().__init__()
        self.model = VoiceBackbone(config, features=None)
        self.fc = Head(self.model.features, config.hidden_dim, embedding_dim)

    def forward(self, waveforms: Tensor, masks: Tensor | None = None) -> Tensor:
        """Map waveforms (B, T) in the 16-bit range to embeddings (B, D); `masks` (B, K, 4) hide bands."""
        return self.fc(self.model(waveforms, masks))


class Aasm(TwoBranchModel):
    """Both encoders and the identity weights, with the state-dict keys of the published checkpoints.

    Published checkpoints also hold layers that are never evaluated (`vNet.model.output_layer`,
    `aNet.model.fc`) and second copies of the counters; `archetype_agnostic.published` ignores them when it
    reads and adds them when it writes.

    Args:
        config: architecture.
        num_classes: training identities C, unless the configuration states them.
        eqm: identity weights of the same C classes; None: all one, never refreshed.
        identity_names: identity of every class, if `eqm` is not given.

    Raises:
        ValueError: the number of classes is unknown or contradicts the configuration.
    """

    branches: ClassVar[dict[str, str]] = {"face": "vNet", "voice": "aNet"}

    def __init__(
        self,
        config: ModelConfig | None = None,
        num_classes: int | None = None,
        eqm: Equilibrium | None = None,
        identity_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        config = config or ModelConfig()
        classes = num_identities(config.num_classes, num_classes)
        self.config = config.model_copy(update={"num_classes": classes})
        self.normalize = InputNormalization()
        self.vNet = FaceBranch(config.face, config.embedding_dim)
        self.aNet = VoiceBranch(config.voice, config.embedding_dim)
        self.eqm = (
            Equilibrium(classes, update_interval=None, identity_names=identity_names) if eqm is None else eqm
        )
        if len(self.eqm.weight) != classes:
            raise ValueError(
                f"identity weights of {len(self.eqm.weight)} classes, expected {classes}: use those of the "
                "same training identities"
            )

    def forward(
        self,
        faces: Tensor,
        voices: Tensor,
        faces_second: Tensor,
        voices_second: Tensor,
        voice_masks: tuple[Tensor | None, Tensor | None] = (None, None),
    ) -> ModelOutput:
        """Compute the embeddings of one training batch; row i of all inputs is one identity.

        Four separate passes, as published: batch norm statistics are those of each pass.

        Args:
            faces: images in the channel order of the configuration, 0...255, shape (B, 3, S, S).
            voices: waveforms in the 16-bit range at 16 kHz, shape (B, T), already cropped.
            faces_second: further images of the same identities.
            voices_second: further clips of the same identities; their length may differ.
            voice_masks: rectangles (B, K, 4) of the bands of `voices` and of `voices_second`, see
                `mask_spectrogram`; None: no masks.
        """
        face, voice = self.encode_faces(faces), self.encode_voices(voices, voice_masks[0])
        second = self.encode_faces(faces_second), self.encode_voices(voices_second, voice_masks[1])
        return ModelOutput(face, voice, *second)


def build_model_for_checkpoint(
    config: ArchetypeAgnosticConfig,
    state: Mapping[str, Tensor],
    identity_names: tuple[str, ...] | None = None,
) -> Aasm:
    """Build a model of the shapes of a checkpoint, without its weights.

    Args:
        config: the experiment that the checkpoint comes from.
        state: tensors by key.
        identity_names: identity of every class, if known.

    Raises:
        CheckpointError: the tensors are no complete model.
    """
    if "eqm.weight" not in state:
        raise CheckpointError(
            "no identity weights eqm.weight in the file: expected a complete archetype_agnostic model"
        )
    return Aasm(config.model, len(state["eqm.weight"]), identity_names=identity_names)
