"""PyTorch modules to ONNX graphs of standard operators, which onnxruntime runs on every platform."""

import contextlib
import importlib.util
import io
import logging
import warnings
from typing import TYPE_CHECKING, Any

import torch

from voiceface.export.graph import Graph

if TYPE_CHECKING:
    import onnx

__all__ = ["OPSET", "convert"]

OPSET = 17
"""Operator set; onnxruntime 1.16 and later have it, in a browser as well."""
DYNAMO_OPSET = 18


def convert(graph: Graph, *, dynamo: bool | None = None) -> "onnx.ModelProto":
    """Convert a module to an ONNX graph whose values are inside.

    PyTorch's tracing exporter needs a fraction of a second. PyTorch calls it deprecated: where it is gone,
    the exporter on `torch.export` takes over, which needs some seconds and the package onnxscript.

    Args:
        graph: module, inputs and outputs; sizes with a name are free.
        dynamo: whether to use the exporter on `torch.export`; None: only where the other one is gone.

    Raises:
        ModuleNotFoundError: onnxscript is needed and missing.
        ValueError: a part of the module has no ONNX operators.
    """
    import onnx

    use_dynamo = not hasattr(torch.onnx, "utils") if dynamo is None else dynamo
    arguments = tuple(torch.from_numpy(array) for array in graph.examples[0])
    names: dict[str, Any] = {
        "input_names": [port.name for port in graph.inputs],
        "output_names": [port.name for port in (*graph.outputs, *graph.inner)],
    }
    # The first backward pass of a process fixes for which devices autograd starts threads, and processes
    # with such threads cannot fork workers that train. The exporter adds a device without hardware, so
    # that the first pass comes before it.
    torch.ones(1, requires_grad=True).sum().backward()
    # On errors PyTorch prints the whole graph.
    with warnings.catch_warnings(), torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            data = (_convert_by_export if use_dynamo else _convert_by_trace)(graph, arguments, names)
        except (torch.onnx.OnnxExporterError, RuntimeError) as error:
            first = str(error).strip().splitlines()[0]
            raise ValueError(f"the {graph.kind} graph cannot be exported to ONNX: {first}") from error
    model = onnx.load_model_from_string(data)
    del model.metadata_props[:]
    if graph.inner:  # they keep their names, types and sizes, and are no longer given out
        at = len(graph.outputs)
        model.graph.value_info.extend(model.graph.output[at:])
        del model.graph.output[at:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    return model


def _convert_by_trace(graph: Graph, arguments: tuple[torch.Tensor, ...], names: dict[str, Any]) -> bytes:
    axes = {
        port.name: {axis: size for axis, size in enumerate(port.shape) if isinstance(size, str)}
        for port in (*graph.inputs, *graph.outputs, *graph.inner)
    }
    target = io.BytesIO()
    torch.onnx.export(
        graph.module,
        arguments,
        target,  # type: ignore[arg-type]
        dynamo=False,
        opset_version=OPSET,
        dynamic_axes={name: free for name, free in axes.items() if free},
        **names,
    )
    return target.getvalue()


def _convert_by_export(graph: Graph, arguments: tuple[torch.Tensor, ...], names: dict[str, Any]) -> bytes:
    if importlib.util.find_spec("onnxscript") is None:
        raise ModuleNotFoundError("the exporter of this PyTorch needs onnxscript: pip install onnxscript")
    for name in ("onnxscript", "onnx_ir"):  # they log every folded constant
        logging.getLogger(name).setLevel(logging.WARNING)
    shapes = tuple(
        {axis: torch.export.Dim.DYNAMIC for axis, size in enumerate(port.shape) if isinstance(size, str)}
        for port in graph.inputs
    )
    program = torch.onnx.export(
        graph.module,
        arguments,
        dynamo=True,
        opset_version=DYNAMO_OPSET,
        dynamic_shapes=shapes,
        verbose=False,
        external_data=False,
        **names,
    )
    assert program is not None
    data: bytes = program.model_proto.SerializeToString()
    return data
