"""State of one kind of training, and what all kinds share: initial weights and optimisers."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from voiceface.checkpoints.native import load_into
from voiceface.training import optimisers
from voiceface.training.run import Run
from voiceface.training.sampling import RandomAccessDataset
from voiceface.training.settings import OptimiserConfig

from perceptionist.config import PerceptionistConfig, TrainingConfig
from perceptionist.face_models.linear import LinearFaceModel
from perceptionist.models import load_voice_network
from perceptionist.voice_to_mesh import VoiceToMesh

__all__ = [
    "Batches",
    "InitialWeights",
    "Terms",
    "TrainingStage",
    "build_batches",
    "build_optimiser",
    "initialise_voice_network",
]


Terms = dict[str, Tensor]
Batches = Iterator[dict[str, Tensor]]


@dataclass(frozen=True)
class InitialWeights:
    """Files that a run starts from: a run folder, a checkpoint of this package or a published file each."""

    expert: Path | None = None
    voice_network: Path | None = None


@dataclass(frozen=True)
class TrainingStage:
    """One kind of training, ready to run.

    Attributes:
        config: of the run.
        model: all modules that are saved, under the published names.
        optimisers: by name.
        batches: training batches from the run's step on.
        face_model: linear face model of the targets, on the run's device.
        face_batches: unsupervised kind with independent images: batches of real images; else None.
        voice_to_mesh: model for the on-line validation; None for kinds without meshes from voices.
        train_voice_network: mode of the voice network of `voice_to_mesh` while training.
        extra: JSON values for the checkpoint.
        excluded_prefixes: prefixes of the keys that are dropped from the final checkpoint.
    """

    config: PerceptionistConfig
    model: nn.Module
    optimisers: dict[str, Optimizer]
    batches: Batches
    face_model: LinearFaceModel
    face_batches: Batches | None = None
    voice_to_mesh: VoiceToMesh | None = None
    train_voice_network: bool = True
    extra: dict[str, Any] = field(default_factory=dict)
    excluded_prefixes: tuple[str, ...] = ()

    def set_train_mode(self) -> None:
        """Put every module into the mode that it trains in."""
        self.model.train()
        if self.voice_to_mesh is not None:
            self.voice_to_mesh.voice.train(self.train_voice_network)


def build_optimiser(config: OptimiserConfig, *modules: nn.Module) -> Optimizer:
    """Build the configured optimiser over the parameters of some modules."""
    parameters = [parameter for module in modules for parameter in module.parameters()]
    return optimisers.build_optimiser(config, [{"params": parameters}])


def build_batches(run: Run, dataset: RandomAccessDataset, config: TrainingConfig) -> Batches:
    """Build the training batches of a data set, from the run's step on."""
    return run.batches(dataset, config.batch_size, max_steps=config.max_steps, num_workers=config.num_workers)


def initialise_voice_network(
    run: Run, network: nn.Module, initial_weights: InitialWeights, *, required: bool
) -> None:
    """Copy the given voice network; a resumed run has it in its state.

    Raises:
        ValueError: a voice network is required and none is given.
        FileNotFoundError, CheckpointError: as `perceptionist.models.load_voice_network`.
    """
    if initial_weights.voice_network:
        source = load_voice_network(initial_weights.voice_network)
        load_into(network, source.state_dict(), source=str(initial_weights.voice_network))
    elif required and not run.step:
        raise ValueError(
            "This configuration does not train the voice network (training.voice_network), and none was "
            "given. "
            "Pass one as --voice-network (voice_embedding.pth, or a run folder of this package)."
        )
