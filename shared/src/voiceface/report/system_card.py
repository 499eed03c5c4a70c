"""Everything that several systems make of one voice, side by side on one card.

A tile is a picture or a mesh; a ranking is a row of faces in the order of one system.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voiceface.report.formatting import display_name, escape_html
from voiceface.report.gallery import candidate_html, describe_verdict, image_html, player_html
from voiceface.report.media import MediaEncoder
from voiceface.report.mesh_view import MeshView, mesh_html
from voiceface.report.records import AudioSource, ImageSource, ProbeRanking

BACKGROUND_COLOUR, SKIN_COLOUR = (38, 48, 63), (214, 190, 172)
LIGHT_DIRECTION = np.array([-0.45, 0.5, 0.9]) / np.linalg.norm([-0.45, 0.5, 0.9])


@dataclass(frozen=True)
class ImageTile:
    """One picture beside a voice.

    Attributes:
        title: what it is, such as the system that made it.
        image: None leaves an empty frame with the note in it.
        note: a few words under it.
        is_ground_truth: it is the truth, not made.
    """

    title: str
    image: ImageSource | None
    note: str = ""
    is_ground_truth: bool = False


@dataclass(frozen=True)
class SystemRanking:
    """Faces in the order of one system; the verdict and the marks are those of a gallery's query."""

    system: str
    ranking: ProbeRanking


@dataclass(frozen=True)
class SystemCard:
    """What is heard, what is true and what the systems make of it.

    Attributes:
        name: heading.
        audio: the voice.
        tiles: pictures and meshes, in order.
        rankings: one of each system.
        note: one line under the name.
        missing: what some system could not do, one line each.
    """

    name: str
    audio: AudioSource | None
    tiles: Sequence[ImageTile | MeshView] = ()
    rankings: Sequence[SystemRanking] = ()
    note: str = ""
    missing: Sequence[str] = ()


def system_cards_html(stories: Sequence[SystemCard], media: MediaEncoder, hint: str = "") -> str:
    """Cards under each other as HTML; empty text without any."""
    if not stories:
        return ""
    text = f'<p class="hint">{escape_html(hint)}</p>' if hint else ""
    return f'{text}<div class="stories">{"".join(_card_html(story, media) for story in stories)}</div>'


def render_mesh_still(
    vertices: ArrayLike, triangles: ArrayLike, yaw_degrees: float = -24.0, image_size: int = 360
) -> NDArray[np.uint8]:
    """A lit drawing of a mesh, for pages whose reader cannot turn it.

    Args:
        vertices: (V, 3), x right, y up, z towards the viewer.
        triangles: (T, 3), wound outwards.
        yaw_degrees: degrees about the upright axis.
        image_size: of the picture, pixels.

    Returns:
        (side, side, 3) uint8 RGB.
    """
    from PIL import Image, ImageDraw

    angle = np.deg2rad(yaw_degrees)
    about = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    points, corners = np.asarray(vertices, float) @ about.T, np.asarray(triangles)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = 1.8 * image_size / max(float((high - low)[:2].max()), 1e-9)  # drawn at double size
    placed = (points - (low + high) / 2) * scale
    a, b, c = (placed[corners[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    seen = np.flatnonzero(normals[:, 2] > 0)
    bright = 0.3 + 0.75 * np.clip(normals @ LIGHT_DIRECTION, 0, None)
    shades = np.clip(bright[:, None] * np.array(SKIN_COLOUR), 0, 255).astype(int)
    flat = np.stack([image_size + placed[:, 0], image_size - placed[:, 1]], axis=1)
    image = Image.new("RGB", (2 * image_size, 2 * image_size), BACKGROUND_COLOUR)
    draw = ImageDraw.Draw(image)
    for at in seen[np.argsort((a + b + c)[seen, 2])]:  # far ones first
        draw.polygon([tuple(flat[corner]) for corner in corners[at]], fill=tuple(shades[at]))
    return np.asarray(image.resize((image_size, image_size), Image.Resampling.BOX))


def _card_html(card: SystemCard, media: MediaEncoder) -> str:
    """One card: the voice on top, tiles below it, then a row of faces for each system."""
    tiles = "".join(
        f'<li class="tile">{mesh_html(tile, media)}</li>'
        if isinstance(tile, MeshView)
        else _tile_html(tile, card.name, media)
        for tile in card.tiles
    )
    ranks = "".join(_ranking_html(ranking, media) for ranking in card.rankings)
    lost = "".join(f'<p class="note">{escape_html(text)}</p>' for text in card.missing)
    return (
        f'<article class="card story"><div class="heard"><div><h3>{escape_html(display_name(card.name))}</h3>'
        f"{f'<p class=note>{escape_html(card.note)}</p>' if card.note else ''}</div>"
        f"{player_html(card.audio, f'voice of {display_name(card.name)}', media)}</div>"
        f"{f'<ul class=tiles>{tiles}</ul>' if tiles else ''}"
        f"{f'<div class=rankings>{ranks}</div>' if ranks else ''}"
        f"{f'<div class=lost>{lost}</div>' if lost else ''}</article>"
    )


def _tile_html(tile: ImageTile, name: str, media: MediaEncoder) -> str:
    """A picture with its title and note, framed where it is the truth."""
    label = f"{tile.title}: {display_name(name)}"
    note = f'<p class="note">{escape_html(tile.note)}</p>' if tile.note else ""
    return (
        f'<li class="tile{" true" if tile.is_ground_truth else ""}"><figure><figcaption>{escape_html(tile.title)}</figcaption>'
        f"{image_html(tile.image, label, media)}{note}</figure></li>"
    )


def _ranking_html(ranking: SystemRanking, media: MediaEncoder) -> str:
    """A system's name, how well it did, and its best faces."""
    verdict, style = describe_verdict(ranking.ranking, "face")
    answers = "".join(candidate_html(c, i, media) for i, c in enumerate(ranking.ranking.candidates))
    return (
        f'<div class="ranking v2f"><div class="ranked-by"><h4>{escape_html(ranking.system)}</h4>'
        f'<p class="verdict {style}">{escape_html(verdict)}</p></div><ol class="answers">{answers}</ol></div>'
    )
