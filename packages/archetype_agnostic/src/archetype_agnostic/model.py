"""The whole network: face embedder, voice embedder, and the table of identity weights.

Letters: B batch, S picture side in pixels, T samples, D embedding length, C identities.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from voiceface.association.encoders import Branch, Encoders, InputNormalization, VoiceBackbone, num_identities
from voiceface.models import iresnet

from archetype_agnostic.equilibrium import Equilibrium
from archetype_agnostic.model_config import FaceConfig, ModelConfig, VoiceConfig


class ModelOutput(NamedTuple):
    """Embeddings of a batch of people, each of shape (B, D), not normalised."""

    face: Tensor
    voice: Tensor
    face_second: Tensor
    voice_second: Tensor


class Head(nn.Sequential):
    """Linear, ReLU, linear, both without bias: trunk features to the embedding."""

    def __init__(self, in_features: int, hidden_dim: int, embedding_dim: int) -> None:
        super().__init__(
            nn.Linear(in_features, hidden_dim, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_dim, embedding_dim, bias=False),
        )


class FaceBranch(Branch):
    """IR trunk without its recognition layer, mean over the map, head."""

    def __init__(self, config: FaceConfig, embedding_dim: int) -> None:
        super().__init__()
        blocks = config.units
        self.model = iresnet.IR(
            blocks,
            config.widths,
            config.image_size,
            features=None,
            squeeze_excitation=config.squeeze_excitation,
            stem_stride=config.stem_stride,
        )
        self.fc = Head(config.widths[-1], config.hidden_dim, embedding_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised pictures (B, 3, S, S) to embeddings (B, D)."""
        return self.fc(self.model(images).mean((2, 3)))


class VoiceBranch(Branch):
    """Thin SE-ResNet with its front end and attentive pooling, head."""

    def __init__(self, config: VoiceConfig, embedding_dim: int) -> None:
        super().__init__()
        self.model = VoiceBackbone(config, features=None)
        self.fc = Head(self.model.features, config.hidden_dim, embedding_dim)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Waves (B, T) in the 16-bit range to embeddings (B, D)."""
        return self.fc(self.model(waveforms))


class Aasm(Encoders):
    """Both embedders and the identity weights, with the state-dict keys of the published checkpoints.

    Published checkpoints also hold layers that are never evaluated (`vNet.model.output_layer`,
    `aNet.model.fc`) and second copies of the counters; `published` reads over them and writes them.

    Args:
        config: architecture.
        num_classes: training identities C, when the configuration leaves it open.
        eqm: identity weights of the same C classes; None: all one, for good.
        names: identity of every class, where `eqm` is not given.

    Raises:
        ValueError: the number of classes is unknown or contradicts the configuration.
    """

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
            raise ValueError(f"identity weights of {len(self.eqm.weight)} classes given for {classes}")

    def forward(
        self, faces: Tensor, voices: Tensor, faces_second: Tensor, voices_second: Tensor
    ) -> ModelOutput:
        """One training batch, row i of all inputs from one person.

        Four separate passes, as published: in training each batch norm sees each of them by itself.

        Args:
            faces: pictures in the channel order of the configuration, 0...255, shape (B, 3, S, S).
            voices: waves in the 16-bit range at 16 kHz, shape (B, T), already cropped.
            faces_second: further pictures of the same people.
            voices_second: further clips of the same people; their length may be another.
        """
        face, voice = self.encode_faces(faces), self.encode_voices(voices)
        return ModelOutput(face, voice, self.encode_faces(faces_second), self.encode_voices(voices_second))

    def encode_faces(self, faces: Tensor) -> Tensor:
        """Pictures (B, 3, S, S), 0...255, to embeddings (B, D), not of unit length."""
        return self.vNet(self.normalize(faces))

    def encode_voices(self, voices: Tensor) -> Tensor:
        """Waves (B, T) in the 16-bit range at 16 kHz to embeddings (B, D), not of unit length."""
        return self.aNet(voices)


def parameter_groups(model: Aasm) -> list[dict[str, list[nn.Parameter]]]:
    """The optimiser's two groups, vNet then aNet; the identity weights are not learnt by gradient."""
    return [
        {"params": [p for p in branch.parameters() if p.requires_grad]} for branch in (model.vNet, model.aNet)
    ]
