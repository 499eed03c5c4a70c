"""TFLite files read without TensorFlow: the operators of a graph in order, with their constant inputs.

The container is a FlatBuffer: tables whose entry points to a list of field offsets (Google, "FlatBuffers
internals"); field numbers are those of TensorFlow Lite's schema, version 3. Nothing in the file is executed.
"""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["OPERATOR_NAMES", "Operator", "TfliteError", "read_tflite"]

OPERATOR_NAMES = {
    0: "ADD",
    2: "CONCATENATION",
    3: "CONV_2D",
    4: "DEPTHWISE_CONV_2D",
    6: "DEQUANTIZE",
    17: "MAX_POOL_2D",
    19: "RELU",
    22: "RESHAPE",
    34: "PAD",
    54: "PRELU",
}
"""Operators of the networks that are read here; others have the name "OPERATOR_" and their number."""

TENSOR_TYPES = {0: "<f4", 1: "<f2", 2: "<i4", 3: "u1", 4: "<i8", 9: "i1"}
MAX_TENSORS = 100_000


class TfliteError(ValueError):
    """The data is no TFLite graph, or is truncated or inconsistent."""


@dataclass(frozen=True)
class Operator:
    """One operator of a graph.

    Attributes:
        name: such as "CONV_2D".
        inputs: tensor numbers; -1 is an input that is left out.
        outputs: tensor numbers.
        constants: values of the inputs that are stored in the file, in the order of `inputs`; half precision,
            also behind DEQUANTIZE, as float32.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    constants: tuple[NDArray[Any], ...]


class _Table:
    """A FlatBuffer table: fields are looked up in its list of offsets."""

    def __init__(self, data: bytes, position: int) -> None:
        self.data, self.position = data, position
        self.fields = position - _unpack(data, "<i", position)
        self.size = _unpack(data, "<H", self.fields)

    def _field(self, number: int) -> int:
        """Position of a field; 0 if it is left out."""
        at = 4 + 2 * number
        offset = _unpack(self.data, "<H", self.fields + at) if at < self.size else 0
        return self.position + offset if offset else 0

    def number(self, field: int, kind: str, default: int = 0) -> int:
        at = self._field(field)
        return _unpack(self.data, kind, at) if at else default

    def _vector(self, field: int) -> tuple[int, int]:
        """(position of the first element, count)."""
        at = self._field(field)
        if not at:
            return 0, 0
        start = at + _unpack(self.data, "<I", at)
        return start + 4, _unpack(self.data, "<I", start)

    def array(self, field: int, kind: str) -> NDArray[Any]:
        start, count = self._vector(field)
        kind_size = np.dtype(kind).itemsize
        if start + count * kind_size > len(self.data):
            raise TfliteError(f"a list of {count} elements at byte {start} ends beyond the file")
        return np.frombuffer(self.data, kind, count, start)

    def tables(self, field: int) -> "list[_Table]":
        start, count = self._vector(field)
        if count > MAX_TENSORS:
            raise TfliteError(f"a list of {count} tables, expected at most {MAX_TENSORS}")
        places = range(start, start + 4 * count, 4)
        return [_Table(self.data, at + _unpack(self.data, "<I", at)) for at in places]


def read_tflite(data: bytes) -> list[Operator]:
    """Read the operators of the first graph.

    Args:
        data: content of a .tflite file.

    Returns:
        Operators in the order of execution, without DEQUANTIZE of constants, which is applied.

    Raises:
        TfliteError: no TFLite file, truncated, or an operator or tensor that the file does not define.
    """
    if data[4:8] != b"TFL3":
        raise TfliteError(f"no TFLite file: bytes 4 to 8 are {bytes(data[4:8])!r}, expected b'TFL3'")
    try:
        return _read_graph(_Table(data, _unpack(data, "<I", 0)))
    except (IndexError, KeyError) as error:
        raise TfliteError(f"the graph is inconsistent: {error} is not defined in it") from None


def _read_graph(model: _Table) -> list[Operator]:
    codes = [
        max(code.number(0, "<b"), code.number(3, "<i")) for code in model.tables(1)
    ]  # the first field is a byte, for numbers below 127
    graphs, buffers = model.tables(2), model.tables(4)
    if not graphs:
        raise TfliteError("the file holds no graph")
    tensors, constants = graphs[0].tables(0), {}
    for number, tensor in enumerate(tensors):
        raw = buffers[tensor.number(2, "<I")].array(0, "u1")
        if raw.size:
            constants[number] = _read_constant(number, tensor, raw)
    found = []
    for operator in graphs[0].tables(3):
        code = codes[operator.number(0, "<I")]
        name = OPERATOR_NAMES.get(code, f"OPERATOR_{code}")
        inputs, outputs = (tuple(operator.array(field, "<i4").tolist()) for field in (1, 2))
        if (wrong := max((*inputs, *outputs), default=0)) >= len(tensors):
            raise TfliteError(f"{name} uses tensor {wrong}, the graph has {len(tensors)}")
        if name == "DEQUANTIZE" and inputs[0] in constants:
            constants[outputs[0]] = constants[inputs[0]]  # half precision, already float32
            continue
        stored = tuple(constants[number] for number in inputs if number in constants)
        found.append(Operator(name, inputs, outputs, stored))
    return found


def _read_constant(number: int, tensor: _Table, raw: NDArray[np.uint8]) -> NDArray[Any]:
    shape, kind = tensor.array(0, "<i4").tolist(), tensor.number(1, "<b")
    if kind not in TENSOR_TYPES:
        raise TfliteError(f"tensor {number} has type {kind}, expected one of {sorted(TENSOR_TYPES)}")
    dtype = np.dtype(TENSOR_TYPES[kind])
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if min(shape, default=1) < 0 or size != raw.size:
        raise TfliteError(f"tensor {number} of shape {shape} has {raw.size} bytes, expected {size}")
    values = np.frombuffer(raw.tobytes(), dtype).reshape(shape)
    return values.astype(np.float32) if dtype == np.dtype("<f2") else values


def _unpack(data: bytes, kind: str, position: int) -> int:
    """Read one number.

    Raises:
        TfliteError: it lies outside the data.
    """
    if position < 0 or position + struct.calcsize(kind) > len(data):
        raise TfliteError(f"truncated or corrupt: byte {position} of {len(data)} is referred to")
    return int(struct.unpack_from(kind, data, position)[0])
