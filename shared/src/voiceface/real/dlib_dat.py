"""Parameters in a network file of dlib (.dat), read without dlib.

dlib writes a network layer by layer, each with the name and version of its type ("con_4"), and a tensor as
version 2, four sizes and little-endian float32 values. A whole number is a byte with the count of the bytes
that follow (bit 7: negative), then these, least significant first (dlib/serialize.h, dnn/core.h). Only the
layers with parameters are read; whatever lies between them is skipped. Nothing in the file is executed.
"""

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["DatError", "LayerParameters", "read_dlib_layers"]

LAYER = re.compile(rb"\x01\x05con_4|\x01\x07affine_|\x01\x04fc_2")
TENSOR_VERSION = 2
NUMBERS_BEFORE_TENSOR = {"con_4": 0, "affine_": 0, "fc_2": 2}
MAX_VALUES = 10_000_000


class DatError(ValueError):
    """The data holds no layers of dlib, or is truncated."""


class LayerParameters(NamedTuple):
    """Parameters of one layer.

    Attributes:
        layer: "con_4" (convolution: filters, then biases), "affine_" (all factors, then all offsets) or
            "fc_2" (inputs by outputs, then biases if there are any).
        values: float32, shape as stored, four sizes.
    """

    layer: str
    values: NDArray[np.float32]


def read_dlib_layers(data: bytes) -> list[LayerParameters]:
    """Read the parameters of all convolutions, affine and fully connected layers, from input to output.

    Args:
        data: content of a .dat file with one network.

    Raises:
        DatError: no layer is found, a tensor is truncated, or its sizes are not plausible.
    """
    found: list[LayerParameters] = []
    position = 0
    while match := LAYER.search(data, position):
        layer = match[0][2:].decode()
        values, position = _read_tensor(data, match.end(), layer)
        found.append(LayerParameters(layer, values))
    if not found:
        raise DatError(f"no layer of dlib with parameters in {len(data):,} bytes")
    return found


def _read_tensor(data: bytes, position: int, layer: str) -> tuple[NDArray[np.float32], int]:
    """Tensor of a layer, and the position behind it."""
    start = position
    for _ in range(NUMBERS_BEFORE_TENSOR[layer]):  # outputs and inputs of a fully connected layer
        _, position = _read_number(data, position)
    version, position = _read_number(data, position)
    if version != TENSOR_VERSION:
        raise DatError(f"{layer} at byte {start}: tensor version {version}, expected {TENSOR_VERSION}")
    shape = []
    for _ in range(4):
        size, position = _read_number(data, position)
        shape.append(size)
    count = int(np.prod(shape, dtype=object))
    if min(shape) < 0 or count > MAX_VALUES:
        raise DatError(f"{layer} at byte {start}: sizes {shape}, expected at most {MAX_VALUES:,} values")
    end = position + 4 * count
    if end > len(data):
        raise DatError(
            f"{layer} at byte {start}: ends at byte {end:,}, the data has {len(data):,}; truncated"
        )
    values = np.frombuffer(data, "<f4", count, position).astype(np.float32).reshape(shape)
    return values, end


def _read_number(data: bytes, position: int) -> tuple[int, int]:
    """A whole number as dlib writes it, and the position behind it."""
    head = data[position : position + 1]
    length = head[0] & 0x7F if head else 0
    raw = data[position + 1 : position + 1 + length]
    if not 1 <= length <= 8 or len(raw) < length:
        raise DatError(f"no whole number at byte {position} of {len(data)}")
    value = int.from_bytes(raw, "little")
    return (-value if head[0] & 0x80 else value), position + 1 + length
