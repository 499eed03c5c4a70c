"""Model checkpoints of this project: write, verify, read, and load into a module.

`docs/checkpoints.md` describes the files. `voiceface.checkpoints.resume_state` has resume states,
`voiceface.checkpoints.published` reads checkpoints of others.
"""

import fnmatch
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from voiceface.checkpoints.container import FORMAT_VERSION, read_container, write_container
from voiceface.checkpoints.published import CheckpointError

__all__ = ["LoadReport", "LoadedModel", "fingerprint", "load_into", "load_model", "save_model"]

HALF_DTYPES = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class LoadedModel:
    """Content of a model file.

    Attributes:
        state: tensors on the CPU by key; half precision is read back as float32.
        system: system of the model, such as ``seeking_shape``.
        kind: one of the system's models, such as ``model`` or ``generator``.
        config: the resolved configuration of its run.
        extra: further JSON values.
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
        kind: one of the system's models, checked on reading.
        config: resolved configuration, JSON values.
        extra: further JSON values, such as class names.
        dtype: `torch.float16` or `torch.bfloat16` stores floating-point tensors in half the space.

    Raises:
        CheckpointError: another suffix, a value that is not a tensor, or one too large for float16.
        OSError: the file cannot be written; an older file of that name stays as it was.
    """
    tensors = {key: _to_stored_tensor(key, value, dtype) for key, value in state.items()}
    header = {"format": FORMAT_VERSION, "content": "model", "system": system, "kind": kind}
    header |= {"config": config, "extra": extra or {}}
    write_container(Path(path), tensors, header)


def load_model(
    path: str | Path, *, system: str | None = None, kind: str | None = None, remedy: str | None = None
) -> LoadedModel:
    """Read and verify a model file.

    Args:
        path: the file.
        system: refuse the models of other systems.
        kind: refuse other kinds of model.
        remedy: end of every message about the file, such as the command that fetches it; None: what fits.

    Raises:
        CheckpointError: not a model file, truncated, changed, or of another system or kind.
        FileNotFoundError: no such file.
    """
    path = Path(path)
    tensors, header, digest = read_container(path, "model", remedy=remedy)
    for word, expected in (("system", system), ("kind", kind)):
        if expected is not None and header[word] != expected:
            fitting = f"give a file that `{expected}` wrote" if word == "system" else "give one of that kind"
            raise CheckpointError(
                f"{path} is a checkpoint of another {word}: found {header[word]!r}, expected {expected!r}; "
                f"{remedy or fitting}"
            )
    state = {key: value.float() if value.dtype in HALF_DTYPES else value for key, value in tensors.items()}
    return LoadedModel(state, header["system"], header["kind"], header["config"], header["extra"], digest)


def fingerprint(source: Mapping[str, Tensor] | str | Path) -> str:
    """Hash a model's content; equal tensors give equal hashes, whatever the file, device or order of keys.

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


@dataclass(frozen=True)
class LoadReport:
    """Result of `load_into`. Mismatched entries read ``key: file shape, module shape``."""

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
        module: receives the values; its device and types stay.
        state: tensors by key.
        strict: raise, before changing anything, when a key is missing, unexpected or of another shape.
        ignore: shell patterns, such as ``noises.*``, of keys to skip on both sides.
        source: file of `state`, for messages.

    Returns:
        The keys loaded, missing, unexpected and mismatched, without the ignored ones.

    Raises:
        CheckpointError: `strict` and the keys or shapes differ, or not `strict` and nothing fits at all.
    """
    own = module.state_dict()
    kept = lambda key: not any(fnmatch.fnmatchcase(key, pattern) for pattern in ignore)  # noqa: E731
    given, expected = [k for k in state if kept(k)], [k for k in own if kept(k)]
    shared = [key for key in given if key in own]
    fits = [key for key in shared if state[key].shape == own[key].shape]
    report = LoadReport(
        loaded=fits,
        missing=[key for key in expected if key not in state],
        unexpected=[key for key in given if key not in own],
        mismatched=[
            f"{key}: file {tuple(state[key].shape)}, module {tuple(own[key].shape)}"
            for key in shared
            if key not in set(fits)
        ],
    )
    name = source or "these weights"
    if strict and (report.missing or report.unexpected or report.mismatched):
        raise CheckpointError(f"{name} do not fit {type(module).__name__}: {report}")
    if expected and not fits:
        raise CheckpointError(f"no key of {name} fits {type(module).__name__}: {report}")
    module.load_state_dict({key: state[key] for key in fits}, strict=False)
    return report


def _to_stored_tensor(key: str, value: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Convert one tensor to the type in the file."""
    if not isinstance(value, Tensor):
        raise CheckpointError(f"{key}: found {type(value).__name__}, expected a tensor")
    value = value.detach()
    if dtype is None or not value.is_floating_point():
        return value
    half = value.to(dtype)
    if not torch.equal(half.isfinite(), value.isfinite()):
        raise CheckpointError(f"{key} has values too large for {dtype}; save it in bfloat16")
    return half


def _raw_bytes(value: Tensor) -> np.ndarray:
    """Raw bytes of a contiguous CPU tensor."""
    return value.reshape(-1).view(torch.uint8).numpy()
