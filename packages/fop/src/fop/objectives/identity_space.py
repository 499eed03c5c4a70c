"""Objective: the voice is mapped into the space of the face encoder.

The result can be compared with the features of any face, and given to whatever reads them. Mapping a voice
into the identity space of a face network is the idea of Vox2Face.
"""

import torch
from torch import Tensor

from fop.config import LossConfig
from fop.model import FopModel, FopOutput
from fop.objectives.infonce import symmetric_contrast
from fop.objectives.objective import Objective, PairFeatures, TrainingFeatures

__all__ = ["IdentitySpaceObjective"]


class IdentitySpaceObjective(Objective):
    """Regression of the face features from the voice, and contrast within the batch.

    Args:
        config: the section `identity_space` of it is used.
        model: with `space` "face".
        num_classes: not used.

    Raises:
        ValueError: the model has a space of its own.
    """

    variance: Tensor

    def __init__(self, config: LossConfig, model: FopModel, num_classes: int) -> None:
        super().__init__()
        if model.config.space != "face":
            raise ValueError(
                f"the objective identity_space needs model.space=face, found {model.config.space}"
            )
        self.config = config.identity_space
        self.register_buffer("variance", torch.ones(()))

    def start(self, model: FopModel, features: TrainingFeatures, seed: int) -> None:
        """Set the mean of the face features, which the head adds, and their variance."""
        model.set_face_mean(features.faces.mean(0))
        self.variance.fill_(features.faces.var(0, correction=0).sum().clamp_min(1e-12))

    def forward(self, output: FopOutput, labels: Tensor, features: PairFeatures) -> dict[str, Tensor]:
        """Compute "loss", "regression" and "contrast"; see `Objective.forward`."""
        regression = (output.voice - output.face).square().sum(1).mean() / self.variance
        contrast = symmetric_contrast(output.voice, output.face, labels, 1 / self.config.temperature)
        loss = self.config.regression_weight * regression + self.config.contrast_weight * contrast
        return {"loss": loss, "regression": regression, "contrast": contrast}
