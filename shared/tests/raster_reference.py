"""Reference rasteriser in plain NumPy: refine, sort by depth, scatter.

The grid is refined until its points are closer together than pixels, every point is shaded, and points are
written into the image from far to near. The compiled z-buffer is compared with it.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]


def rasterise_grid_reference(
    screen_points: Map,
    normals: Map,
    texture: Map,
    light: Map,
    two_sided: bool,
    colour: Map,
    depth: Map,
    *,
    max_spacing: float = 0.45,
) -> None:
    """Rasterise a grid mesh into `colour` and `depth`, in place; arguments as `raster.rasterise_grid`.

    Args:
        max_spacing: greatest distance of neighbouring points in pixels.
    """
    side = depth.shape[0]
    along = _max_edge_lengths(screen_points, 0), _max_edge_lengths(screen_points, 1)
    for r in range(screen_points.shape[0] - 1):
        up = max(1, int(np.ceil(along[0][r] / max_spacing)))
        for first, last, across in _refinement_runs(along[1], max_spacing):
            rows = r + (np.arange(up) + 0.5) / up
            columns = first + (np.arange((last - first) * across) + 0.5) / across
            points = _bilinear_sample(screen_points, rows, columns)
            outward = _bilinear_sample(normals, rows, columns)
            surface = (points, outward, texture, light, two_sided)
            _scatter_points(*surface, colour, depth, rows, columns, screen_points.shape, side)


def _max_edge_lengths(screen_points: Map, axis: int) -> NDArray[np.float64]:
    """Greatest on-screen length of the grid's edges per row (axis 0) or column (axis 1)."""
    step = np.linalg.norm(np.diff(screen_points[..., :2].astype(float), axis=axis), axis=-1)
    return np.asarray(step.max(axis=1 - axis))


def _refinement_runs(lengths: NDArray[np.float64], max_spacing: float) -> list[tuple[int, int, int]]:
    """Group neighbouring columns of equal refinement: (first, end, refinement)."""
    counts = np.maximum(1, np.ceil(lengths / max_spacing)).astype(int)
    edges = [0, *(np.nonzero(np.diff(counts))[0] + 1).tolist(), len(counts)]
    return [(a, b, int(counts[a])) for a, b in pairwise(edges)]


def _bilinear_sample(
    array: Map, rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Bilinear samples at rows x columns, (R, C, channels)."""
    i = np.minimum(rows.astype(int), array.shape[0] - 2)
    j = np.minimum(columns.astype(int), array.shape[1] - 2)
    dv, du = (rows - i)[:, None, None], (columns - j)[None, :, None]
    top, bottom = array[i].astype(float), array[i + 1].astype(float)
    low = top[:, j] * (1 - du) + top[:, j + 1] * du
    high = bottom[:, j] * (1 - du) + bottom[:, j + 1] * du
    return np.asarray(low * (1 - dv) + high * dv)


def _scatter_points(
    points: NDArray[np.float64],
    normals: NDArray[np.float64],
    texture: Map,
    light: Map,
    two_sided: bool,
    colour: Map,
    depth: Map,
    rows: NDArray[np.float64],
    columns: NDArray[np.float64],
    grid_shape: tuple[int, ...],
    image_size: int,
) -> None:
    """Shade the points and write the nearest one of each pixel."""
    position = points[..., :2]
    # Only points near a pixel's centre count; others would widen every outline by half a pixel.
    inside = ((position >= 0) & (position < image_size) & (np.abs(position % 1.0 - 0.5) <= 0.25)).all(axis=-1)
    if not inside.any():
        return
    # The sign of the normal's z is that of the projected area, up to the slight perspective.
    unit = normals / (np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-12)
    towards = unit[..., 2] > 0
    if two_sided:
        unit = np.where(towards[..., None], unit, -unit)
    else:
        inside &= towards
    scale = np.array(texture.shape[:2]) - 1
    paint = _bilinear_sample(
        texture, rows * scale[0] / (grid_shape[0] - 1), columns * scale[1] / (grid_shape[1] - 1)
    )
    lit = _shade(unit, light.astype(float), paint)
    x, y, near = points[inside, 0].astype(int), points[inside, 1].astype(int), points[inside, 2]
    order = np.argsort(near, kind="stable")
    pixel = (y * image_size + x)[order]
    flat_depth, flat_colour = depth.reshape(-1), colour.reshape(-1, 3)
    values, distance = lit[inside][order], near[order]
    keep = distance > flat_depth[pixel]
    flat_depth[pixel[keep]] = distance[keep]
    flat_colour[pixel[keep]] = values[keep]


def _shade(
    normals: NDArray[np.float64], light: NDArray[np.float64], material: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Shade arrays as `raster.shade` does: normals (..., 3), colour and gloss (..., 4)."""
    facing = normals @ light[:3]
    ambient = light[6] * (0.86 + 0.14 * normals[..., 1])
    wide, narrow = np.maximum(0, (facing + 0.34) / 1.34), np.maximum(0, (facing + 0.20) / 1.20)
    diffuse = np.stack([wide, 0.5 * (wide + narrow), narrow], axis=-1)
    shine = material[..., 3] * np.maximum(0, normals @ light[3:6]) ** 16 * light[7] * 0.35
    return np.asarray(material[..., :3] * (ambient[..., None] + light[7] * diffuse) + shine[..., None])
