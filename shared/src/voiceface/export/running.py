"""Exported graphs, run by onnxruntime."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voiceface.export.graph import graph_path
from voiceface.export.inspection import EXPECTED, GraphError, read_graph
from voiceface.export.packages import require_packages
from voiceface.io.file_kinds import printable

__all__ = ["OnnxGraph", "find_graph_files", "open_graph", "open_graphs", "open_parts"]


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
    data, facts = _read(path, system, kinds)
    return OnnxGraph(printable(path), facts, start_session(data, printable(path), threads))


def open_parts(
    path: str | os.PathLike[str],
    parts: Mapping[str, tuple[Sequence[str], Sequence[str]]],
    *,
    system: str | None = None,
    kinds: Sequence[str] = (),
) -> dict[str, OnnxGraph]:
    """Open parts of an exported graph, which begin and end at its inputs, outputs and inner values.

    Args:
        path: the file.
        parts: name -> (names of the values that go in, names of the values that come out).
        system, kinds: as of `open_graph`.

    Returns:
        The parts by name, each with the metadata of the file.

    Raises:
        FileNotFoundError, GraphError, ModuleNotFoundError: as of `open_graph`; or the file has no such value,
            as its `export` was that of an earlier release.
    """
    data, facts = _read(path, system, kinds)
    import onnx
    from onnx.utils import Extractor

    name = printable(path)
    model = onnx.load_model_from_string(data)
    known = {value.name for value in (*model.graph.input, *model.graph.output, *model.graph.value_info)}
    if missing := sorted({each for pair in parts.values() for names in pair for each in names} - known):
        raise GraphError(f"{name} has no value named {', '.join(missing)}: export the weights again")
    found = {}
    for key, (given, wanted) in parts.items():
        try:
            part = Extractor(model).extract_model(list(given), list(wanted)).SerializeToString()
        except (ValueError, AssertionError, RecursionError) as error:
            raise GraphError(
                f"{name} cannot be cut at {', '.join(given)} ({error}); export it again"
            ) from None
        found[key] = OnnxGraph(name, facts, start_session(part, name))
    return found


def open_graphs(
    files: Sequence[str | os.PathLike[str]],
    *,
    system: str,
    kinds: Sequence[str],
    optional: Sequence[str] = (),
    together_make: str = "",
) -> dict[str, OnnxGraph]:
    """Open the graphs of one model.

    Args:
        files: from `find_graph_files`.
        system: the system that must have exported them.
        kinds: what they may be.
        optional: kinds that may be missing, and may be of other weights.
        together_make: what needs a graph of every other kind, such as "image"; "": each is of use alone.

    Returns:
        The graphs by kind.

    Raises:
        FileNotFoundError, GraphError, ModuleNotFoundError: as of `open_graph`; or two of one kind, a graph of
            one length only, graphs of different weights, or one that is missing.
    """
    graphs: dict[str, OnnxGraph] = {}
    for path in files:
        graph = open_graph(path, system=system, kinds=kinds)
        kind = graph.facts["kind"]
        if kind == "voice" and isinstance(graph.input_shapes[0][-1], int):
            raise GraphError(
                f"{graph.name} takes voices of {graph.input_shapes[0][-1]} samples only: give the file for "
                "any length, which `export` wrote beside it"
            )
        if (other := graphs.get(kind)) is not None:
            raise GraphError(f"{other.name} and {graph.name} are both of the kind {kind}: give one")
        graphs[kind] = graph
    required = [kind for kind in graphs if kind not in optional]
    first = graphs[required[0]] if required else next(iter(graphs.values()))
    for graph in (graphs[kind] for kind in required[1:]):
        if graph.facts.get("weights_sha256") != first.facts.get("weights_sha256"):
            raise GraphError(
                f"{first.name} and {graph.name} are of different weights, whose results do not fit each "
                "other: export both from one model"
            )
    for kind in kinds if together_make else ():
        if kind not in graphs and kind not in optional:
            raise GraphError(
                f"{first.name} alone makes no {together_make}: give the {kind} graph, too (`export` names it "
                f"*_{kind}.onnx)"
            )
    return graphs


def find_graph_files(paths: Sequence[str | os.PathLike[str]], kinds: Sequence[str]) -> list[Path]:
    """Files behind `--onnx`: FILE.onnx that is not there stands for FILE_KIND.onnx of every kind.

    Args:
        paths: as given.
        kinds: what `export` writes, such as ("voice", "face").

    Raises:
        FileNotFoundError: neither exists.
    """
    found = []
    for path in map(Path, paths):
        parts = [graph_path(path, kind) for kind in kinds]
        files = [path] if path.is_file() else [each for each in parts if each.is_file()]
        if not files:
            names = " or ".join(each.name for each in parts)
            raise FileNotFoundError(f"--onnx: no file at {path}, nor {names} beside it")
        found += files
    return found


def _read(
    path: str | os.PathLike[str], system: str | None, kinds: Sequence[str]
) -> tuple[bytes, dict[str, str]]:
    """Content and metadata of a file, after its system and kind were compared with the expected ones."""
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
    return data, facts


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
