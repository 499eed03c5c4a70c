"""Arrays of MATLAB files (version 5), within a budget of memory."""

import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from voiceface.io.foreign_files import expansion_limit, reading

__all__ = ["read_matlab_array"]

HEADER_SIZE = 128
COMPRESSED = 15
"""Type of a compressed data element (MAT-File Format, version 5, table 1-1)."""


def read_matlab_array(path: Path, name: str, error_type: type[Exception]) -> NDArray[Any]:
    """Read one array of a MATLAB file.

    Args:
        path: the file.
        name: name of the array.
        error_type: error for a file that is corrupt, of another version, or lacks the array.

    Raises:
        FileNotFoundError: no such file.
    """
    from scipy.io import loadmat, whosmat

    with reading(path, error_type, "a MATLAB file", own_kinds=("mat",)) as file:
        _check_expansion(file)
        file.seek(0)
        found = {each: shape for each, shape, _ in whosmat(file)}
        if name not in found:
            shown = ", ".join(map(repr, list(found)[:8])) or "nothing"
            raise error_type(f"{path} contains {shown}, expected {name!r}")
        file.seek(0)
        return np.asarray(loadmat(file, variable_names=[name])[name])


def _check_expansion(file: BinaryIO) -> None:
    """Decompress the elements within the budget; their checksums are verified."""
    data = file.read()
    limit, total, place = expansion_limit(len(data)), 0, HEADER_SIZE
    order = {b"IM": "little", b"MI": "big"}.get(data[126:128])
    if order is None:
        raise ValueError("no header of a MATLAB file of version 5")
    while place + 8 <= len(data):
        kind = int.from_bytes(data[place : place + 4], order)  # type: ignore[arg-type]
        size = int.from_bytes(data[place + 4 : place + 8], order)  # type: ignore[arg-type]
        if place + 8 + size > len(data):
            raise ValueError("its last element is truncated")
        if kind == COMPRESSED:
            stream = zlib.decompressobj()
            total += len(stream.decompress(data[place + 8 : place + 8 + size], limit - total + 1))
            if total > limit:
                raise ValueError(f"it expands beyond {limit:,} bytes")
            if not stream.eof:
                raise ValueError("an element is truncated")
        place += 8 + size
