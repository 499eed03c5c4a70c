"""Checkpoints: our own files (whole or refused), resume states, and weights that others published.

One container serves models and resume states: a safetensors file whose header carries a JSON text and the
SHA-256 of every byte of the file (taken with the digest itself written as zeros), so that one changed byte
anywhere is noticed. `docs/checkpoints.md` describes it for other readers.
"""

import fnmatch
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from voiceface.checkpoints.published import (
    CheckpointError,
    apply_key_table,
    extract_state_dict,
    read_published,
    require_file,
)
from voiceface.io.atomic import write_bytes

__all__ = [
    "CheckpointError",
    "LoadReport",
    "LoadedModel",
    "apply_key_table",
    "extract_state_dict",
    "fingerprint",
    "load_into",
    "load_model",
    "load_state",
    "read_published",
    "save_model",
    "save_state",
]

FORMAT_VERSION = 2
METADATA_KEY = "voiceface"
DIGEST_PLACEHOLDER = "0" * 64
HALF_DTYPES = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class LoadedModel:
    """What a model file holds.

    Attributes:
        state: tensors on the CPU by key; half precision is read back as float32.
        system: the system whose model it is, such as ``seeking_shape``.
        kind: which of the system's models, such as ``model`` or ``generator``.
        config: the resolved configuration of the run that made it.
        extra: anything else that was stored, JSON values.
        sha256: digest of the file, 64 hexadecimal digits.
    """

    state: dict[str, Tensor]
    system: str
    kind: str
    config: dict[str, Any]
    extra: dict[str, Any]
    sha256: str


