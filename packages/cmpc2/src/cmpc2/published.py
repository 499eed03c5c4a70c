"""Read published checkpoints of CMPC and VoiceStyle, without executing code in them.

`checkpoint_CID.pth.tar`, `checkpoint_CMPC.pth.tar` (224-pixel faces, decibel front end),
`model_best_256.pth.tar` (256 pixels, sphinx front end), `frame_memory_best_256.pth.tar`, and torchvision's
ImageNet ResNet-34, for the option `pretrain`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from voiceface.checkpoints.published import CheckpointError, extract_state_dict, read_published
from voiceface.runtime.config import load_config

from cmpc2.architecture import infer_branch, infer_model_config, load_imagenet_weights
from cmpc2.config import Cmpc2Config

if TYPE_CHECKING:
    from voiceface.datasets.identities import Identity

__all__ = [
    "PUBLISHED_MODELS",
    "PrototypeMemory",
    "PublishedModelInfo",
    "get_training_identities",
    "identify_published_model",
    "infer_branch",
    "infer_model_config",
    "load_imagenet_weights",
    "read_prototype_memory",
    "read_published_model",
    "read_with_config",
]


class PublishedModelInfo(NamedTuple):
    """Published model file: description, image side in pixels, voice front end, training identities."""

    filename: str
    description: str
    image_size: int
    frontend: str
    trained_on: str


PUBLISHED_MODELS = {
    "CID": PublishedModelInfo(
        "checkpoint_CID.pth.tar",
        "CMPC, instance contrast only",
        224,
        "decibels",
        "sets 1 and 2 of the PINs split",
    ),
    "CMPC": PublishedModelInfo(
        "checkpoint_CMPC.pth.tar",
        "CMPC, prototype contrast",
        224,
        "decibels",
        "sets 1 and 2 of the PINs split",
    ),
    "256": PublishedModelInfo(
        "model_best_256.pth.tar",
        "CMPC retrained with 256-pixel faces, for VoiceStyle",
        256,
        "sphinx",
        "names F...Z: 173 of the 250 test identities of the PINs split are among them",
    ),
}


def identify_published_model(path: str | Path) -> PublishedModelInfo | None:
    """Identify a published model by its file name; None for other names."""
    name = Path(path).name
    return next((known for known in PUBLISHED_MODELS.values() if known.filename == name), None)


def get_training_identities(
    model_info: PublishedModelInfo | None, identities: "Sequence[Identity]"
) -> list[str]:
    """List the identities that a published model was trained on; none if it is unknown.

    Args:
        model_info: see `identify_published_model`.
        identities: rows of the identity table, with splits of the PINs split (`identity_splits.txt`).
    """
    from voiceface.datasets.identities import split_from_name

    if model_info is None:
        return []
    if model_info.frontend == "sphinx":  # trained on names that begin with F...Z
        return [each.face_id for each in identities if split_from_name(each.face_id) == "train"]
    return [each.face_id for each in identities if each.split in ("train", "val")]


def read_published_model(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a published model by key, on the CPU.

    Raises:
        CheckpointError: corrupt, unsafe, or no such model.
        FileNotFoundError: no such file.
    """
    state = extract_state_dict(read_published(path), "model", "state_dict", source=str(path))
    if not any(key.startswith("voice_subnet.") for key in state):
        raise CheckpointError(
            f"{path} is no model of CMPC: expected keys voice_subnet.* and face_subnet.*, found "
            f"{', '.join(sorted({key.split('.')[0] for key in state})[:5])}"
        )
    return state


def read_with_config(
    path: Path, *, image_size: int | None = None, frontend: str | None = None
) -> tuple[dict[str, Tensor], Cmpc2Config]:
    """Read a published model and derive its configuration from its tensors and its file name.

    Args:
        path: published checkpoint.
        image_size: image side in pixels; None: by the file name (256 if that says so, else 224).
        frontend: "sphinx" or "decibels"; None: by the file name.

    Raises:
        CheckpointError: corrupt, unsafe, or no such model.
    """
    state, known = read_published_model(path), identify_published_model(path)
    wide = "256" in path.name
    image_size = image_size or (known.image_size if known else 256 if wide else 224)
    frontend = frontend or (known.frontend if known else "sphinx" if wide else "decibels")
    config = load_config("published", Cmpc2Config, "cmpc2")
    voice = config.data.voice.model_copy(update={"frontend": frontend})
    data = config.data.model_copy(update={"voice": voice})
    model = infer_model_config(state, image_size)
    return state, config.model_copy(update={"model": model, "data": data})


class PrototypeMemory(NamedTuple):
    """Prototypes of one modality: R clusterings of N training videos.

    Attributes:
        centroids: means of the clusters, (K_r, D).
        assignment: cluster of every training video, int64 (N,).
        density: concentrations of the clusters, (K_r,); empty if the file has none.
    """

    centroids: "Sequence[Tensor]"
    assignment: "Sequence[Tensor]"
    density: "Sequence[Tensor]"


def read_prototype_memory(path: str | Path) -> PrototypeMemory:
    """Read a prototype memory: published (`.pth.tar`) or native (`.safetensors`, face prototypes).

    Raises:
        CheckpointError: corrupt, unsafe, of another content, or its parts do not match.
        FileNotFoundError: no such file.
    """
    if Path(path).suffix == ".safetensors":
        from voiceface.checkpoints.native import load_model

        state = load_model(path, system="cmpc2", kind="memory").state
        names = sorted({key.split("/")[1] for key in state if key.startswith("face/")}, key=int)
        content: dict = {
            key: [state[f"face/{name}/{stored}"] for name in names]
            for key, stored in (
                ("centroids", "centroids"),
                ("inst2cluster", "assignment"),
                ("density", "density"),
            )
        }
    else:
        content = read_published(path)
    if not {"centroids", "inst2cluster"} <= content.keys():
        raise CheckpointError(
            f"{path} is no prototype memory: expected centroids and inst2cluster, found "
            f"{', '.join(map(str, list(content)[:6]))}"
        )
    centroids, assignment = (
        [torch.as_tensor(x) for x in content[key]] for key in ("centroids", "inst2cluster")
    )
    density = [torch.as_tensor(x) for x in content.get("density") or []]
    valid = len(centroids) == len(assignment) > 0 and len({len(a) for a in assignment}) == 1
    for centres, clusters in zip(centroids, assignment):
        shaped = centres.ndim == 2 and clusters.ndim == 1 and len(clusters) > 0
        valid &= shaped and int(clusters.min()) >= 0 and int(clusters.max()) < len(centres)
    if not valid:
        raise CheckpointError(
            f"{path}: centroids and inst2cluster do not match "
            f"({[tuple(c.shape) for c in centroids]} and {[tuple(a.shape) for a in assignment]})"
        )
    return PrototypeMemory([c.float() for c in centroids], [a.long() for a in assignment], density)
