"""Cards of a page from what the systems made of each voice."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voiceface.report import Candidate, MeshView, Query, Ranking, Sound, Story, Tile
from voiceface.report.system_card import still_of
from voiceface.suite.inference import Answers, Face, Voice

if TYPE_CHECKING:
    from voiceface.report.records import PictureSource

MOST_MESHES = 12
"""Meshes of a page that can be turned, as browsers keep about sixteen alive; further ones are stills."""


def stories_of(
    answers: Answers,
    voices: Sequence[Voice],
    faces: Sequence[Face],
    shown: Sequence[int],
    *,
    names: Sequence[str] = (),
    true_faces: "Sequence[PictureSource | None] | None" = None,
    true_meshes: Sequence[NDArray[Any]] | None = None,
    true_triangles: NDArray[Any] | None = None,
    top: int = 8,
) -> list[Story]:
    """One card a voice.

    Args:
        answers: what the systems made of all voices.
        voices, faces: as the answers.
        shown: voices that get a card.
        names: picture and mesh systems that have a place on every card, in order; of those that made nothing
            an empty frame is shown. Empty: those that made something.
        true_faces: picture of who speaks, of every voice.
        true_meshes: (V, 3) true head of who speaks, of every voice.
        true_triangles: of the true heads.
        top: faces of a ranking.
    """
    made = [name for name in names or (*answers.pictures, *answers.meshes)]
    cards = []
    turned = 0
    for row in shown:
        voice, missing = voices[row], []
        tiles: list[Tile | MeshView] = []
        if true_faces is not None and true_faces[row] is not None:
            tiles.append(Tile("True face", true_faces[row], true=True))
        for name in made:
            if name in answers.pictures and (picture := answers.pictures[name][row]) is not None:
                tiles.append(Tile(name, picture))
        if true_meshes is not None and true_triangles is not None:
            turned += 1
            tiles.append(mesh_tile("True head", true_meshes[row], true_triangles, turned))
        for name in made:
            if name in answers.meshes and (mesh := answers.meshes[name][row]) is not None:
                turned += 1
                tiles.append(mesh_tile(name, mesh, answers.triangles[name], turned))
        missing += [f"{name}: {why}" for name, why in answers.failed.get(str(voice.file), {}).items()]
        rankings = [
            Ranking(name, query_of(voice, faces, table[row], top))
            for name, table in answers.scores.items()
            if np.isfinite(table[row]).any()
        ]
        cards.append(Story(voice.name, Sound(str(voice.file)), tiles, rankings, voice.note, missing))
    return cards


def mesh_tile(title: str, vertices: NDArray[Any], triangles: NDArray[Any], number: int) -> "Tile | MeshView":
    """A mesh to be turned, or from the thirteenth on a drawing of it."""
    still = still_of(vertices, triangles)
    return MeshView(title, vertices, triangles, still=still) if number <= MOST_MESHES else Tile(title, still)


def query_of(voice: Voice, faces: Sequence[Face], scores: NDArray[np.float64], top: int = 8) -> Query:
    """The best faces of one voice; the first right one is set apart where it is not among them."""
    usable = np.flatnonzero(np.isfinite(scores))
    order = usable[np.argsort(-scores[usable], kind="stable")]
    right = [bool(voice.person) and faces[at].person == voice.person for at in order]
    places = list(range(min(top, len(order))))
    if any(right) and right.index(True) >= top:
        places.append(right.index(True))
    candidates = [
        Candidate(
            faces[order[place]].name,
            place + 1,
            right[place],
            float(scores[order[place]]),
            picture=str(faces[order[place]].files[0]),
        )
        for place in places
    ]
    return Query(voice.name, candidates, gallery_size=len(order), truth_known=any(right))


def places_of(out: Path, name: str = "report") -> tuple[Path, Path]:
    """Page and file of numbers: FILE.html and FILE.json, or NAME.html and NAME.json in a folder."""
    if out.suffix.lower() in (".html", ".htm"):
        return out, out.with_suffix(".json")
    return out / f"{name}.html", out / f"{name}.json"
