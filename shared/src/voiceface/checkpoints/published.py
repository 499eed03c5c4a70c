"""Published checkpoints: read them without running code, rename keys, write PyTorch's format."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from voiceface.checkpoints.torch_files import OtherFileError, read_torch_file
from voiceface.io.atomic import atomic_path
from voiceface.io.file_kinds import printable
from voiceface.io.foreign_files import check_regular_file, reading
from voiceface.io.pickle_plain import PickleRefusedError

__all__ = [
    "CheckpointError",
    "PublishedContent",
    "apply_key_table",
    "cpu_state_dict",
    "extract_state_dict",
    "read_published",
    "read_published_content",
    "read_safetensors",
    "require_file",
    "save_torch",
    "strip_wrapper_prefixes",
]

WRAPPER_NAMES = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
"""Names that only wrappers give: compiled models, sharded training, recomputed layers, Lightning Fabric."""


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names the file, the reason and the remedy."""


class PublishedContent(NamedTuple):
    """Content of a published file.

    Attributes:
        values: the saved dict.
        has_checksums: whether the file states checksums of its content, which have been verified.
    """

    values: dict[str, Any]
    has_checksums: bool


def read_published(path: str | Path) -> dict[str, Any]:
    """Read a file of `torch.save`, in the zip format or in that from before PyTorch 1.6, or of safetensors.

    Only plain data is rebuilt: tensors, numbers, text, numpy scalars and arrays, containers. Instances of
    dict and list classes (EasyDict, defaultdict, deque) and namespaces become dicts and lists, paths and
    dates become text. A file that requests anything else is refused; no code of it runs. Pickle protocols 0
    to 5 are read, and the checksums of the archive are verified.

    Args:
        path: the published file, whatever its suffix.

    Returns:
        The saved dict, tensors on the CPU. What wrappers put into their names (``module.`` of data-parallel
        training, ``_orig_mod.`` of compiled models) is removed, see `strip_wrapper_prefixes`.

    Raises:
        CheckpointError: truncated or corrupt, not a PyTorch file, refused content, or no dict inside.
        FileNotFoundError: no such file.
    """
    return read_published_content(path).values


def read_published_content(path: str | Path) -> PublishedContent:
    """Read a file as `read_published` does, and tell whether its checksums were verified."""
    what = "a PyTorch file"
    with reading(path, CheckpointError, what, own_kinds=("zip",), remedy="fetch it again") as file:
        try:
            if _is_safetensors(file.read(9)):
                file.seek(0)
                content, has_checksums = read_safetensors(file.read()), False
            else:
                file.seek(0)
                content, has_checksums = read_torch_file(file)
        except OtherFileError as error:
            raise CheckpointError(f"{printable(path)} {error}") from None
        except PickleRefusedError as error:
            if "could run code" not in str(error):
                raise
            raise CheckpointError(
                f"{printable(path)} is refused: {error}. Ask its source for a plain state dict"
            ) from None
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{printable(path)} holds a {type(content).__name__}, expected a dict of tensors"
        )
    return PublishedContent(strip_wrapper_prefixes(content), has_checksums)


def read_safetensors(data: bytes) -> dict[str, Tensor]:
    """Tensors of a safetensors file; to be called inside `voiceface.io.foreign_files.reading`."""
    import safetensors.torch

    tensors = safetensors.torch.load(data)
    if not tensors:
        raise ValueError("it holds no tensors")
    return tensors


def _is_safetensors(head: bytes) -> bool:
    """Whether a file begins with the length of a JSON header and the header."""
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") < 2**32


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
    """Raise FileNotFoundError unless `path` is a file, CheckpointError if it is a pipe or a device."""
    check_regular_file(path, CheckpointError, "a checkpoint")


def strip_wrapper_prefixes(content: Mapping[str, Any]) -> dict[str, Any]:
    """Remove what wrappers put into the names of a model's tensors, in every dict of a nested content.

    Names that only wrappers give (``_orig_mod`` of compiled models and those of sharded training) are removed
    at every place. ``module`` (data-parallel training, averaged models) is removed where all tensors of the
    dict below the same parent have it. Other values, such as the number of the epoch, keep their names; the
    count ``n_averaged`` of an averaged model is left out. A dict in which two names would become one stays.

    Args:
        content: nested dicts, lists and tuples with tensors.

    Example:
        >>> strip_wrapper_prefixes({"module._orig_mod.a": torch.ones(1), "epoch": 3})
        {'a': tensor([1.]), 'epoch': 3}
    """
    plain = {key: _strip_nested(value) for key, value in content.items()}
    tensors = {key for key, value in plain.items() if isinstance(key, str) and _is_weight(key, value)}
    names = {key: [part for part in key.split(".") if part not in WRAPPER_NAMES] for key in tensors}
    place = 0
    while any(place < len(parts) for parts in names.values()):
        below: dict[tuple[str, ...], list[str]] = {}
        for key, parts in names.items():
            if place < len(parts):
                below.setdefault(tuple(parts[:place]), []).append(key)
        removed = False
        for keys in below.values():
            if all(names[key][place] == "module" and len(names[key]) > place + 1 for key in keys):
                removed = True
                for key in keys:
                    del names[key][place]
        place += not removed
    renamed = {".".join(names[key]) if key in tensors else key: value for key, value in plain.items()}
    if len(renamed) != len(plain) or not all(names.values()):
        return plain
    if list(renamed) != list(plain):
        renamed.pop("n_averaged", None)
    return renamed


def _strip_nested(value: Any) -> Any:
    """`strip_wrapper_prefixes` for the dicts in a value."""
    if isinstance(value, Mapping):
        return strip_wrapper_prefixes(value)
    return type(value)(map(_strip_nested, value)) if type(value) in (list, tuple) else value


def _is_weight(key: str, value: Any) -> bool:
    """Whether an entry is a tensor of a model, rather than a counter beside it."""
    return isinstance(value, Tensor | np.ndarray) and (value.ndim > 0 or "." in key)


def cpu_state_dict(module: nn.Module) -> dict[str, Tensor]:
    """State dict with contiguous copies on the CPU."""
    return {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}


def save_torch(path: str | Path, content: dict[str, Any]) -> None:
    """Write a file with torch.save, atomically."""
    with atomic_path(path) as temporary:
        torch.save(content, temporary)
