"""`voiceface weights PATH ...`: show the contents of a checkpoint and verify its integrity."""

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.checkpoints.paths import find_model_file
from voiceface.io.atomic import compute_sha256
from voiceface.io.file_kinds import printable
from voiceface.io.foreign_files import reading

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "MAX_CONFIG_WIDTH",
    "MAX_PREFIXES",
    "CheckpointSummary",
    "format_summary",
    "inspect_checkpoint",
    "main",
]

MAX_CONFIG_WIDTH = 96
MAX_PREFIXES = 8


@dataclass(frozen=True)
class CheckpointSummary:
    """Contents of one checkpoint file.

    Attributes:
        path: the file.
        format: "model" or "state" (native), "safetensors" (of other programs) or "published" (of
            `torch.save`).
        tensors: (type, shape) by key.
        sha256: native: verified digest stated in the file; else digest of the bytes.
        nonfinite_keys: keys of tensors with infinite values or NaN.
        system: of the model; for published files their kind, inferred from the tensors; "" if unknown.
        kind: kind of model within the system.
        config: configuration of its training run.
        extra: other stored JSON values; for a resume state and a published file other top-level values.
        top_level_keys: top-level keys of a published file.
        readers: commands and functions that read a published file; "" if unknown.
        has_checksums: whether the file contains checksums of its content, which have been verified.
    """

    path: Path
    format: str
    tensors: dict[str, tuple[str, tuple[int, ...]]]
    sha256: str
    nonfinite_keys: list[str]
    system: str = ""
    kind: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    top_level_keys: list[str] = field(default_factory=list)
    readers: str = ""
    has_checksums: bool = False

    @property
    def is_native(self) -> bool:
        """Whether the file contains its own digest, which has been verified."""
        return self.format in ("model", "state")


def inspect_checkpoint(path: str | Path) -> CheckpointSummary:
    """Read a complete checkpoint without executing code in it.

    Args:
        path: native model file or resume state, another safetensors file, or a file of `torch.save`.

    Raises:
        CheckpointError: truncated, modified, unsafe, or not a checkpoint.
        FileNotFoundError: no such file.
    """
    import torch

    from voiceface.checkpoints.native import load_model
    from voiceface.checkpoints.published import CheckpointError, read_safetensors, require_file
    from voiceface.checkpoints.published_kinds import flatten_tensors, stated_digest_prefix
    from voiceface.checkpoints.resume_state import load_state

    path = Path(path)
    require_file(path)
    content = _content_kind(path)
    if content == "state":
        state = load_state(path)
        tensors = _flatten_tensors(state)
        values = {key: value for key, value in state.items() if isinstance(value, bool | int | float | str)}
        return CheckpointSummary(
            path, "state", *_summarise_tensors(tensors, _stated_digest(path)), extra=values
        )
    if content == "foreign":
        with reading(path, CheckpointError, "a safetensors file", remedy="fetch it again") as file:
            tensors = read_safetensors(file.read())
        if not tensors:
            raise CheckpointError(f"{printable(path)} holds no tensors")
        return CheckpointSummary(
            path,
            "safetensors",
            *_summarise_tensors(tensors, compute_sha256(path)),
            **_published_kind(tensors),
        )
    if content == "model" or path.suffix == ".safetensors":
        model = load_model(path)
        seen = _summarise_tensors(model.state, model.sha256, _stored_types(path))
        return CheckpointSummary(path, "model", *seen, model.system, model.kind, model.config, model.extra)
    digest, stated = compute_sha256(path), stated_digest_prefix(path)
    if not digest.startswith(stated):
        raise CheckpointError(
            f"{path} is corrupt: its name states the digest {stated}, found {digest[: len(stated)]}; "
            "fetch it again"
        )
    found, has_checksums = _read_published_content(path)
    tensors = {key: torch.as_tensor(value) for key, value in flatten_tensors(found).items()}
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors; its keys: {', '.join(map(str, list(found)[:8]))}")
    rest = {str(key): value for key, value in found.items() if isinstance(value, bool | int | float | str)}
    nested = any(isinstance(value, Mapping | list | tuple) for value in found.values())
    return CheckpointSummary(
        path,
        "published",
        *_summarise_tensors(tensors, digest),
        **_published_kind(tensors),
        extra=rest,
        top_level_keys=[str(key) for key in found] if nested else [],
        has_checksums=has_checksums,
    )


