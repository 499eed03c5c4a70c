"""The whole network: face embedder, voice embedder, and the table of identity weights.

Letters: B batch, S picture side in pixels, T samples, D embedding length, C identities.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from pydantic import Field
from torch import Tensor, nn
from voiceface.association.encoders import (
    Branch,
    Encoders,
    EncodersConfig,
    FaceBackboneConfig,
    InputNormalization,
    VoiceBackbone,
    VoiceBackboneConfig,
    num_identities,
)
from voiceface.models import iresnet

from archetype_agnostic.equilibrium import Equilibrium


class FaceConfig(FaceBackboneConfig):
    """Face embedder; the defaults are the published IR-152."""

    arch: Literal["ir50", "ir101", "ir152"] = Field(
        default="ir152", description="units per stage, unless `blocks` says so"
    )
    hidden: int = Field(default=256, ge=1, description="width of the head's hidden layer")


class VoiceConfig(VoiceBackboneConfig):
    """Voice embedder; the defaults are the published thin ResNet-34."""

    hidden: int = Field(default=128, ge=1, description="width of the head's hidden layer")


class ModelConfig(EncodersConfig):
    """Architecture. `num_classes` follows from the training identities where it is None."""

    face: FaceConfig = FaceConfig()
    voice: VoiceConfig = VoiceConfig()
    num_classes: int | None = Field(default=None, ge=1, description="training identities C; None: counted")


class ModelOutput(NamedTuple):
    """Embeddings of a batch of people, each of shape (B, D), not normalised."""

    face: Tensor
    voice: Tensor
    face_second: Tensor
    voice_second: Tensor


class Head(nn.Sequential):
    """Linear, ReLU, linear, both without bias: trunk features to the embedding."""

    def __init__(self, features: int, hidden: int, embedding: int) -> None:
        super().__init__(
            nn.Linear(features, hidden, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, embedding, bias=False),
        )


class FaceEmbedder(Branch):
    """IR trunk without its recognition layer, mean over the map, head."""

    def __init__(self, config: FaceConfig, embedding: int) -> None:
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
        self.fc = Head(config.widths[-1], config.hidden, embedding)

    def forward(self, pictures: Tensor) -> Tensor:
        """Normalised pictures (B, 3, S, S) to embeddings (B, D)."""
        return self.fc(self.model(pictures).mean((2, 3)))


class VoiceEmbedder(Branch):
    """Thin SE-ResNet with its front end and attentive pooling, head."""

    def __init__(self, config: VoiceConfig, embedding: int) -> None:
        super().__init__()
        self.model = VoiceBackbone(config, features=None)
        self.fc = Head(self.model.features, config.hidden, embedding)

    def forward(self, waves: Tensor) -> Tensor:
        """Waves (B, T) in the 16-bit range to embeddings (B, D)."""
        return self.fc(self.model(waves))


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
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        config = config or ModelConfig()
        classes = num_identities(config.num_classes, num_classes)
        self.config = config.model_copy(update={"num_classes": classes})
        self.normalize = InputNormalization()
        self.vNet = FaceEmbedder(config.face, config.embedding_dim)
        self.aNet = VoiceEmbedder(config.voice, config.embedding_dim)
        self.eqm = Equilibrium(classes, update_interval=0, names=names) if eqm is None else eqm
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
