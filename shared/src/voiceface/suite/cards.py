"""Cards of a page from what the systems made of each voice."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voiceface.report import (
    AudioSource,
    ImageTile,
    MeshView,
    ProbeRanking,
    RankedCandidate,
    SystemCard,
    SystemRanking,
)
from voiceface.report.system_card import render_mesh_still
from voiceface.suite.inference import GalleryEntry, SystemOutputs, Utterance

if TYPE_CHECKING:
    from voiceface.report.records import ImageSource

MAX_INTERACTIVE_MESHES = 12
"""Meshes of a page that can be turned, as browsers keep about sixteen alive; further ones are stills."""


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
    """One card a voice.

    Args:
        outputs: what the systems made of all voices.
        utterances, gallery: as the answers.
        rows: voices that get a card.
        system_names: image and mesh systems that have a place on every card, in order; of those that made
            nothing an empty frame is shown. Empty: those that made something.
        true_faces: image of who speaks, of every voice.
        true_meshes: (V, 3) true head of who speaks, of every voice.
        true_triangles: of the true heads.
        num_shown: faces of a ranking.
    """
    made = [name for name in system_names or (*outputs.images, *outputs.meshes)]
    cards = []
    turned = 0
    for row in rows:
        voice, missing = utterances[row], []
        tiles: list[ImageTile | MeshView] = []
        if true_faces is not None and true_faces[row] is not None:
            tiles.append(ImageTile("Ground-truth face", true_faces[row], is_ground_truth=True))
        for name in made:
            if name in outputs.images and (picture := outputs.images[name][row]) is not None:
                tiles.append(ImageTile(name, picture))
        if true_meshes is not None and true_triangles is not None:
            turned += 1
            tiles.append(build_mesh_tile("Ground-truth head", true_meshes[row], true_triangles, turned))
        for name in made:
            if name in outputs.meshes and (mesh := outputs.meshes[name][row]) is not None:
                turned += 1
                tiles.append(build_mesh_tile(name, mesh, outputs.triangles[name], turned))
        missing += [f"{name}: {why}" for name, why in outputs.failures.get(str(voice.file), {}).items()]
        rankings = [
            SystemRanking(name, build_probe_ranking(voice, gallery, table[row], num_shown))
            for name, table in outputs.scores.items()
            if np.isfinite(table[row]).any()
        ]
        cards.append(
            SystemCard(voice.name, AudioSource(str(voice.file)), tiles, rankings, voice.note, missing)
        )
    return cards


def build_mesh_tile(
    title: str, vertices: NDArray[Any], triangles: NDArray[Any], mesh_number: int
) -> "ImageTile | MeshView":
    """A mesh to be turned, or from the thirteenth on a drawing of it."""
    still = render_mesh_still(vertices, triangles)
    return (
        MeshView(title, vertices, triangles, still_image=still)
        if mesh_number <= MAX_INTERACTIVE_MESHES
        else ImageTile(title, still)
    )


def build_probe_ranking(
    utterance: Utterance, gallery: Sequence[GalleryEntry], scores: NDArray[np.float64], num_shown: int = 8
) -> ProbeRanking:
    """The best faces of one voice; the first right one is set apart where it is not among them."""
    usable = np.flatnonzero(np.isfinite(scores))
    order = usable[np.argsort(-scores[usable], kind="stable")]
    right = [bool(utterance.identity) and gallery[at].identity == utterance.identity for at in order]
    places = list(range(min(num_shown, len(order))))
    if any(right) and right.index(True) >= num_shown:
        places.append(right.index(True))
    candidates = [
        RankedCandidate(
            gallery[order[place]].name,
            place + 1,
            right[place],
            float(scores[order[place]]),
            image=str(gallery[order[place]].files[0]),
        )
        for place in places
    ]
    return ProbeRanking(utterance.name, candidates, gallery_size=len(order), labels_known=any(right))


def output_paths(out: Path, name: str = "report") -> tuple[Path, Path]:
    """Page and file of numbers: FILE.html and FILE.json, or NAME.html and NAME.json in a folder."""
    if out.suffix.lower() in (".html", ".htm"):
        return out, out.with_suffix(".json")
    return out / f"{name}.html", out / f"{name}.json"
