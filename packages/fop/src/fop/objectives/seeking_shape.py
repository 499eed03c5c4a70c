"""Objective of `seeking_shape`: implicit and explicit alignment with identity re-weighting.

Wen et al., "Seeking the Shape of Sound" (CVPR 2021), section 3; computed by that package.
"""

from typing import Any

import torch
from torch import Tensor, nn

from fop.config import LossConfig
from fop.model import FopModel, FopOutput
from fop.objectives.objective import Objective, PairFeatures, import_system

__all__ = ["SeekingShapeObjective"]


class SeekingShapeObjective(Objective):
    """Shared class vectors, contrast within the batch, and adaptive identity weights.

    Args:
        config: the section `seeking_shape` of it is used.
        model: any head without fusion.
        num_classes: training identities C.

    Raises:
        ValueError: the package `seeking_shape` is not installed.
    """

    def __init__(self, config: LossConfig, model: FopModel, num_classes: int) -> None:
        super().__init__()
        self.config = config.seeking_shape
        self.losses = import_system("seeking_shape.losses", "seeking_shape")
        reweighting = import_system("seeking_shape.reweighting", "seeking_shape")
        self.class_vectors = nn.Parameter(torch.empty(num_classes, model.embedding_dim))
        nn.init.xavier_uniform_(self.class_vectors)
        self.identity_weights: Any = None
        if self.config.reweighting:
            self.identity_weights = reweighting.IdentityWeights(
                num_classes,
                update_interval=self.config.update_interval,
                warm_up=self.config.warm_up,
                initial_loss="chance",
            )

    def before_step(self, step: int) -> None:
        """Update the identity weights if due."""
        if self.identity_weights is not None:
            self.identity_weights.update(step)

    def forward(self, output: FopOutput, labels: Tensor, features: PairFeatures) -> dict[str, Tensor]:
        """Compute "loss" and the terms of the published log; see `Objective.forward`."""
        face, voice = (self.config.logit_scale * each for each in (output.face, output.voice))
        losses = self.losses.compute_sample_losses(
            face,
            voice,
            face @ self.class_vectors.T,
            voice @ self.class_vectors.T,
            labels,
            explicit=self.config.explicit,
            constant=self.config.explicit_constant,
            label_smoothing=self.config.label_smoothing,
        )
        weights = None
        if self.identity_weights is not None:
            self.identity_weights.update_hardness(labels, losses.hardness)
            weights = self.identity_weights.batch_weights(labels)
        terms: dict[str, Tensor] = self.losses.apply_identity_weights(losses, weights)
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}
