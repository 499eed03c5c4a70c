"""A mesh inside a page that can be turned with mouse, finger or keys; a still picture where it cannot.

Letters: V vertices, T triangles. The numbers travel as 16-bit steps of the mesh's box (a hundredth of a pixel
of a face of 600), which is a tenth of what a text file of them takes.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from voiceface.report.formatting import escape_html
from voiceface.report.media import MediaEncoder
from voiceface.report.records import ImageSource

QUANTISATION_STEPS = 65535
STILL_IMAGE_SIZE = 480  # longer side of still pictures, pixels


@dataclass(frozen=True)
class MeshView:
    """A mesh to look at.

    Attributes:
        title: what it is.
        vertices: (V, 3) finite numbers, any unit; x right, y up, z towards the viewer.
        triangles: (T, 3) vertex numbers from 0, wound outwards.
        colors: (V, 3) in [0, 1]; None for one plain colour.
        still_image: picture for browsers that cannot draw it, and for print.
        note: text under it.
    """

    title: str
    vertices: ArrayLike
    triangles: ArrayLike
    colors: ArrayLike | None = None
    still_image: ImageSource | None = None
    note: str = ""


def meshes_html(views: Sequence[MeshView], media: MediaEncoder) -> str:
    """Meshes beside each other as HTML; empty text without any."""
    return f'<div class="meshes">{"".join(mesh_html(v, media) for v in views)}</div>' if views else ""


def mesh_html(view: MeshView, media: MediaEncoder) -> str:
    """One mesh; without WebGL or scripts its still picture shows, and so it does past the page's allowance.

    Raises:
        ValueError: shapes or numbers that make no mesh.
    """
    packed = pack_mesh(view.vertices, view.triangles, view.colors)
    name = escape_html(view.title)
    address = media.image_url(view.still_image, STILL_IMAGE_SIZE)
    still = f'<img src="{address}" alt="{name}">' if address else ""
    drawn = ""
    if media.reserve_bytes(sum(map(len, packed.values()))):
        data = "".join(f' data-{word}="{value}"' for word, value in packed.items())
        label = f"{name}: mesh, turn it with the mouse, a finger or the arrow keys"
        drawn = (
            f'<canvas tabindex="0" role="img" aria-label="{label}"{data} hidden></canvas>'
            '<p class="turn" hidden>drag to turn · wheel or pinch to zoom · double click to reset</p>'
        )
    missing = "" if drawn or still else '<p class="missing">mesh not included</p>'
    note = f'<p class="note">{escape_html(view.note)}</p>' if view.note else ""
    return (
        f'<figure class="card mesh"><figcaption>{name}</figcaption>'
        f'<div class="stage">{still}{drawn}{missing}</div>{note}</figure>'
    )


def pack_mesh(vertices: ArrayLike, triangles: ArrayLike, colors: ArrayLike | None = None) -> dict[str, str]:
    """A mesh as texts: `box` (six numbers), and base64 of little-endian `points` (uint16), `corners`
    (uint16 or uint32, as `wide` says) and `colors` (uint8).

    Raises:
        ValueError: shapes or numbers that make no mesh.
    """
    points, corners = np.asarray(vertices, float), np.asarray(triangles)
    if points.ndim != 2 or points.shape[1] != 3 or not len(points) or not np.isfinite(points).all():
        raise ValueError(f"a mesh needs finite vertices (V, 3), found {points.dtype} of {points.shape}")
    if corners.ndim != 2 or corners.shape[1] != 3 or corners.dtype.kind not in "iu" or not len(corners):
        raise ValueError(f"a mesh needs triangles (T, 3), found {corners.dtype} of {corners.shape}")
    if corners.min() < 0 or corners.max() >= len(points):
        raise ValueError(
            f"triangles name vertices {corners.min()} to {corners.max()}, there are {len(points)}"
        )
    low, high = points.min(axis=0), points.max(axis=0)
    reach = np.where(high > low, high - low, 1.0)
    wide = len(points) > QUANTISATION_STEPS
    packed = {
        "box": " ".join(f"{number:.7g}" for number in (*low, *reach)),
        "points": _encode_base64(np.rint((points - low) / reach * QUANTISATION_STEPS), "<u2"),
        "corners": _encode_base64(corners, "<u4" if wide else "<u2"),
        "wide": "1" if wide else "",
    }
    if colors is not None:
        shades = np.asarray(colors, float)
        if shades.shape != points.shape or not np.isfinite(shades).all():
            raise ValueError(f"one colour (V, 3) a vertex, found {shades.shape} for {points.shape}")
        packed["colors"] = _encode_base64(np.rint(shades.clip(0, 1) * 255), "u1")
    return packed


def _encode_base64(array: np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype).tobytes()).decode()
