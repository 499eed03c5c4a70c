"""`voiceface weights FILE ...`: say what a weights file is, and whether it is whole."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.io.atomic import sha256_of

if TYPE_CHECKING:
    from torch import Tensor

MOST_CONFIG = 96
MOST_GROUPS = 8
# What published files hold, told by keys that they alone have together; the first row that fits counts.
PUBLISHED = (
    (("F.model.input_layer.", "V.model.conv1."), "seeking_shape, whole model"),
    (("F.model.input_layer.",), "seeking_shape, face branch"),
    (("V.model.conv1.",), "seeking_shape, voice branch"),
    (("center.weight",), "seeking_shape, identity weights"),
    (("vNet.model.input_layer.", "aNet.model.conv1."), "archetype_agnostic, whole model"),
    (("voice_subnet.conv1.", "face_subnet.conv1."), "cmpc2 (CMPC), whole model"),
    (("input_layer.0.weight", "body.0.res_layer."), "face backbone IR of face.evoLVe"),
    (("__S__.conv1.", "__S__.sap_linear."), "voice backbone thin ResNet of voxceleb_trainer"),
    (("conv1.", "sap_linear.", "layer4.0.se."), "voice backbone thin ResNet of voxceleb_trainer"),
)


@dataclass(frozen=True)
class Weights:
    """What one file holds.

    Attributes:
        path: the file.
        form: "model" or "state" (ours), "safetensors" (somebody's) or "published" (what `torch.save` wrote).
        tensors: (type, shape) by key.
        sha256: ours: the digest that the file states of itself, verified; else that of the file's bytes.
        not_finite: keys of tensors in which a value is infinite or not a number.
        system: whose model it is; for published files a guess by the keys; "" where not known.
        kind: which of the system's models.
        config: configuration of the run that made it.
        extra: other stored JSON values; for a resume state and a published file the other top-level values.
        top: top-level keys of a published file.
    """

    path: Path
    form: str
    tensors: dict[str, tuple[str, tuple[int, ...]]]
    sha256: str
    not_finite: list[str]
    system: str = ""
    kind: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    top: list[str] = field(default_factory=list)

    @property
    def is_ours(self) -> bool:
        """Whether the file states its own digest, which has been verified."""
        return self.form in ("model", "state")


def inspect(path: str | Path) -> Weights:
    """Read a whole weights file, running none of the code it may carry.

    Args:
        path: one of our model files or resume states, another safetensors file, or what `torch.save` wrote.

    Raises:
        CheckpointError: truncated, changed, refused or no weights file.
        FileNotFoundError: no such file.
    """
    from voiceface.checkpoints.native import load_model, load_state
    from voiceface.checkpoints.published import CheckpointError, read_published, require_file, state_dict_of

    path = Path(path)
    require_file(path)
    content = _content(path)
    if content == "state":
        state = load_state(path)
        tensors = _flat(state)
        values = {key: value for key, value in state.items() if isinstance(value, bool | int | float | str)}
        return Weights(path, "state", *_seen(tensors, _stated_digest(path)), extra=values)
    if content == "foreign":
        import safetensors.torch

        try:
            tensors = safetensors.torch.load_file(path)
        except (safetensors.SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is damaged or truncated ({error}); fetch it again") from None
        return Weights(path, "safetensors", *_seen(tensors, sha256_of(path)), system=_guess(tensors))
    if content == "model" or path.suffix == ".safetensors":
        model = load_model(path)
        seen = _seen(model.state, model.sha256, _stored_types(path))
        return Weights(path, "model", *seen, model.system, model.kind, model.config, model.extra)
    found = read_published(path)
    tensors = state_dict_of(found, "state_dict", "model", source=str(path))
    rest = {key: value for key, value in found.items() if isinstance(value, bool | int | float | str)}
    return Weights(
        path,
        "published",
        *_seen(tensors, sha256_of(path)),
        system=_guess(tensors),
        extra=rest,
        top=[str(key) for key in found] if found is not tensors and len(found) < len(tensors) else [],
    )


def as_text(weights: Weights, keys: bool = False) -> str:
    """Put what a file holds into words; `keys` adds every tensor's name, type and shape."""
    titles = {
        "model": f"{weights.system} {weights.kind}, our format",
        "state": "resume state of a run, our format",
        "safetensors": "safetensors file without our header",
        "published": "published torch file",
    }
    values = sum(_count(shape) for _, shape in weights.tensors.values())
    counts = sorted(Counter(kind for kind, _ in weights.tensors.values()).items())
    types = ", ".join(f"{count} {kind}" for kind, count in counts)
    size = weights.path.stat().st_size
    whole = "verified" if weights.is_ours else "of the file; it states none of itself"
    rows = [("sha256", f"{weights.sha256} ({whole})")]
    rows += [("size", f"{size:,} bytes, {len(weights.tensors)} tensors ({types}), {values:,} values")]
    if not weights.is_ours:
        rows += [("keys of", weights.system or "no system that is known here")]
    if weights.top:
        rows += [("top level", ", ".join(weights.top))]
    if not weights.is_ours:
        rows += [("prefixes", _groups(weights.tensors))]
    rows += [(name, text) for name, text in _about(weights.extra) if text]
    for section, value in weights.config.items():
        text = ", ".join(f"{key}={item}" for key, item in _leaves(value)) or str(value)
        rows += [(section, text if len(text) <= MOST_CONFIG else text[: MOST_CONFIG - 1] + "…")]
    if weights.not_finite:
        rows += [("not finite", f"{len(weights.not_finite)} tensors: {', '.join(weights.not_finite[:3])}")]
    lines = [f"{weights.path}: {titles[weights.form]}", *(f"  {name:<11}{text}" for name, text in rows)]
    if keys:
        width = max(map(len, weights.tensors), default=0)
        lines += [f"  {key:<{width}}  {kind:<8} {list(at)}" for key, (kind, at) in weights.tensors.items()]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Describe or verify weights files; exit code 0 all are whole, 1 one is not, 2 bad usage."""
    parser = argparse.ArgumentParser(prog="voiceface weights", description=__doc__)
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="our .safetensors, or a published torch file"
    )
    parser.add_argument("--keys", action="store_true", help="also list every tensor's name, type and shape")
    parser.add_argument(
        "--verify", action="store_true", help="only tell, in a line each, which files are whole"
    )
    try:
        options = parser.parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    failed = False
    for name in options.files:
        try:
            weights = inspect(name)
        except (ValueError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            failed = True
            continue
        failed |= bool(weights.not_finite)
        if options.verify:
            state = "holds values that are not finite" if weights.not_finite else "whole"
            how = "digest verified" if weights.is_ours else "read to the end, it states no digest"
            print(f"{name}: {state}, sha256 {weights.sha256} ({how})")
        else:
            print(as_text(weights, options.keys))
    return int(failed)


def _content(path: Path) -> str:
    """What our header says: "model", "state"; "foreign" for other safetensors files, "" for all else."""
    header = _header(path)
    if header is None:
        return ""
    try:
        return str(json.loads(header["__metadata__"]["voiceface"])["content"])
    except (KeyError, TypeError, ValueError):
        return "foreign"


def _header(path: Path) -> dict[str, Any] | None:
    """The JSON header of a safetensors file, None where there is none."""
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
    """The digest in the header of a file of ours that has been verified."""
    header = _header(path) or {}
    return str(json.loads(header["__metadata__"]["voiceface"])["sha256"])


def _stored_types(path: Path) -> dict[str, str]:
    """Types as the file has them; on reading, half precision has become float32."""
    names = {"F16": "float16", "BF16": "bfloat16"}
    entries = (_header(path) or {}).items()
    return {key: names[item["dtype"]] for key, item in entries if item.get("dtype") in names}


def _seen(
    tensors: Mapping[str, "Tensor"], sha256: str, stored: Mapping[str, str] | None = None
) -> tuple[dict[str, tuple[str, tuple[int, ...]]], str, list[str]]:
    """Types and shapes by key, the digest, and the keys with values that are not finite."""
    known = stored or {}
    shapes = {
        key: (known.get(key, str(value.dtype).removeprefix("torch.")), tuple(value.shape))
        for key, value in tensors.items()
    }
    wrong = [k for k, v in tensors.items() if v.is_floating_point() and not bool(v.isfinite().all())]
    return shapes, sha256, wrong


def _flat(value: Any, place: str = "") -> dict[str, "Tensor"]:
    """Tensors of a nested value by their place in it."""
    if hasattr(value, "is_floating_point"):
        return {place: value}
    pairs = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list | tuple)
        else ()
    )
    found: dict[str, Tensor] = {}
    for key, item in pairs:
        found |= _flat(item, f"{place}/{key}" if place else str(key))
    return found


def _guess(tensors: Mapping[str, Any]) -> str:
    """Whose keys these look like; "" where no row of the table fits."""
    for wanted, name in PUBLISHED:
        if all(any(key.startswith(prefix) for key in tensors) for prefix in wanted):
            return name
    return ""


def _groups(tensors: Mapping[str, Any]) -> str:
    """The beginnings of the keys and how many share each."""
    counts = Counter(".".join(key.split(".")[:2]) for key in tensors)
    if len(counts) > MOST_GROUPS:
        counts = Counter(key.split(".")[0] for key in tensors)
    more = f", and {len(counts) - MOST_GROUPS} more" if len(counts) > MOST_GROUPS else ""
    return ", ".join(f"{key} ({n})" for key, n in counts.most_common(MOST_GROUPS)) + more


def _about(extra: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The stored JSON values: the number of people instead of their names, and what fits in a line."""
    rows = []
    for key, value in extra.items():
        if key == "names":
            rows.append(("people", str(len(value)) if value is not None else ""))
        elif isinstance(value, bool | int | float | str):
            rows.append((key, str(value)))
    return rows


def _leaves(value: Any, place: str = "") -> list[tuple[str, Any]]:
    """A section of a configuration as (dotted key, value) pairs."""
    if not isinstance(value, Mapping):
        return [(place, value)] if place else []
    return [
        pair for key, item in value.items() for pair in _leaves(item, f"{place}.{key}" if place else str(key))
    ]


def _count(shape: tuple[int, ...]) -> int:
    """Number of values in a tensor."""
    product = 1
    for side in shape:
        product *= side
    return product
