"""Compiled rasteriser of grid meshes: normals and a z-buffer with texture lookup and shading.

Single-threaded and without fast-math, so results are bit-equal in every process of one machine. The compiled
code is cached next to this file after the first use.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["compute_grid_normals", "rasterise_grid", "shade"]

Map = NDArray[np.float32]


@njit(cache=True, nogil=True)
def compute_grid_normals(points: Map, closed: bool) -> Map:
    """Compute unit normals of a grid mesh from central differences.

    Args:
        points: (R, C, 3), rows ascending, columns to the right seen from outside.
        closed: the first and last column coincide.

    Returns:
        (R, C, 3), pointing outwards.
    """
    rows, columns = points.shape[0], points.shape[1]
    out = np.empty_like(points)
    for r in range(rows):
        below, above = max(r - 1, 0), min(r + 1, rows - 1)
        for c in range(columns):
            left, right = c - 1, c + 1
            if left < 0:
                left = columns - 2 if closed else 0
            if right >= columns:
                right = 1 if closed else columns - 1
            ax = points[r, right, 0] - points[r, left, 0]
            ay = points[r, right, 1] - points[r, left, 1]
            az = points[r, right, 2] - points[r, left, 2]
            bx = points[above, c, 0] - points[below, c, 0]
            by = points[above, c, 1] - points[below, c, 1]
            bz = points[above, c, 2] - points[below, c, 2]
            nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
            length = np.sqrt(nx * nx + ny * ny + nz * nz) + np.float32(1e-12)
            out[r, c, 0], out[r, c, 1], out[r, c, 2] = nx / length, ny / length, nz / length
    return out


@njit(cache=True, nogil=True)
def shade(
    nx: float, ny: float, nz: float, light: Map, red: float, green: float, blue: float, gloss: float
) -> tuple[float, float, float]:
    """Shade a surface point.

    Args:
        nx, ny, nz: unit normal in camera space.
        light: (8,) direction x, y, z; half vector x, y, z; ambient light; direct light.
        red, green, blue, gloss: linear colour and gloss.

    Returns:
        Linear red, green, blue.
    """
    facing = nx * light[0] + ny * light[1] + nz * light[2]
    ambient = light[6] * (np.float32(0.86) + np.float32(0.14) * ny)
    # Red light scatters further under the skin than blue: shadow edges are softer in red.
    wide = max(np.float32(0), (facing + np.float32(0.34)) / np.float32(1.34))
    narrow = max(np.float32(0), (facing + np.float32(0.20)) / np.float32(1.20))
    middle = np.float32(0.5) * (wide + narrow)
    spark = max(np.float32(0), nx * light[3] + ny * light[4] + nz * light[5])
    spark = spark * spark
    spark = spark * spark
    spark = spark * spark
    spark = spark * spark
    shine = gloss * spark * light[7] * np.float32(0.35)
    return (
        red * (ambient + light[7] * wide) + shine,
        green * (ambient + light[7] * middle) + shine,
        blue * (ambient + light[7] * narrow) + shine,
    )


@njit(cache=True, nogil=True)
def rasterise_grid(
    screen_points: Map, normals: Map, texture: Map, light: Map, two_sided: bool, colour: Map, depth: Map
) -> None:
    """Rasterise a grid mesh into `colour` and `depth`, in place.

    Args:
        screen_points: (R, C, 3) pixel x to the right, pixel y down, depth (larger is nearer).
        normals: (R, C, 3) in camera space (y up).
        texture: (H, W, 4) linear colour and gloss; corners of texture and grid coincide.
        light: (8,) as in `shade`.
        two_sided: also draw back faces.
        colour: (H, W, 3) linear light.
        depth: (H, W), same unit as the depth of `screen_points`.
    """
    rows, columns = screen_points.shape[0], screen_points.shape[1]
    height, width = depth.shape[0], depth.shape[1]
    high, across = texture.shape[0] - 1, texture.shape[1] - 1
    per_row, per_column = np.float32(high / (rows - 1)), np.float32(across / (columns - 1))
    for r in range(rows - 1):
        for c in range(columns - 1):
            for half in range(2):
                r1, c1 = r + half, c + 1
                r2, c2 = r + 1, c + 1 - half
                # (r, c), (r, c+1), (r+1, c+1) and (r, c), (r+1, c+1), (r+1, c)
                ax, ay, az = screen_points[r, c, 0], screen_points[r, c, 1], screen_points[r, c, 2]
                bx, by, bz = screen_points[r1, c1, 0], screen_points[r1, c1, 1], screen_points[r1, c1, 2]
                qx, qy, qz = screen_points[r2, c2, 0], screen_points[r2, c2, 1], screen_points[r2, c2, 2]
                area = (bx - ax) * (qy - ay) - (by - ay) * (qx - ax)
                # y points down on the screen, so front faces have a negative area.
                if area > np.float32(-1e-9) and (not two_sided or area < np.float32(1e-9)):
                    continue
                flip = np.float32(-1) if area > 0 else np.float32(1)
                left = max(0, int(np.ceil(min(ax, bx, qx) - np.float32(0.5))))
                right = min(width - 1, int(np.floor(max(ax, bx, qx) - np.float32(0.5))))
                top = max(0, int(np.ceil(min(ay, by, qy) - np.float32(0.5))))
                bottom = min(height - 1, int(np.floor(max(ay, by, qy) - np.float32(0.5))))
                for py in range(top, bottom + 1):
                    for px in range(left, right + 1):
                        x, y = np.float32(px) + np.float32(0.5), np.float32(py) + np.float32(0.5)
                        wb = ((x - ax) * (qy - ay) - (y - ay) * (qx - ax)) / area
                        wq = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
                        wa = np.float32(1) - wb - wq
                        if wa < 0 or wb < 0 or wq < 0:
                            continue
                        near = wa * az + wb * bz + wq * qz
                        if near <= depth[py, px]:
                            continue
                        nx = wa * normals[r, c, 0] + wb * normals[r1, c1, 0] + wq * normals[r2, c2, 0]
                        ny = wa * normals[r, c, 1] + wb * normals[r1, c1, 1] + wq * normals[r2, c2, 1]
                        nz = wa * normals[r, c, 2] + wb * normals[r1, c1, 2] + wq * normals[r2, c2, 2]
                        scale = flip / (np.sqrt(nx * nx + ny * ny + nz * nz) + np.float32(1e-12))
                        v = (np.float32(r) + wb * np.float32(r1 - r) + wq * np.float32(r2 - r)) * per_row
                        u = (np.float32(c) + wb * np.float32(c1 - c) + wq * np.float32(c2 - c)) * per_column
                        i, j = min(int(v), high - 1), min(int(u), across - 1)
                        dv, du = v - np.float32(i), u - np.float32(j)
                        w00, w01 = (1 - dv) * (1 - du), (1 - dv) * du
                        w10, w11 = dv * (1 - du), dv * du
                        t00, t01 = texture[i, j], texture[i, j + 1]
                        t10, t11 = texture[i + 1, j], texture[i + 1, j + 1]
                        red, green, blue = shade(
                            nx * scale,
                            ny * scale,
                            nz * scale,
                            light,
                            w00 * t00[0] + w01 * t01[0] + w10 * t10[0] + w11 * t11[0],
                            w00 * t00[1] + w01 * t01[1] + w10 * t10[1] + w11 * t11[1],
                            w00 * t00[2] + w01 * t01[2] + w10 * t10[2] + w11 * t11[2],
                            w00 * t00[3] + w01 * t01[3] + w10 * t10[3] + w11 * t11[3],
                        )
                        depth[py, px] = near
                        colour[py, px, 0], colour[py, px, 1], colour[py, px, 2] = red, green, blue
