"""ONNX graphs of a few operators, such as encoders of voices and faces, written by tests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["GraphBuilder", "speaker_weight", "write_arcface", "write_speaker"]


class GraphBuilder:
    """Nodes and constants of a graph with one input.

    Args:
        shape: of the input; names are free sizes.
        name: of the input.
    """

    def __init__(self, shape: Sequence[int | str | None], name: str = "input") -> None:
        from onnx import TensorProto, helper

        self._helper, self._float = helper, TensorProto.FLOAT
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.outputs: list[Any] = []
        self.inputs = [helper.make_tensor_value_info(name, self._float, shape)]

    def constant(self, values: npt.ArrayLike, kind: npt.DTypeLike = np.float32) -> str:
        """Add a constant of any shape; returns its name."""
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node; returns the name of its output."""
        name = output or f"node_{len(self.nodes)}"
        self.nodes.append(self._helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def output(self, name: str, shape: Sequence[int | str | None]) -> None:
        """State an output of the graph."""
        self.outputs.append(self._helper.make_tensor_value_info(name, self._float, shape))

    def save(self, path: Path) -> Path:
        """Check and write the graph; returns the path."""
        import onnx

        graph = self._helper.make_graph(self.nodes, "test", self.inputs, self.outputs, self.constants)
        opset = [self._helper.make_opsetid("", 13)]
        model = self._helper.make_model(graph, opset_imports=opset, ir_version=8)
        onnx.checker.check_model(model)
        onnx.save(model, path)
        return path


def write_arcface(
    path: Path, *, channels_last: bool = False, batch: int | str = "batch", side: int = 112
) -> Path:
    """Write a face network whose embedding is the mean of every channel, (N, 3)."""
    builder = GraphBuilder([batch, side, side, 3] if channels_last else [batch, 3, side, side])
    axes = [1, 2] if channels_last else [2, 3]
    builder.add("ReduceMean", "input", axes=axes, keepdims=0, output="e")
    builder.output("e", [batch, 3])
    return builder.save(path)


def write_speaker(
    path: Path,
    *,
    batch: int | str = "batch",
    frames: int | str = "frames",
    bands: int = 80,
    width: int = 192,
    outputs: int = 1,
) -> Path:
    """Write a speaker network of the usual shape: statistics of the bands over time, and a linear layer.

    Mean and mean of squares over time, (N, 2 bands), times `speaker_weight`, (2 bands, width).
    """
    builder = GraphBuilder([batch, frames, bands], "feats")
    mean = builder.add("ReduceMean", "feats", axes=[1], keepdims=0)
    squares = builder.add("ReduceMean", builder.add("Mul", "feats", "feats"), axes=[1], keepdims=0)
    both = builder.add("Concat", mean, squares, axis=1)
    weight = speaker_weight(bands, width)
    for number in range(outputs):
        name = "embs" if not number else f"embs_{number}"
        builder.add("MatMul", both, builder.constant(weight), output=name)
        builder.output(name, [batch, width])
    return builder.save(path)


def speaker_weight(bands: int = 80, width: int = 192) -> npt.NDArray[np.float32]:
    """Random matrix (2 bands, width) of `write_speaker`."""
    return np.random.default_rng(0).normal(size=(2 * bands, width)).astype(np.float32)
