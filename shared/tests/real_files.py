"""Writers of small TFLite and dlib files and of wheels, for the tests of `voiceface.real`."""

import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from voiceface.real.networks import BlazeFace, ChipResNet, FaceMeshNetwork

CODES = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 4, "DEQUANTIZE": 6, "PRELU": 54, "ADD": 0}
TYPES = {"float32": 0, "float16": 1, "int32": 2}


class Table(dict[int, Any]):
    """FlatBuffer table: field number -> (struct format, number), table, list of tables, or numbers."""


@dataclass
class Numbers:
    """Vector of numbers."""

    values: np.ndarray


@dataclass
class TfliteGraph:
    """Operators and tensors of a graph to write."""

    tensors: list[np.ndarray | None] = field(default_factory=list)
    operators: list[tuple[str, list[int], list[int]]] = field(default_factory=list)

    def constant(self, values: Any) -> int:
        self.tensors.append(np.asarray(values))
        return len(self.tensors) - 1

    def apply(self, name: str, *inputs: int) -> int:
        self.tensors.append(None)
        self.operators.append((name, list(inputs), [len(self.tensors) - 1]))
        return len(self.tensors) - 1

    def to_bytes(self) -> bytes:
        names = sorted({name for name, _, _ in self.operators})
        buffers = [Table()]  # the first one is empty by convention
        tensors = []
        for values in self.tensors:
            number = 0
            shape, kind = (1,), 0
            if values is not None:
                number, shape, kind = len(buffers), values.shape, TYPES[str(values.dtype)]
                buffers.append(Table({0: Numbers(np.frombuffer(values.tobytes(), np.uint8))}))
            shape_vector = Numbers(np.array(shape, np.int32))
            tensors.append(Table({0: shape_vector, 1: ("<b", kind), 2: ("<I", number)}))
        operators = [
            Table(
                {
                    0: ("<I", names.index(name)),
                    1: Numbers(np.array(inputs, np.int32)),
                    2: Numbers(np.array(outputs, np.int32)),
                }
            )
            for name, inputs, outputs in self.operators
        ]
        codes = [Table({0: ("<b", CODES[name]), 3: ("<i", CODES[name])}) for name in names]
        model = Table(
            {0: ("<I", 3), 1: codes, 2: [Table({0: tensors, 3: operators})], 4: buffers},
        )
        data = bytearray(b"\0\0\0\0TFL3")
        struct.pack_into("<I", data, 0, _write(model, data))
        return bytes(data)


def _write(node: Any, data: bytearray) -> int:
    """Append a node; returns its position."""
    data += b"\0" * (-len(data) % 4)
    if isinstance(node, Numbers):
        at = len(data)
        data += struct.pack("<I", len(node.values)) + node.values.tobytes()
        return at
    if isinstance(node, list):
        at = len(data)
        data += struct.pack("<I", len(node)) + b"\0" * 4 * len(node)
        for k, item in enumerate(node):
            place = at + 4 + 4 * k
            struct.pack_into("<I", data, place, _write(item, data) - place)
        return at
    count = max(node, default=-1) + 1
    head = 4 + 2 * count
    head += -head % 4
    offsets = {number: 4 + 4 * k for k, number in enumerate(node)}
    numbers = [offsets.get(k, 0) for k in range(count)]
    start = len(data)
    data += struct.pack(f"<HH{count}H", 4 + 2 * count, 4 + 4 * len(node), *numbers)
    data += b"\0" * (start + head - len(data))
    at = len(data)
    data += struct.pack("<i", at - start) + b"\0" * 4 * len(node)
    for number, value in node.items():
        place = at + offsets[number]
        if isinstance(value, tuple):
            struct.pack_into(value[0], data, place, value[1])
        else:
            struct.pack_into("<I", data, place, _write(value, data) - place)
    return at


