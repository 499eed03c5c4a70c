"""Published files: checkpoints, the two pretrained backbones, identity weights (docs/seeking_shape.md).

The modules of this package keep the published parameter names. Reading never executes code from a file; the
written files can be loaded by the published implementation.
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
    """Checkpoint of the published training.

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
        CheckpointError: corrupt, unsafe, or not a checkpoint of this system.
    """
    content = read_published(path)
    state = extract_state_dict(content, "state_dict", source=str(path))
    if not any(key.startswith(("F.", "V.")) for key in state):
        first_keys = ", ".join(list(state)[:3])
        raise CheckpointError(
            f"{path} is no checkpoint of seeking_shape: expected keys F.… and V.…, found {first_keys}"
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
    """Read the tensors of a published checkpoint by key, 653 of them in the published architecture.

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

    The two front-end buffers may be missing: they are constants.

    Raises:
        CheckpointError: as `read_checkpoint`, or keys or shapes differ; `infer_model_config` gives the
            configuration that fits.
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
        CheckpointError: corrupt or unsafe, or a key is missing, unknown or of another shape.
    """
    return pretrained_backbones.load_face_backbone(model.F.model, path)


def load_voice_backbone(model: Voice2Face, path: str | Path) -> LoadReport:
    """Copy the pretrained voice network (`baseline_lite_ap.model`, of voxceleb_trainer) into `V.model`.

    Both published forms are read: plain keys, and keys with the prefix `__S__.` beside the parameters of the
    trainer's loss (`__L__.`, ignored).

    Raises:
        CheckpointError: corrupt or unsafe, or a key is missing, unknown or of another shape.
    """
    return pretrained_backbones.load_voice_backbone(model.V.model, path)


def read_id_weight(path: str | Path) -> Tensor:
    """Read identity weights from `id_weight.pth` or from a complete checkpoint.

    Returns:
        Shape (C,), float32, in the order of the used rows of the training CSV.

    Raises:
        CheckpointError: corrupt or unsafe, or no such vector in it.
    """
    state = extract_state_dict(read_published(path), "state_dict", source=str(path))
    weight = state.get(IDENTITY_WEIGHT_KEY)
    if weight is None or weight.ndim != 1:
        first_keys = ", ".join(list(state)[:3])
        raise CheckpointError(f"{path} holds no vector {IDENTITY_WEIGHT_KEY!r}; its keys: {first_keys}")
    return weight.float()


def load_id_weight(center: IdentityWeights, path: str | Path) -> None:
    """Copy published identity weights into `center`; the file has no names, so only their number is checked.

    Raises:
        CheckpointError: as `read_id_weight`, or another number of identities.
    """
    weight = read_id_weight(path)
    if weight.shape != center.weight.shape:
        raise CheckpointError(
            f"{path} holds weights of {len(weight)} identities, the training set has {len(center.weight)}: "
            "use the weights of the same training CSV"
        )
    center.weight.copy_(weight)


def save_checkpoint(
    path: str | Path, model: Voice2Face, step: int, optimiser: torch.optim.Optimizer | None = None
) -> None:
    """Write a checkpoint in the published layout, atomically; `read_checkpoint` reads it.

    Args:
        path: such as `ckp_010000.pth.tar`.
        model: trained network.
        step: completed steps.
        optimiser: with the groups of `parameter_groups`; None: not stored.
    """
    content = {
        "start_it": step,
        "stage": 0,
        "state_dict": cpu_state_dict(model),
        "optimizer": {"match": optimiser.state_dict()} if optimiser else {},
    }
    save_torch(path, content)


def save_face_backbone(path: str | Path, model: Voice2Face) -> None:
    """Write `F.model` in the format of face.evoLVe backbones."""
    save_torch(path, cpu_state_dict(model.F.model))


def save_voice_backbone(path: str | Path, model: Voice2Face) -> None:
    """Write `V.model` with plain keys, front-end buffers included."""
    save_torch(path, cpu_state_dict(model.V.model))


def save_id_weight(path: str | Path, weight: Tensor) -> None:
    """Write `id_weight.pth`: one vector of C identity weights."""
    save_torch(path, {IDENTITY_WEIGHT_KEY: weight.detach().cpu().clone()})


def infer_model_config(state: Mapping[str, Tensor], image_size: int | None = None) -> ModelConfig:
    """Infer the architecture from the shapes of a complete state dict.

    Args:
        state: tensors by published key.
        image_size: see `infer_face_config`.

    Raises:
        CheckpointError: a key that determines the architecture is missing.
    """
    return ModelConfig(
        face=infer_face_config(state, image_size),
        voice=infer_voice_config(state),
        embedding_dim=pretrained_backbones.get_shape(state, "F.cls.weight")[1],
        num_classes=pretrained_backbones.get_shape(state, "F.cls.weight")[0],
    )


def infer_face_config(state: Mapping[str, Tensor], image_size: int | None = None) -> FaceConfig:
    """Infer the architecture of the face branch from the shapes.

    Args:
        state: tensors by published key, `F.model.…` at least.
        image_size: image side in pixels. The shapes determine only a sixteenth of it, rounded up; None: 16
            times that (7 gives 112).

    Raises:
        CheckpointError: a key that determines the architecture is missing.
    """
    backbone = pretrained_backbones.infer_face_config(state, FACE_PREFIX, image_size)
    return FaceConfig(
        **backbone.model_dump(),
        num_features=pretrained_backbones.get_shape(state, f"{FACE_PREFIX}output_layer.3.weight")[0],
    )


def infer_voice_config(state: Mapping[str, Tensor]) -> VoiceConfig:
    """Infer the architecture of the voice branch from the shapes; 40 mel bands if the filter bank is missing.

    Args:
        state: tensors by published key, `V.model.…` at least.

    Raises:
        CheckpointError: a key that determines the architecture is missing.
    """
    backbone = pretrained_backbones.infer_voice_config(state, VOICE_PREFIX, f"{VOICE_PREFIX}fc.weight")
    return VoiceConfig(
        **backbone.model_dump(),
        num_features=pretrained_backbones.get_shape(state, f"{VOICE_PREFIX}fc.weight")[0],
    )


def _optimiser_parameter_names(state: Mapping[str, Tensor]) -> list[str]:
    """List parameter names in the optimiser's order: F, then V, each in order of definition."""
    config = infer_model_config(state)
    face, voice = config.face, config.voice
    face_sizes = {"widths": minimal_widths(face.widths), "image_size": 16, "num_features": 1}
    voice_sizes = {"widths": minimal_widths(voice.widths), "num_features": 1}
    small = {"face": face.model_copy(update=face_sizes), "voice": voice.model_copy(update=voice_sizes)}
    model = Voice2Face(config.model_copy(update=small))
    return parameter_names(model, model.parameter_groups())
