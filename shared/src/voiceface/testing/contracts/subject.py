"""Description of an association system for its contracts: configuration, files, options."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from voiceface.association.embedder import Embedder

__all__ = ["SystemUnderTest"]


@dataclass(frozen=True)
class SystemUnderTest:
    """An association system and the tiny runs by which its contracts test it.

    Attributes:
        package: import name; `package.__main__.COMMANDS` lists its commands.
        config: bundled configuration of the runs.
        overrides: ``section.key=value`` settings that make a run a matter of a second. Every optional term of
            the method acts after a few steps, and every step is logged.
        trained: settings and flags of the run that most contracts read.
        interrupted: settings of the run that is interrupted: 8 steps, a checkpoint every 3 steps.
        required_key: key of the state dict without which a checkpoint is refused.
        branches: first parts of the keys of both encoders.
        write_published: path -> tensors; writes a checkpoint in the published form and returns the tensors,
            by key, of the model that is loaded from it.
        published_key: key of the published checkpoint that holds its tensors.
        loader: function of the package that returns an `Embedder`.
        checkpoint_flags: flags of `train` that name checkpoints.
        frontend_settings: configuration keys and other values, each of which changes the embeddings.
        short_schedule: settings with which every bundled configuration fits into two steps.
        optimisers: values of `optimiser.method`.
        slow_learning: setting under which one rounding error does not grow into a difference.
        resampling: settings that refuse and that accept utterances of another sampling rate.
        corrupt_audio: configuration key of the policy for corrupt utterances.
        population: numbers of identities, and further settings of the synthetic population.
        face_folder: folder of the images inside the population.
        trains_on_videos: whether videos with one modality only are skipped with a warning, and not an error.
        outputs: files of a finished run that must be reproducible to the bit.
        validating: settings of a short run that validates.
        unvalidated: settings of a run without validation.
        face_crop: crop convention of faces that are cut out of people's own pictures.
        preloaded: modules of the package that a training process imports.
    """

    package: str
    config: str
    overrides: tuple[str, ...]
    interrupted: tuple[str, ...]
    required_key: str
    branches: tuple[str, str]
    write_published: "Callable[..., Mapping[str, Tensor]]"
    trained: tuple[str, ...] = ("training.max_steps=6", "training.checkpoint_interval=2")
    published_key: str = "state_dict"
    loader: str = "load"
    checkpoint_flags: tuple[str, ...] = ("--checkpoint",)
    frontend_settings: Mapping[str, Any] = field(default_factory=dict)
    short_schedule: tuple[str, ...] = ("schedule.warm_up=0",)
    optimisers: tuple[str, ...] = ("sgd", "adam", "adamw", "adagrad")
    slow_learning: str = "optimiser.lr=0.001"
    resampling: tuple[str, str] = ("data.resample=false", "data.resample=true")
    corrupt_audio: str = "data.corrupt_audio"
    population: Mapping[str, Any] = field(default_factory=lambda: {"train": 10, "val": 4, "test": 6})
    face_folder: str = "faces"
    trains_on_videos: bool = False
    outputs: tuple[str, ...] = ("model.safetensors",)
    validating: tuple[str, ...] = (
        "training.max_steps=3",
        "training.validation_interval=2",
        "training.validation_start=1",
    )
    unvalidated: tuple[str, ...] = ("training.max_steps=1", "training.validation_interval=null")
    face_crop: str = "population"
    preloaded: tuple[str, ...] = ("train", "embedder", "published")

    @property
    def commands(self) -> Mapping[str, tuple[str, str]]:
        """Commands of the system: name -> (module, description)."""
        return import_module(f"{self.package}.__main__").COMMANDS

    def load(self, weights: Path | None = None, **options: Any) -> "Embedder":
        """Load a checkpoint, or the bundled one, as the package does."""
        return getattr(import_module(self.package), self.loader)(weights, **options)
