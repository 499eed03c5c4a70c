"""Foreign ONNX files are looked at before anything runs them: size, operators, places of values, digest."""

import hashlib
import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from voiceface.export.packages import require_packages
from voiceface.io.file_kinds import printable
from voiceface.io.foreign_files import reading

if TYPE_CHECKING:
    import onnx

__all__ = ["FORMAT", "GraphError", "read_graph", "sign_graph"]

FORMAT = "voiceface graph 1"
MAX_BYTES = 2_000_000_000
OPSETS = range(17, 24)
DIGEST_PLACEHOLDER = "0" * 64
# The entry of the metadata as it is stored: key, then the tag and the length of 64 characters.
DIGEST_MARK = b"sha256\x12\x40"
EXPECTED = "an ONNX file that `export` of this project wrote"


class GraphError(ValueError):
    """An ONNX file cannot be used; the message names it, what was found and what was expected."""


def sign_graph(model: "onnx.ModelProto", facts: dict[str, Any]) -> bytes:
    """Serialise a graph with its metadata and the digest of all that.

    Args:
        model: the graph; its metadata are replaced.
        facts: texts, or values that are stored as JSON.

    Returns:
        Content of the file; its entry `sha256` is the digest of the content with that entry written as zeros.
    """
    del model.metadata_props[:]
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}
    for key, value in (("format", FORMAT), *texts.items(), ("sha256", DIGEST_PLACEHOLDER)):
        model.metadata_props.add(key=key, value=value)
    data = bytearray(model.SerializeToString())
    start = data.rindex(DIGEST_MARK) + len(DIGEST_MARK)
    data[start : start + 64] = hashlib.sha256(data).hexdigest().encode()
    return bytes(data)


def read_graph(path: str | os.PathLike[str]) -> tuple[bytes, dict[str, str]]:
    """Read a graph that `sign_graph` wrote, and check it; nothing of it is run.

    Args:
        path: the file.

    Returns:
        Its content, and its metadata.

    Raises:
        FileNotFoundError: no such file.
        GraphError: damaged, another ONNX file, with values in other files, or with operators of others.
        ModuleNotFoundError: the package onnx is missing.
    """
    require_packages("onnx")
    import onnx

    name = printable(path)
    with reading(path, GraphError, EXPECTED, max_bytes=MAX_BYTES) as file:
        data = file.read()
        model = onnx.load_model_from_string(data)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    if facts.get("format") != FORMAT:
        found = facts.get("format") or model.producer_name or "no statement of its origin"
        raise GraphError(
            f"{name} is an ONNX file of another kind ({printable(found)[:80]}), expected {EXPECTED}"
        )
    _check_digest(name, data, facts.get("sha256", ""))
    _check_operators(name, model)
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or len(tensor.external_data):
            raise GraphError(
                f"{name}: values of {printable(tensor.name)[:80]!r} lie in another file, which is not read; "
                f"expected {EXPECTED}, which holds all its values"
            )
    return data, facts


def _check_digest(name: str, data: bytes, stored: str) -> None:
    content = bytearray(data)
    start = content.rfind(DIGEST_MARK) + len(DIGEST_MARK)
    content[start : start + 64] = DIGEST_PLACEHOLDER.encode()
    if hashlib.sha256(content).hexdigest() != stored:
        raise GraphError(f"{name} is damaged or was changed: its digest does not agree; export it again")


def _check_operators(name: str, model: "onnx.ModelProto") -> None:
    used = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    if set(used) != {"ai.onnx"} or used["ai.onnx"] not in OPSETS or len(model.functions):
        shown = ", ".join(f"{printable(domain)[:40]} {version}" for domain, version in used.items())
        raise GraphError(
            f"{name} uses the operators {shown or 'of no set'}, expected ai.onnx {OPSETS[0]} to {OPSETS[-1]} "
            "alone; export it again"
        )
    for graph in _graphs(model.graph):
        for node in graph.node:
            if node.domain not in ("", "ai.onnx"):
                raise GraphError(
                    f"{name} uses the operator {printable(node.op_type)[:40]} of "
                    f"{printable(node.domain)[:40]}, expected operators of ai.onnx alone"
                )


def _graphs(graph: "onnx.GraphProto") -> Iterator["onnx.GraphProto"]:
    """A graph and those inside of it."""
    pending = [graph]
    while pending:
        current = pending.pop()
        yield current
        for node in current.node:
            for attribute in node.attribute:
                pending += [attribute.g] if attribute.HasField("g") else []
                pending += attribute.graphs


def _tensors(model: "onnx.ModelProto") -> Iterator["onnx.TensorProto"]:
    """All stored values of a model."""
    for graph in _graphs(model.graph):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                yield from ([attribute.t] if attribute.HasField("t") else [])
                yield from attribute.tensors
                sparse = [*attribute.sparse_tensors]
                sparse += [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
                for each in sparse:
                    yield from (each.values, each.indices)
