"""Published files: complete checkpoints and the two pretrained backbones (docs/archetype_agnostic.md).

The modules of this package keep the published parameter names. Reading never executes code from a file; the
written files can be loaded by the published implementations.
"""

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from voiceface.association import pretrained_backbones
from voiceface.association.encoders import VoiceBackbone
from voiceface.association.pretrained_backbones import minimal_widths, parameter_names, restore_momentum
from voiceface.checkpoints.native import LoadReport, load_into
from voiceface.checkpoints.published import (
    CheckpointError,
    apply_key_table,
    cpu_state_dict,
    extract_state_dict,
    read_published,
    save_torch,
)
from voiceface.models import iresnet
from voiceface.runtime.config import load_config

from archetype_agnostic.config import ArchetypeAgnosticConfig
from archetype_agnostic.model import Aasm
from archetype_agnostic.model_config import FaceConfig, ModelConfig, VoiceConfig

__all__ = [
    "PublishedCheckpoint",
    "build_published_state",
    "get_momentum",
    "infer_model_config",
    "load_checkpoint",
    "load_face_backbone",
    "load_voice_backbone",
    "read_checkpoint",
    "read_full_checkpoint",
    "read_with_config",
    "restore_momentum",
    "save_checkpoint",
    "save_face_backbone",
    "save_voice_backbone",
]
FACE_PREFIX, VOICE_PREFIX = "vNet.model.", "aNet.model."
# Data-parallel training adds "module."; its first occurrence in a key is removed.
PREFIX_RULES = [(r"^(.*?)module\.", r"\1")]
COUNTER_KEYS = ("corr_num", "compare_sum")
UNUSED_KEYS = (f"{FACE_PREFIX}output_layer.*", f"{VOICE_PREFIX}fc.*", *COUNTER_KEYS)
FRONTEND_KEYS = (f"{VOICE_PREFIX}torchfb.*",)
OPTIONAL_KEYS = ("eqm.*", *FRONTEND_KEYS)  # identity weights; constants
NUM_PUBLISHED_IDENTITIES = 924  # length of the published counters, which are never used


@dataclass(frozen=True)
class PublishedCheckpoint:
    """Checkpoint of the published training.

    Attributes:
        state: tensors by key, without layers that are never evaluated and without front-end constants.
        config: architecture.
        step: completed training steps.
        optimiser_state: state dict of the optimiser as saved; empty if the file holds none.
    """

    state: dict[str, Tensor]
    config: ModelConfig
    step: int
    optimiser_state: Mapping[str, Any]


def read_checkpoint(path: str | Path) -> PublishedCheckpoint:
    """Read `checkpoint_best.pth.tar`, `ckp_epoch_006888.pth.tar` and the like, of either repository.

    The file may be a plain state dict or contain `start_it`, `stage` and `optimizer` as well. The recognition
    layer of the face network, the last layer of the voice network, the front-end constants and the second
    copies of the counters are ignored; missing identity weights are one.

    Raises:
        CheckpointError: corrupt, unsafe, not a checkpoint of this system, or a key is missing or unknown.
    """
    content = read_published(path)
    state = apply_key_table(extract_state_dict(content, "state_dict", source=str(path)), PREFIX_RULES)
    if not any(key.startswith(("vNet.", "aNet.")) for key in state):
        keys = ", ".join(list(state)[:3])
        raise CheckpointError(
            f"{path} is no checkpoint of archetype_agnostic: expected keys vNet.… and aNet.…, found {keys}"
        )
    try:
        config = infer_model_config(state)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    known = _build_minimal_model(config).state_dict()
    used = {key: value for key, value in state.items() if not _matches_any(key, *UNUSED_KEYS, *FRONTEND_KEYS)}
    required = [key for key in known if not _matches_any(key, *UNUSED_KEYS, *OPTIONAL_KEYS)]
    report = LoadReport(
        loaded=[key for key in used if key in known],
        missing=[key for key in required if key not in state],
        unexpected=[key for key in used if key not in known],
    )
    if report.missing or report.unexpected:
        raise CheckpointError(f"{path} is no complete checkpoint of archetype_agnostic: {report}")
    optimiser = content.get("optimizer")
    return PublishedCheckpoint(
        _initial_identity_weights(config) | used,
        config,
        int(content.get("start_it", 0)),
        optimiser if isinstance(optimiser, Mapping) else {},
    )


