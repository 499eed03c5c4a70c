"""Model of FOP: one branch per modality on features of frozen encoders, fusion, classifier.

Saeed et al., "Fusion and Orthogonal Projection for Improved Face-Voice Association" (ICASSP 2022).
Axes: B batch, Dv and Df lengths of the voice and face features, D embedding length, C training identities.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from voiceface.association.encoders import Encoders
from voiceface.checkpoints.published import CheckpointError
from voiceface.runtime import distributed

from fop.config import FopConfig, ModelConfig

__all__ = [
    "CentredFeatures",
    "FeatureBranch",
    "FopModel",
    "FopOutput",
    "GatedFusion",
    "GlobalMask",
    "LinearFusion",
    "build_model_for_checkpoint",
    "infer_model_config",
]

MLP_KEY, MEAN_KEY = "voice_branch.fc1.4.weight", "face_branch.mean"
INITIAL_BIAS = 0.01
"""Bias of every linear layer before training, as published."""


class FopOutput(NamedTuple):
    """Output of one batch of pairs, row by row.

    Attributes:
        fused: (B, D); None without fusion.
        logits: class scores (B, C); None without a classifier.
        face: what the score compares, (B, D): tanh of the branch with gated fusion, else the branch.
        voice: the same of the voices, (B, D).
    """

    fused: Tensor | None
    logits: Tensor | None
    face: Tensor
    voice: Tensor


def _linear(in_features: int, out_features: int) -> nn.Linear:
    """Linear layer with the published initialisation: Xavier uniform, bias 0.01."""
    layer = nn.Linear(in_features, out_features)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.constant_(layer.bias, INITIAL_BIAS)
    return layer


class GlobalMask(nn.Module):
    """Dropout whose mask is drawn for the rows of all processes, from one uniform number per element.

    Args:
        p: probability of a zero, 0 or more and below 1.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, rows: Tensor) -> Tensor:
        """Map (B, D) to (B, D)."""
        if not self.training or self.p == 0:
            return rows
        count, first = len(rows), distributed.rank() * len(rows)
        shape = (count * distributed.world_size(), rows.shape[1])
        kept = torch.rand(shape, device=rows.device)[first : first + count] >= self.p
        return rows * kept.to(rows.dtype).mul_(1 / (1 - self.p))

    def extra_repr(self) -> str:
        """Describe the layer."""
        return f"p={self.p}"


class FeatureBranch(nn.Module):
    """Features of one modality to the embedding: linear, batch norm, ReLU, dropout, unit length.

    Args:
        in_features: length of the features.
        embedding_dim: length of the embedding, D.
        dropout: probability of a zero in training, before normalisation.
        kind: "relu" as published, "linear" without the ReLU, "mlp" with another linear layer at the end.
        hidden_width: length after the first layer of "mlp".
        unit_length: whether the embedding is normalised.
    """

    def __init__(
        self,
        in_features: int,
        embedding_dim: int,
        dropout: float,
        kind: str = "relu",
        hidden_width: int = 256,
        *,
        unit_length: bool = True,
    ) -> None:
        super().__init__()
        self.unit_length = unit_length
        width = hidden_width if kind == "mlp" else embedding_dim
        between = nn.Identity() if kind == "linear" else nn.ReLU()
        layers = [_linear(in_features, width), nn.BatchNorm1d(width), between, GlobalMask(dropout)]
        if kind == "mlp":
            layers.append(_linear(width, embedding_dim))
        self.fc1 = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, Dv or Df) to embeddings (B, D); of "relu" in 0...1, of unit length (or zero)."""
        embedding = self.fc1(features)
        return normalize(embedding, dim=1) if self.unit_length else embedding


class CentredFeatures(nn.Module):
    """Features of the face encoder less their mean over the training faces, as an embedding of that space.

    Args:
        in_features: length of the features.
    """

    mean: Tensor

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(in_features))

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, Df) to (B, Df)."""
        return features - self.mean


