"""Everything that several systems make of one voice, side by side on one card.

A tile is a picture or a mesh; a ranking is a row of faces in the order of one system.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voiceface.report.formatting import safe, spoken
from voiceface.report.gallery import answer_html, picture_html, player_html, verdict_of
from voiceface.report.media import Media
from voiceface.report.mesh_view import MeshView, mesh_html
from voiceface.report.records import PictureSource, Query, Sound

BACKGROUND, SKIN = (38, 48, 63), (214, 190, 172)
LIGHT = np.array([-0.45, 0.5, 0.9]) / np.linalg.norm([-0.45, 0.5, 0.9])


@dataclass(frozen=True)
class Tile:
    """One picture beside a voice.

    Attributes:
        title: what it is, such as the system that made it.
        picture: None leaves an empty frame with the note in it.
        note: a few words under it.
        true: it is the truth, not made.
    """

    title: str
    picture: PictureSource | None
    note: str = ""
    true: bool = False


@dataclass(frozen=True)
class Ranking:
    """Faces in the order of one system; the verdict and the marks are those of a gallery's query."""

    system: str
    query: Query


@dataclass(frozen=True)
class Story:
    """What is heard, what is true and what the systems make of it.

    Attributes:
        name: heading.
        sound: the voice.
        tiles: pictures and meshes, in order.
        rankings: one of each system.
        note: one line under the name.
        missing: what some system could not do, one line each.
    """

    name: str
    sound: Sound | None
    tiles: Sequence[Tile | MeshView] = ()
    rankings: Sequence[Ranking] = ()
    note: str = ""
    missing: Sequence[str] = ()


def stories_html(stories: Sequence[Story], media: Media, hint: str = "") -> str:
    """Cards under each other as HTML; empty text without any."""
    if not stories:
        return ""
    text = f'<p class="hint">{safe(hint)}</p>' if hint else ""
    return f'{text}<div class="stories">{"".join(_story(story, media) for story in stories)}</div>'


def still_of(
    vertices: ArrayLike, triangles: ArrayLike, turn: float = -24.0, side: int = 360
) -> NDArray[np.uint8]:
    """A lit drawing of a mesh, for pages whose reader cannot turn it.

    Args:
        vertices: (V, 3), x right, y up, z towards the viewer.
        triangles: (T, 3), wound outwards.
        turn: degrees about the upright axis.
        side: of the picture, pixels.

    Returns:
        (side, side, 3) uint8 RGB.
    """
    from PIL import Image, ImageDraw

    angle = np.deg2rad(turn)
    about = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    points, corners = np.asarray(vertices, float) @ about.T, np.asarray(triangles)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = 1.8 * side / max(float((high - low)[:2].max()), 1e-9)  # drawn at double size
    placed = (points - (low + high) / 2) * scale
    a, b, c = (placed[corners[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    seen = np.flatnonzero(normals[:, 2] > 0)
    bright = 0.3 + 0.75 * np.clip(normals @ LIGHT, 0, None)
    shades = np.clip(bright[:, None] * np.array(SKIN), 0, 255).astype(int)
    flat = np.stack([side + placed[:, 0], side - placed[:, 1]], axis=1)
    image = Image.new("RGB", (2 * side, 2 * side), BACKGROUND)
    draw = ImageDraw.Draw(image)
    for at in seen[np.argsort((a + b + c)[seen, 2])]:  # far ones first
        draw.polygon([tuple(flat[corner]) for corner in corners[at]], fill=tuple(shades[at]))
    return np.asarray(image.resize((side, side), Image.Resampling.BOX))


def _story(story: Story, media: Media) -> str:
    """One card: the voice on top, tiles below it, then a row of faces for each system."""
    tiles = "".join(
        f'<li class="tile">{mesh_html(tile, media)}</li>'
        if isinstance(tile, MeshView)
        else _tile(tile, story.name, media)
        for tile in story.tiles
    )
    ranks = "".join(_ranking(ranking, media) for ranking in story.rankings)
    lost = "".join(f'<p class="note">{safe(text)}</p>' for text in story.missing)
    return (
        f'<article class="card story"><div class="heard"><div><h3>{safe(spoken(story.name))}</h3>'
        f"{f'<p class=note>{safe(story.note)}</p>' if story.note else ''}</div>"
        f"{player_html(story.sound, f'voice of {spoken(story.name)}', media)}</div>"
        f"{f'<ul class=tiles>{tiles}</ul>' if tiles else ''}"
        f"{f'<div class=rankings>{ranks}</div>' if ranks else ''}"
        f"{f'<div class=lost>{lost}</div>' if lost else ''}</article>"
    )


def _tile(tile: Tile, name: str, media: Media) -> str:
    """A picture with its title and note, framed where it is the truth."""
    label = f"{tile.title}: {spoken(name)}"
    note = f'<p class="note">{safe(tile.note)}</p>' if tile.note else ""
    return (
        f'<li class="tile{" true" if tile.true else ""}"><figure><figcaption>{safe(tile.title)}</figcaption>'
        f"{picture_html(tile.picture, label, media)}{note}</figure></li>"
    )


def _ranking(ranking: Ranking, media: Media) -> str:
    """A system's name, how well it did, and its best faces."""
    verdict, style = verdict_of(ranking.query, "face")
    answers = "".join(answer_html(c, i, media) for i, c in enumerate(ranking.query.candidates))
    return (
        f'<div class="ranking v2f"><div class="ranked-by"><h4>{safe(ranking.system)}</h4>'
        f'<p class="verdict {style}">{safe(verdict)}</p></div><ol class="answers">{answers}</ol></div>'
    )
