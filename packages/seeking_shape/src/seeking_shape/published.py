"""Files of the published implementation: its checkpoints, the two pretrained backbones, its identity weights.

Our modules keep the published parameter names, so the key tables are short. Reading never runs code that a
file may carry; writing gives files that the published implementation loads.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from voiceface.association import pretrained_backbones
from voiceface.association.pretrained_backbones import minimal_widths, parameter_names, restore_momentum
from voiceface.checkpoints.native import LoadReport, load_into
from voiceface.checkpoints.published import (
    CheckpointError,
    cpu_state_dict,
    extract_state_dict,
    read_published,
    save_torch,
)
from voiceface.runtime.config import load_config

from seeking_shape.config import SeekingShapeConfig
from seeking_shape.model import Voice2Face
from seeking_shape.model_config import FaceConfig, ModelConfig, VoiceConfig
from seeking_shape.reweighting import IdentityWeights

__all__ = [
    "PublishedCheckpoint",
    "infer_face_config",
    "infer_model_config",
    "infer_voice_config",
    "load_checkpoint",
    "load_face_backbone",
    "load_id_weight",
    "load_voice_backbone",
    "read_checkpoint",
    "read_full_checkpoint",
    "read_id_weight",
    "read_with_config",
    "restore_momentum",
    "save_checkpoint",
    "save_face_backbone",
    "save_id_weight",
    "save_voice_backbone",
]
FACE_PREFIX, VOICE_PREFIX = "F.model.", "V.model."
IDENTITY_WEIGHT_KEY = "center.weight"


@dataclass(frozen=True)
class PublishedCheckpoint:
    """A checkpoint of the published training.

    Attributes:
        state: tensors by key, 653 of them in the published architecture.
        step: completed training steps.
        momentum: SGD momentum by parameter name; empty when the file holds no optimiser state.
    """

    state: dict[str, Tensor]
    step: int
    momentum: dict[str, Tensor]


def read_checkpoint(path: str | Path) -> PublishedCheckpoint:
    """Read `ckp_002400.pth.tar`, `best.pth.tar` and the like.

    Raises:
        CheckpointError: damaged, unsafe, or not a checkpoint of this system.
    """
    content = read_published(path)
    state = extract_state_dict(content, "state_dict", source=str(path))
    if not any(key.startswith(("F.", "V.")) for key in state):
        found = ", ".join(list(state)[:3])
        raise CheckpointError(
            f"{path} is no checkpoint of seeking_shape: expected keys F.… and V.…, found {found}"
        )
    optimiser = content.get("optimizer")
    saved = optimiser.get("match") if isinstance(optimiser, Mapping) else None
    momentum = (
        pretrained_backbones.momentum_by_name(saved, _optimiser_parameter_names(state), state, str(path))
        if saved
        else {}
    )
    return PublishedCheckpoint(state, int(content.get("start_it", 0)), momentum)


def read_full_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a published checkpoint by key, 653 of them in the published architecture.

    Raises:
        CheckpointError: as `read_checkpoint`.
    """
    return read_checkpoint(path).state


def read_with_config(path: str | Path) -> tuple[dict[str, Tensor], SeekingShapeConfig]:
    """Read a published checkpoint of a complete model, and load the configuration `published_main`.

    Raises:
        CheckpointError: corrupt, unsafe, or not a checkpoint of this system.
    """
    return read_full_checkpoint(path), load_config("published_main", SeekingShapeConfig, "seeking_shape")


def load_checkpoint(model: Voice2Face, path: str | Path) -> PublishedCheckpoint:
    """Copy a published checkpoint into `model`; every key must fit.

    The two front-end buffers may be absent: they are constants.

    Raises:
        CheckpointError: as `read_checkpoint`, or keys or shapes differ; `infer_architecture` tells what fits.
    """
    checkpoint = read_checkpoint(path)
    load_into(
        model,
        pretrained_backbones.with_frontend_constants(model.V.model, checkpoint.state, VOICE_PREFIX),
        source=str(path),
    )
    return checkpoint


def load_face_backbone(model: Voice2Face, path: str | Path) -> LoadReport:
    """Copy the pretrained face network (`backbone_ir50_ms1m_epoch120.pth`, of face.evoLVe) into `F.model`.

    Raises:
        CheckpointError: damaged or unsafe, or a key is missing, unknown or of another shape.
    """
    return pretrained_backbones.load_face_backbone(model.F.model, path)


def load_voice_backbone(model: Voice2Face, path: str | Path) -> LoadReport:
    """Copy the pretrained voice network (`baseline_lite_ap.model`, of voxceleb_trainer) into `V.model`.

    Both forms are read: bare keys, and that trainer's own with the prefix `__S__.` and the parameters of its
    loss beside them (`__L__.`, left out).

    Raises:
        CheckpointError: damaged or unsafe, or a key is missing, unknown or of another shape.
    """
    return pretrained_backbones.load_voice_backbone(model.V.model, path)


