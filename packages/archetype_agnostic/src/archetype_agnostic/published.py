"""Files of the two published implementations: whole checkpoints and the two pretrained backbones.

Our modules keep the published parameter names. Reading never runs code that a file may carry; writing gives
files that the published implementations load.
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
PREFIX_RULES = [
    (r"^(.*?)module\.", r"\1")
]  # of data-parallel training; removed once, wherever it stands first
COUNTER_KEYS = ("corr_num", "compare_sum")
UNUSED_KEYS = (f"{FACE_PREFIX}output_layer.*", f"{VOICE_PREFIX}fc.*", *COUNTER_KEYS)
FRONTEND_KEYS = (f"{VOICE_PREFIX}torchfb.*",)
OPTIONAL_KEYS = ("eqm.*", *FRONTEND_KEYS)  # weights of the training people; constants
NUM_PUBLISHED_IDENTITIES = 924  # as many as the published code states for the counters that it never uses


@dataclass(frozen=True)
class PublishedCheckpoint:
    """A checkpoint of the published training.

    Attributes:
        state: tensors by key, the layers that are never evaluated left out, front-end constants too.
        architecture: of the networks.
        step: completed training steps.
        optimiser: its state as it was saved; empty when the file holds none.
    """

    state: dict[str, Tensor]
    config: ModelConfig
    step: int
    optimiser_state: Mapping[str, Any]


def read_checkpoint(path: str | Path) -> PublishedCheckpoint:
    """Read `checkpoint_best.pth.tar`, `ckp_epoch_006888.pth.tar` and the like, of either repository.

    The state dict may stand alone or beside `start_it`, `stage` and `optimizer`. The recognition layer of the
    face network, the last layer of the voice network, the front-end constants and the second copies of the
    counters are read over; identity weights may be absent and are then one.

    Raises:
        CheckpointError: damaged, unsafe, not a checkpoint of this system, or a key is missing or unknown.
    """
    content = read_published(path)
    state = apply_key_table(extract_state_dict(content, "state_dict", source=str(path)), PREFIX_RULES)
    if not any(key.startswith(("vNet.", "aNet.")) for key in state):
        found = ", ".join(list(state)[:3])
        raise CheckpointError(
            f"{path} is no checkpoint of archetype_agnostic: expected keys vNet.… and aNet.…, found {found}"
        )
    try:
        architecture = infer_model_config(state)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    known = _build_minimal_model(architecture).state_dict()
    used = {key: value for key, value in state.items() if not _matches_any(key, *UNUSED_KEYS, *FRONTEND_KEYS)}
    needed = [key for key in known if not _matches_any(key, *UNUSED_KEYS, *OPTIONAL_KEYS)]
    report = LoadReport(
        loaded=[key for key in used if key in known],
        missing=[key for key in needed if key not in state],
        unexpected=[key for key in used if key not in known],
    )
    if report.missing or report.unexpected:
        raise CheckpointError(f"{path} is no whole checkpoint of archetype_agnostic: {report}")
    optimiser = content.get("optimizer")
    return PublishedCheckpoint(
        _build_fresh_state(architecture) | used,
        architecture,
        int(content.get("start_it", 0)),
        optimiser if isinstance(optimiser, Mapping) else {},
    )


def get_momentum(checkpoint: PublishedCheckpoint) -> dict[str, Tensor]:
    """SGD momentum by parameter name, for `restore_momentum`; empty where the file holds none.

    Parameters are numbered face then voice, each in definition order, the layers that are never evaluated
    included.

    Raises:
        CheckpointError: the optimiser was of other parameters.
    """
    if not checkpoint.optimiser_state.get("state"):
        return {}
    skeleton = _build_minimal_model(checkpoint.config)
    names = parameter_names(skeleton, skeleton.parameter_groups())
    return pretrained_backbones.momentum_by_name(
        checkpoint.optimiser_state, names, checkpoint.state, "the checkpoint"
    )


def read_full_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a published checkpoint by key, as `read_checkpoint` leaves them.

    Raises:
        CheckpointError: as `read_checkpoint`.
    """
    return read_checkpoint(path).state


def read_with_config(path: str | Path) -> tuple[dict[str, Tensor], ArchetypeAgnosticConfig]:
    """Read a published checkpoint of a complete model, and derive its configuration.

    Front end and strides are those of the configuration `published`; the face network is the published one
    that the file holds.

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
        CheckpointError: as `read_checkpoint`, or shapes differ; its `architecture` tells what fits.
    """
    checkpoint = read_checkpoint(path)
    load_into(model, checkpoint.state, ignore=FRONTEND_KEYS, source=str(path))
    return checkpoint


def load_face_backbone(model: Aasm, path: str | Path) -> LoadReport:
    """Copy a pretrained face network (`Backbone_IR_152_Epoch_112_….pth`, of face.evoLVe) into `vNet.model`.

    Its recognition layer is read over. It was trained on red-green-blue pictures; the published system gives
    it blue-green-red ones, as does `data.channels: bgr`.

    Raises:
        CheckpointError: damaged or unsafe, or a key is missing, unknown or of another shape.
    """
    return pretrained_backbones.load_face_backbone(model.vNet.model, path)


