"""Interactive mesh inside a page, rotated with mouse, finger or keys, with a still image as a fallback.

Letters: V vertices, T triangles. Coordinates are quantised to 16 bits of the bounding box (a hundredth of a
pixel of a face of 600 pixels), a tenth of the size of a text file.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike

from voiceface.report.media import MediaEncoder
from voiceface.report.records import ImageSource
from voiceface.report.templating import render_macro

__all__ = ["MeshView", "mesh_html", "meshes_html", "pack_mesh"]

TEMPLATE = "system_card.html"

QUANTISATION_STEPS = 65535
STILL_IMAGE_SIZE = 480  # longer side of still images, pixels


@dataclass(frozen=True)
class MeshView:
    """A mesh on a page.

    Attributes:
        title: caption.
        vertices: (V, 3) finite numbers, any unit; x right, y up, z towards the viewer.
        triangles: (T, 3) vertex indices from 0, counter-clockwise seen from outside.
        colors: (V, 3) RGB in [0, 1]; None for one plain colour.
        still_image: image for print and for browsers without WebGL.
        note: text under it.
    """

    title: str
    vertices: ArrayLike
    triangles: ArrayLike
    colors: ArrayLike | None = None
    still_image: ImageSource | None = None
    note: str = ""


def meshes_html(views: Sequence[MeshView], media: MediaEncoder) -> Markup:
    """Meshes beside each other; empty without meshes."""
    if not views:
        return Markup("")
    return render_macro(TEMPLATE, "meshes", Markup("").join(mesh_html(view, media) for view in views))


def mesh_html(view: MeshView, media: MediaEncoder) -> Markup:
    """One mesh. Its still image is shown without WebGL or scripts, and if the page's budget is spent.

    Raises:
        ValueError: vertices, triangles or colours have a wrong shape or values that are not finite.
    """
    packed = pack_mesh(view.vertices, view.triangles, view.colors)
    still = media.image_url(view.still_image, STILL_IMAGE_SIZE)
    data = packed if media.reserve_bytes(sum(map(len, packed.values()))) else None
    return render_macro(TEMPLATE, "mesh", view, still, data)


def pack_mesh(vertices: ArrayLike, triangles: ArrayLike, colors: ArrayLike | None = None) -> dict[str, str]:
    """Encode a mesh as texts: `box` (six numbers), and base64 of little-endian `points` (uint16), `corners`
    (uint16, or uint32 if `wide` is set) and `colors` (uint8).

    Raises:
        ValueError: vertices, triangles or colours have a wrong shape or values that are not finite.
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
