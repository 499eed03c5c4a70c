"""Published checkpoints: read them without running code, rename keys, write PyTorch's format."""

import _codecs
import collections
import pickle
import re
import struct
import warnings
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from voiceface.io.atomic import atomic_path

__all__ = [
    "CheckpointError",
    "apply_key_table",
    "cpu_state_dict",
    "extract_state_dict",
    "read_published",
    "require_file",
    "save_torch",
]

UNREADABLE_ERRORS = (
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    OSError,
    MemoryError,
    struct.error,
    SafetensorError,  # PyTorch reads files with the suffix .safetensors by safetensors
)


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names the file, the reason and the remedy."""


def read_published(path: str | Path) -> dict[str, Any]:
    """Read a file of `torch.save`, in the zip format or in that from before PyTorch 1.6.

    Only plain data is rebuilt: tensors, numbers, text, containers, numpy scalars and arrays, argparse
    namespaces. A file that requests anything else is refused before any code of it runs.

    Args:
        path: the published file, whatever its suffix.

    Returns:
        The saved dict, tensors on the CPU. The prefix ``module.`` (data-parallel training) is removed from
        every dict of tensors in which all keys have it.

    Raises:
        CheckpointError: truncated or corrupt, not a PyTorch file, refused content, or no dict inside.
        FileNotFoundError: no such file.
    """
    path = Path(path)
    require_file(path)
    corrupt = (
        f"{path} is corrupt, truncated or no PyTorch file ({path.stat().st_size:,} bytes); fetch it again"
    )
    try:
        with torch.serialization.safe_globals(_allowed_globals()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's warning about other pickle protocols
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).rpartition("WeightsUnpickler error:")[2].strip() or "unreadable"
        if requested := re.search(r"(?:GLOBAL|class|function) (<.*?>|[\w.]+)", reason):
            raise CheckpointError(
                f"{path} is refused: it requests {requested[1]}, which could run code. "
                "Ask its source for a plain state dict"
            ) from None
        raise CheckpointError(f"{corrupt}. ({reason.splitlines()[0]})") from None
    except UNREADABLE_ERRORS as error:
        reason = str(error).strip() or type(error).__name__
        raise CheckpointError(f"{corrupt}. ({reason.splitlines()[0]})") from None
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, expected a dict of tensors")
    return _strip_module_prefix(content)


def extract_state_dict(content: Mapping[str, Any], *names: str, source: str = "") -> dict[str, Tensor]:
    """Tensors of a published file: those under the first of `names` that it has, else its own.

    Args:
        content: from `read_published`.
        names: keys that may hold them; ``state_dict`` by default.
        source: the file, for messages.

    Raises:
        CheckpointError: no tensors found.
    """
    inner = next((content[name] for name in names or ("state_dict",) if name in content), content)
    tensors = {k: v for k, v in inner.items() if isinstance(v, Tensor)} if isinstance(inner, Mapping) else {}
    if not tensors:
        found = ", ".join(map(str, list(content)[:8]))
        raise CheckpointError(f"{source or 'the file'} holds no state dict; its keys: {found}")
    return tensors


def apply_key_table(
    state: Mapping[str, Any], table: Sequence[tuple[str | re.Pattern[str], str | None]]
) -> dict[str, Any]:
    """Rename keys of published checkpoints to those of this project's modules.

    Args:
        state: values by key.
        table: (regular expression, replacement) rows, applied to every key from top to bottom (`re.sub`). A
            row with None as replacement drops the keys that it matches.

    Returns:
        A new dict in the order of `state`.

    Raises:
        CheckpointError: two keys get the same name.
    """
    renamed: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for old, value in state.items():
        new = old
        for pattern, replacement in table:
            if replacement is None and re.search(pattern, new):
                break
            if replacement is not None:
                new = re.sub(pattern, replacement, new)
        else:
            if new in renamed:
                raise CheckpointError(f"the key table gives {origin[new]} and {old} the same name {new}")
            renamed[new], origin[new] = value, old
    return renamed


def require_file(path: Path) -> None:
    """Raise FileNotFoundError unless `path` is a file."""
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"checkpoint {path} {problem}; check the path")


def _allowed_globals() -> list[Callable | tuple[Callable, str]]:
    """Names that published files may request beyond PyTorch's own list: constructors of plain data."""
    multiarray = np.core.multiarray if np.__version__ < "2" else np._core.multiarray  # type: ignore[attr-defined]
    names: list[Callable | tuple[Callable, str]] = [np.ndarray, np.dtype, list, dict, set, Namespace]
    names += [collections.OrderedDict, collections.Counter, (_plain_dict, "collections.defaultdict")]
    names += [type(np.dtype(code)) for code in "?bBhHiIlLqQefd"] + [type(np.dtype("S")), type(np.dtype("U"))]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        names.append((multiarray.scalar, f"{module}.scalar"))
        names.append((multiarray._reconstruct, f"{module}._reconstruct"))
    return [*names, (_codecs.encode, "_codecs.encode")]


def _strip_module_prefix(content: Mapping[str, Any]) -> dict[str, Any]:
    """Copy with the data-parallel prefix removed from dicts of tensors, at every depth."""
    holds_tensors = any(isinstance(value, Tensor) for value in content.values())
    prefixed = all(isinstance(key, str) and key.startswith("module.") for key in content)
    cut = len("module.") if holds_tensors and prefixed else 0
    return {
        key[cut:] if cut else key: _strip_module_prefix(value) if isinstance(value, Mapping) else value
        for key, value in content.items()
    }


def _plain_dict(*factory: Any) -> dict[Any, Any]:
    """Replace a defaultdict, which PyTorch's restricted reader cannot fill."""
    return {}


def cpu_state_dict(module: nn.Module) -> dict[str, Tensor]:
    """State dict with contiguous copies on the CPU."""
    return {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}


def save_torch(path: str | Path, content: dict[str, Any]) -> None:
    """Write a file with torch.save, atomically."""
    with atomic_path(path) as temporary:
        torch.save(content, temporary)
