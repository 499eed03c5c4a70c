"""ONNX graphs of the four networks, whose values stay in the safetensors file beside them.

A graph is built from the PyTorch module of the network and takes the same input. Its initialisers are
external data: they name the file of the weights, an offset and a length, so that nothing is stored twice.
Needs the package `onnx` (`pip install 'voiceface-shared[onnx]'`).
"""

import hashlib
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from voiceface.checkpoints.native import load_into, load_model
from voiceface.io.atomic import write_bytes
from voiceface.io.foreign_files import read_file_bytes
from voiceface.real.mobile_blocks import ConvBlock, DepthwiseBlock, SamePaddedConv2d
from voiceface.real.networks import (
    CHIP_SIDE,
    DETECTOR_SIDE,
    MESH_POINTS,
    MESH_SIDE,
    PARTIAL_FRAMES,
    BlazeFace,
    ChipResNet,
    FaceMeshNetwork,
    ResidualBlock,
    SpeakerLstm,
    build_network,
)

if TYPE_CHECKING:
    import onnx

__all__ = ["INPUT_NAME", "OPSET", "build_onnx", "is_graph_intact", "is_onnx_available", "write_onnx"]

INPUT_NAME = "input"
OPSET = 17
IR_VERSION = 8
DIGEST_PLACEHOLDER = "0" * 64
# Entries of the metadata as they are stored: key, then the tag and the length of 64 characters.
WEIGHTS_MARK, DIGEST_MARK = b"weights\x12\x40", b"sha256\x12\x40"
MAX_GRAPH_BYTES = 10_000_000
LSTM_GATES = (0, 3, 1, 2)  # PyTorch: input, forget, cell, output; ONNX: input, output, forget, cell


def is_onnx_available() -> bool:
    """Whether the package `onnx` is installed."""
    return importlib.util.find_spec("onnx") is not None


def write_onnx(name: str, weights: Path, path: Path) -> None:
    """Write the graph of a network beside the file of its values, atomically.

    Two entries of its metadata, `weights` and `sha256`, are the digests of the file of its values and of the
    graph itself (with the digest written as zeros), which `is_graph_intact` checks.

    Args:
        name: a key of `voiceface.real.catalogue.MODELS`.
        weights: model file with the network's state dict.
        path: in the same folder.

    Raises:
        ValueError: the two files lie in different folders.
        voiceface.checkpoints.published.CheckpointError: the values are damaged or of another network.
        ModuleNotFoundError: the package `onnx` is missing.
    """
    if weights.parent.resolve() != path.parent.resolve():
        raise ValueError(f"{path} must lie beside {weights.name}, in {weights.parent}")
    network, stored = build_network(name), load_model(weights)
    load_into(network, stored.state, source=str(weights))
    graph = build_onnx(network, weights)
    for key, value in (("weights", stored.sha256), ("sha256", DIGEST_PLACEHOLDER)):
        graph.metadata_props.add(key=key, value=value)
    data = bytearray(graph.SerializeToString())
    start = data.index(DIGEST_MARK) + len(DIGEST_MARK)
    data[start : start + 64] = hashlib.sha256(data).hexdigest().encode()
    write_bytes(path, data)  # type: ignore[arg-type]


def is_graph_intact(path: Path, weights_digest: str) -> bool:
    """Whether a graph is as `write_onnx` wrote it for certain values; neither onnx nor onnxruntime is used.

    Args:
        path: the graph.
        weights_digest: SHA-256 of the file of its values, `LoadedModel.sha256`.
    """
    try:
        data = bytearray(read_file_bytes(path, ValueError, "an ONNX graph", max_bytes=MAX_GRAPH_BYTES))
        start = data.index(DIGEST_MARK) + len(DIGEST_MARK)
    except (OSError, ValueError):
        return False
    stored = bytes(data[start : start + 64])
    data[start : start + 64] = DIGEST_PLACEHOLDER.encode()
    belongs = WEIGHTS_MARK + weights_digest.encode() in data
    return belongs and hashlib.sha256(data).hexdigest().encode() == stored


def build_onnx(network: nn.Module, weights: Path) -> "onnx.ModelProto":
    """Build the graph of a network.

    Args:
        network: one of `voiceface.real.networks`; only its structure is used.
        weights: safetensors file with its state dict.

    Returns:
        Graph with the input "input" (N, ...) and the outputs of the module, N free.

    Raises:
        TypeError: a module of another kind.
    """
    import onnx

    builder = _Builder(weights)
    if isinstance(network, BlazeFace):
        shape, outputs = [3, DETECTOR_SIDE, DETECTOR_SIDE], _blazeface(builder, network)
    elif isinstance(network, FaceMeshNetwork):
        shape, outputs = [3, MESH_SIDE, MESH_SIDE], _face_mesh(builder, network)
    elif isinstance(network, ChipResNet):
        shape, outputs = [3, CHIP_SIDE, CHIP_SIDE], _chip_resnet(builder, network)
    elif isinstance(network, SpeakerLstm):
        shape, outputs = [PARTIAL_FRAMES, network.lstm.input_size], _speaker_lstm(builder, network)
    else:
        raise TypeError(f"no ONNX graph for {type(network).__name__}")
    value = onnx.helper.make_tensor_value_info
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        builder.nodes,
        type(network).__name__,
        [value(INPUT_NAME, kind, ["N", *shape])],
        [value(name, kind, ["N", *size]) for name, size in outputs],
        builder.initialisers,
    )
    opset = [onnx.helper.make_opsetid("", OPSET)]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)