class _AttentionBlock(nn.Module):
    """Linear layer, batch norm and ReLU, with the published names."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            _linear(in_features, out_features), nn.BatchNorm1d(out_features), nn.ReLU()
        )

    def forward(self, rows: Tensor) -> Tensor:
        """Map (B, in) to (B, out)."""
        return self.block(rows)


class GatedFusion(nn.Module):
    """Weighted mean of both modalities; the weights are computed from both, one per element.

    Args:
        embedding_dim: length of the embeddings, D.
        width: of the hidden layer (published: 128 for every D).
    """

    def __init__(self, embedding_dim: int, width: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            _AttentionBlock(2 * embedding_dim, width), _linear(width, embedding_dim)
        )

    def forward(self, face: Tensor, voice: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map unit embeddings (B, D) to the fused ones, and to the tanh of both, (B, D) each."""
        share = torch.sigmoid(self.attention(torch.cat([face, voice], dim=1)))
        face, voice = self.compared(face), self.compared(voice)
        return torch.lerp(voice, face, share), face, voice

    @staticmethod
    def compared(embedding: Tensor) -> Tensor:
        """What the score compares of an embedding: its tanh."""
        return torch.tanh(embedding)


class LinearFusion(nn.Module):
    """Sum of both modalities with two learnt weights, drawn from 0...1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight1 = nn.Parameter(torch.rand(1))
        self.weight2 = nn.Parameter(torch.rand(1))

    def forward(self, face: Tensor, voice: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map unit embeddings (B, D) to the fused ones, and return both unchanged, (B, D) each."""
        return self.weight1 * face + self.weight2 * voice, face, voice

    @staticmethod
    def compared(embedding: Tensor) -> Tensor:
        """What the score compares of an embedding: itself."""
        return embedding


class FopModel(Encoders):
    """Both branches, fusion and classifier, with the keys of published checkpoints.

    Args:
        config: architecture; the lengths of the features must be stated.
        num_classes: training identities C; None: no classifier. Without fusion there is none either.

    Raises:
        ValueError: `voice_dim` or `face_dim` is not stated.
    """

    def __init__(self, config: ModelConfig, num_classes: int | None = None) -> None:
        super().__init__()
        if config.voice_dim is None or config.face_dim is None:
            raise ValueError(
                "the lengths of the features are unknown: set model.voice_dim and model.face_dim, or pass "
                "the features to `train`"
            )
        self.config = config
        shared = config.space == "shared"
        self.embedding_dim = config.embedding_dim if shared else config.face_dim
        head = (self.embedding_dim, config.dropout, config.branch, config.hidden_width)
        self.voice_branch = FeatureBranch(config.voice_dim, *head, unit_length=shared)
        self.face_branch: FeatureBranch | CentredFeatures = (
            FeatureBranch(config.face_dim, *head) if shared else CentredFeatures(config.face_dim)
        )
        self.fusion_layer: GatedFusion | LinearFusion | None = None
        if config.fusion == "gated":
            self.fusion_layer = GatedFusion(config.embedding_dim, config.attention_width)
        elif config.fusion == "linear":
            self.fusion_layer = LinearFusion()
        classified = num_classes is not None and self.fusion_layer is not None
        self.logits_layer = _linear(config.embedding_dim, num_classes or 0) if classified else None

    def forward(self, face: Tensor, voice: Tensor) -> FopOutput:
        """Process a batch of pairs.

        Args:
            face: features (B, Df).
            voice: features (B, Dv); row i of both is one person.
        """
        face, voice = self.face_branch(face), self.voice_branch(voice)
        if self.fusion_layer is None:
            return FopOutput(None, None, face, voice)
        fused, face, voice = self.fusion_layer(face, voice)
        logits = None if self.logits_layer is None else self.logits_layer(fused)
        return FopOutput(fused, logits, face, voice)

    def encode_voices(self, voices: Tensor) -> Tensor:
        """Encode features (B, Dv) as what the score compares, (B, D)."""
        return self._compared(self.voice_branch(voices))

    def encode_faces(self, faces: Tensor) -> Tensor:
        """Encode features (B, Df) as what the score compares, (B, D)."""
        return self._compared(self.face_branch(faces))

    def _compared(self, embedding: Tensor) -> Tensor:
        return embedding if self.fusion_layer is None else self.fusion_layer.compared(embedding)

    def set_face_mean(self, mean: Tensor) -> None:
        """Set the mean of the face features (Df,), with `space` "face".

        Raises:
            ValueError: the model has a space of its own.
        """
        if not isinstance(self.face_branch, CentredFeatures):
            raise ValueError("only a model in the space of the face encoder has a mean of its features")
        self.face_branch.mean.copy_(mean)

    def predict_faces(self, voices: Tensor) -> Tensor:
        """Predict face features (B, Df) of voices (B, Dv), with `space` "face".

        Raises:
            ValueError: the model has a space of its own.
        """
        if not isinstance(self.face_branch, CentredFeatures):
            raise ValueError("only a model in the space of the face encoder predicts its features")
        return self.voice_branch(voices) + self.face_branch.mean

    def parameter_groups(self) -> list[dict[str, list[nn.Parameter]]]:
        """List the optimiser's groups in the published order: both branches, classifier, fusion."""
        parts = [self.face_branch, self.voice_branch, self.logits_layer, self.fusion_layer]
        return [{"params": list(part.parameters())} for part in parts if part is not None]