def load_voice_backbone(model: Aasm, path: str | Path) -> LoadReport:
    """Copy the pretrained voice network (`baseline_lite_ap.model`, of voxceleb_trainer) into `aNet.model`.

    Both forms are read: bare keys, and that trainer's own with the prefix `__S__.` and the parameters of its
    loss beside them (`__L__.`, left out). Its last layer (`fc`) is read over.

    Raises:
        CheckpointError: damaged or unsafe, or a key is missing, unknown or of another shape.
    """
    return pretrained_backbones.load_voice_backbone(model.aNet.model, path)


def build_published_state(model: Aasm) -> dict[str, Tensor]:
    """The complete published state dict of a model, 985 tensors in the published architecture, on the CPU.

    What our model does not have, because it is never evaluated, is written as nothing learnt: the face
    network's recognition layer and the voice network's last one (512 outputs, weights and biases zero, batch
    norms as they begin), and the second copies of the counters (924 zeros).
    """
    config = model.config
    face, last = config.face.widths[-1], -(-config.face.image_size // 16)
    recognition = nn.ModuleDict(
        {"0": nn.BatchNorm2d(face), "3": nn.Linear(face * last * last, 512), "4": nn.BatchNorm1d(512)}
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
    """Write a checkpoint in the complete published layout, atomically; `read_checkpoint` is the way back.

    Args:
        path: such as `ckp_epoch_027000.pth.tar`.
        model: trained network; `published_state` says what stands in for layers that it does not have.
        step: completed steps.
        optimiser: with the groups of `parameter_groups`; left out when None. Its parameters are numbered as
            the published ones, which include the layers that are never evaluated.

    Raises:
        ValueError: the network has strides or mel bands that the layout cannot tell.
    """
    face, voice, published = model.config.face, model.config.voice, ModelConfig()
    told = (face.stem_stride, voice.stem_stride, voice.strides, voice.f_min, voice.f_max)
    known = (
        published.face.stem_stride,
        *(getattr(published.voice, key) for key in ("stem_stride", "strides", "f_min", "f_max")),
    )
    if told != known:
        raise ValueError(
            f"{path}: the published layout does not say the strides and the ends of the mel bands, here "
            f"{told}, published {known}: keep this network in our own format"
        )
    saved = {} if optimiser is None else _renumber_optimiser_state(model, optimiser)
    content = {"start_it": step, "stage": 0, "state_dict": build_published_state(model), "optimizer": saved}
    save_torch(path, content)


def save_face_backbone(path: str | Path, model: Aasm) -> None:
    """Write `vNet.model` as a face.evoLVe backbone file, its recognition layer as in `published_state`."""
    _save_submodule(path, model, FACE_PREFIX)


def save_voice_backbone(path: str | Path, model: Aasm) -> None:
    """Write `aNet.model` as a bare voice backbone file, its last layer as in `published_state`."""
    _save_submodule(path, model, VOICE_PREFIX)


def infer_model_config(state: Mapping[str, Tensor], image_size: int | None = None) -> ModelConfig:
    """Read the architecture off the shapes of a whole state dict. Strides leave no trace: published ones.

    Args:
        state: tensors by published key.
        side: picture side in pixels. None: as the recognition layer tells, 112 where there is none.

    Raises:
        CheckpointError: a key that tells the architecture is absent.
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
    """Whether a key fits one of these shell patterns."""
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)


def _build_minimal_model(config: ModelConfig) -> Aasm:
    """A model of least width with the published layers that ours leaves out, for keys and their order."""
    face = config.face.model_copy(update={"widths": minimal_widths(config.face.widths), "image_size": 16})
    voice = config.voice.model_copy(update={"widths": minimal_widths(config.voice.widths)})
    model = Aasm(config.model_copy(update={"face": face, "voice": voice, "num_classes": 1}))
    model.vNet.model = iresnet.IR(
        face.units, face.widths, face.image_size, 1, squeeze_excitation=face.squeeze_excitation
    )
    model.aNet.model = VoiceBackbone(voice, 1)
    return model


def _build_fresh_state(config: ModelConfig) -> dict[str, Tensor]:
    """Identity weights as a training begins with them."""
    people = config.num_classes or NUM_PUBLISHED_IDENTITIES
    return {f"eqm.{key}": torch.zeros(people) for key in COUNTER_KEYS} | {"eqm.weight": torch.ones(people)}


def _renumber_optimiser_state(model: Aasm, optimiser: torch.optim.Optimizer) -> dict[str, object]:
    """An optimiser's state dict with the numbers that its parameters have in the published network."""
    skeleton = _build_minimal_model(model.config)
    groups = skeleton.parameter_groups()
    number = {name: place for place, name in enumerate(parameter_names(skeleton, groups))}
    names = parameter_names(model, optimiser.param_groups)
    saved = optimiser.state_dict()
    whole = [[number[name] for name in parameter_names(skeleton, [group])] for group in groups]
    return {
        "state": {number[names[place]]: value for place, value in saved["state"].items()},
        "param_groups": [
            {**group, "params": numbers} for group, numbers in zip(saved["param_groups"], whole, strict=True)
        ],
    }


def _save_submodule(path: str | Path, model: Aasm, prefix: str) -> None:
    """Write what stands below a prefix, without it."""
    state = build_published_state(model)
    save_torch(path, {key[len(prefix) :]: state[key] for key in state if key.startswith(prefix)})