def get_momentum(checkpoint: PublishedCheckpoint) -> dict[str, Tensor]:
    """Extract the SGD momentum by parameter name, for `restore_momentum`; empty if the file holds none.

    Parameters are numbered face first, then voice, each in order of definition, including the layers that are
    never evaluated.

    Raises:
        CheckpointError: the optimiser has other parameters.
    """
    if not checkpoint.optimiser_state.get("state"):
        return {}
    skeleton = _build_minimal_model(checkpoint.config)
    names = parameter_names(skeleton, skeleton.parameter_groups())
    return pretrained_backbones.momentum_by_name(
        checkpoint.optimiser_state, names, checkpoint.state, "the checkpoint"
    )


def read_full_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a published checkpoint by key, as `read_checkpoint` returns them.

    Raises:
        CheckpointError: as `read_checkpoint`.
    """
    return read_checkpoint(path).state


def read_with_config(path: str | Path) -> tuple[dict[str, Tensor], ArchetypeAgnosticConfig]:
    """Read a published checkpoint of a complete model, and derive its configuration.

    Front end and strides are those of the configuration `published`; the architecture of the face network is
    inferred from the file.

    Raises:
        CheckpointError: corrupt, unsafe, or not a checkpoint of this system.
    """
    checkpoint = read_checkpoint(path)
    face = checkpoint.config.face
    config = load_config("published", ArchetypeAgnosticConfig, "archetype_agnostic")
    face = config.model.face.model_copy(
        update={"arch": face.arch, "squeeze_excitation": face.squeeze_excitation}
    )
    model = config.model.model_copy(update={"face": face})
    return checkpoint.state, config.model_copy(update={"model": model})


def load_checkpoint(model: Aasm, path: str | Path) -> PublishedCheckpoint:
    """Copy a published checkpoint into `model`; every key must fit.

    Raises:
        CheckpointError: as `read_checkpoint`, or shapes differ; `infer_model_config` gives the configuration
            that fits.
    """
    checkpoint = read_checkpoint(path)
    load_into(model, checkpoint.state, ignore=FRONTEND_KEYS, source=str(path))
    return checkpoint


def load_face_backbone(model: Aasm, path: str | Path) -> LoadReport:
    """Copy a pretrained face network (`Backbone_IR_152_Epoch_112_….pth`, of face.evoLVe) into `vNet.model`.

    Its recognition layer is ignored. It was trained on RGB images; the published system feeds it BGR images,
    as does `data.channels: bgr`.

    Raises:
        CheckpointError: corrupt or unsafe, or a key is missing, unknown or of another shape.
    """
    return pretrained_backbones.load_face_backbone(model.vNet.model, path)


def load_voice_backbone(model: Aasm, path: str | Path) -> LoadReport:
    """Copy the pretrained voice network (`baseline_lite_ap.model`, of voxceleb_trainer) into `aNet.model`.

    Both published forms are read: plain keys, and keys with the prefix `__S__.` beside the parameters of the
    trainer's loss (`__L__.`, ignored). Its last layer (`fc`) is ignored.

    Raises:
        CheckpointError: corrupt or unsafe, or a key is missing, unknown or of another shape.
    """
    return pretrained_backbones.load_voice_backbone(model.aNet.model, path)


def build_published_state(model: Aasm) -> dict[str, Tensor]:
    """Build the complete published state dict of a model, on the CPU.

    In the published architecture these are 985 tensors.
    Layers that are never evaluated, and that the model lacks, get initial values: the recognition layer of
    the face network and the last layer of the voice network (512 outputs, weights and biases zero, initial
    batch norms), and the second copies of the counters (924 zeros).
    """
    config = model.config
    channels, size = config.face.widths[-1], -(-config.face.image_size // 16)
    recognition = nn.ModuleDict(
        {"0": nn.BatchNorm2d(channels), "3": nn.Linear(channels * size**2, 512), "4": nn.BatchNorm1d(512)}
    )
    output = nn.Linear(model.aNet.model.features, 512)
    for layer in (recognition["3"], output):
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
    return (
        cpu_state_dict(model)
        | {f"{FACE_PREFIX}output_layer.{key}": value for key, value in cpu_state_dict(recognition).items()}
        | {f"{VOICE_PREFIX}fc.{key}": value for key, value in cpu_state_dict(output).items()}
        | {key: torch.zeros(NUM_PUBLISHED_IDENTITIES) for key in COUNTER_KEYS}
    )


def save_checkpoint(
    path: str | Path, model: Aasm, step: int, optimiser: torch.optim.Optimizer | None = None
) -> None:
    """Write a checkpoint in the complete published layout, atomically; `read_checkpoint` reads it.

    Args:
        path: such as `ckp_epoch_027000.pth.tar`.
        model: trained network; `build_published_state` adds the layers that it lacks.
        step: completed steps.
        optimiser: with the groups of `parameter_groups`; None: not stored. Its parameters are numbered as the
            published ones, which include the layers that are never evaluated.

    Raises:
        ValueError: the layout cannot represent the strides or mel bands of the network.
    """
    face, voice, published = model.config.face, model.config.voice, ModelConfig()
    keys = ("stem_stride", "strides", "f_min", "f_max")
    values = (face.stem_stride, *(getattr(voice, key) for key in keys))
    expected = (published.face.stem_stride, *(getattr(published.voice, key) for key in keys))
    if values != expected:
        raise ValueError(
            f"{path}: the published layout does not state strides and mel bands: expected {expected}, found "
            f"{values}; save this network in the native format"
        )
    state = {} if optimiser is None else _renumber_optimiser_state(model, optimiser)
    content = {"start_it": step, "stage": 0, "state_dict": build_published_state(model), "optimizer": state}
    save_torch(path, content)


def save_face_backbone(path: str | Path, model: Aasm) -> None:
    """Write `vNet.model` in the format of face.evoLVe; recognition layer as in `build_published_state`."""
    _save_submodule(path, model, FACE_PREFIX)


def save_voice_backbone(path: str | Path, model: Aasm) -> None:
    """Write `aNet.model` with plain keys, and the last layer of `build_published_state`."""
    _save_submodule(path, model, VOICE_PREFIX)


def infer_model_config(state: Mapping[str, Tensor], image_size: int | None = None) -> ModelConfig:
    """Infer the architecture from the shapes of a complete state dict; strides are the published ones.

    Args:
        state: tensors by published key.
        image_size: image side in pixels; None: from the recognition layer, 112 if that is missing.

    Raises:
        CheckpointError: a key that determines the architecture is missing.
    """
    face = pretrained_backbones.infer_face_config(state, FACE_PREFIX, image_size)
    voice = pretrained_backbones.infer_voice_config(state, VOICE_PREFIX, output_key="aNet.fc.0.weight")
    return ModelConfig(
        face=FaceConfig(
            **face.model_dump(), hidden_dim=pretrained_backbones.get_shape(state, "vNet.fc.0.weight")[0]
        ),
        voice=VoiceConfig(
            **voice.model_dump(), hidden_dim=pretrained_backbones.get_shape(state, "aNet.fc.0.weight")[0]
        ),
        embedding_dim=pretrained_backbones.get_shape(state, "vNet.fc.2.weight")[0],
        num_classes=len(state["eqm.weight"]) if "eqm.weight" in state else NUM_PUBLISHED_IDENTITIES,
    )


def _matches_any(key: str, *patterns: str) -> bool:
    """Whether a key matches one of the shell patterns."""
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)


def _build_minimal_model(config: ModelConfig) -> Aasm:
    """Build a model of minimal width with the layers that are never evaluated, for keys and their order."""
    face = config.face.model_copy(update={"widths": minimal_widths(config.face.widths), "image_size": 16})
    voice = config.voice.model_copy(update={"widths": minimal_widths(config.voice.widths)})
    model = Aasm(config.model_copy(update={"face": face, "voice": voice, "num_classes": 1}))
    model.vNet.model = iresnet.IR(
        face.units, face.widths, face.image_size, 1, squeeze_excitation=face.squeeze_excitation
    )
    model.aNet.model = VoiceBackbone(voice, 1)
    return model


def _initial_identity_weights(config: ModelConfig) -> dict[str, Tensor]:
    """Build the state of the identity weights at the start of training."""
    count = config.num_classes or NUM_PUBLISHED_IDENTITIES
    return {f"eqm.{key}": torch.zeros(count) for key in COUNTER_KEYS} | {"eqm.weight": torch.ones(count)}


def _renumber_optimiser_state(model: Aasm, optimiser: torch.optim.Optimizer) -> dict[str, object]:
    """Renumber the parameters of an optimiser's state dict as in the published network."""
    skeleton = _build_minimal_model(model.config)
    groups = skeleton.parameter_groups()
    index = {name: i for i, name in enumerate(parameter_names(skeleton, groups))}
    names = parameter_names(model, optimiser.param_groups)
    state = optimiser.state_dict()
    indices = [[index[name] for name in parameter_names(skeleton, [group])] for group in groups]
    return {
        "state": {index[names[i]]: value for i, value in state["state"].items()},
        "param_groups": [
            {**group, "params": params} for group, params in zip(state["param_groups"], indices, strict=True)
        ],
    }


def _save_submodule(path: str | Path, model: Aasm, prefix: str) -> None:
    """Write the tensors below a prefix, with the prefix removed."""
    state = build_published_state(model)
    save_torch(path, {key[len(prefix) :]: state[key] for key in state if key.startswith(prefix)})
