"""Rasterization: colours into an image, or the visible triangle of every pixel (docs/rendering.md)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from voiceface.rendering import parallel
from voiceface.rendering.arrays import (
    Array,
    Bytes,
    Floats,
    Ints,
    check_colors,
    check_fraction,
    check_side,
    check_triangles,
    check_vertices,
    coverage_code,
    prepare_depth,
    prepare_image,
    write_back,
)
from voiceface.rendering.kernel import kernel

__all__ = ["INCLUSIVE_WITHIN", "Fragments", "rasterize", "rasterize_triangles"]


INCLUSIVE_WITHIN = 3  # the kernel's code for the published program's rule of ids and weights
SAMPLED_TRIANGLES = 1024  # about so many tell how much work the rows are


@dataclass(frozen=True)
class Fragments:
    """The visible triangle at every pixel.

    Attributes:
        depth: (H, W) float32, `FAR` for empty pixels.
        triangles: (H, W) int32, index of the visible triangle, -1 for empty pixels.
        weights: (H, W, 3) float32, barycentric weights of its corners, zeros for empty pixels.
    """

    depth: Floats
    triangles: Ints
    weights: Floats


def rasterize(
    vertices: ArrayLike,
    triangles: ArrayLike,
    colors: ArrayLike,
    bg: Array | None = None,
    height: int | None = None,
    width: int | None = None,
    channel: int | None = None,
    reverse: bool = False,
    *,
    alpha: float = 1.0,
    depth: Array | None = None,
    coverage: str = "top_left",
    threads: int | None = None,
) -> Any:
    """Draw a coloured mesh.

    Pixel (column x, row y) is the point (x, y); larger z is nearer; nothing is culled or clipped in z; colour
    and depth are linear over the triangle. Triangles are drawn in order, and of equal depths the first
    remains. A triangle with a corner at NaN or infinity is skipped.

    Arrays of another type or layout are converted once. `bg` and `depth` are updated in place, in any layout;
    a `bg` of another type than uint8, or one that is read-only, is not modified, and a new image is returned.

    Args:
        vertices: (V, 3) float32, pixels: x right, y down, z towards the viewer.
        triangles: (T, 3) int32, 0-based vertex indices.
        colors: (V, C) float32 in [0, 1], C from 1 to 4; values outside are clipped in the image.
        bg: (H, W, C) uint8, or (H, W) for C = 1: the image to draw into; None: a new black one.
        height: of the new image in pixels; not needed with `bg`.
        width: of the new image in pixels; not needed with `bg`.
        channel: number of channels; optional, must be that of the colours.
        reverse: flip the image vertically: row y is written to row H - 1 - y; `depth` keeps row y.
        alpha: opacity of the colour in [0, 1]; the pixel is blended with its current value, so that triangles
            in front of each other blend repeatedly.
        depth: (H, W) float32, initial depths, updated; None: -1e8 everywhere.
        coverage: which pixels belong to a triangle. "top_left": every pixel on a common edge belongs to
            exactly one of the two triangles, for any order of their corners (positions on a grid of 1/2048
            pixel); "inclusive": as published for this system and SynergyNet; "strict": as published for
            3DDFA_V2.
        threads: maximum number of threads; None: OMP_NUM_THREADS, else all processors, 8 at most. The image
            does not depend on it.

    Returns:
        (H, W, C) uint8: `bg` itself if it can be drawn into, else a new image.

    Raises:
        ValueError: shapes, types or vertex indices are invalid; see the message.
    """
    points = check_vertices(vertices)
    corners = check_triangles(triangles, len(points))
    paint = check_colors(colors, len(points))
    if bg is None:
        if height is None or width is None:
            raise ValueError("height and width are required without bg")
        image: Bytes = np.zeros(
            (check_side("height", height), check_side("width", width), paint.shape[1]), np.uint8
        )
    else:
        image = prepare_image(bg)
    stated = [("height", height), ("width", width), ("channel", channel)]
    for (name, value), found in zip(stated, image.shape):
        if value is not None and value != found:
            raise ValueError(f"{name}: {value} is given, but the image's is {found}")
    if image.shape[2] != paint.shape[1]:
        raise ValueError(
            f"colors: {image.shape[2]} channels are expected as in bg, found {paint.shape[1]} channels"
        )
    buffer = prepare_depth(depth, *image.shape[:2])
    no_ids, no_weights = np.empty((0, 0), np.int32), np.empty((0, 0, 0), np.float32)
    scene = partial(
        kernel.Scene,
        points,
        corners,
        paint,
        image,
        buffer,
        no_ids,
        no_weights,
        coverage_code(coverage),
        check_fraction("alpha", alpha),
        bool(reverse),
    )
    _draw(scene, len(corners), image.shape[:2], parallel.thread_count(threads))
    if depth is not None:
        write_back(buffer, depth)
    return write_back(image, bg)


def rasterize_triangles(
    vertices: ArrayLike,
    triangles: ArrayLike,
    height: int,
    width: int,
    *,
    depth: Array | None = None,
    coverage: str = "top_left",
    threads: int | None = None,
) -> Fragments:
    """Find the visible triangle of every pixel, and the pixel's barycentric weights in it.

    Conventions, conversions and most arguments are those of `rasterize`.

    Args:
        vertices: (V, 3) float32, pixels.
        triangles: (T, 3) int32, 0-based vertex indices.
        height: of the image in pixels.
        width: of the image in pixels.
        depth: (H, W) float32, initial depths, updated; None: -1e8 everywhere.
        coverage: as for `rasterize`; "inclusive" is as published for this function: the inclusive test, but
            no pixel outside the bounding box of the corners.
        threads: as for `rasterize`.

    Raises:
        ValueError: shapes, types or vertex indices are invalid; see the message.
    """
    points = check_vertices(vertices)
    corners = check_triangles(triangles, len(points))
    shape = check_side("height", height), check_side("width", width)
    buffer = prepare_depth(depth, *shape)
    ids, weights = np.full(shape, -1, np.int32), np.zeros((*shape, 3), np.float32)
    no_colors, no_image = np.empty((0, 0), np.float32), np.empty((0, 0, 0), np.uint8)
    rule = INCLUSIVE_WITHIN if coverage == "inclusive" else coverage_code(coverage)
    scene = partial(
        kernel.Scene, points, corners, no_colors, no_image, buffer, ids, weights, rule, 1.0, False
    )
    _draw(scene, len(corners), shape, parallel.thread_count(threads))
    return Fragments(buffer if depth is None else write_back(buffer, depth), ids, weights)


def _draw(scene: Callable[[], "kernel.Scene"], count: int, shape: tuple[int, ...], threads: int) -> None:
    """Draw bands of rows with nearly equal work, in parallel.

    Args:
        scene: creates the kernel's scene.
        count: number of triangles.
        shape: of the image, (H, W).
        threads: at most.
    """
    height, width = shape
    if not count or not height or not width:
        return
    drawing = scene()
    if threads == 1 or height == 1:
        drawing.draw(0, height)
        return
    cost = np.zeros(height + 1)
    drawing.cost(1 + count // SAMPLED_TRIANGLES, cost)
    work = np.cumsum(cost)[:height]
    parts = min(threads, height, 1 + int(work.sum() / parallel.MIN_WORK_PER_THREAD))
    parallel.run_parallel(drawing.draw, parallel.split_by_work(work, parts))
