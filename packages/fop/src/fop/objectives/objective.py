"""Interface of the objectives that a head can be trained with."""

from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from fop.model import FopOutput

__all__ = ["Objective", "PairFeatures"]


class PairFeatures(NamedTuple):
    """Features of the frozen encoders of a batch: voices (B, Dv), faces (B, Df), row i of one person."""

    voice: Tensor
    face: Tensor


class Objective(nn.Module):
    """Objective of one batch of pairs.

    Built by `fop.objectives.build_objective`. Its own parameters, such as class weights or a temperature, are
    trained with the model and stored beside it. Rows are those of the global batch, of all processes.

    Attributes:
        needs_classifier: whether it reads `FopOutput.logits`; otherwise the model has no classifier.
    """

    needs_classifier: ClassVar[bool] = False

    def forward(self, output: FopOutput, labels: Tensor, features: PairFeatures) -> dict[str, Tensor]:
        """Compute the loss.

        Args:
            output: of the model.
            labels: class of every pair, int64 (B,), 0...C - 1.
            features: what the encoders computed, for objectives in the space of an encoder.

        Returns:
            "loss", a scalar to be minimised, and its parts by name, scalars for the log.
        """
        raise NotImplementedError

    def start_stage(self, stage: int) -> None:
        """Called before a stage of training, counted from 0; most objectives have one stage."""

    @property
    def num_stages(self) -> int:
        """How often `training.epochs` epochs are trained one after another."""
        return 1
