"""Supervised head: a unit voice embedding straight to scale, shape and expression.

The heads are the published ones (specification, section 4.6); their training was never released. What the
numbers mean is the face model's affair: scale q0 un-whitens with a mean and deviation of its own, shape and
expression with those of the 102 parameters (section 5.3).
"""

import torch
from pydantic import Field
from torch import Tensor, nn
from voiceface.runtime.config import Config


class SupervisedHeadConfig(Config):
    """Sizes of the head; the defaults are the published ones, 51 numbers in all."""

    embedding_dim: int = Field(default=64, ge=1, description="length D of the voice embedding")
    shape: int = Field(default=40, ge=1, description="shape coefficients")
    expression: int = Field(default=10, ge=1, description="expression coefficients")
    dropout: float = Field(default=0.2, ge=0, lt=1)

    @property
    def num_parameters(self) -> int:
        """Numbers that the head gives."""
        return 1 + self.shape + self.expression


class SupervisedHead(nn.Module):
    """Three linear layers beside each other, each after a dropout of its own."""

    def __init__(self, config: SupervisedHeadConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SupervisedHeadConfig()
        self.classifier_scale = linear_head(config.embedding_dim, 1, config.dropout)
        self.classifier_shape = linear_head(config.embedding_dim, config.shape, config.dropout)
        self.classifier_exp = linear_head(config.embedding_dim, config.expression, config.dropout)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Unit embeddings (B, D) to whitened scale, shape and expression (B, 51).

        Raises:
            ValueError: another shape.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != self.config.embedding_dim:
            raise ValueError(
                f"embeddings must be (B, {self.config.embedding_dim}), found {tuple(embeddings.shape)}"
            )
        heads = (self.classifier_scale, self.classifier_shape, self.classifier_exp)
        return torch.cat([head(embeddings) for head in heads], 1)


def linear_head(in_features: int, out_features: int, dropout: float) -> nn.Sequential:
    """Dropout and a linear layer, the layer as number 1."""
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(in_features, out_features))