def save_model(
    path: str | Path,
    state: Mapping[str, Tensor],
    *,
    system: str,
    kind: str,
    config: dict[str, Any],
    extra: dict[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a model file, atomically; the same input gives the same bytes.

    Args:
        path: a name that ends in .safetensors.
        state: tensors by key, on any device; tensors may share memory.
        system: name of the system, checked on reading.
        kind: which of the system's models, checked on reading.
        config: resolved configuration, JSON values.
        extra: further JSON values, such as class names.
        dtype: `torch.float16` or `torch.bfloat16` stores floating tensors in half the room.

    Raises:
        CheckpointError: the suffix is another one, a value is no tensor, or it is too large for float16.
        OSError: the file cannot be written; an older file of that name is left as it was.
    """
    tensors = {key: _to_stored_tensor(key, value, dtype) for key, value in state.items()}
    header = {"format": FORMAT_VERSION, "content": "model", "system": system, "kind": kind}
    header |= {"config": config, "extra": extra or {}}
    _write_container(Path(path), tensors, header)


def load_model(path: str | Path, *, system: str | None = None, kind: str | None = None) -> LoadedModel:
    """Read and verify a model file.

    Args:
        path: the file.
        system: refuse the models of other systems.
        kind: refuse other kinds of model.

    Raises:
        CheckpointError: not such a file, truncated, changed, or another system's or kind's.
        FileNotFoundError: no such file.
    """
    path = Path(path)
    tensors, header, digest = _read_container(path, "model")
    for word, expected in (("system", system), ("kind", kind)):
        if expected is not None and header[word] != expected:
            raise CheckpointError(
                f"{path} is a checkpoint of another {word}: found {header[word]!r}, expected {expected!r}; "
                f"give a file that `{expected}` wrote"
            )
    state = {key: value.float() if value.dtype in HALF_DTYPES else value for key, value in tensors.items()}
    return LoadedModel(state, header["system"], header["kind"], header["config"], header["extra"], digest)


def fingerprint(source: Mapping[str, Tensor] | str | Path) -> str:
    """Hash of a model's content, the same for equal tensors whatever the file, device or order of keys.

    Args:
        source: tensors by key, or the path of a model file.

    Returns:
        SHA-256 over names, types, shapes and values, 64 hexadecimal digits.
    """
    state = source if isinstance(source, Mapping) else load_model(source).state
    digest = hashlib.sha256()
    for key in sorted(state):
        value = state[key].detach().cpu().contiguous()
        digest.update(json.dumps([key, str(value.dtype), list(value.shape)]).encode())
        digest.update(_raw_bytes(value).data)
    return digest.hexdigest()


def save_state(path: str | Path, state: dict[str, Any]) -> None:
    """Write a resume state, atomically.

    Args:
        path: a name that ends in .safetensors.
        state: dicts, lists and tuples, nested at will, of tensors, numpy arrays, bytes, numbers, text,
            bool and None. Dict keys may be anything that JSON can hold (optimisers number their parameters).

    Raises:
        CheckpointError: a value of another type; its place is named.
        OSError: as `save_model`.
    """
    tensors: dict[str, Tensor] = {}
    tree = _pack(state, "", tensors)
    _write_container(Path(path), tensors, {"format": FORMAT_VERSION, "content": "state", "tree": tree})


def load_state(path: str | Path) -> dict[str, Any]:
    """Read and verify what `save_state` wrote, types and bits as they were; tensors are on the CPU.

    Raises:
        CheckpointError: not such a file, truncated or changed.
        FileNotFoundError: no such file.
    """
    tensors, header, _ = _read_container(Path(path), "state")
    return _unpack(header["tree"], tensors)


@dataclass(frozen=True)
class LoadReport:
    """What `load_into` did. Mismatched entries read ``key: file shape, module shape``."""

    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} keys loaded"]
        for word in ("missing", "unexpected", "mismatched"):
            if keys := getattr(self, word):
                shown = ", ".join(keys[:5]) + (f", and {len(keys) - 5} more" if len(keys) > 5 else "")
                parts.append(f"{len(keys)} {word} ({shown})")
        return "; ".join(parts)


def load_into(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    strict: bool = True,
    ignore: Sequence[str] = (),
    source: str = "",
) -> LoadReport:
    """Copy tensors into a module by key.

    Args:
        module: receives the values; its devices and types stay.
        state: tensors by key.
        strict: refuse (before changing anything) when a key is missing, unexpected or of another shape.
        ignore: shell patterns such as ``noises.*`` of keys that are left alone, whichever side they are on.
        source: where `state` comes from, for messages.

    Returns:
        The keys loaded, missing, unexpected and mismatched, ignored ones left out.

    Raises:
        CheckpointError: `strict` and the keys or shapes differ, or not `strict` and nothing fits at all.
    """
    own = module.state_dict()
    kept = lambda key: not any(fnmatch.fnmatchcase(key, pattern) for pattern in ignore)  # noqa: E731
    found, wanted = [k for k in state if kept(k)], [k for k in own if kept(k)]
    shared = [key for key in found if key in own]
    fits = [key for key in shared if state[key].shape == own[key].shape]
    report = LoadReport(
        loaded=fits,
        missing=[key for key in wanted if key not in state],
        unexpected=[key for key in found if key not in own],
        mismatched=[
            f"{key}: file {tuple(state[key].shape)}, module {tuple(own[key].shape)}"
            for key in shared
            if key not in set(fits)
        ],
    )
    name = source or "these weights"
    if strict and (report.missing or report.unexpected or report.mismatched):
        raise CheckpointError(f"{name} do not fit {type(module).__name__}: {report}")
    if wanted and not fits:
        raise CheckpointError(f"no key of {name} fits {type(module).__name__}: {report}")
    module.load_state_dict({key: state[key] for key in fits}, strict=False)
    return report


def _to_stored_tensor(key: str, value: Tensor, dtype: torch.dtype | None) -> Tensor:
    """One tensor as it goes into the file."""
    if not isinstance(value, Tensor):
        raise CheckpointError(f"{key}: found {type(value).__name__}, expected a tensor")
    value = value.detach()
    if dtype is None or not value.is_floating_point():
        return value
    half = value.to(dtype)
    if not torch.equal(half.isfinite(), value.isfinite()):
        raise CheckpointError(f"{key} has values too large for {dtype}; save it in bfloat16")
    return half


def _write_container(path: Path, tensors: Mapping[str, Tensor], header: dict[str, Any]) -> None:
    """Write the container: tensors, JSON header, digest over the whole file."""
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path}: our checkpoints end in .safetensors, found {path.suffix!r}")
    seen: set[int] = set()
    flat = {}
    for key, value in tensors.items():
        value = value.detach().cpu().contiguous()
        memory = value.untyped_storage().data_ptr()
        flat[key] = value.clone() if memory in seen else value
        seen.add(memory)
    try:
        text = json.dumps({"sha256": DIGEST_PLACEHOLDER, **header})
    except TypeError as error:
        raise CheckpointError(f"{path}: beside the tensors only JSON values fit: {error}") from error
    data = bytearray(safetensors.torch.save(flat, {METADATA_KEY: text}))
    place = data.index(DIGEST_PLACEHOLDER.encode())
    data[place : place + 64] = hashlib.sha256(data).hexdigest().encode()
    write_bytes(path, data)  # type: ignore[arg-type]  # a copy of a large model saved


def _read_container(path: Path, content: str) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """Tensors, JSON header and digest of a container whose every byte has been verified."""
    require_file(path)
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[:8], "little")
    try:
        if data[:2] in (b"PK", b"\x80\x02") and size > len(data):
            raise CheckpointError(f"{path} is a torch file, not ours; import it with its system's converter")
        outer = json.loads(data[8 : 8 + size].decode())
        header = json.loads(outer.pop("__metadata__")[METADATA_KEY])
        place = data.index(b'\\"sha256\\": \\"') + len(b'\\"sha256\\": \\"')
        end = 8 + size + max((entry["data_offsets"][1] for entry in outer.values()), default=0)
        stored, version, found = header["sha256"], header["format"], header["content"]
    except CheckpointError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError):
        short = len(data) < 8 + size
        reason = "truncated or damaged" if short or size > len(data) else "damaged, or no checkpoint of ours"
        raise CheckpointError(f"{path} is {reason} ({len(data):,} bytes); fetch or make it again") from None
    if len(data) != end:
        verb = "truncated" if len(data) < end else "longer than it should be"
        raise CheckpointError(f"{path} is {verb}: {len(data):,} bytes, expected {end:,}; make it again")
    data[place : place + 64] = DIGEST_PLACEHOLDER.encode()
    actual = hashlib.sha256(data).hexdigest()
    if actual != stored:
        raise CheckpointError(
            f"{path} is damaged: its SHA-256 is {actual[:12]}…, expected {str(stored)[:12]}…; make it again"
        )
    if version != FORMAT_VERSION:
        raise CheckpointError(f"{path} has format {version}, expected {FORMAT_VERSION}; update this package")
    if found != content:
        raise CheckpointError(f"{path} holds a {found}, expected a {content}")
    return safetensors.torch.load(bytes(data)), header, stored


def _pack(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """JSON tree of a nested value; tensors move into `tensors`. A dict in the tree is a marker."""
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


def _raw_bytes(value: Tensor) -> np.ndarray:
    """The raw bytes of a contiguous CPU tensor."""
    return value.reshape(-1).view(torch.uint8).numpy()
