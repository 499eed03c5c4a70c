"""Findings of a `PictureReader` on disk, so that a run that is started again looks at no picture twice."""

import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from voiceface.faces.own_face import OwnFace
from voiceface.io.atomic import write_json
from voiceface.io.file_facts import FileFacts

__all__ = ["file_key", "findings_path", "from_values", "load_findings", "save_findings", "to_values"]

log = logging.getLogger(__name__)
FORMAT = "voiceface-faces-1"


def findings_path(folder: Path, identity: str) -> Path:
    """File of the findings of one reader.

    Args:
        folder: cache folder.
        identity: `PictureReader.identity`; other settings and other finders have files of their own.
    """
    return folder / f"faces-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"


def load_findings(path: Path, identity: str) -> dict[str, Any]:
    """Read findings, for the argument `known` of `PictureReader.find`; empty if there are none or corrupt."""
    try:
        content = json.loads(path.read_bytes())
        if content["format"] == FORMAT and content["identity"] == identity:
            return dict(content["findings"])
        reason = "it belongs to other settings"
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
    log.warning("ignored the stored faces in %s: %s", path, reason)
    return {}


def save_findings(path: Path, identity: str, findings: dict[str, Any]) -> None:
    """Write findings, atomically."""
    write_json(path, {"format": FORMAT, "identity": identity, "findings": findings})


def file_key(path: Path) -> str:
    """Identity of a file for stored findings; "" if it cannot be read."""
    try:
        state = path.stat()
    except OSError:
        return ""
    return f"{state.st_size} {state.st_mtime_ns} {path.as_posix()}"


def to_values(found: list[OwnFace] | str) -> Any:
    """A finding as plain values, for JSON."""
    return found if isinstance(found, str) else [(face.item, face.facts.to_values()) for face in found]


def from_values(path: Path, values: Any) -> list[OwnFace] | str:
    """The finding of `to_values` for a file: its faces, or the reason why it cannot be used.

    Raises:
        ValueError: values of another form.
    """
    if isinstance(values, str):
        return values
    faces = [OwnFace(item, path, FileFacts.from_values(facts)) for item, facts in values]
    return [replace(face, facts=replace(face.facts, file=str(path))) for face in faces]
