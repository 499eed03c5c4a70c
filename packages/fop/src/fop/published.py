"""Published checkpoints of FOP: those of the FAME baseline and of the paper's program (docs/fop.md).

Both programs write ``{"epoch": int, "state_dict": tensors by key}``; the number of classes, the fusion and
all lengths follow from the shapes. Reading never executes code from a file.
"""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from voiceface.checkpoints.native import load_into
from voiceface.checkpoints.published import (
    CheckpointError,
    cpu_state_dict,
    extract_state_dict,
    read_published,
    save_torch,
)
from voiceface.io.file_kinds import printable
from voiceface.runtime.config import load_config

from fop.config import FopConfig
from fop.model import FopModel, infer_model_config

__all__ = [
    "PUBLISHED_CLASSES",
    "PublishedCheckpoint",
    "load_with_config",
    "read_checkpoint",
    "read_published_model",
    "read_with_config",
    "save_checkpoint",
]

PUBLISHED_CLASSES = {64: "MAV-Celeb v1", 78: "MAV-Celeb v2", 50: "MAV-Celeb v3", 901: "VoxCeleb1"}
"""Classes of published files -> data set of the training people."""
PAPER_CLASSES = 901


@dataclass(frozen=True)
class PublishedCheckpoint:
    """Checkpoint of a published program.

    Attributes:
        state: tensors by key.
        epoch: as the file states it; None if it does not.
        num_classes: training people, from the shape of the classifier.
        trained_on: data set with this number of training people among the published ones; empty: unknown.
    """

    state: dict[str, Tensor]
    epoch: int | None
    num_classes: int
    trained_on: str


def read_checkpoint(path: str | Path) -> PublishedCheckpoint:
    """Read a checkpoint of a published program; it must hold exactly the tensors of one model.

    Raises:
        CheckpointError: corrupt or unsafe, or not a complete model of fop; names a key and what was expected.
        FileNotFoundError: no such file.
    """
    shown = printable(path)
    content = read_published(path)
    state = extract_state_dict(content, "state_dict", source=shown)
    if not any(key.startswith(("voice_branch.", "face_branch.")) for key in state):
        first_keys = ", ".join(list(state)[:3])
        raise CheckpointError(
            f"{shown} is no checkpoint of fop: expected keys voice_branch.… and face_branch.…, found "
            f"{first_keys}"
        )
    if "logits_layer.weight" not in state:
        raise CheckpointError(
            f"{shown} has no classifier logits_layer.weight: expected a complete model of fop"
        )
    classes = len(state["logits_layer.weight"])
    model = FopModel(infer_model_config(state, shown), classes)
    load_into(model, state, source=shown)  # compares all keys and shapes
    epoch = content.get("epoch")
    return PublishedCheckpoint(
        state, epoch if isinstance(epoch, int) else None, classes, PUBLISHED_CLASSES.get(classes, "")
    )


def read_published_model(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a published checkpoint by key; errors as of `read_checkpoint`."""
    return read_checkpoint(path).state


def read_with_config(path: str | Path) -> tuple[dict[str, Tensor], FopConfig]:
    """Read a published checkpoint, and load the configuration that its program trains with.

    `published` for 901 classes (the paper's program on VoxCeleb1), else `published_fame`, with the
    architecture of the file; errors as of `read_checkpoint`.
    """
    checkpoint = read_checkpoint(path)
    name = "published" if checkpoint.num_classes == PAPER_CLASSES else "published_fame"
    config = load_config(name, FopConfig, "fop")
    found = infer_model_config(checkpoint.state, printable(path))
    model = found.model_copy(update={"dropout": config.model.dropout})
    return checkpoint.state, config.model_copy(update={"model": model})


def load_with_config(path: str | Path) -> tuple[FopModel, FopConfig]:
    """Load a published checkpoint as a model in evaluation mode, with its configuration.

    Raises:
        CheckpointError, FileNotFoundError: as `read_checkpoint`.
    """
    state, config = read_with_config(path)
    model = FopModel(config.model, len(state["logits_layer.weight"]))
    load_into(model, state, source=printable(path))
    return model.eval(), config


def save_checkpoint(path: str | Path, model: FopModel, epoch: int) -> None:
    """Write a checkpoint that the published programs load, atomically; `read_checkpoint` reads it.

    Args:
        path: such as `checkpoint_0049.pth.tar`.
        model: with fusion and classifier.
        epoch: completed passes through the data.
    """
    save_torch(path, {"epoch": epoch, "state_dict": cpu_state_dict(model)})
