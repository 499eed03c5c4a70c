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

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "MAX_CONFIG_WIDTH",
    "MAX_PREFIXES",
    "PUBLISHED_SIGNATURES",
    "CheckpointSummary",
    "format_summary",
    "inspect_checkpoint",
    "main",
]

MAX_CONFIG_WIDTH = 96
MAX_PREFIXES = 8
# Key prefixes that identify published files; the first matching row counts.
PUBLISHED_SIGNATURES = (
    (("F.model.input_layer.", "V.model.conv1."), "seeking_shape, full model"),
    (("F.model.input_layer.",), "seeking_shape, face branch"),
    (("V.model.conv1.",), "seeking_shape, voice branch"),
    (("center.weight",), "seeking_shape, identity weights"),
    (("vNet.model.input_layer.", "aNet.model.conv1."), "archetype_agnostic, full model"),
    (("voice_subnet.conv1.", "face_subnet.conv1."), "cmpc2 (CMPC), full model"),
    (("input_layer.0.weight", "body.0.res_layer."), "face backbone IR of face.evoLVe"),
    (("__S__.conv1.", "__S__.sap_linear."), "voice backbone thin ResNet of voxceleb_trainer"),
    (("conv1.", "sap_linear.", "layer4.0.se."), "voice backbone thin ResNet of voxceleb_trainer"),
)


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
        system: of the model; for published files inferred from the keys; "" if unknown.
        kind: kind of model within the system.
        config: configuration of its training run.
        extra: other stored JSON values; for a resume state and a published file other top-level values.
        top_level_keys: top-level keys of a published file.
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
    from voiceface.checkpoints.native import load_model
    from voiceface.checkpoints.published import (
        CheckpointError,
        extract_state_dict,
        read_published,
        require_file,
    )
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
        import safetensors.torch

        try:
            tensors = safetensors.torch.load_file(path)
        except (safetensors.SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is corrupt or truncated ({error}); fetch it again") from None
        return CheckpointSummary(
            path,
            "safetensors",
            *_summarise_tensors(tensors, compute_sha256(path)),
            system=_guess_system(tensors),
        )
    if content == "model" or path.suffix == ".safetensors":
        model = load_model(path)
        seen = _summarise_tensors(model.state, model.sha256, _stored_types(path))
        return CheckpointSummary(path, "model", *seen, model.system, model.kind, model.config, model.extra)
    found = read_published(path)
    tensors = extract_state_dict(found, "state_dict", "model", source=str(path))
    rest = {key: value for key, value in found.items() if isinstance(value, bool | int | float | str)}
    return CheckpointSummary(
        path,
        "published",
        *_summarise_tensors(tensors, compute_sha256(path)),
        system=_guess_system(tensors),
        extra=rest,
        top_level_keys=[str(key) for key in found]
        if found is not tensors and len(found) < len(tensors)
        else [],
    )


def format_summary(summary: CheckpointSummary, list_keys: bool = False) -> str:
    """Format a summary; `list_keys` adds name, type and shape of every tensor."""
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
    origin = "verified" if summary.is_native else "of the file, which states none"
    rows = [("sha256", f"{summary.sha256} ({origin})")]
    rows += [("size", f"{size:,} bytes, {len(summary.tensors)} tensors ({types}), {values:,} values")]
    if not summary.is_native:
        rows += [("keys of", summary.system or "an unknown system")]
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
    lines = [f"{summary.path}: {titles[summary.format]}", *(f"  {name:<11}{text}" for name, text in rows)]
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
            state = "contains non-finite values" if weights.nonfinite_keys else "valid"
            how = "digest verified" if weights.is_native else "read completely, states no digest"
            print(f"{name}: {state}, sha256 {weights.sha256} ({how})")
        else:
            print(format_summary(weights, options.keys))
    return int(failed)


def _content_kind(path: Path) -> str:
    """Content kind in the header: "model" or "state"; "foreign" for other safetensors files, else ""."""
    header = _read_header(path)
    if header is None:
        return ""
    try:
        return str(json.loads(header["__metadata__"]["voiceface"])["content"])
    except (KeyError, TypeError, ValueError):
        return "foreign"


def _read_header(path: Path) -> dict[str, Any] | None:
    """Read the JSON header of a safetensors file; None for other files."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if not 2 <= size <= path.stat().st_size - 8:
            return None
        try:
            header = json.loads(file.read(size))
        except ValueError:
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
    pairs = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list | tuple)
        else ()
    )
    found: dict[str, Tensor] = {}
    for key, item in pairs:
        found |= _flatten_tensors(item, f"{path}/{key}" if path else str(key))
    return found


def _guess_system(tensors: Mapping[str, Any]) -> str:
    """Infer the system from the keys; "" if unknown."""
    for wanted, name in PUBLISHED_SIGNATURES:
        if all(any(key.startswith(prefix) for key in tensors) for prefix in wanted):
            return name
    return ""


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
