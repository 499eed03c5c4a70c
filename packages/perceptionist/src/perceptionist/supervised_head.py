"""Supervised head: from a unit voice embedding to whitened scale, shape and expression.

The architecture is the published one; its training was never released. The face model un-whitens the outputs:
the scale with a mean and deviation of its own, shape and expression with those of the 102 parameters.
Letters: B batch, D embedding length.
"""

import torch
from torch import Tensor, nn

from perceptionist.network_config import SupervisedHeadConfig

__all__ = [
    "SupervisedHead",
    "linear_head",
]


class SupervisedHead(nn.Module):
    """Three parallel linear layers, each after its own dropout."""

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
    """Dropout and a linear layer, with the published index 1 of the layer."""
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(in_features, out_features))
