"""Reading a trained model of this system: bundled, ours or published."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor
from voiceface.association.embedder import Embedder, SystemSpec, load_embedder
from voiceface.audio.loading import OnCorrupt
from voiceface.checkpoints.published import CheckpointError
from voiceface.runtime.config import load_config

from archetype_agnostic.config import ArchetypeAgnosticConfig
from archetype_agnostic.model import Aasm

__all__ = ["COMPUTED_KEYS", "SPEC", "Embedder", "load"]
COMPUTED_KEYS = ("aNet.model.torchfb.*",)  # constants, computed with the model


def build_model_for_checkpoint(
    config: ArchetypeAgnosticConfig,
    state: Mapping[str, Tensor],
    identity_names: tuple[str, ...] | None = None,
) -> Aasm:
    """A model that these weights fit, still without them.

    Args:
        config: the experiment that they come from.
        state: tensors by key.
        names: identity of every class, where known.

    Raises:
        CheckpointError: no whole model.
    """
    if "eqm.weight" not in state:
        raise CheckpointError(
            "the file holds no identity weights eqm.weight: it is no full archetype_agnostic model"
        )
    return Aasm(config.model, len(state["eqm.weight"]), identity_names=identity_names)


def read_published(path: Path) -> tuple[Mapping[str, Tensor], ArchetypeAgnosticConfig]:
    """Tensors of a published checkpoint (.pth.tar, .pth; full models only) and its configuration.

    The front end and the strides are those of the configuration `published`, the face network is whichever
    of the published ones the file holds.

    Raises:
        CheckpointError: damaged, unsafe, or not a checkpoint of this system.
    """
    from archetype_agnostic.published import read_checkpoint

    checkpoint = read_checkpoint(path)
    found = checkpoint.config.face
    config = load_config("published", ArchetypeAgnosticConfig, "archetype_agnostic")
    face = config.model.face.model_copy(
        update={"arch": found.arch, "squeeze_excitation": found.squeeze_excitation}
    )
    model = config.model.model_copy(update={"face": face})
    return checkpoint.state, config.model_copy(update={"model": model})


SPEC = SystemSpec(
    name="archetype_agnostic",
    config_type=ArchetypeAgnosticConfig,
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
            (.pth.tar, .pth; full models only). None: the bundled weights (synthetic identities).
        device: see `voiceface.association.embedder.load_embedder`, as for what follows.
        resample: bring recordings of another rate to 16 kHz; None: as in the model's training.
        on_corrupt: "error" refuses corrupt recordings, "salvage" uses what can be decoded; None: as in
            the model's training.

    Raises:
        CheckpointError: absent, damaged, or of another system.
        ValueError: no such device.
    """
    return load_embedder(SPEC, weights, device=device, resample=resample, on_corrupt=on_corrupt)
