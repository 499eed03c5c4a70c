"""Files of the published implementation: its checkpoints, the two pretrained backbones, its identity weights.

Our modules keep the published parameter names, so the key tables are short. Reading never runs code that a
file may carry; writing gives files that the published implementation loads.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from voiceface.association.networks import Stages
from voiceface.backbones import ir
from voiceface.checkpoint import CheckpointError, Report, apply_key_table, load_into, read_published
from voiceface.files import atomic_path
from voiceface.published import state_dict_of

from seeking_shape.model import FaceConfig, ModelConfig, Voice2Face, VoiceConfig, parameter_groups
from seeking_shape.reweighting import IdentityWeights

FACE_TABLE = [(r"^", "F.model.")]
VOICE_TABLE = [(r"^__L__\.", None), (r"^__S__\.", ""), (r"^", "V.model.")]
FRONT_END = ("V.model.torchfb.spectrogram.window", "V.model.torchfb.mel_scale.fb")
WEIGHT_KEY = "center.weight"


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
    state = state_dict_of(content, "state_dict", source=str(path))
    if not any(key.startswith(("F.", "V.")) for key in state):
        found = ", ".join(list(state)[:3])
        raise CheckpointError(
            f"{path} is no checkpoint of seeking_shape: expected keys F.… and V.…, found {found}"
        )
    optimiser = content.get("optimizer")
    saved = optimiser.get("match") if isinstance(optimiser, Mapping) else None
    momentum = _momentum_by_name(saved, state, str(path)) if saved else {}
    return PublishedCheckpoint(state, int(content.get("start_it", 0)), momentum)


def read_full_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a published checkpoint by key, 653 of them in the published architecture.

    Raises:
        CheckpointError: as `read_checkpoint`.
    """
    return read_checkpoint(path).state


def load_checkpoint(model: Voice2Face, path: str | Path) -> PublishedCheckpoint:
    """Copy a published checkpoint into `model`; every key must fit.

    The two front-end buffers may be absent: they are constants.

    Raises:
        CheckpointError: as `read_checkpoint`, or keys or shapes differ; `architecture_of` tells what fits.
    """
    checkpoint = read_checkpoint(path)
    load_into(model, _with_front_end(model, checkpoint.state), source=str(path))
    return checkpoint


def load_face_backbone(model: Voice2Face, path: str | Path) -> Report:
    """Copy the pretrained face network (`backbone_ir50_ms1m_epoch120.pth`, of face.evoLVe) into `F.model`.

    Raises:
        CheckpointError: damaged or unsafe, or a key is missing, unknown or of another shape.
    """
    state = state_dict_of(read_published(path), "state_dict", source=str(path))
    return load_into(model.F.model, _inside("F.model.", apply_key_table(state, FACE_TABLE)), source=str(path))


def load_voice_backbone(model: Voice2Face, path: str | Path) -> Report:
    """Copy the pretrained voice network (`baseline_lite_ap.model`, of voxceleb_trainer) into `V.model`.

    Both forms are read: bare keys, and that trainer's own with the prefix `__S__.` and the parameters of its
    loss beside them (`__L__.`, left out).

    Raises:
        CheckpointError: damaged or unsafe, or a key is missing, unknown or of another shape.
    """
    state = state_dict_of(read_published(path), "state_dict", "model", source=str(path))
    whole = _with_front_end(model, apply_key_table(state, VOICE_TABLE))
    return load_into(model.V.model, _inside("V.model.", whole), source=str(path))


def read_id_weight(path: str | Path) -> Tensor:
    """Identity weights from `id_weight.pth` or from any full checkpoint.

    Returns:
        Shape (C,), float32, in the order of the used rows of the training CSV.

    Raises:
        CheckpointError: damaged or unsafe, or no such vector in it.
    """
    state = state_dict_of(read_published(path), "state_dict", source=str(path))
    weight = state.get(WEIGHT_KEY)
    if weight is None or weight.ndim != 1:
        found = ", ".join(list(state)[:3])
        raise CheckpointError(f"{path} holds no vector {WEIGHT_KEY!r}; its keys: {found}")
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


