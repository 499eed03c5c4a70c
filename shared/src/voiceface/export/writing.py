"""Write a network as an ONNX file, after it gave the same answers as PyTorch."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from voiceface.export.conversion import convert
from voiceface.export.graph import Graph
from voiceface.export.inspection import sign_graph
from voiceface.export.packages import require_packages
from voiceface.export.running import OnnxGraph, start_session
from voiceface.io.atomic import write_bytes
from voiceface.io.wording import counted

__all__ = ["ExportResult", "export_graph", "output_error", "require_onnx_name"]


class ExportResult(NamedTuple):
    """Result of an export.

    Attributes:
        path: the file.
        kind: of the graph.
        max_error: largest error on the examples, see `output_error`.
        size_bytes: size of the file.
        seconds: that the export took.
    """

    path: Path
    kind: str
    max_error: float
    size_bytes: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.kind}, {self.size_bytes / 1e6:.1f} MB, largest error against PyTorch "
            f"{self.max_error:.1e}, {self.seconds:.1f} s"
        )


def require_onnx_name(path: str | os.PathLike[str]) -> Path:
    """Check that a name ends in .onnx.

    Raises:
        ValueError: another suffix.
    """
    found = Path(path)
    if found.suffix != ".onnx":
        raise ValueError(f"the output must be named *.onnx, found {found}")
    return found


def export_graph(graph: Graph, out: str | os.PathLike[str]) -> ExportResult:
    """Write a network as one ONNX file, if onnxruntime computes what PyTorch computes.

    The graph is compared on the examples, ten inputs of different lengths. The metadata of the file name its
    inputs and outputs, the largest error, and what `graph.facts` says.

    Args:
        graph: what is exported.
        out: a name that ends in .onnx; written under a temporary name, then renamed.

    Raises:
        ModuleNotFoundError: onnx or onnxruntime is missing; names the extra.
        ValueError: another suffix, a module that cannot be exported, or an error above the tolerance.
        OSError: the file cannot be written.
    """
    path = require_onnx_name(out)
    require_packages()
    import onnx
    import torch

    start = time.monotonic()
    model = convert(graph)
    onnx.checker.check_model(model)
    data = model.SerializeToString()
    errors = compare(graph, OnnxGraph(str(path), {}, start_session(data, str(path))))
    worst = float(np.max(errors))
    if not worst <= graph.tolerance:
        raise ValueError(
            f"{path} was not written: the graph differs from PyTorch by {worst:.2g} of its largest value on "
            f"one of {counted(len(errors), 'input')}, tolerance {graph.tolerance:g}"
        )
    facts: dict[str, Any] = {
        "kind": graph.kind,
        **graph.facts,
        "inputs": [port.to_values() for port in graph.inputs],
        "outputs": [port.to_values() for port in graph.outputs],
        "inner": [port.to_values() for port in graph.inner],
        "max_error": f"{worst:.3g}",
        "tolerance": f"{graph.tolerance:g}",
        "checked_shapes": [[list(array.shape) for array in example] for example in graph.examples],
        "torch": str(torch.__version__),
    }
    content = sign_graph(model, facts)
    write_bytes(path, content)
    return ExportResult(path, graph.kind, worst, len(content), time.monotonic() - start)


def compare(graph: Graph, session: OnnxGraph) -> list[float]:
    """Errors of a graph on its examples, and on several inputs at once where it takes them.

    Raises:
        ValueError: outputs of another shape.
        GraphError: the graph cannot be computed for several inputs.
    """
    errors = []
    for example in [*graph.examples, *_several_at_once(graph)]:
        found, expected = session(*example), graph.reference(*example)
        shapes = [array.shape for array in found], [array.shape for array in expected]
        if shapes[0] != shapes[1]:
            raise ValueError(f"the graph outputs shapes {shapes[0]}, expected {shapes[1]}")
        errors.append(output_error(found, expected))
    return errors


def _several_at_once(graph: Graph) -> list[list[NDArray[Any]]]:
    """The first example three times in one, moved along its last axis; nothing if a graph takes one input."""
    if not any(port.shape[0] == "N" for port in graph.inputs):
        return []
    return [
        [
            np.concatenate([np.roll(array, 7 * row, -1 if array.ndim > 1 else 0) for row in range(3)])
            if port.shape[0] == "N"
            else array
            for port, array in zip(graph.inputs, graph.examples[0], strict=True)
        ]
    ]


def output_error(found: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]]) -> float:
    """Largest absolute difference of any output, in units of the largest absolute value of that output.

    Example:
        >>> output_error([np.array([1.0, 4.0])], [np.array([1.0, 5.0])])
        0.2
    """
    ratios = [0.0]
    for values, reference in zip(found, expected, strict=True):
        scale = float(np.abs(reference).max(initial=0)) or 1.0
        difference = np.abs(values.astype(np.float64) - reference)
        ratios.append(float(difference.max(initial=0)) / scale)
    return float(np.max(ratios))
