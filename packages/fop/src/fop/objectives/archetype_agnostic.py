"""Objective of `archetype_agnostic`: subspace merging, re-gauging and instance equilibrium.

"Unsupervised Voice-Face Representation Learning by Archetype-agnostic Subspace Merging" (ACM MM 2023),
section 3; computed by that package. Every person of a batch comes with two voices and two faces.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor

from fop.config import LossConfig
from fop.model import FopModel, FopOutput
from fop.objectives.objective import Objective, PairFeatures, import_system

__all__ = ["ArchetypeAgnosticObjective"]


class ArchetypeAgnosticObjective(Objective):
    """Contrast over voice-face, face-face and voice-voice pairs; loose pairs are pulled together.

    Args:
        config: the section `archetype_agnostic` of it is used.
        model: any head without fusion.
        num_classes: training identities C.

    Raises:
        ValueError: the package `archetype_agnostic` is not installed.
    """

    views: ClassVar[int] = 2

    def __init__(self, config: LossConfig, model: FopModel, num_classes: int) -> None:
        super().__init__()
        self.config = config.archetype_agnostic
        self.losses = import_system("archetype_agnostic.losses", "archetype_agnostic")
        self.regauging = import_system("archetype_agnostic.regauging", "archetype_agnostic")
        equilibrium = import_system("archetype_agnostic.equilibrium", "archetype_agnostic")
        self.step = 0
        self.equilibrium: Any = None
        if self.config.equilibrium:
            self.equilibrium = equilibrium.Equilibrium(
                num_classes,
                update_interval=self.config.update_interval,
                warm_up=self.config.warm_up,
                normalise="mean_one",
            )

    def before_step(self, step: int) -> None:
        """Refresh the identity weights if due."""
        self.step = step
        if self.equilibrium is not None:
            self.equilibrium.update(step)

    def forward(self, output: FopOutput, labels: Tensor, features: PairFeatures) -> dict[str, Tensor]:
        """Compute "loss" and the terms of the published log; see `Objective.forward`.

        The first half of the rows holds the first voices and faces, the second half the second ones.
        """
        first = len(labels) // 2
        face, voice = (self.config.anchor_scale * each for each in (output.face, output.voice))
        labels = labels[:first]
        similarities = self.losses.compute_similarities(
            face[:first], voice[:first], face[first:], voice[first:], labels
        )
        options = self.config
        losses = self.losses.aasm_losses(
            similarities, options.temperature, options.cross_constant, options.intra_constant
        )
        terms: dict[str, Tensor] = self.losses.mean_terms(losses)
        weights = None
        if self.equilibrium is not None:
            hits, comparisons = self.losses.count_hits(similarities)
            self.equilibrium.add_counts(labels, hits, comparisons)
            weights = self.equilibrium.batch_weights(labels)
        if options.regauging and self.step >= options.regauging_start:
            scores = self.regauging.bilateral_scores(self.regauging.compute_row_scores(similarities))
            terms |= self.regauging.regauging_terms(scores, weights)
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}
