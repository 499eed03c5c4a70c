"""Attributes of the vertices at the pixels: the step between visible triangles and deferred shading."""

import numpy as np
from numpy.typing import ArrayLike

from voiceface.rendering import parallel
from voiceface.rendering.arrays import Floats, Ints, check_attributes, check_distances, check_triangles
from voiceface.rendering.kernel import kernel
from voiceface.rendering.rasterization import Fragments

__all__ = ["MIN_VALUES_PER_THREAD", "interpolate"]


MIN_VALUES_PER_THREAD = 1 << 18  # fewer are not worth another thread


def interpolate(
    fragments: Fragments,
    triangles: ArrayLike,
    attributes: ArrayLike,
    *,
    background: ArrayLike = 0.0,
    distances: ArrayLike | None = None,
    threads: int | None = None,
) -> Floats:
    """Interpolate attributes of the vertices at every pixel of a visibility buffer, all channels in one pass.

    The value of a pixel is w0 a0 + w1 a1 + w2 a2 over the corners of its triangle, in float32 from left to
    right. With `distances` it is linear over the surface in space and not on the screen: the weights become
    wi / di, divided by their sum (perspective-correct interpolation).

    Args:
        fragments: of `rasterize_triangles`.
        triangles: (T, 3) int32, those that were drawn.
        attributes: (V, C) float32, C from 1 to 16, any range: texture coordinates, normals, colours.
        background: value of empty pixels, one number or (C,).
        distances: (V,) distance of each vertex from the camera along its axis, above 0, any unit; None:
            linear on the screen (orthographic camera).
        threads: as for `rasterize`.

    Returns:
        (H, W, C) float32.

    Raises:
        ValueError: shapes, types or vertex indices are invalid, or the fragments have a triangle that
            `triangles` does not have.
    """
    values = check_attributes(attributes)
    corners = check_triangles(triangles, len(values))
    empty = _as_row(background, values.shape[1])
    inverse = np.empty(0, np.float32)
    if distances is not None:
        inverse = np.float32(1) / check_distances(distances, len(values))
    ids, weights = _check_fragments(fragments)
    out = np.empty((*ids.shape, values.shape[1]), np.float32)
    if not out.size:
        return out
    parts = min(parallel.thread_count(threads), len(out), 1 + out.size // MIN_VALUES_PER_THREAD)
    worst = parallel.run_parallel(
        lambda first, last: kernel.interpolate(
            ids, weights, corners, values, inverse, empty, out, first, last
        ),
        parallel.split_evenly(len(out), parts),
    )
    if max(worst) >= 0:
        raise ValueError(
            f"fragments: triangle {max(worst)} is visible, but there are {len(corners)} triangles; "
            "give those that were drawn"
        )
    return out


def _as_row(background: ArrayLike, channels: int) -> Floats:
    """(C,) float32 of one number or C numbers."""
    given = np.asarray(background, np.float32)
    if given.shape not in ((), (1,), (channels,)):
        raise ValueError(f"background: one number or {channels} are expected, found {given.shape}")
    return np.ascontiguousarray(np.broadcast_to(given, (channels,)))


def _check_fragments(fragments: Fragments) -> tuple[Ints, Floats]:
    """Contiguous triangle numbers (H, W) and weights (H, W, 3)."""
    ids, weights = np.asarray(fragments.triangles), np.asarray(fragments.weights)
    if ids.ndim != 2 or weights.shape != (*ids.shape, 3) or ids.dtype.kind != "i":
        raise ValueError(
            "fragments: integer triangles (H, W) and weights (H, W, 3) are expected, found "
            f"{ids.dtype} {ids.shape} and {weights.shape}"
        )
    return np.ascontiguousarray(ids, np.int32), np.ascontiguousarray(weights, np.float32)
