"""What the studio without a server needs of every system: graphs, facts about them, embeddings of people."""

import base64
import gzip
import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from voiceface.suite.mesh_rules import MeshRuleSource
from voiceface.suite.plugins import AssociationSystem, ImageSystem, MeshSystem, System

if TYPE_CHECKING:
    from voiceface.studio.people import InventedPerson

__all__ = ["StaticSystem", "export_face_detector", "export_system", "why_server_only"]

RANGE_16_BIT = "-32768"  # in the meaning of an input, see `voiceface.export.graph.Port`


@dataclass
class StaticSystem:
    """One system as the page knows it.

    Attributes:
        facts: entry of `studio.json`.
        files: compressed files by name.
    """

    facts: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)


def why_server_only(system: System) -> str:
    """Why a system cannot answer in the page; "" if it can."""
    if isinstance(system, ImageSystem) and not system.is_fast:
        return "it needs gradients, which ONNX files do not have: voiceface serve"
    return ""


def export_system(
    system: System,
    weights: Path | None,
    folder: Path,
    people: "Sequence[InventedPerson]",
    device: str = "cpu",
) -> StaticSystem:
    """Export a system and embed the invented people.

    Args:
        system: record of its package, whose command `export` writes the graphs.
        weights: checkpoint or run folder; None: bundled.
        folder: for the ONNX files; only those of this system lie in it.
        people: who is ranked.
        device: of the networks that embed the people.

    Raises:
        ValueError: the system cannot be exported, or its front end is not known to the page.
    """
    command = importlib.import_module(f"{system.name}.__main__").main
    given = [] if weights is None else [str(weights)]
    if command(["export", *given, "--out", str(folder / f"{system.name}.onnx")]):
        raise ValueError(f"{system.name} export failed; choose other systems by --systems")
    model: Any = system.load(weights, device=device)
    found = StaticSystem(_describe(system, model, weights))
    for path in sorted(folder.glob("*.onnx")):
        kind, facts, content = _read_graph(system.name, path)
        if kind == "expert" or (kind == "face" and "resize" not in facts):
            continue  # meshes over pictures and aligned faces, which the page does not have
        found.facts["graphs"][kind] = facts
        found.files[facts["file"]] = gzip.compress(content, 9, mtime=0)
        found.facts["notice"] = found.facts["notice"] or facts.pop("notice")
    if isinstance(system, AssociationSystem):
        found.facts["ranks_voices"] = "face" in found.facts["graphs"]
        found.facts["people"] = _embed_people(model, people)
        known = model.impostor_scores
        found.facts["impostors"] = None if known is None else _impostor_facts(known)
    if isinstance(system, MeshSystem):
        name = f"{system.name}_head.json.gz"
        found.facts["head"] = name
        found.files[name] = gzip.compress(json.dumps(_head_facts(model)).encode(), 9, mtime=0)
    return found


def _describe(system: System, model: Any, weights: Path | None) -> dict[str, Any]:
    kind = {AssociationSystem: "ranking", ImageSystem: "picture", MeshSystem: "head"}[type(system)]
    return {
        "name": system.name,
        "kind": kind,
        "description": system.description,
        "ranks_voices": False,
        "is_fast": True,
        "weights": "bundled" if weights is None else weights.name,
        "is_loaded": True,
        "notice": str(model.disclaimer),
        "graphs": {},
    }


def _read_graph(system: str, path: Path) -> tuple[str, dict[str, Any], bytes]:
    """Kind of a graph, what the page must know about it, and its content."""
    from voiceface.export.inspection import read_graph

    content, known = read_graph(path)
    kind = known["kind"]
    inputs, silence = json.loads(known["inputs"]), json.loads(known.get("silence", "{}"))
    if silence and silence["detector"] != "webrtc":
        raise ValueError(
            f"{system}: silence is removed by {silence['detector']}, which the page does not have; it knows "
            "webrtc. Leave the system out by --systems"
        )
    facts = {
        "file": f"{path.stem}.onnx.gz",
        "inputs": [each["name"] for each in inputs],
        "side": inputs[0]["shape"][-1] if kind == "face" else 0,
        "full_scale": 32768 if RANGE_16_BIT in inputs[0]["meaning"] else 1,
        "min_samples": int(known.get("min_samples", 0)),
        "silence": silence or None,
        "notice": known.get("notice", ""),
    }
    if "resize" in known:
        facts["resize"] = known["resize"]
        facts["points"] = _four_points(known["face_crop"])
    return "voice" if kind == "generator" else kind, facts, content


def _four_points(convention: str) -> list[list[float]]:
    """Where eyes, tip of the nose and middle of the mouth lie, shares of the side."""
    from voiceface.faces.crops import CROP_CONVENTIONS

    points = np.asarray(CROP_CONVENTIONS[convention].points)
    return [*points[:3].tolist(), points[3:].mean(axis=0).tolist()]


def export_face_detector() -> tuple[dict[str, Any], bytes] | None:
    """The network that finds faces, values inside: what the page must know about it, and the compressed file.

    None: `voiceface models get real` did not fetch it.
    """
    from voiceface.real.installation import find_installed

    installed = find_installed("face_detector")
    if installed is None:
        return None
    import onnx

    from voiceface.real.backends import load_network
    from voiceface.real.face_detector import make_anchors
    from voiceface.real.networks import DETECTOR_SIDE

    notice = load_network("face_detector", "onnxruntime").licence
    content = onnx.load(str(installed.graph)).SerializeToString()
    facts = {"file": "face_detector.onnx.gz", "side": DETECTOR_SIDE, "licence": notice}
    return {**facts, "anchors": _encode(make_anchors(), "<f4")}, gzip.compress(content, 9, mtime=0)


def _embed_people(model: Any, people: "Sequence[InventedPerson]") -> dict[str, Any]:
    """Unit embeddings of the recordings and pictures, in the order of the people."""
    from voiceface.association.embedding import embed

    sides = {"voice": [each.voice for each in people], "face": [each.face for each in people]}
    table = embed(model, sides["voice"], sides["face"], workers=1, progress=False)
    found: dict[str, Any] = {"size": model.embedding_dim}
    for kind, paths in sides.items():
        vectors = np.asarray(table.take([path.as_posix() for path in paths]).vectors, np.float64)
        found[kind] = _encode(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), "<f4")
    return found


def _impostor_facts(known: Any) -> dict[str, Any]:
    from voiceface.metrics.impostor_scores import PROBABILITIES, SIGNIFICANCE

    return {
        "quantiles": list(known.quantiles),
        "probabilities": PROBABILITIES.tolist(),
        "pairs": known.num_pairs,
        "significance": SIGNIFICANCE,
    }


def _head_facts(model: Any) -> dict[str, Any]:
    """Triangles of the meshes, and what they are compared with where the system states it."""
    corners = np.asarray(model.triangles)
    facts: dict[str, Any] = {"corners": _encode(corners, "<u4"), "rules": None}
    if isinstance(model, MeshRuleSource):
        rules = model.description_rules()
        direction = rules.gender_direction
        facts["rules"] = {
            "references": {name: _encode(points, "<f4") for name, points in rules.references.items()},
            "genders": list(rules.genders),
            "pairs": {name: list(pair) for name, pair in rules.pairs.items()},
            "direction": None if direction is None else _encode(direction, "<f8"),
        }
    return facts


def _encode(values: ArrayLike, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype).tobytes()).decode()