class _Builder:
    """Nodes and initialisers of a graph; every method returns the name of a value."""

    def __init__(self, weights: Path) -> None:
        with weights.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        self.location, self.start = weights.name, 8 + size
        self.entries = {key: entry for key, entry in header.items() if key != "__metadata__"}
        self.nodes: list[Any] = []
        self.initialisers: list[Any] = []
        self._stored: set[str] = set()

    def node(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        import onnx

        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(onnx.helper.make_node(operator, list(inputs), names, **attributes))
        return names

    def apply(self, operator: str, *inputs: str, **attributes: Any) -> str:
        return self.node(operator, *inputs, **attributes)[0]

    def weight(self, key: str) -> str:
        import onnx

        if key in self._stored:
            return key
        self._stored.add(key)
        entry = self.entries[key]
        if entry["dtype"] != "F32":
            raise TypeError(f"{key} has type {entry['dtype']}, expected F32")
        tensor = onnx.TensorProto(name=key, data_type=onnx.TensorProto.FLOAT, dims=entry["shape"])
        tensor.data_location = onnx.TensorProto.EXTERNAL
        begin, end = entry["data_offsets"]
        place = {"location": self.location, "offset": self.start + begin, "length": end - begin}
        for name, item in place.items():
            tensor.external_data.add(key=name, value=str(item))
        self.initialisers.append(tensor)
        return key

    def constant(self, values: Sequence[Any], shape: Sequence[int] | None = None) -> str:
        import onnx

        whole = all(isinstance(value, int) for value in values)
        kind = onnx.TensorProto.INT64 if whole else onnx.TensorProto.FLOAT
        name = f"c{len(self.initialisers)}"
        dims = [len(values)] if shape is None else list(shape)
        self.initialisers.append(onnx.helper.make_tensor(name, kind, dims, list(values)))
        return name

    def conv(self, x: str, prefix: str, module: nn.Conv2d) -> str:
        pads = [int(module.padding[0])] * 4
        if isinstance(module, SamePaddedConv2d) and module.outer_padding is not None:
            left, right, top, bottom = module.outer_padding
            pads = [top, left, bottom, right]
        return self.apply(
            "Conv",
            x,
            self.weight(f"{prefix}.weight"),
            self.weight(f"{prefix}.bias"),
            kernel_shape=list(module.kernel_size),
            strides=list(module.stride),
            pads=pads,
            group=module.groups,
        )

    def activation(self, x: str, prefix: str, module: nn.Module) -> str:
        if isinstance(module, nn.PReLU):
            slope = self.apply("Reshape", self.weight(f"{prefix}.weight"), self.constant([-1, 1, 1]))
            return self.apply("PRelu", x, slope)
        return self.apply("Relu", x)

    def pad(self, x: str, channels: int = 0, bottom: int = 0, right: int = 0) -> str:
        if not (channels or bottom or right):
            return x
        return self.apply("Pad", x, self.constant([0, 0, 0, 0, 0, channels, bottom, right]))


def _sequence(builder: _Builder, x: str, prefix: str, modules: nn.Sequential) -> str:
    for name, module in modules.named_children():
        place = f"{prefix}.{name}"
        if isinstance(module, DepthwiseBlock):
            x = _depthwise_block(builder, x, place, module)
        elif isinstance(module, ConvBlock):
            x = _conv_block(builder, x, place, module)
        elif isinstance(module, nn.Conv2d):
            x = builder.conv(x, place, module)
        else:
            raise TypeError(f"no ONNX operators for {type(module).__name__}")
    return x


def _conv_block(builder: _Builder, x: str, prefix: str, module: ConvBlock) -> str:
    x = builder.conv(x, f"{prefix}.conv", module.conv)
    return builder.activation(x, f"{prefix}.activation", module.activation)


def _depthwise_block(builder: _Builder, x: str, prefix: str, module: DepthwiseBlock) -> str:
    y = builder.conv(x, f"{prefix}.depthwise", module.depthwise)
    y = builder.conv(y, f"{prefix}.pointwise", module.pointwise)
    if module.shortcut:
        if module.stride == 2:
            x = builder.apply("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
        y = builder.apply("Add", y, builder.pad(x, channels=module.new_channels))
    return builder.activation(y, f"{prefix}.activation", module.activation)


def _named(builder: _Builder, value: str, name: str) -> str:
    """Rename the value that was added last to an output of the graph."""
    assert builder.nodes[-1].output[0] == value
    builder.nodes[-1].output[0] = name
    return name


def _blazeface(builder: _Builder, network: BlazeFace) -> list[tuple[str, list[int]]]:
    x = builder.apply("Div", INPUT_NAME, builder.constant([127.5]))
    x = builder.apply("Sub", x, builder.constant([1.0]))
    fine = _conv_block(builder, x, "stem", network.stem)
    fine = _sequence(builder, fine, "blocks", network.blocks)
    coarse = _depthwise_block(builder, fine, "coarse", network.coarse)

    def cells(maps: str, shape: list[int]) -> str:
        rows = builder.apply("Transpose", maps, perm=[0, 2, 3, 1])
        return builder.apply("Reshape", rows, builder.constant([0, *shape]))

    found = []
    for kind, shape in (("box", [-1, 16]), ("score", [-1])):
        parts = [
            cells(builder.conv(maps, f"{kind}_{place}", network.get_submodule(f"{kind}_{place}")), shape)  # type: ignore[arg-type]
            for place, maps in (("fine", fine), ("coarse", coarse))
        ]
        found.append(_named(builder, builder.apply("Concat", *parts, axis=1), f"{kind}s"))
    return [(found[0], [896, 16]), (found[1], [896])]


def _face_mesh(builder: _Builder, network: FaceMeshNetwork) -> list[tuple[str, list[int]]]:
    x = builder.apply("Div", INPUT_NAME, builder.constant([255.0]))
    x = _conv_block(builder, x, "stem", network.stem)
    x = _sequence(builder, x, "trunk", network.trunk)
    points = _sequence(builder, x, "mesh", network.mesh)
    points = builder.apply("Reshape", points, builder.constant([0, MESH_POINTS, 3]))
    _named(builder, points, "points")
    score = _sequence(builder, x, "presence", network.presence)
    _named(builder, builder.apply("Reshape", score, builder.constant([-1])), "presence")
    return [("points", [MESH_POINTS, 3]), ("presence", [])]


def _chip_resnet(builder: _Builder, network: ChipResNet) -> list[tuple[str, list[int]]]:
    x = builder.apply("Sub", INPUT_NAME, builder.constant(network.means.ravel().tolist(), [3, 1, 1]))
    x = builder.apply("Div", x, builder.constant([256.0]))
    x = builder.apply("Relu", builder.conv(x, "stem", network.stem))
    x = builder.apply("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])
    side = ((CHIP_SIDE - 7) // 2 + 1 - 3) // 2 + 1
    for name, block in network.blocks.named_children():
        assert isinstance(block, ResidualBlock)
        y = builder.apply("Relu", builder.conv(x, f"blocks.{name}.conv1", block.conv1))
        y = builder.conv(y, f"blocks.{name}.conv2", block.conv2)
        if block.down:
            x = builder.apply("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
            x = builder.pad(x, channels=block.new_channels)
            missing = side // 2 - ((side - 3) // 2 + 1)
            y = builder.pad(y, bottom=missing, right=missing)
            side //= 2
        x = builder.apply("Relu", builder.apply("Add", y, x))
    x = builder.apply("ReduceMean", x, axes=[2, 3], keepdims=0)
    x = builder.apply("Gemm", x, builder.weight("output.weight"), transB=1)
    return [(_named(builder, x, "embeddings"), [network.output.out_features])]


def _speaker_lstm(builder: _Builder, network: SpeakerLstm) -> list[tuple[str, list[int]]]:
    width = network.lstm.hidden_size
    x = builder.apply("Transpose", INPUT_NAME, perm=[1, 0, 2])
    first = builder.constant([0])

    def gates(key: str) -> str:
        parts = builder.node("Split", builder.weight(key), outputs=4, axis=0)
        return builder.apply("Concat", *(parts[k] for k in LSTM_GATES), axis=0)

    last = ""
    for layer in range(network.lstm.num_layers):
        inputs = [gates(f"lstm.{kind}_l{layer}") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        bias = builder.apply("Concat", *inputs[2:], axis=0)
        arguments = [builder.apply("Unsqueeze", value, first) for value in (*inputs[:2], bias)]
        steps, last = builder.node("LSTM", x, *arguments, outputs=2, hidden_size=width)
        if layer + 1 < network.lstm.num_layers:
            x = builder.apply("Squeeze", steps, builder.constant([1]))
    x = builder.apply("Squeeze", last, first)
    x = builder.apply("Gemm", x, builder.weight("linear.weight"), builder.weight("linear.bias"), transB=1)
    x = builder.apply("Relu", x)
    norm = builder.apply("ReduceL2", x, axes=[1], keepdims=1)
    norm = builder.apply("Max", norm, builder.constant([1e-12]))
    x = builder.apply("Div", x, norm)
    return [(_named(builder, x, "embeddings"), [network.linear.out_features])]
