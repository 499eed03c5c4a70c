"""Objective XM-ALIGN: one classifier for both modalities, and mean squared alignment of the embeddings."""

from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, normalize

from fop.config import LossConfig
from fop.model import FopModel, FopOutput
from fop.objectives.objective import Objective, PairFeatures

__all__ = ["XmAlignObjective"]


class XmAlignObjective(Objective):
    """Cross-entropy of voices and of faces with a shared classifier + weight * mean squared distance.

    The distance is that of the unit embeddings of a pair, per component, as in the XM-ALIGN entry of the FAME
    2026 challenge.

    Args:
        config: the section `xm_align` of it is used.
        model: any head without fusion.
        num_classes: training identities C.
    """

    def __init__(self, config: LossConfig, model: FopModel, num_classes: int) -> None:
        super().__init__()
        self.config = config.xm_align
        self.classifier = nn.Linear(model.embedding_dim, num_classes)

    def forward(self, output: FopOutput, labels: Tensor, features: PairFeatures) -> dict[str, Tensor]:
        """Compute "loss", "face", "voice" and "alignment"; see `Objective.forward`."""
        face = cross_entropy(self.classifier(output.face), labels)
        voice = cross_entropy(self.classifier(output.voice), labels)
        alignment = mse_loss(normalize(output.face, dim=1), normalize(output.voice, dim=1))
        loss = face + voice + self.config.alignment_weight * alignment
        return {"loss": loss, "face": face, "voice": voice, "alignment": alignment}
