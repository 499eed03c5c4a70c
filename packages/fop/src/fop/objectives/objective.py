"""Interface of the objectives that a head can be trained with."""

from importlib import import_module
from types import ModuleType
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from fop.model import FopModel, FopOutput

__all__ = ["Objective", "PairFeatures", "TrainingFeatures", "import_system"]


class TrainingFeatures(NamedTuple):
    """Features of all training data: voices (N, Dv), faces (M, Df)."""

    voices: Tensor
    faces: Tensor


class PairFeatures(NamedTuple):
    """Features of the frozen encoders of a batch, row i of one person.

    Attributes:
        voice: (B, Dv); with several processes those of this one.
        face: (B, Df), of the same rows.
        rows: row of every voice in the training features, int64, of the rows of all processes.
    """

    voice: Tensor
    face: Tensor
    rows: Tensor


class Objective(nn.Module):
    """Objective of one batch of pairs.

    Built by `fop.objectives.build_objective`. Its own parameters, such as class weights or a temperature, are
    trained with the model and stored beside it. Rows are those of the global batch, of all processes.

    Attributes:
        needs_classifier: whether it reads `FopOutput.logits`; otherwise the model has no classifier.
        views: 2: a batch of B pairs is B / 2 people twice, the second half of the rows with another voice and
            another face of each, if there are any.
    """

    needs_classifier: ClassVar[bool] = False
    views: ClassVar[int] = 1

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

    def start(self, model: FopModel, features: TrainingFeatures, seed: int) -> None:
        """Called once before the first step of a run, also of a resumed one, before its state is restored.

        Args:
            model: the model that is trained.
            features: of all training data.
            seed: of the run.
        """

    def before_step(self, step: int) -> None:
        """Called before every iteration, counted from 0."""

    def start_stage(self, stage: int) -> None:
        """Called before a stage of training, counted from 0; most objectives have one stage."""

    @property
    def num_stages(self) -> int:
        """How often `training.epochs` epochs are trained one after another."""
        return 1


def import_system(module: str, package: str) -> ModuleType:
    """Import a module of another system of this house.

    Args:
        module: such as "cmpc2.losses".
        package: the package that it is part of.

    Raises:
        ValueError: the package is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ValueError(
            f"loss.objective={package} needs the package {package}, which is not installed: pip install "
            f"./packages/{package}"
        ) from None
