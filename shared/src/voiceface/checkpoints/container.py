"""Container of checkpoints: a safetensors file with a JSON header and a digest of the whole file.

The header carries a JSON text with the SHA-256 of every byte of the file (computed with the digest itself
written as zeros), so that one changed byte anywhere is detected. `docs/checkpoints.md` describes the format.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from voiceface.checkpoints.published import CheckpointError
from voiceface.io.atomic import write_bytes
from voiceface.io.file_kinds import HEAD_SIZE, recognise
from voiceface.io.foreign_files import reading

__all__ = ["FORMAT_VERSION", "read_container", "write_container"]

FORMAT_VERSION = 2
METADATA_KEY = "voiceface"
DIGEST_PLACEHOLDER = "0" * 64


def write_container(path: Path, tensors: Mapping[str, Tensor], header: dict[str, Any]) -> None:
    """Write tensors, a JSON header and the digest of the whole file, atomically.

    Raises:
        CheckpointError: another suffix than .safetensors, or a header value that JSON cannot hold.
    """
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path}: checkpoints end in .safetensors, found {path.suffix!r}")
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
        raise CheckpointError(f"{path}: values beside the tensors must be JSON: {error}") from error
    data = bytearray(safetensors.torch.save(flat, {METADATA_KEY: text}))
    start = data.index(DIGEST_PLACEHOLDER.encode())
    data[start : start + 64] = hashlib.sha256(data).hexdigest().encode()
    write_bytes(path, data)  # type: ignore[arg-type]  # a copy of a large model saved


def read_container(
    path: Path, content: str, *, remedy: str | None = None
) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """Read tensors, JSON header and digest of a container, after every byte has been verified.

    Args:
        path: the file.
        content: expected `content` entry of the header, "model" or "state".
        remedy: end of every message; None: "write it again", or what fits the kind of file that was found.

    Raises:
        CheckpointError: no such container, truncated, changed, of another format or another content.
    """
    again = remedy or "write it again"
    with reading(path, CheckpointError, "a checkpoint of this project", remedy=again) as file:
        return _parse_container(bytearray(file.read()), path, content, remedy)


def _parse_container(
    data: bytearray, path: Path, content: str, remedy: str | None
) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """`read_container` for the bytes of a file."""
    size, again = int.from_bytes(data[:8], "little"), remedy or "write it again"
    try:
        if data[:2] in (b"PK", b"\x80\x02") and size > len(data):
            raise CheckpointError(
                f"{path} is a PyTorch file; {remedy or 'give it to its system as a published checkpoint'}"
            )
        outer = json.loads(data[8 : 8 + size].decode())
        header = json.loads(outer.pop("__metadata__")[METADATA_KEY])
        start = data.index(b'\\"sha256\\": \\"') + len(b'\\"sha256\\": \\"')
        end = 8 + size + max((entry["data_offsets"][1] for entry in outer.values()), default=0)
        stored, version, found = header["sha256"], header["format"], header["content"]
    except CheckpointError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        kind = recognise(bytes(data[:HEAD_SIZE]))
        if kind is not None:
            raise CheckpointError(
                f"{path} is {kind.title}, expected a checkpoint of this project; "
                f"{remedy or kind.remedy or 'check the path'}"
            ) from None
        short = len(data) < 8 + size
        reason = (
            "truncated or corrupt"
            if short or size > len(data)
            else "corrupt, or not a checkpoint of this project"
        )
        raise CheckpointError(
            f"{path} is {reason} ({len(data):,} bytes); {remedy or 'fetch or write it again'}"
        ) from None
    if len(data) != end:
        verb = "truncated" if len(data) < end else "longer than it should be"
        raise CheckpointError(f"{path} is {verb}: {len(data):,} bytes, expected {end:,}; {again}")
    data[start : start + 64] = DIGEST_PLACEHOLDER.encode()
    actual = hashlib.sha256(data).hexdigest()
    if actual != stored:
        raise CheckpointError(
            f"{path} is corrupt: its SHA-256 is {actual[:12]}…, expected {str(stored)[:12]}…; {again}"
        )
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format {version}, expected {FORMAT_VERSION}; {remedy or 'update this package'}"
        )
    if found != content:
        end_of_text = f"; {remedy}" if remedy else ""
        raise CheckpointError(f"{path} holds a {found}, expected a {content}{end_of_text}")
    return safetensors.torch.load(bytes(data)), header, stored
