"""Objective of `cmpc2`: instance contrast and prototype contrast with recalibration, without labels.

Zhu et al., "Unsupervised Voice-Face Representation Learning by Cross-Modal Prototype Contrast" (IJCAI 2022),
section 3; computed by that package. The memory banks have one row for every voice of the training set.
"""

from typing import Any

import torch
from torch import Tensor

from fop.config import LossConfig
from fop.model import FopModel, FopOutput
from fop.objectives.objective import Objective, PairFeatures, TrainingFeatures, import_system

__all__ = ["Cmpc2Objective"]


class Cmpc2Objective(Objective):
    """Contrast of the pairs of a batch and with the prototypes of both memory banks.

    Args:
        config: the section `cmpc2` of it is used.
        model: any head without fusion.
        num_classes: not used: the method needs no identities.

    Raises:
        ValueError: the package `cmpc2` is not installed.
    """

    def __init__(self, config: LossConfig, model: FopModel, num_classes: int) -> None:
        super().__init__()
        self.config = config.cmpc2
        self.losses = import_system("cmpc2.losses", "cmpc2")
        self.memory_bank = import_system("cmpc2.memory", "cmpc2").MemoryBank
        self.memory: Any = None
        self.seed = 0

    def start(self, model: FopModel, features: TrainingFeatures, seed: int) -> None:
        """Make the memory banks.

        Raises:
            ValueError: more clusters than voices.
        """
        largest = max(self.config.num_clusters, default=0)
        if self.config.prototypes and largest > len(features.voices):
            raise ValueError(
                f"loss.cmpc2.num_clusters: {largest} clusters of {len(features.voices)} voices; set fewer"
            )
        self.seed = seed
        self.memory = self.memory_bank(
            len(features.voices),
            model.embedding_dim,
            self.config.momentum,
            generator=torch.Generator().manual_seed(seed),
            device=features.voices.device,
        )

    def get_extra_state(self) -> dict[str, Any]:
        """Banks and clusterings, for the resume state."""
        return {} if self.memory is None else self.memory.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore banks and clusterings."""
        if state and self.memory is not None:
            self.memory.load_state_dict(state)

    def before_step(self, step: int) -> None:
        """Cluster the banks if due."""
        due = step >= max(1, self.config.start_step) and step % self.config.interval == 0
        if due and (self.config.prototypes or self.config.recalibrate):
            self.memory.recluster(
                self.config.num_clusters,
                seed=(self.seed, step),
                temperature=self.config.prototype_temperature,
            )

    def forward(self, output: FopOutput, labels: Tensor, features: PairFeatures) -> dict[str, Tensor]:
        """Compute "loss", "instance", "prototype" and "weight"; see `Objective.forward`."""
        rows, voice, face = features.rows, output.voice, output.face
        self.memory.update(rows, voice, face)
        terms = self.losses.cmpc_terms(
            voice,
            face,
            rows,
            self.memory.clusterings,
            temperature=self.config.temperature,
            prototypes=self.config.prototypes,
            recalibrate=self.config.recalibrate,
            agreement=self.config.agreement,
        )
        return {
            "loss": terms.total.to(voice.dtype),
            "instance": (terms.instance_voice + terms.instance_face).mean(),
            "prototype": (terms.prototype_voice + terms.prototype_face).mean(),
            "weight": terms.weight.mean(),
        }