def read_id_weight(path: str | Path) -> Tensor:
    """Identity weights from `id_weight.pth` or from any full checkpoint.

    Returns:
        Shape (C,), float32, in the order of the used rows of the training CSV.

    Raises:
        CheckpointError: damaged or unsafe, or no such vector in it.
    """
    state = extract_state_dict(read_published(path), "state_dict", source=str(path))
    weight = state.get(IDENTITY_WEIGHT_KEY)
    if weight is None or weight.ndim != 1:
        found = ", ".join(list(state)[:3])
        raise CheckpointError(f"{path} holds no vector {IDENTITY_WEIGHT_KEY!r}; its keys: {found}")
    return weight.float()


def load_id_weight(center: IdentityWeights, path: str | Path) -> None:
    """Copy published identity weights into `center`; the file has no names, only the count can be checked.

    Raises:
        CheckpointError: as `read_id_weight`, or another number of identities.
    """
    weight = read_id_weight(path)
    if weight.shape != center.weight.shape:
        raise CheckpointError(
            f"{path} holds weights of {len(weight)} identities, the training set has {len(center.weight)}: "
            "the weights belong to the order of one training CSV"
        )
    center.weight.copy_(weight)


def save_checkpoint(
    path: str | Path, model: Voice2Face, step: int, optimiser: torch.optim.Optimizer | None = None
) -> None:
    """Write a checkpoint in the published layout, atomically; `read_checkpoint` is the way back.

    Args:
        path: such as `ckp_010000.pth.tar`.
        model: trained network.
        step: completed steps.
        optimiser: with the groups of `parameter_groups`; left out when None.
    """
    content = {
        "start_it": step,
        "stage": 0,
        "state_dict": cpu_state_dict(model),
        "optimizer": {"match": optimiser.state_dict()} if optimiser else {},
    }
    save_torch(path, content)


def save_face_backbone(path: str | Path, model: Voice2Face) -> None:
    """Write `F.model` as a face.evoLVe backbone file."""
    save_torch(path, cpu_state_dict(model.F.model))


def save_voice_backbone(path: str | Path, model: Voice2Face) -> None:
    """Write `V.model` as a bare voice backbone file, front-end buffers included."""
    save_torch(path, cpu_state_dict(model.V.model))


def save_id_weight(path: str | Path, weight: Tensor) -> None:
    """Write `id_weight.pth`: one vector of C identity weights."""
    save_torch(path, {IDENTITY_WEIGHT_KEY: weight.detach().cpu().clone()})


def infer_model_config(state: Mapping[str, Tensor], image_size: int | None = None) -> ModelConfig:
    """Read the architecture off the shapes of a whole state dict.

    Args:
        state: tensors by published key.
        side: see `infer_face_architecture`.

    Raises:
        CheckpointError: a key that tells the architecture is absent.
    """
    return ModelConfig(
        face=infer_face_config(state, image_size),
        voice=infer_voice_config(state),
        embedding_dim=pretrained_backbones.get_shape(state, "F.cls.weight")[1],
        num_classes=pretrained_backbones.get_shape(state, "F.cls.weight")[0],
    )


def infer_face_config(state: Mapping[str, Tensor], image_size: int | None = None) -> FaceConfig:
    """Read the face branch's architecture off the shapes.

    Args:
        state: tensors by published key, `F.model.…` at least.
        side: picture side in pixels. The shapes tell only its sixteenth, rounded up: 7 means 112 unless said.

    Raises:
        CheckpointError: a key that tells the architecture is absent.
    """
    trunk = pretrained_backbones.infer_face_config(state, FACE_PREFIX, image_size)
    return FaceConfig(
        **trunk.model_dump(),
        num_features=pretrained_backbones.get_shape(state, f"{FACE_PREFIX}output_layer.3.weight")[0],
    )


def infer_voice_config(state: Mapping[str, Tensor]) -> VoiceConfig:
    """Read the voice branch's architecture off the shapes; 40 bands where the bank is not in the state.

    Args:
        state: tensors by published key, `V.model.…` at least.

    Raises:
        CheckpointError: a key that tells the architecture is absent.
    """
    trunk = pretrained_backbones.infer_voice_config(state, VOICE_PREFIX, f"{VOICE_PREFIX}fc.weight")
    return VoiceConfig(
        **trunk.model_dump(),
        num_features=pretrained_backbones.get_shape(state, f"{VOICE_PREFIX}fc.weight")[0],
    )


def _optimiser_parameter_names(state: Mapping[str, Tensor]) -> list[str]:
    """Parameter names in optimiser order, F then V, each in definition order."""
    config = infer_model_config(state)
    face, voice = config.face, config.voice
    least = {"face": minimal_widths(face.widths), "voice": minimal_widths(voice.widths)}
    narrow = config.model_copy(
        update={
            "face": face.model_copy(update={"widths": least["face"], "image_size": 16, "num_features": 1}),
            "voice": voice.model_copy(update={"widths": least["voice"], "num_features": 1}),
        }
    )
    model = Voice2Face(narrow)
    return parameter_names(model, model.parameter_groups())
