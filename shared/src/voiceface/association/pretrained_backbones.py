"""Published files of the two pretrained backbones, and shared parts of reading published checkpoints.

The face backbone is an IR network of face.evoLVe, the voice backbone the thin ResNet-34 of voxceleb_trainer.
The checkpoints of a system hold them below prefixes, such as `F.model.` and `V.model.`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from voiceface.association.encoder_config import FaceBackboneConfig, Stages, VoiceBackboneConfig
from voiceface.association.encoders import VoiceBackbone
from voiceface.checkpoints.native import LoadReport, load_into
from voiceface.checkpoints.published import (
    CheckpointError,
    apply_key_table,
    extract_state_dict,
    read_published,
)
from voiceface.models import iresnet

__all__ = [
    "FRONTEND_KEYS",
    "MEL_BANK_KEY",
    "VOICE_KEY_TABLE",
    "count_indices",
    "get_shape",
    "infer_face_config",
    "infer_voice_config",
    "load_face_backbone",
    "load_voice_backbone",
    "minimal_widths",
    "momentum_by_name",
    "parameter_names",
    "restore_momentum",
    "with_frontend_constants",
]

VOICE_KEY_TABLE = [(r"^__L__\.", None), (r"^__S__\.", "")]
MEL_BANK_KEY = "torchfb.mel_scale.fb"
FRONTEND_KEYS = ("torchfb.spectrogram.window", MEL_BANK_KEY)
"""Front-end constants in published voice checkpoints; the model computes them."""


def load_face_backbone(backbone: iresnet.IR, path: str | Path) -> LoadReport:
    """Copy a pretrained face network of face.evoLVe (such as `backbone_ir50_ms1m_epoch120.pth`).

    Its recognition layer (`output_layer`) is ignored if `backbone` has none.

    Raises:
        CheckpointError: corrupt or unsafe, or a key is missing, unknown or of another shape.
    """
    state = extract_state_dict(read_published(path), "state_dict", source=str(path))
    unused = [] if backbone.output_layer is not None else ["output_layer.*"]
    return load_into(backbone, state, ignore=unused, source=str(path))


def load_voice_backbone(backbone: VoiceBackbone, path: str | Path) -> LoadReport:
    """Copy a pretrained voice network of voxceleb_trainer (`baseline_lite_ap.model`).

    Both published forms are read: plain keys, and keys with the prefix `__S__.` beside the parameters of the
    trainer's loss (`__L__.`, ignored). Its output layer (`fc`) is ignored if `backbone` has none.

    Raises:
        CheckpointError: corrupt or unsafe, or a key is missing, unknown or of another shape.
    """
    state = extract_state_dict(read_published(path), "state_dict", "model", source=str(path))
    complete = with_frontend_constants(backbone, apply_key_table(state, VOICE_KEY_TABLE))
    unused = [] if backbone.fc is not None else ["fc.*"]
    return load_into(backbone, complete, ignore=unused, source=str(path))


def with_frontend_constants(
    backbone: VoiceBackbone, state: Mapping[str, Tensor], prefix: str = ""
) -> dict[str, Tensor]:
    """Add the front-end constants of `backbone` to a state dict in which they are missing or empty.

    Old versions of torchaudio saved an empty filter bank.

    Args:
        backbone: source of the constants.
        state: tensors by key.
        prefix: of the voice backbone's keys in `state`.
    """
    constants = {
        f"{prefix}{key}": value for key, value in backbone.state_dict().items() if key in FRONTEND_KEYS
    }
    return constants | {key: value for key, value in state.items() if key not in constants or value.numel()}


def infer_face_config(
    state: Mapping[str, Tensor], prefix: str, image_size: int | None = None
) -> FaceBackboneConfig:
    """Infer the architecture of the face backbone from the shapes; strides are the published ones.

    Args:
        state: tensors by key.
        prefix: of the face backbone's keys.
        image_size: image side in pixels; None: 16 times the side of the last map, from the output layer (7
            gives 112), or 112 if that is missing.

    Raises:
        CheckpointError: a key that determines the architecture is missing.
    """
    units = count_indices(state, rf"{re.escape(prefix)}body\.(\d+)\.")
    channels = [get_shape(state, f"{prefix}body.{i}.res_layer.1.weight")[0] for i in range(units)]
    starts = [i for i in range(units) if i == 0 or channels[i] != channels[i - 1]]
    if len(starts) != 4:
        raise CheckpointError(
            f"expected four stages of different width in the face network, found {channels}"
        )
    a, b, c, d = starts
    widths = (channels[a], channels[b], channels[c], channels[d])
    blocks = (b - a, c - b, d - c, units - d)
    last = state.get(f"{prefix}output_layer.3.weight")
    known = next((name for name, published in iresnet.BLOCKS.items() if published == blocks), None)
    return FaceBackboneConfig(
        arch=known or "ir50",
        blocks=None if known else blocks,
        widths=widths,
        squeeze_excitation=f"{prefix}body.0.res_layer.5.fc1.weight" in state,
        image_size=image_size or (112 if last is None else 16 * round((last.shape[1] / widths[3]) ** 0.5)),
    )


def infer_voice_config(state: Mapping[str, Tensor], prefix: str, output_key: str) -> VoiceBackboneConfig:
    """Infer the architecture of the voice backbone from the shapes; strides are the published ones.

    Args:
        state: tensors by key; 40 mel bands if it holds no filter bank.
        prefix: of the voice backbone's keys.
        output_key: key of the linear layer after the pooling.

    Raises:
        CheckpointError: a key that determines the architecture is missing.
    """
    keys = [f"{prefix}layer{n}." for n in (1, 2, 3, 4)]
    a, b, c, d = (get_shape(state, f"{key}0.conv1.weight")[0] for key in keys)
    i, j, k, m = (count_indices(state, rf"{re.escape(key)}(\d+)\.") for key in keys)
    bank = state.get(f"{prefix}{MEL_BANK_KEY}")
    return VoiceBackboneConfig(
        blocks=(i, j, k, m),
        widths=(a, b, c, d),
        pooling="sap" if get_shape(state, output_key)[1] == d else "asp",
        n_mels=40 if bank is None or bank.ndim != 2 else bank.shape[1],
    )


def minimal_widths(widths: Stages) -> Stages:
    """Reduce widths to the smallest with the same equalities: a small network with the same keys."""
    a, b, c, d = (1 + sorted(set(widths)).index(width) for width in widths)
    return a, b, c, d


def momentum_by_name(
    optimiser_state: Mapping[str, Any], names: Sequence[str], state: Mapping[str, Tensor], source: str
) -> dict[str, Tensor]:
    """Extract the SGD momentum of a saved optimiser state by parameter name.

    Old versions of PyTorch identify parameters by memory address: the position in the groups counts.

    Args:
        optimiser_state: an optimiser's state dict.
        names: of its parameters, in its order.
        state: tensors by key, for their shapes.
        source: name of the file, for messages.

    Raises:
        CheckpointError: another number of parameters, or momentum of another shape.
    """
    parameter_ids = [key for group in optimiser_state.get("param_groups", []) for key in group["params"]]
    if len(parameter_ids) != len(names):
        raise CheckpointError(
            f"{source}: its optimiser holds {len(parameter_ids)} parameters, the network has {len(names)}"
        )
    momentum = {}
    for parameter_id, name in zip(parameter_ids, names):
        buffer = optimiser_state["state"].get(parameter_id, {}).get("momentum_buffer")
        if buffer is None or name not in state:
            continue
        if buffer.shape != state[name].shape:
            raise CheckpointError(
                f"{source}: momentum of {name} has shape {tuple(buffer.shape)}, "
                f"expected {tuple(state[name].shape)}"
            )
        momentum[name] = buffer
    return momentum


def restore_momentum(model: nn.Module, optimiser: torch.optim.SGD, momentum: Mapping[str, Tensor]) -> None:
    """Set the momentum of an SGD optimiser from a published checkpoint.

    Raises:
        CheckpointError: a parameter of the optimiser has no momentum in the file.
    """
    names = {parameter: name for name, parameter in model.named_parameters()}
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            name = names[parameter]
            if name not in momentum:
                raise CheckpointError(f"the published optimiser state has no momentum for {name}")
            optimiser.state[parameter]["momentum_buffer"] = momentum[name].to(parameter)


def parameter_names(model: nn.Module, groups: Iterable[Mapping[str, Any]]) -> list[str]:
    """List the names of the parameters of an optimiser's groups, in their order."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return [names[parameter] for group in groups for parameter in group["params"]]


def get_shape(state: Mapping[str, Tensor], key: str) -> tuple[int, ...]:
    """Look up the shape of a required tensor.

    Raises:
        CheckpointError: it is missing.
    """
    if key not in state:
        raise CheckpointError(f"incomplete state dict: {key} is missing")
    return tuple(state[key].shape)


def count_indices(state: Mapping[str, Any], pattern: str) -> int:
    """Count indices: one more than the largest number that `pattern` captures in the keys; 0 if none."""
    return 1 + max((int(m[1]) for m in map(re.compile(pattern).match, state) if m), default=-1)
