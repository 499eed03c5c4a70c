"""Readers of exported ONNX graphs for the fuzz session."""

import importlib.util
from pathlib import Path

import numpy as np
from reader import Reader

__all__ = ["build_graph_readers"]


def build_graph_readers() -> dict[str, Reader]:
    """Readers by name; none without the packages behind ONNX files."""
    if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxruntime")):
        return {}
    from voiceface.export.inspection import GraphError, read_graph

    return {"ONNX graph": Reader("g.onnx", _write, lambda path: read_graph(path), (GraphError,), True)}


def _write(path: Path) -> None:
    """Write the graph of a scaled mean, with metadata and digest."""
    import onnx
    from voiceface.export.inspection import sign_graph
    from voiceface.testing.onnx_graphs import GraphBuilder

    builder = GraphBuilder(["N", "T"], "samples")
    mean = builder.add("ReduceMean", "samples", axes=[1], keepdims=1)
    builder.add("Mul", mean, builder.constant(np.arange(40.0)), output="embedding")
    builder.output("embedding", ["N", 40])
    builder.save(path)
    model = onnx.load(str(path))
    model.opset_import[0].version = 17
    path.write_bytes(sign_graph(model, {"system": "fuzz", "kind": "voice", "config": {"a": 1}}))
