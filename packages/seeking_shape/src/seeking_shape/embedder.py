"""Reading a trained model of this system: bundled, ours or published."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor
from voiceface.association.embedder import Embedder, SystemSpec, load_embedder
from voiceface.audio.loading import OnCorrupt
from voiceface.checkpoints.published import CheckpointError
from voiceface.runtime.config import load_config

from seeking_shape.config import SeekingShapeConfig
from seeking_shape.model import Voice2Face

__all__ = ["COMPUTED_KEYS", "SPEC", "Embedder", "load"]
COMPUTED_KEYS = ("V.model.torchfb.*",)  # constants, computed with the model


def build_model_for_checkpoint(
    config: SeekingShapeConfig, state: Mapping[str, Tensor], identity_names: tuple[str, ...] | None = None
) -> Voice2Face:
    """A model that these weights fit, still without them.

    Args:
        config: the experiment that they come from.
        state: tensors by key.
        names: identity of every class, where known.

    Raises:
        CheckpointError: no whole model.
    """
    if "F.cls.weight" not in state:
        raise CheckpointError("the file holds no classifier F.cls.weight: it is no full seeking_shape model")
    return Voice2Face(config.model, len(state["F.cls.weight"]), identity_names=identity_names)


def read_published(path: Path) -> tuple[Mapping[str, Tensor], SeekingShapeConfig]:
    """Tensors of a published checkpoint (.pth.tar, .pth, .model; full models only) and its configuration.

    Raises:
        CheckpointError: damaged, unsafe, or not a checkpoint of this system.
    """
    from seeking_shape.published import read_full_checkpoint

    state = read_full_checkpoint(path)
    return state, load_config("published_main", SeekingShapeConfig, "seeking_shape")


SPEC = SystemSpec(
    name="seeking_shape",
    config_type=SeekingShapeConfig,
    build_model=build_model_for_checkpoint,
    read_published=read_published,
    computed_keys=COMPUTED_KEYS,
)


def load(
    weights: str | Path | None = None,
    *,
    device: str = "cpu",
    resample: bool | None = True,
    on_corrupt: OnCorrupt | None = None,
) -> Embedder:
    """Read a trained model.

    Args:
        weights: a file that `train` wrote (.safetensors), a run folder, or a published checkpoint
            (.pth.tar, .pth, .model; full models only). None: the bundled weights (synthetic identities).
        device: see `voiceface.association.embedder.load_embedder`, as for what follows.
        resample: bring recordings of another rate to 16 kHz; None: as in the model's training.
        on_corrupt: "error" refuses corrupt recordings, "salvage" uses what can be decoded; None: as in
            the model's training.

    Raises:
        CheckpointError: absent, damaged, or of another system.
        ValueError: no such device.
    """
    return load_embedder(SPEC, weights, device=device, resample=resample, on_corrupt=on_corrupt)