def _read_published_content(path: Path) -> tuple[Mapping[Any, Any], bool]:
    """Read a file of `torch.save`, or a pickle of numpy arrays, and whether its checksums were verified.

    Raises:
        CheckpointError: neither of them.
    """
    from voiceface.checkpoints.published import CheckpointError, read_published_content
    from voiceface.io.safe_pickle import ArrayFileError, read_pickle

    try:
        return read_published_content(path)
    except CheckpointError:
        if path.suffix != ".pkl":
            raise
    try:
        content = read_pickle(path)
    except ArrayFileError as error:
        raise CheckpointError(str(error)) from None
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, expected a dict of arrays")
    return content, False


def _published_kind(tensors: "Mapping[str, Tensor]") -> dict[str, Any]:
    """Kind of a published file and its readers, as fields of `CheckpointSummary`."""
    from voiceface.checkpoints.published_kinds import identify

    kind = identify({key: tuple(value.shape) for key, value in tensors.items()})
    return {} if kind is None else {"system": kind.title, "readers": kind.readers}


def format_summary(summary: CheckpointSummary, list_keys: bool = False) -> str:
    """Format a summary; `list_keys` adds name, type and shape of every tensor."""
    from voiceface.checkpoints.published_kinds import stated_digest_prefix

    titles = {
        "model": f"{summary.system} {summary.kind}, native format",
        "state": "resume state of a run, native format",
        "safetensors": "safetensors file without native header",
        "published": "published torch file",
    }
    values = sum(math.prod(shape) for _, shape in summary.tensors.values())
    counts = sorted(Counter(kind for kind, _ in summary.tensors.values()).items())
    types = ", ".join(f"{count} {kind}" for kind, count in counts)
    size = summary.path.stat().st_size
    stated = stated_digest_prefix(summary.path)
    origin = "of the file, which states no checksum: cannot be verified"
    if summary.is_native:
        origin = "verified"
    elif stated or summary.has_checksums:
        how = f"the file name states {stated}" if stated else "the checksums of its archive are right"
        origin = f"verified: {how}"
    rows = [("sha256", f"{summary.sha256} ({origin})")]
    rows += [("size", f"{size:,} bytes, {len(summary.tensors)} tensors ({types}), {values:,} values")]
    if not summary.is_native:
        rows += [("kind", summary.system or "unknown: no system here reads it")]
        rows += [("read by", summary.readers)] * bool(summary.readers)
    if summary.top_level_keys:
        rows += [("top level", ", ".join(summary.top_level_keys))]
    if not summary.is_native:
        rows += [("prefixes", _format_prefixes(summary.tensors))]
    rows += [(name, text) for name, text in _format_extra(summary.extra) if text]
    for section, value in summary.config.items():
        text = ", ".join(f"{key}={item}" for key, item in _flatten_section(value)) or str(value)
        rows += [(section, text if len(text) <= MAX_CONFIG_WIDTH else text[: MAX_CONFIG_WIDTH - 1] + "…")]
    if summary.nonfinite_keys:
        rows += [
            ("not finite", f"{len(summary.nonfinite_keys)} tensors: {', '.join(summary.nonfinite_keys[:3])}")
        ]
    lines = [
        f"{printable(summary.path)}: {titles[summary.format]}",
        *(f"  {name:<11}{text}" for name, text in rows),
    ]
    if list_keys:
        width = max(map(len, summary.tensors), default=0)
        lines += [f"  {key:<{width}}  {kind:<8} {list(at)}" for key, (kind, at) in summary.tensors.items()]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Describe or verify checkpoints; exit code 0 all valid, 1 otherwise, 2 bad usage."""
    parser = argparse.ArgumentParser(prog="voiceface weights", description=__doc__)
    parser.add_argument(
        "files", nargs="+", metavar="PATH", help="checkpoint, run directory, or a published torch file"
    )
    parser.add_argument("--keys", action="store_true", help="also list every tensor's name, type and shape")
    parser.add_argument(
        "--verify", action="store_true", help="verify only: print one line per file with its integrity status"
    )
    try:
        options = parser.parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    from voiceface.checkpoints.published_kinds import stated_digest_prefix

    failed = False
    for name in options.files:
        try:
            weights = inspect_checkpoint(find_model_file(name))
        except (ValueError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            failed = True
            continue
        failed |= bool(weights.nonfinite_keys)
        if options.verify:
            state, how = "valid", "digest verified"
            if weights.has_checksums:
                how = "checksums of the archive verified"
            elif not weights.is_native and not stated_digest_prefix(weights.path):
                state, how = "readable", "cannot be verified: it states no checksum"
            state = "contains non-finite values" if weights.nonfinite_keys else state
            print(f"{printable(name)}: {state}, sha256 {weights.sha256} ({how})")
        else:
            print(format_summary(weights, options.keys))
    return int(failed)


def _content_kind(path: Path) -> str:
    """Content kind in the header: "model" or "state"; "foreign" for other safetensors files, else ""."""
    header = _read_header(path)
    if header is None:
        return ""
    try:
        text = header["__metadata__"]["voiceface"]
    except (KeyError, TypeError):
        return "foreign"
    try:
        return str(json.loads(text)["content"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return "model"  # whose reader says what is wrong


def _read_header(path: Path) -> dict[str, Any] | None:
    """Read the JSON header of a safetensors file; None for other files."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if not 2 <= size <= path.stat().st_size - 8:
            return None
        try:
            header = json.loads(file.read(size))
        except (ValueError, RecursionError):
            return None
    return header if isinstance(header, dict) else None


