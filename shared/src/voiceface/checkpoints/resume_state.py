"""Resume states: nested values with tensors, in the container of checkpoints."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from voiceface.checkpoints.container import FORMAT_VERSION, read_container, write_container
from voiceface.checkpoints.published import CheckpointError

__all__ = ["load_state", "save_state"]


def save_state(path: str | Path, state: dict[str, Any]) -> None:
    """Write a resume state, atomically.

    Args:
        path: a name that ends in .safetensors.
        state: nested dicts, lists and tuples of tensors, numpy arrays, bytes, numbers, text, bool and None.
            Keys may be any JSON scalar (optimisers number their parameters).

    Raises:
        CheckpointError: a value of another type; the message names its path.
        OSError: the file cannot be written; an older file of that name stays as it was.
    """
    tensors: dict[str, Tensor] = {}
    tree = _pack(state, "", tensors)
    write_container(Path(path), tensors, {"format": FORMAT_VERSION, "content": "state", "tree": tree})


def load_state(path: str | Path) -> dict[str, Any]:
    """Read and verify a file of `save_state`; types and bits are preserved, tensors are on the CPU.

    Raises:
        CheckpointError: not a resume state, truncated or changed.
        FileNotFoundError: no such file.
    """
    tensors, header, _ = read_container(Path(path), "state")
    return _unpack(header["tree"], tensors)


def _pack(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Convert a nested value to a JSON tree; tensors move into `tensors`. A dict in the tree is a marker."""
    if value is None or isinstance(value, bool | int | float | str):
        return value.item() if isinstance(value, np.generic) else value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Tensor):
        tensors[path] = value
        return {"tensor": path}
    if isinstance(value, np.ndarray) and value.dtype.kind in "?buif":
        tensors[path] = torch.frombuffer(bytearray(value.tobytes() or b"\0"), dtype=torch.uint8)
        return {"array": path, "dtype": value.dtype.str, "shape": list(value.shape)}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, Mapping):
        if odd := [key for key in value if not isinstance(key, str | int | float | bool | None)]:
            raise CheckpointError(f"resume state {path or 'itself'}: key {odd[0]!r} cannot be stored")
        return {"dict": [[key, _pack(item, f"{path}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        items = [_pack(item, f"{path}/{index}", tensors) for index, item in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    raise CheckpointError(f"resume state {path}: a {type(value).__name__} cannot be stored")


def _unpack(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Inverse of `_pack`."""
    if isinstance(tree, list):
        return [_unpack(item, tensors) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if "tensor" in tree:
        return tensors[tree["tensor"]].clone()
    if "array" in tree:
        raw, dtype = tensors[tree["array"]].numpy(), np.dtype(tree["dtype"])
        count = int(np.prod(tree["shape"]))
        return raw[: count * dtype.itemsize].view(dtype).reshape(tree["shape"]).copy()
    if "bytes" in tree:
        return bytes.fromhex(tree["bytes"])
    if "tuple" in tree:
        return tuple(_unpack(item, tensors) for item in tree["tuple"])
    return {key: _unpack(item, tensors) for key, item in tree["dict"]}
