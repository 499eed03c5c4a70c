"""Cards with the outputs of several systems for one utterance.

A tile is an image or a mesh; a ranking is a row of faces in the order of one system.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

from voiceface.report.gallery import candidate_html, describe_verdict, image_html, player_html
from voiceface.report.media import MediaEncoder
from voiceface.report.mesh_view import MeshView, mesh_html
from voiceface.report.records import AudioSource, ImageSource, ProbeRanking
from voiceface.report.templating import render_macro

__all__ = ["ImageTile", "SystemCard", "SystemRanking", "render_mesh_still", "system_cards_html"]

TEMPLATE = "system_card.html"

BACKGROUND_COLOUR, SKIN_COLOUR = (38, 48, 63), (214, 190, 172)
LIGHT_DIRECTION = np.array([-0.45, 0.5, 0.9]) / np.linalg.norm([-0.45, 0.5, 0.9])


@dataclass(frozen=True)
class ImageTile:
    """One image on a card.

    Attributes:
        title: caption, such as the system that generated the image.
        image: the image; None shows an empty frame.
        note: a short text under it.
        is_ground_truth: a real image of the identity, not a generated one.
    """

    title: str
    image: ImageSource | None
    note: str = ""
    is_ground_truth: bool = False


@dataclass(frozen=True)
class SystemRanking:
    """Faces in the order of one system, with verdict and marks as in the retrieval examples."""

    system: str
    ranking: ProbeRanking


@dataclass(frozen=True)
class SystemCard:
    """One utterance, its ground truth, and the outputs of the systems.

    Attributes:
        name: heading.
        audio: the utterance.
        tiles: images and meshes, in order.
        rankings: one for each system.
        note: one line under the name.
        missing: one line for each system that could not process the utterance.
    """

    name: str
    audio: AudioSource | None
    tiles: Sequence[ImageTile | MeshView] = ()
    rankings: Sequence[SystemRanking] = ()
    note: str = ""
    missing: Sequence[str] = ()


def system_cards_html(cards: Sequence[SystemCard], media: MediaEncoder, hint: str = "") -> Markup:
    """Cards below each other; empty without cards."""
    if not cards:
        return Markup("")
    return render_macro(TEMPLATE, "cards", hint, Markup("").join(_card_html(card, media) for card in cards))


def render_mesh_still(
    vertices: ArrayLike, triangles: ArrayLike, yaw_degrees: float = -24.0, image_size: int = 360
) -> NDArray[np.uint8]:
    """Render a shaded image of a mesh, for pages where the mesh is not interactive.

    Args:
        vertices: (V, 3), x right, y up, z towards the viewer.
        triangles: (T, 3), wound outwards.
        yaw_degrees: rotation about the vertical axis.
        image_size: side of the image in pixels.

    Returns:
        (side, side, 3) uint8 RGB.
    """
    from PIL import Image, ImageDraw

    angle = np.deg2rad(yaw_degrees)
    rotation = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    points, faces = np.asarray(vertices, float) @ rotation.T, np.asarray(triangles)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = 1.8 * image_size / max(float((high - low)[:2].max()), 1e-9)  # drawn at double size
    centred = (points - (low + high) / 2) * scale
    a, b, c = (centred[faces[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    visible = np.flatnonzero(normals[:, 2] > 0)
    brightness = 0.3 + 0.75 * np.clip(normals @ LIGHT_DIRECTION, 0, None)
    shades = np.clip(brightness[:, None] * np.array(SKIN_COLOUR), 0, 255).astype(int)
    projected = np.stack([image_size + centred[:, 0], image_size - centred[:, 1]], axis=1)
    image = Image.new("RGB", (2 * image_size, 2 * image_size), BACKGROUND_COLOUR)
    draw = ImageDraw.Draw(image)
    for face in visible[np.argsort((a + b + c)[visible, 2])]:  # back to front
        draw.polygon([tuple(projected[corner]) for corner in faces[face]], fill=tuple(shades[face]))
    return np.asarray(image.resize((image_size, image_size), Image.Resampling.BOX))


def _card_html(card: SystemCard, media: MediaEncoder) -> Markup:
    """One card: utterance, tiles below it, then a row of faces per system."""
    player = player_html(card.audio, f"voice of {card.name}", media)
    tiles = []
    for tile in card.tiles:
        if isinstance(tile, MeshView):
            tiles.append(render_macro(TEMPLATE, "mesh_tile", mesh_html(tile, media)))
        else:
            image = image_html(tile.image, f"{tile.title}: {card.name}", media)
            tiles.append(render_macro(TEMPLATE, "image_tile", tile, image))
    rankings = [_ranking_html(ranking, media) for ranking in card.rankings]
    return render_macro(TEMPLATE, "card", card, player, Markup("").join(tiles), Markup("").join(rankings))


def _ranking_html(ranking: SystemRanking, media: MediaEncoder) -> Markup:
    """Name of a system, its verdict, and its best faces."""
    verdict, css_class = describe_verdict(ranking.ranking, "face")
    candidates = [candidate_html(c, i, media) for i, c in enumerate(ranking.ranking.candidates)]
    shown = Markup("").join(candidates)
    return render_macro(TEMPLATE, "ranking", ranking.system, verdict, css_class, shown, ranking.ranking.note)