def restore_momentum(model: Voice2Face, optimiser: torch.optim.SGD, momentum: Mapping[str, Tensor]) -> None:
    """Give an SGD optimiser the momentum of a published checkpoint, parameter by parameter.

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
        "state_dict": _on_cpu(model),
        "optimizer": {"match": optimiser.state_dict()} if optimiser else {},
    }
    _write(path, content)


def save_face_backbone(path: str | Path, model: Voice2Face) -> None:
    """Write `F.model` as a face.evoLVe backbone file."""
    _write(path, _on_cpu(model.F.model))


def save_voice_backbone(path: str | Path, model: Voice2Face) -> None:
    """Write `V.model` as a bare voice backbone file, front-end buffers included."""
    _write(path, _on_cpu(model.V.model))


def save_id_weight(path: str | Path, weight: Tensor) -> None:
    """Write `id_weight.pth`: one vector of C identity weights."""
    _write(path, {WEIGHT_KEY: weight.detach().cpu().clone()})


def architecture_of(state: Mapping[str, Tensor], side: int | None = None) -> ModelConfig:
    """Read the architecture off the shapes of a whole state dict.

    Args:
        state: tensors by published key.
        side: see `face_architecture`.

    Raises:
        CheckpointError: a key that tells the architecture is absent.
    """
    return ModelConfig(
        face=face_architecture(state, side),
        voice=voice_architecture(state),
        embedding=_shape(state, "F.cls.weight")[1],
        num_classes=_shape(state, "F.cls.weight")[0],
    )


def face_architecture(state: Mapping[str, Tensor], side: int | None = None) -> FaceConfig:
    """Read the face branch's architecture off the shapes.

    Args:
        state: tensors by published key, `F.model.…` at least.
        side: picture side in pixels. The shapes tell only its sixteenth, rounded up: 7 means 112 unless said.

    Raises:
        CheckpointError: a key that tells the architecture is absent.
    """
    widths, blocks = _face_stages(state)
    features, inputs = _shape(state, "F.model.output_layer.3.weight")
    known = next((name for name, published in ir.BLOCKS.items() if published == blocks), None)
    return FaceConfig(
        arch=known or "ir50",
        blocks=None if known else blocks,
        widths=widths,
        squeeze="F.model.body.0.res_layer.5.fc1.weight" in state,
        side=side or 16 * round((inputs / widths[3]) ** 0.5),
        features=features,
    )


def voice_architecture(state: Mapping[str, Tensor]) -> VoiceConfig:
    """Read the voice branch's architecture off the shapes; 40 bands where the bank is not in the state.

    Args:
        state: tensors by published key, `V.model.…` at least.

    Raises:
        CheckpointError: a key that tells the architecture is absent.
    """
    a, b, c, d = (_shape(state, f"V.model.layer{n}.0.conv1.weight")[0] for n in (1, 2, 3, 4))
    i, j, k, m = (_count(state, rf"V\.model\.layer{n}\.(\d+)\.") for n in (1, 2, 3, 4))
    features, inputs = _shape(state, "V.model.fc.weight")
    return VoiceConfig(
        blocks=(i, j, k, m),
        widths=(a, b, c, d),
        pooling="sap" if inputs == d else "asp",
        features=features,
        n_mels=_shape(state, FRONT_END[1])[1] if FRONT_END[1] in state else 40,
    )


def _shape(state: Mapping[str, Tensor], key: str) -> tuple[int, ...]:
    """Shape of a tensor that must be there."""
    if key not in state:
        raise CheckpointError(f"no whole state dict of seeking_shape: {key} is absent")
    return tuple(state[key].shape)


def _face_stages(state: Mapping[str, Tensor]) -> tuple[Stages, Stages]:
    """Widths and units of the four stages; a stage begins where the width changes, or at the first unit."""
    units = _count(state, r"F\.model\.body\.(\d+)\.")
    outside = [_shape(state, f"F.model.body.{i}.res_layer.1.weight")[0] for i in range(units)]
    starts = [i for i in range(units) if i == 0 or outside[i] != outside[i - 1]]
    if len(starts) != 4:
        raise CheckpointError(f"expected four stages of different width in the face network, found {outside}")
    a, b, c, d = starts
    return (outside[a], outside[b], outside[c], outside[d]), (b - a, c - b, d - c, units - d)


def _count(state: Mapping[str, Any], pattern: str) -> int:
    """One more than the greatest number that `pattern` captures from the keys' beginnings; 0 if none."""
    return 1 + max((int(m[1]) for m in map(re.compile(pattern).match, state) if m), default=-1)


def _momentum_by_name(
    saved: Mapping[str, Any], state: Mapping[str, Tensor], source: str
) -> dict[str, Tensor]:
    """Momentum by parameter name; parameters are numbered F then V in definition order.

    Old versions of torch number by memory address: the position in the groups counts, not the number itself.
    """
    expected = _numbered_names(architecture_of(state))
    numbers = [number for group in saved.get("param_groups", []) for number in group["params"]]
    if len(numbers) != len(expected):
        raise CheckpointError(
            f"{source}: its optimiser holds {len(numbers)} parameters, the network has {len(expected)}"
        )
    momentum = {}
    for number, name in zip(numbers, expected):
        buffer = saved["state"].get(number, {}).get("momentum_buffer")
        if buffer is None:
            continue
        if buffer.shape != state[name].shape:
            raise CheckpointError(
                f"{source}: momentum of {name} has shape {tuple(buffer.shape)}, "
                f"expected {tuple(state[name].shape)}"
            )
        momentum[name] = buffer
    return momentum


def _numbered_names(config: ModelConfig) -> list[str]:
    """Parameter names in optimiser order, from a model of least width (only which widths agree matters)."""
    narrow = config.model_copy(
        update={
            "face": config.face.model_copy(
                update={"widths": _ranks(config.face.widths), "side": 16, "features": 1}
            ),
            "voice": config.voice.model_copy(update={"widths": _ranks(config.voice.widths), "features": 1}),
        }
    )
    model = Voice2Face(narrow)
    names = {parameter: name for name, parameter in model.named_parameters()}
    return [names[p] for group in parameter_groups(model) for p in group["params"]]


def _ranks(widths: Stages) -> Stages:
    """The least widths that agree and differ as these do."""
    a, b, c, d = (1 + sorted(set(widths)).index(width) for width in widths)
    return a, b, c, d


def _with_front_end(model: Voice2Face, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state with our own front-end constants where it has none."""
    own = {
        FRONT_END[0]: model.V.model.torchfb.spectrogram.window,
        FRONT_END[1]: model.V.model.torchfb.mel_scale.fb,
    }
    return {**own, **state}


def _inside(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The part of a state dict below `prefix`, without it."""
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}


def _on_cpu(module: nn.Module) -> dict[str, Tensor]:
    """State dict of contiguous CPU copies."""
    return {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}


def _write(path: str | Path, content: dict[str, Any]) -> None:
    """torch.save, atomically."""
    with atomic_path(path) as temporary:
        torch.save(content, temporary)
