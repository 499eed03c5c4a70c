"""The whole network: face branch, voice branch, one shared classifier, identity weights.

Letters: B batch, S picture side in pixels, T samples, D embedding length, C identities.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from voiceface.association.encoders import Branch, Encoders, InputNormalization, VoiceBackbone, num_identities
from voiceface.models import iresnet

from seeking_shape.model_config import FaceConfig, ModelConfig, VoiceConfig
from seeking_shape.reweighting import IdentityWeights


class ModelOutput(NamedTuple):
    """Embeddings (B, D), not normalised, and class logits (B, C) of a batch of pairs."""

    face: Tensor
    voice: Tensor
    face_logits: Tensor
    voice_logits: Tensor


class Head(nn.Sequential):
    """BN, ReLU, linear without bias, dropout: backbone features to the embedding."""

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
        """Normalised pictures (B, 3, S, S) to embeddings (B, D)."""
        return self.fc(self.model(images))


class VoiceBranch(Branch):
    """Voice backbone and head."""

    def __init__(self, config: VoiceConfig, embedding_dim: int) -> None:
        super().__init__()
        self.model = VoiceBackbone(config, config.num_features)
        self.fc = Head(config.num_features, embedding_dim, config.head_dropout)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Waves (B, T) in the 16-bit range to embeddings (B, D)."""
        return self.fc(self.model(waveforms))


class Voice2Face(Encoders):
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
            raise ValueError(f"identity weights of {len(self.center.weight)} classes given for {classes}")

    def forward(self, faces: Tensor, voices: Tensor) -> ModelOutput:
        """One training batch, row i of both inputs from one person.

        Args:
            faces: pictures, channel order blue, green, red, 0...255, shape (B, 3, S, S).
            voices: waves in the 16-bit range at 16 kHz, shape (B, T), already cropped.
        """
        face, voice = self.encode_faces(faces), self.encode_voices(voices)
        return ModelOutput(face, voice, self.F.cls(face), self.F.cls(voice))

    def encode_faces(self, faces: Tensor) -> Tensor:
        """Pictures (B, 3, S, S), BGR, 0...255, to embeddings (B, D), not of unit length."""
        return self.F(self.normalize(faces))

    def encode_voices(self, voices: Tensor) -> Tensor:
        """Waves (B, T) in the 16-bit range at 16 kHz to embeddings (B, D), not of unit length."""
        return self.V(voices)


def parameter_groups(model: Voice2Face) -> list[dict[str, list[nn.Parameter]]]:
    """The optimiser's two groups, F then V, in the order that numbers published optimiser states."""
    return [{"params": [p for p in branch.parameters() if p.requires_grad]} for branch in (model.F, model.V)]
