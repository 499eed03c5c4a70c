"""Reference renderer in plain NumPy, slow: the compiled renderer must match it bit by bit."""

import math

import numpy as np

GRID = 2048


def render(vertices, triangles, depth, rule, *, colors=None, image=None, alpha=1.0, reverse=False):
    """Draw into `image` (or nothing) and `depth`; return visible triangles and their weights."""
    height, width = depth.shape
    ids, weights = np.full(depth.shape, -1, np.int32), np.zeros((*depth.shape, 3), np.float32)
    alpha = np.float32(alpha)
    with np.errstate(all="ignore"):
        for number, corners in enumerate(triangles):
            points = vertices[corners]
            box = pixel_bounds(points, rule, height, width) if np.isfinite(points).all() else None
            if box is None:
                continue
            columns, rows = np.meshgrid(np.arange(box[0], box[1] + 1), np.arange(box[2], box[3] + 1))
            inside, shares = (top_left_coverage if rule == "top_left" else published_coverage)(
                points, columns, rows, rule
            )
            z = shares[0] * points[0, 2] + shares[1] * points[1, 2] + shares[2] * points[2, 2]
            visible = inside & (z > depth[rows, columns])
            y, x = rows[visible], columns[visible]
            depth[y, x], ids[y, x] = z[visible], number
            weights[y, x] = np.stack([share[visible] for share in shares], -1)
            if image is not None:
                target = height - 1 - y if reverse else y
                for channel in range(image.shape[2]):
                    hue = [share[visible] * colors[corner, channel] for share, corner in zip(shares, corners)]
                    hue = hue[0] + hue[1] + hue[2]
                    old = image[target, x, channel].astype(np.float32)
                    value = (np.float32(1) - alpha) * old + alpha * np.float32(255) * hue
                    value = np.where(value > 0, np.minimum(value, 255), 0)  # NaN gives 0
                    image[target, x, channel] = value.astype(np.uint8)
    return ids, weights


def pixel_bounds(points, rule, height, width):
    """First and last column, first and last row that may be covered; None if there are none."""
    xy = points[:, :2].astype(np.float64)
    if rule == "top_left":
        xy = np.rint(xy * GRID) / GRID
    elif np.abs(xy).max() > 2**31 or xy.max() == 2**31:
        return None
    box = []
    for axis, side in enumerate((width, height)):
        low, high = xy[:, axis].min(), xy[:, axis].max()
        outer = rule == "inclusive"
        first = math.floor(low) if outer else math.ceil(low)
        last = math.ceil(high) if outer else math.floor(high)
        box += [max(first, 0), min(last, side - 1)]
    return box if box[0] <= box[1] and box[2] <= box[3] else None


def published_coverage(points, columns, rows, rule):
    """Coverage and depth (docs/rendering.md), in float32."""
    p0, p1, p2 = points[:, :2]
    (ax, ay), (bx, by) = p2 - p0, p1 - p0
    qx, qy = columns.astype(np.float32) - p0[0], rows.astype(np.float32) - p0[1]
    d00, d01, d11 = ax * ax + ay * ay, ax * bx + ay * by, bx * bx + by * by
    d02, d12 = ax * qx + ay * qy, bx * qx + by * qy
    determinant = d00 * d11 - d01 * d01
    k = np.float32(0) if determinant == 0 else np.float32(1) / determinant
    u, v = (d11 * d02 - d01 * d12) * k, (d00 * d12 - d01 * d02) * k
    w = (np.float32(1) - u) - v
    if rule == "strict":
        inside = (u > 0) & (v > 0) & (w > 0)
    else:
        inside = (u >= 0) & (v >= 0) & (u + v < 1)
    return inside, (w, v, u)


def top_left_coverage(points, columns, rows, rule):
    """Edge functions in double on a grid, each edge computed alike whichever triangle asks."""
    x, y = np.rint(points[:, :2].astype(np.float64) * GRID).T
    area = edge_function(x[0], y[0], x[1], y[1], x[2], y[2])
    if area == 0:
        return np.zeros(columns.shape, bool), [np.zeros(columns.shape, np.float32)] * 3
    side, inside, sides = np.sign(area), np.ones(columns.shape, bool), []
    for a, b in ((1, 2), (2, 0), (0, 1)):
        value = side * edge_function(x[a], y[a], x[b], y[b], float(GRID) * columns, float(GRID) * rows)
        right, down = side * (x[b] - x[a]), side * (y[b] - y[a])
        owned = down < 0 or (down == 0 and right > 0)  # the inside lies to the right of it, or below it
        inside &= (value >= 0) if owned else (value > 0)
        sides.append(value)
    inverse = 1 / (sides[0] + sides[1] + sides[2])
    return inside, [(value * inverse).astype(np.float32) for value in sides]


def edge_function(ax, ay, bx, by, px, py):
    """Which side of a-b the points lie on, from the smaller end to the greater."""
    if (ax, ay) > (bx, by):
        return -((ax - bx) * (py - by) - (ay - by) * (px - bx))
    return (bx - ax) * (py - ay) - (by - ay) * (px - ax)


def vertex_normals(vertices, triangles):
    """Normals (docs/rendering.md): sums in float32, then unit length; zeros stay."""
    with np.errstate(all="ignore"):
        p0, p1, p2 = (vertices[triangles[:, corner]] for corner in range(3))
        a, b = p1 - p0, p2 - p0
        normals = np.stack([a[:, i] * b[:, j] - a[:, j] * b[:, i] for i, j in ((1, 2), (2, 0), (0, 1))], -1)
        known = np.isfinite(normals).all(1)
        sums = np.zeros_like(vertices)
        np.add.at(sums, triangles[known].ravel(), np.repeat(normals[known], 3, 0))
        length = np.sqrt((sums.astype(np.float64) ** 2).sum(1, keepdims=True))
        return (sums / np.where(length > 0, length, 1)).astype(np.float32)


def light(vertices, normals, setting):
    """Lighting (docs/rendering.md), in double."""
    v, n = vertices.astype(np.float64), normals.astype(np.float64)
    v = v - v.min(0)
    v = v / v.max() * 2
    v = v - v.max(0) / 2
    total = np.zeros_like(v)
    if setting.intensity_ambient > 0:
        total += setting.intensity_ambient * np.array(setting.color_ambient)
    if setting.intensity_directional > 0:
        to_light = np.array(setting.light_pos) - v
        to_light /= np.linalg.norm(to_light, axis=1, keepdims=True)
        cosine = (n * to_light).sum(1, keepdims=True)
        colour = np.array(setting.color_directional)
        total += setting.intensity_directional * colour * np.clip(cosine, 0, 1)
        if setting.intensity_specular > 0:
            to_view = np.array(setting.view_pos) - v
            to_view /= np.linalg.norm(to_view, axis=1, keepdims=True)
            shine = ((to_view * (2 * cosine * n - to_light)) ** setting.specular_exp).sum(1, keepdims=True)
            total += setting.intensity_specular * colour * np.clip(np.where(cosine == 0, 0, shine), 0, 1)
    return np.clip(total, 0, 1)
