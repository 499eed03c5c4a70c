"""Cards of a page: the outputs of all systems for one utterance."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voiceface.association.retrieval import join_notes
from voiceface.io.file_facts import FileFacts
from voiceface.metrics.impostor_scores import ImpostorScores
from voiceface.report import (
    AudioSource,
    ImageTile,
    MeshView,
    Photograph,
    ProbeRanking,
    RankedCandidate,
    SystemCard,
    SystemRanking,
)
from voiceface.report.system_card import render_mesh_still
from voiceface.suite.inference import GalleryEntry, SystemOutputs, Utterance

if TYPE_CHECKING:
    from voiceface.report.records import ImageSource

__all__ = [
    "MAX_INTERACTIVE_MESHES",
    "build_mesh_tile",
    "build_probe_ranking",
    "build_system_cards",
    "output_paths",
]

MAX_INTERACTIVE_MESHES = 12
"""Interactive meshes of a page, as browsers keep about sixteen WebGL contexts; further ones are stills."""


def build_system_cards(
    outputs: SystemOutputs,
    utterances: Sequence[Utterance],
    gallery: Sequence[GalleryEntry],
    rows: Sequence[int],
    *,
    system_names: Sequence[str] = (),
    true_faces: "Sequence[ImageSource | None] | None" = None,
    true_meshes: Sequence[NDArray[Any]] | None = None,
    true_triangles: NDArray[Any] | None = None,
    num_shown: int = 8,
) -> list[SystemCard]:
    """Build one card per utterance.

    Args:
        outputs: outputs of all systems for all utterances.
        utterances, gallery: the inputs of the systems.
        rows: rows of the utterances that get a card.
        system_names: image and mesh systems in the order of their tiles (default: the order of `outputs`).
        true_faces: image of the speaker of every utterance.
        true_meshes: (V, 3) ground-truth head of the speaker of every utterance.
        true_triangles: (T, 3) triangles of the ground-truth heads.
        num_shown: faces of a ranking.
    """
    tile_names = [name for name in system_names or (*outputs.images, *outputs.meshes)]
    cards = []
    num_meshes = 0
    for row in rows:
        utterance = utterances[row]
        tiles: list[ImageTile | MeshView] = []
        if true_faces is not None and true_faces[row] is not None:
            tiles.append(ImageTile("Ground-truth face", true_faces[row], is_ground_truth=True))
        for name in tile_names:
            if name in outputs.images and (image := outputs.images[name][row]) is not None:
                tiles.append(ImageTile(name, image))
        if true_meshes is not None and true_triangles is not None:
            num_meshes += 1
            tiles.append(build_mesh_tile("Ground-truth head", true_meshes[row], true_triangles, num_meshes))
        for name in tile_names:
            if name in outputs.meshes and (mesh := outputs.meshes[name][row]) is not None:
                num_meshes += 1
                tiles.append(build_mesh_tile(name, mesh, outputs.triangles[name], num_meshes))
        failures = outputs.failures.get(str(utterance.file), {})
        missing = [f"{name}: {reason}" for name, reason in failures.items()]
        rankings = [
            SystemRanking(
                name,
                build_probe_ranking(
                    utterance,
                    gallery,
                    scores[row],
                    num_shown,
                    outputs.percentiles[name][row] if name in outputs.percentiles else None,
                    outputs.facts.get(name),
                    outputs.gallery_sizes.get(name),
                ),
            )
            for name, scores in outputs.scores.items()
            if np.isfinite(scores[row]).any()
        ]
        audio = AudioSource(str(utterance.file), is_own=True)
        known = outputs.find_facts(utterance.file.as_posix())
        notes = [utterance.note, *(known.notes if known else ())]
        note = "; ".join(text for text in notes if text)
        cards.append(SystemCard(utterance.name, audio, tiles, rankings, note, missing))
    return cards


def build_mesh_tile(
    title: str, vertices: NDArray[Any], triangles: NDArray[Any], mesh_number: int
) -> "ImageTile | MeshView":
    """Build an interactive mesh, or a still image from the thirteenth mesh on."""
    still = render_mesh_still(vertices, triangles)
    return (
        MeshView(title, vertices, triangles, still_image=still)
        if mesh_number <= MAX_INTERACTIVE_MESHES
        else ImageTile(title, still)
    )


def build_probe_ranking(
    utterance: Utterance,
    gallery: Sequence[GalleryEntry],
    scores: NDArray[np.float64],
    num_shown: int = 8,
    percentiles: NDArray[np.float64] | None = None,
    facts: Mapping[str, FileFacts] | None = None,
    gallery_size: int | None = None,
) -> ProbeRanking:
    """Rank the faces for one utterance; the first correct one is set apart if it is not among the best.

    Args:
        utterance: the probe.
        gallery: F candidates.
        scores: (F,), NaN for those that cannot be used.
        num_shown: candidates shown.
        percentiles: (F,), shares of impostor pairs with lower scores.
        facts: what the system knows about the faces: it shows what was cut out, and notes.
        gallery_size: number of candidates; None: all have a score.
    """
    facts = facts or {}

    def show(entry: GalleryEntry) -> dict[str, Any]:
        known = [facts[item] for item in entry.items if item in facts]
        face = facts[entry.items[0]].face if entry.items[0] in facts else None
        return {"image": Photograph(entry.files[0], face), "note": join_notes(known)}

    usable = np.flatnonzero(np.isfinite(scores))
    order = usable[np.argsort(-scores[usable], kind="stable")]
    correct = [bool(utterance.identity) and gallery[index].identity == utterance.identity for index in order]
    positions = list(range(min(num_shown, len(order))))
    if any(correct) and correct.index(True) >= num_shown:
        positions.append(correct.index(True))
    candidates = [
        RankedCandidate(
            gallery[order[position]].name,
            position + 1,
            correct[position],
            float(scores[order[position]]),
            percentile=None if percentiles is None else float(percentiles[order[position]]),
            **show(gallery[order[position]]),
        )
        for position in positions
    ]
    note = ""
    if percentiles is not None and len(order):
        sentence = ImpostorScores.describe_best(float(percentiles[order[0]]), gallery_size or len(order))
        note = f"{sentence[0].upper()}{sentence[1:]}."
    return ProbeRanking(
        utterance.name,
        candidates,
        gallery_size=gallery_size or len(order),
        labels_known=any(correct),
        note=note,
    )


def output_paths(out: Path, name: str = "report") -> tuple[Path, Path]:
    """Paths of page and JSON file: FILE.html and FILE.json, or NAME.html and NAME.json in a folder."""
    if out.suffix.lower() in (".html", ".htm"):
        return out, out.with_suffix(".json")
    return out / f"{name}.html", out / f"{name}.json"