def _stated_digest(path: Path) -> str:
    """Digest in the header of a verified native file."""
    header = _read_header(path) or {}
    return str(json.loads(header["__metadata__"]["voiceface"])["sha256"])


def _stored_types(path: Path) -> dict[str, str]:
    """Half-precision types stored in the file; on reading they become float32."""
    names = {"F16": "float16", "BF16": "bfloat16"}
    entries = (_read_header(path) or {}).items()
    return {key: names[item["dtype"]] for key, item in entries if item.get("dtype") in names}


def _summarise_tensors(
    tensors: Mapping[str, "Tensor"], sha256: str, stored_types: Mapping[str, str] | None = None
) -> tuple[dict[str, tuple[str, tuple[int, ...]]], str, list[str]]:
    """Types and shapes by key, the digest, and the keys with non-finite values."""
    known = stored_types or {}
    shapes = {
        key: (known.get(key, str(value.dtype).removeprefix("torch.")), tuple(value.shape))
        for key, value in tensors.items()
    }
    wrong = [k for k, v in tensors.items() if v.is_floating_point() and not bool(v.isfinite().all())]
    return shapes, sha256, wrong


def _flatten_tensors(value: Any, path: str = "") -> dict[str, "Tensor"]:
    """Tensors of a nested value by their path."""
    if hasattr(value, "is_floating_point"):
        return {path: value}
    sequence = value if isinstance(value, list | tuple) else ()
    pairs = value.items() if isinstance(value, dict) else enumerate(sequence)
    found: dict[str, Tensor] = {}
    for key, item in pairs:
        found |= _flatten_tensors(item, f"{path}/{key}" if path else str(key))
    return found


def _format_prefixes(tensors: Mapping[str, Any]) -> str:
    """Format the prefixes of the keys with their counts."""
    counts = Counter(".".join(key.split(".")[:2]) for key in tensors)
    if len(counts) > MAX_PREFIXES:
        counts = Counter(key.split(".")[0] for key in tensors)
    more = f", and {len(counts) - MAX_PREFIXES} more" if len(counts) > MAX_PREFIXES else ""
    return ", ".join(f"{key} ({n})" for key, n in counts.most_common(MAX_PREFIXES)) + more


def _format_extra(extra: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Stored JSON values that fit in a line, with the number of identities instead of their names."""
    rows = []
    for key, value in extra.items():
        if key == "names":
            rows.append(("identities", str(len(value)) if value is not None else ""))
        elif isinstance(value, bool | int | float | str):
            rows.append((key, str(value)))
    return rows


def _flatten_section(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """Flatten a section of a configuration to (dotted key, value) pairs."""
    if not isinstance(value, Mapping):
        return [(path, value)] if path else []
    return [
        pair
        for key, item in value.items()
        for pair in _flatten_section(item, f"{path}.{key}" if path else str(key))
    ]
