"""Exported graphs, run by onnxruntime."""

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voiceface.export.inspection import EXPECTED, GraphError, read_graph
from voiceface.export.packages import require_packages
from voiceface.io.file_kinds import printable

__all__ = ["OnnxGraph", "open_graph"]


class OnnxGraph:
    """An exported graph, ready to run; from `open_graph`.

    Attributes:
        name: the file, for messages.
        facts: metadata of the file, by key.
        inputs: names of the inputs.
        outputs: names of the outputs.
    """

    def __init__(self, name: str, facts: dict[str, str], session: Any) -> None:
        self.name, self.facts, self._session = name, facts, session
        self.inputs = [each.name for each in session.get_inputs()]
        self.outputs = [each.name for each in session.get_outputs()]
        self.input_shapes = [tuple(each.shape) for each in session.get_inputs()]

    def __call__(self, *inputs: NDArray[Any]) -> list[NDArray[np.float32]]:
        """Compute the outputs.

        Args:
            inputs: arrays in the order of `inputs`; converted to float32.

        Raises:
            GraphError: inputs of other shapes, or the graph cannot be computed.
        """
        arrays = {
            name: np.ascontiguousarray(array, np.float32)
            for name, array in zip(self.inputs, inputs, strict=True)
        }
        try:
            return [np.asarray(value) for value in self._session.run(None, arrays)]
        except Exception as error:  # onnxruntime has no common class of errors
            line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
            raise GraphError(f"{self.name}: the graph cannot be computed for {shapes} ({line})") from error

    def values(self, key: str) -> Any:
        """Value of an entry of the metadata that is stored as JSON.

        Raises:
            GraphError: there is no such entry, or it is no JSON.
        """
        try:
            return json.loads(self.facts[key])
        except (KeyError, ValueError, RecursionError):
            raise GraphError(f"{self.name} states no {key!r} in its metadata, expected {EXPECTED}") from None


def open_graph(
    path: str | os.PathLike[str], *, system: str | None = None, kinds: Sequence[str] = (), threads: int = 0
) -> OnnxGraph:
    """Open an exported graph; the file is checked first (`voiceface.export.inspection.read_graph`).

    Args:
        path: the file.
        system: the system that must have exported it; None: any.
        kinds: what it may be, such as "voice"; empty: anything.
        threads: threads; 0: as many as PyTorch uses.

    Raises:
        FileNotFoundError: no such file.
        GraphError: damaged, of another kind or system; or onnxruntime refuses it.
        ModuleNotFoundError: onnx or onnxruntime is missing.
    """
    require_packages()
    data, facts = read_graph(path)
    name = printable(path)
    found = f"{facts.get('system', 'of no system')} ({facts.get('kind', 'of no kind')})"
    if system is not None and facts.get("system") != system:
        raise GraphError(
            f"{name} is a graph of {found}, expected one of {system}: `{system} export` writes it"
        )
    if kinds and facts.get("kind") not in kinds:
        raise GraphError(f"{name} is a graph of {found}, expected {' or '.join(kinds)}")
    return OnnxGraph(name, facts, start_session(data, name, threads))


def start_session(data: bytes, name: str, threads: int = 0) -> Any:
    """Start an inference session of onnxruntime on the CPU.

    Raises:
        GraphError: onnxruntime refuses the graph.
    """
    import onnxruntime

    if not threads:
        import torch

        threads = torch.get_num_threads()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others need the cores, too
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no common class of errors
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise GraphError(f"{name}: onnxruntime refuses the graph ({line}); export it again") from error