def infer_model_config(state: Mapping[str, Tensor], source: str = "the file") -> ModelConfig:
    """Infer the architecture from the keys and shapes of a complete model.

    Args:
        state: tensors by key.
        source: the file, for messages.

    Raises:
        CheckpointError: the tensors are no complete model.
    """
    voice = _matrix(state, "voice_branch.fc1.0.weight", source)
    values: dict[str, Any] = {"voice_dim": voice.shape[1], "embedding_dim": voice.shape[0]}
    if MLP_KEY in state:
        last = _matrix(state, MLP_KEY, source)
        values |= {"branch": "mlp", "hidden_width": voice.shape[0], "embedding_dim": last.shape[0]}
    if MEAN_KEY in state:
        values |= {"branch": values.get("branch", "linear"), "space": "face", "fusion": "none"}
        return ModelConfig(face_dim=len(state[MEAN_KEY]), **values)
    values["face_dim"] = _matrix(state, "face_branch.fc1.0.weight", source).shape[1]
    if "fusion_layer.weight1" in state:
        return ModelConfig(fusion="linear", **values)
    if not any(key.startswith("fusion_layer.") for key in state):
        return ModelConfig(fusion="none", **values)
    hidden = _matrix(state, "fusion_layer.attention.0.block.0.weight", source)
    return ModelConfig(fusion="gated", attention_width=hidden.shape[0], **values)


def _matrix(state: Mapping[str, Tensor], key: str, source: str) -> Tensor:
    if key not in state or state[key].ndim != 2:
        raise CheckpointError(f"{source} is no complete model of fop: it has no matrix {key}")
    return state[key]


def build_model_for_checkpoint(
    config: FopConfig, state: Mapping[str, Tensor], identity_names: tuple[str, ...] | None = None
) -> FopModel:
    """Build a model of the shapes of a checkpoint, without its weights.

    Args:
        config: the experiment that the checkpoint comes from.
        state: tensors by key.
        identity_names: not used.

    Raises:
        CheckpointError: the tensors are no complete model.
    """
    inferred = infer_model_config(state)
    names = ["embedding_dim", "voice_dim", "face_dim", "fusion", "space"]
    names += ["attention_width"] * (inferred.fusion == "gated")
    names += ["branch", "hidden_width"] * (inferred.branch == "mlp")
    shapes = {name: getattr(inferred, name) for name in names}
    logits = state.get("logits_layer.weight")
    return FopModel(config.model.model_copy(update=shapes), None if logits is None else len(logits))
