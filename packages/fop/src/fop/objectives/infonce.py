"""Objective: symmetric contrast of voices and faces within the batch.

Van den Oord et al., "Representation Learning with Contrastive Predictive Coding" (2018), equation 4; in both
directions, with a learnt temperature, as Radford et al., "Learning Transferable Visual Models From Natural
Language Supervision" (ICML 2021), section 2.3.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from fop.config import LossConfig
from fop.model import FopModel, FopOutput
from fop.objectives.objective import Objective, PairFeatures

__all__ = ["MAX_SCALE", "InfoNceObjective", "symmetric_contrast"]

MAX_SCALE = 100.0
"""Largest factor on the cosines that is learnt, as published."""


def symmetric_contrast(voice: Tensor, face: Tensor, labels: Tensor, scale: Tensor | float) -> Tensor:
    """Compute the cross-entropy of the own partner among all of the batch, mean of both directions.

    Args:
        voice: embeddings (B, D), compared by their cosines.
        face: embeddings (B, D); row i of both is one pair.
        labels: identities (B,); other rows of the same identity are no negatives.
        scale: factor on the cosines, the inverse of the temperature.

    Returns:
        A scalar, at least 0.
    """
    scores = scale * (normalize(voice, dim=1) @ normalize(face, dim=1).T)
    repeated = (labels[:, None] == labels).fill_diagonal_(False)
    scores = scores.masked_fill(repeated, -torch.inf)
    target = torch.arange(len(scores), device=scores.device)
    return (cross_entropy(scores, target) + cross_entropy(scores.T, target)) / 2


class InfoNceObjective(Objective):
    """Symmetric contrast.

    Args:
        config: the section `infonce` of it is used.
        model: any head without fusion.
        num_classes: not used.
    """

    def __init__(self, config: LossConfig, model: FopModel, num_classes: int) -> None:
        super().__init__()
        log_scale = torch.tensor(-math.log(config.infonce.temperature))
        if config.infonce.temperature_rule == "learnt":
            self.log_scale: Tensor | nn.Parameter = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)

    def forward(self, output: FopOutput, labels: Tensor, features: PairFeatures) -> dict[str, Tensor]:
        """Compute "loss" and "temperature"; see `Objective.forward`."""
        scale = self.log_scale.exp().clamp(max=MAX_SCALE)
        loss = symmetric_contrast(output.voice, output.face, labels, scale)
        return {"loss": loss, "temperature": 1 / scale.detach()}
