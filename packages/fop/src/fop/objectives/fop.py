"""Objective of FOP: cross-entropy of the fused embedding and orthogonal projection.

Saeed et al., "Fusion and Orthogonal Projection for Improved Face-Voice Association" (ICASSP 2022).
"""

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import cross_entropy

from fop.config import LossConfig
from fop.losses import orthogonal_projection_loss
from fop.model import FopModel, FopOutput
from fop.objectives.objective import Objective, PairFeatures

__all__ = ["FopObjective"]


class FopObjective(Objective):
    """Cross-entropy + alpha * OPL, both on the fused embedding.

    Args:
        config: the section `fop` of it is used.
        model: must have a fusion layer.
        num_classes: training identities C.

    Attributes:
        alpha: weight of the orthogonal projection loss in the current stage.
    """

    needs_classifier: ClassVar[bool] = True

    def __init__(self, config: LossConfig, model: FopModel, num_classes: int) -> None:
        super().__init__()
        self.config = config.fop
        self.alpha = self.config.alphas[0]

    @property
    def num_stages(self) -> int:
        """One stage for each alpha."""
        return len(self.config.alphas)

    def start_stage(self, stage: int) -> None:
        """Set alpha."""
        self.alpha = self.config.alphas[stage]

    def forward(self, output: FopOutput, labels: Tensor, features: PairFeatures) -> dict[str, Tensor]:
        """Compute "loss", "cross_entropy" and "projection"; see `Objective.forward`.

        Raises:
            ValueError: the model has no fusion or no classifier.
        """
        if output.fused is None or output.logits is None:
            raise ValueError("the objective fop needs a model with fusion and classifier: set model.fusion")
        entropy = cross_entropy(output.logits, labels)
        projection = orthogonal_projection_loss(output.fused, labels, other_weight=self.config.other_weight)
        return {
            "loss": entropy + self.alpha * projection,
            "cross_entropy": entropy,
            "projection": projection,
        }
