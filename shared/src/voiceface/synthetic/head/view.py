"""Camera of a picture of the head, and which triangles and pixels it sees."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from voiceface.rendering import Fragments, rasterize_triangles
from voiceface.synthetic.camera import FOCAL_LENGTH_MM, rotation_matrix

__all__ = ["COARSE_UP_TO", "View", "faces_camera", "rasterize_before", "select_fragments"]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

_LARGE_CANVAS = 1 << 16  # pixels from which finding the box of a shell is worth its time
COARSE_UP_TO = 160  # pixels of the canvas for which the mesh is not subdivided and hair has two shells


@dataclass(frozen=True)
class View:
    """Where a head appears on a canvas.

    Attributes:
        pose: (3,) yaw, pitch, roll in radians.
        scale: pixels of the canvas per mm.
        middle: (2,) x, y of the head's origin in pixels of the canvas; integers are centres of pixels.
        width, height: of the canvas in pixels.
        whole: width and height of the picture of which the canvas is a part; None: it is the picture.
    """

    pose: Array
    scale: float
    middle: Array
    width: int
    height: int
    whole: tuple[int, int] | None = None

    @cached_property
    def rotation(self) -> Array:
        """Rotation (3, 3) from the head to the camera."""
        return rotation_matrix(self.pose)

    @property
    def is_coarse(self) -> bool:
        """Whether the mesh is not subdivided and hair has two shells."""
        return min(self.whole or (self.width, self.height)) <= COARSE_UP_TO

    def cut(self, left: int, top: int, right: int, bottom: int) -> "View":
        """View on a part of the canvas; pixels from left and top up to right and bottom."""
        middle, whole = self.middle - np.array([left, top]), self.whole or (self.width, self.height)
        return View(self.pose, self.scale, middle, right - left, bottom - top, whole)

    def to_camera(self, points: Floats) -> Floats:
        """Points of the head in camera space, (N, 3) mm."""
        return points @ self.rotation.T.astype(np.float32)

    def to_canvas(self, points: Floats) -> Floats:
        """Pixels x, y and depth in mm of points in camera space."""
        screen = points.copy()
        size = np.float32(self.scale * FOCAL_LENGTH_MM) / (np.float32(FOCAL_LENGTH_MM) - points[:, 2])
        middle = self.middle.astype(np.float32)
        np.multiply(points[:, 0], size, out=screen[:, 0])
        screen[:, 0] += middle[0]
        np.multiply(points[:, 1], -size, out=screen[:, 1])
        screen[:, 1] += middle[1]
        return screen


def faces_camera(screen: Floats, triangles: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Triangles whose front is seen, (T,); y points down."""
    flat = np.ascontiguousarray(triangles.T)
    x, y = screen[:, 0].copy().take(flat), screen[:, 1].copy().take(flat)
    return np.asarray((x[1] - x[0]) * (y[2] - y[0]) < (y[1] - y[0]) * (x[2] - x[0]))


def rasterize_before(
    screen: Floats, triangles: NDArray[np.int32], depth: Floats
) -> tuple[NDArray[np.intp], Fragments]:
    """Rasterize triangles where they lie before what is there, within the box of their corners.

    Args:
        screen: (V, 3) pixels and depth.
        triangles: (T, 3), at least one.
        depth: (H, W) of the canvas; not changed.

    Returns:
        Numbers of the covered pixels (N,), ascending, and their fragments in one row.
    """
    height, width = depth.shape
    left, top, right, bottom = 0, 0, width, height
    if depth.size > _LARGE_CANVAS:
        flat = triangles.ravel()
        x, y = screen[:, 0].take(flat), screen[:, 1].take(flat)
        left, top = max(int(np.floor(x.min())), 0), max(int(np.floor(y.min())), 0)
        right, bottom = min(int(np.ceil(x.max())) + 1, width), min(int(np.ceil(y.max())) + 1, height)
    if left >= right or top >= bottom:
        none = np.zeros(0, np.intp)
        return none, Fragments(
            np.zeros((1, 0), np.float32), np.zeros((1, 0), np.int32), np.zeros((1, 0, 3), np.float32)
        )
    moved = screen - np.array([left, top, 0.0], np.float32) if left or top else screen
    part = depth[top:bottom, left:right].copy()
    found = rasterize_triangles(moved, triangles, bottom - top, right - left, depth=part, threads=1)
    inside = np.flatnonzero(found.triangles.ravel() >= 0)
    row, column = np.divmod(inside, right - left)
    return (row + top) * width + (column + left), select_fragments(found, inside)


def select_fragments(found: Fragments, pixels: NDArray[np.intp]) -> Fragments:
    """Fragments of some pixels in one row."""
    row = (1, len(pixels))
    return Fragments(
        found.depth.ravel().take(pixels).reshape(row),
        found.triangles.ravel().take(pixels).reshape(row),
        found.weights.reshape(-1, 3).take(pixels, axis=0).reshape(*row, 3),
    )