def write_layers(network: nn.Module, names: Sequence[str], half: bool = False) -> bytes:
    """TFLite file with the layers of a network in the given order, each applied to the first tensor."""
    graph = TfliteGraph()
    graph.tensors.append(None)

    def constant(values: np.ndarray) -> int:
        if not half:
            return graph.constant(np.ascontiguousarray(values))
        return graph.apply("DEQUANTIZE", graph.constant(np.ascontiguousarray(values, np.float16)))

    for name in names:
        module = network.get_submodule(name)
        weight = module.weight.detach().numpy()
        if isinstance(module, nn.PReLU):
            graph.apply("PRELU", 0, constant(weight.reshape(1, 1, -1)))
            continue
        depthwise = module.groups > 1
        axes = (1, 2, 3, 0) if depthwise else (0, 2, 3, 1)
        operator = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        graph.apply(operator, 0, constant(weight.transpose(axes)), constant(module.bias.detach().numpy()))
        graph.apply("ADD", 0, 0)
    return graph.to_bytes()


def blazeface_names(network: BlazeFace) -> list[str]:
    """Layers with weights in the order of the published file."""
    names = ["stem.conv"]
    for k in range(len(network.blocks)):
        names += [f"blocks.{k}.depthwise", f"blocks.{k}.pointwise"]
    names += ["coarse.depthwise", "coarse.pointwise"]
    return [*names, "score_fine", "score_coarse", "box_fine", "box_coarse"]


def face_mesh_names(network: FaceMeshNetwork) -> list[str]:
    """Layers with weights in the order of the published file: its two heads alternate."""
    names = ["stem.conv", "stem.activation"]
    for block in [*(f"trunk.{k}" for k in range(len(network.trunk))), "mesh.0", "mesh.1"]:
        names += [f"{block}.depthwise", f"{block}.pointwise", f"{block}.activation"]
    for part in (
        *("0.depthwise", "0.pointwise", "0.activation", "1.conv", "1.activation"),
        *("2.depthwise", "2.pointwise", "2.activation", "3"),
    ):
        number, _, rest = part.partition(".")
        names += [f"presence.{part}", ".".join(filter(None, ["mesh", str(int(number) + 2), rest]))]
    return names


def write_dat(network: ChipResNet, factors: Mapping[str, np.ndarray]) -> bytes:
    """Network file of dlib whose affine layers have the given factors and the offset 0.25."""
    data = bytearray(dlib_string("loss_metric_2") + b"\x01\x07")
    names = ["stem", *(f"blocks.{k}.conv{i}" for k in range(len(network.blocks)) for i in (1, 2))]
    for name in names:
        module = network.get_submodule(name)
        values = [module.weight.detach().numpy().ravel(), module.bias.detach().numpy()]
        data += dlib_string("con_4") + dlib_tensor(np.concatenate(values)) + dlib_number(module.out_channels)
        scale = factors[name]
        affine = np.concatenate([scale, np.full(len(scale), 0.25)])
        data += dlib_string("affine_") + dlib_tensor(affine) + dlib_string("relu_110")
    matrix = network.output.weight.detach().numpy().T
    data += dlib_string("fc_2") + dlib_number(matrix.shape[1]) + dlib_number(matrix.shape[0])
    return bytes(data + dlib_tensor(matrix) + b"\x01\x00")


def dlib_number(value: int) -> bytes:
    """Whole number as dlib writes it."""
    raw = abs(value).to_bytes(8, "little").rstrip(b"\0") or b"\0"
    return bytes([len(raw) | (0x80 if value < 0 else 0)]) + raw


def dlib_string(text: str) -> bytes:
    """Text as dlib writes it."""
    return dlib_number(len(text)) + text.encode()


def dlib_tensor(values: np.ndarray) -> bytes:
    """Tensor as dlib writes it, with one or two sizes above 1."""
    shape = [*values.shape, 1, 1, 1][:4]
    sizes = b"".join(map(dlib_number, shape))
    return dlib_number(2) + sizes + values.astype("<f4").tobytes()


def write_wheel(folder: Path, package: str, version: str, members: Mapping[str, bytes]) -> Path:
    """Wheel with some files; the name of its package is written as wheels do."""
    path = folder / f"{package.replace('-', '_')}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path
