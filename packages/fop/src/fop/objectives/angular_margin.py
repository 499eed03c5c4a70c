"""Objective: additive angular margin to class vectors that both modalities share.

Separate branches into one space and an angular margin are the idea of the winner of FAME 2026; the margin is
that of Deng et al., "ArcFace" (CVPR 2019), equation 3.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, normalize, one_hot

from fop.config import LossConfig
from fop.model import FopModel, FopOutput
from fop.objectives.objective import Objective, PairFeatures

__all__ = ["AngularMarginObjective", "add_angular_margin"]


def add_angular_margin(cosines: Tensor, labels: Tensor, margin: Tensor | float) -> Tensor:
    """Replace the cosine of the own class by cos(angle + margin).

    Beyond angle + margin = pi, where the cosine would rise again, it continues as a straight line below -1
    with the slope of the plain cosine, so that a larger angle is always worse.

    Args:
        cosines: of every row with every class, (B, C), -1...1.
        labels: own class, int64 (B,).
        margin: radians, one number or one for each row (B,).

    Returns:
        Shape (B, C).
    """
    own = cosines.gather(1, labels[:, None])[:, 0].clamp(-1 + 1e-6, 1 - 1e-6)
    angle = torch.acos(own)
    margin = torch.as_tensor(margin, dtype=own.dtype, device=own.device)
    moved = torch.cos(angle + margin)
    beyond = own - torch.cos(torch.pi - margin) - 1  # meets the cosine where angle + margin = pi
    moved = torch.where(angle + margin <= torch.pi, moved, beyond)
    own_class = one_hot(labels, cosines.shape[1]).bool()
    return torch.where(own_class, moved[:, None], cosines)


class AngularMarginObjective(Objective):
    """Cross-entropy of voices and of faces with one set of class vectors and an additive angular margin.

    Args:
        config: the section `angular_margin` of it is used.
        model: embeddings are compared by direction; any head without fusion.
        num_classes: training identities C.
    """

    def __init__(self, config: LossConfig, model: FopModel, num_classes: int) -> None:
        super().__init__()
        self.config = config.angular_margin
        self.class_vectors = nn.Parameter(torch.empty(num_classes, model.embedding_dim))
        nn.init.xavier_uniform_(self.class_vectors)

    def forward(self, output: FopOutput, labels: Tensor, features: PairFeatures) -> dict[str, Tensor]:
        """Compute "loss", "face" and "voice"; see `Objective.forward`."""
        face, voice = self._entropy(output.face, labels), self._entropy(output.voice, labels)
        return {"loss": face + voice, "face": face, "voice": voice}

    def _entropy(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        cosines = linear(normalize(embeddings, dim=1), normalize(self.class_vectors, dim=1))
        margin: Tensor | float = self.config.margin
        if self.config.margin_rule == "adaptive":
            own = cosines.detach().gather(1, labels[:, None])[:, 0]
            margin = margin * (1 + own) / 2
        return cross_entropy(self.config.scale * add_angular_margin(cosines, labels, margin), labels)
