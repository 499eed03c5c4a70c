"""ONNX graphs of a few operators, written by tests."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class GraphBuilder:
    """Nodes and constants of a graph with one input."""

    def __init__(self, shape, name="input"):
        self.nodes, self.constants, self.outputs = [], [], []
        self.inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]

    def constant(self, values, kind=np.float32):
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def add(self, kind, *inputs, output=None, **attributes):
        output = output or f"node_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def output(self, name, shape):
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def save(self, path):
        graph = helper.make_graph(self.nodes, "test", self.inputs, self.outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.checker.check_model(model)
        onnx.save(model, path)
        return path


def write_arcface(path, *, channels_last=False, batch="batch", side=112):
    """Embedding: mean of every channel."""
    builder = GraphBuilder([batch, side, side, 3] if channels_last else [batch, 3, side, side])
    builder.add("ReduceMean", "input", axes=[1, 2] if channels_last else [2, 3], keepdims=0, output="e")
    builder.output("e", [batch, 3])
    return builder.save(path)


def write_speaker(path, *, batch="batch", frames="frames", bands=80, width=192, outputs=1):
    """Speaker network of the usual shape: statistics of the bands over time, and a linear layer.

    Mean and mean of squares over time, (N, 160), times a random matrix (160, width).
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


def speaker_weight(bands=80, width=192):
    return np.random.default_rng(0).normal(size=(2 * bands, width)).astype(np.float32)
