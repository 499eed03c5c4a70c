"""Hair as shells over the hull of the head: shape, strands, and where it covers."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.counter_rng import normals
from voiceface.synthetic.curves import smoothstep
from voiceface.synthetic.head.hair_hull import (
    COLUMNS,
    DOME_ROWS,
    EQUATOR_MM,
    FALL_ROWS,
    ROWS,
    TRIANGLES,
    HairHull,
    smooth_grid,
)
from voiceface.synthetic.head.hair_styles import BALDING_FROM, HairStyle
from voiceface.synthetic.head.patterns import build_skin_noise, build_strand_noise
from voiceface.synthetic.head.traits import Traits

__all__ = ["Hair", "build_hair", "hairline_height"]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

# Azimuth in radians and height in mm of the hairline: forehead, temples, before and around the ears, nape.
_HAIRLINE = np.array((
    (0.0, 66.0), (0.30, 66.0), (0.55, 63.0), (0.78, 55.0), (0.95, 40.0), (1.08, 22.0), (1.20, 2.0),
    (1.30, -12.0), (1.38, -4.0), (1.46, 10.0), (1.60, 17.0), (1.80, 14.0), (1.98, -8.0), (2.10, -45.0),
    (2.3, -74.0), (3.15, -84.0),
)).T  # fmt: skip
_LEAST_LIFT_MM = 1.2


@dataclass(frozen=True)
class Hair:
    """Hair of one identity in head coordinates.

    Attributes:
        points: (shells, ROWS·COLUMNS, 3) float32, mm, from the innermost.
        tangents: (ROWS·COLUMNS, 3) float32 unit vectors along the strands.
        triangles: per shell those that are covered, (T, 3).
        behind: triangles of the inner side behind the neck; empty for short hair.
        texture: (H, W, 4) float32: linear colour, and the jitter of the strands.
        cover: per shell (H, W) float32 in [0, 1].
        layers: (shells,) height of the shells, relative.
    """

    points: Floats
    tangents: Floats
    triangles: tuple[NDArray[np.int32], ...]
    behind: NDArray[np.int32]
    texture: Floats
    cover: tuple[Floats, ...]
    layers: Floats


def hairline_height(azimuth: NDArray[np.floating], style: HairStyle, traits: Traits) -> NDArray[np.floating]:
    """Height of the hairline in mm of the mean head at azimuths in radians."""
    side = np.abs(azimuth)
    forehead = np.exp(-((azimuth / 0.8) ** 4))
    temple = np.exp(-(((side - 0.66) / 0.26) ** 2))
    bald = min(traits.baldness, 1.1)
    line = np.interp(side, *_HAIRLINE) + forehead * (3.5 * traits.hairline + 50.0 * bald)
    line = line + temple * (6.0 * traits.male + 3.5 * traits.temples + 24.0 * bald)
    if style.fringe:
        line = line - forehead * style.fringe * (1.0 + 0.06 * np.sin(5.0 * azimuth + traits.part))
    if style.shaved:
        line = line + style.shaved * np.exp(-(((side - 1.9) / 0.75) ** 2))
    return line + 1.2 * np.sin(7.0 * azimuth + traits.part) + np.sin(17.0 * azimuth - 2.0 * traits.hairline)


def build_hair(hull: HairHull, points: NDArray[np.floating], style: HairStyle, traits: Traits) -> Hair:
    """Build the hair of one identity.

    Args:
        hull: of the mean head.
        points: (V, 3) neutral head of the identity, mm.
        style: its hair style.
        traits: its colours and random numbers.
    """
    layers = np.linspace(style.inner, 1.0, style.shells)
    grid = _shell_points(hull, hull.fit(points), style, traits, layers)
    thin, thick = _strands(hull, style, traits)
    beyond = _distance_inside(hull, style, traits, thin, thick)
    cover = _cover(hull, style, traits, layers, beyond, thin, thick)
    root = 0.72 + 0.28 * smoothstep(beyond, 0.0, 26.0)
    if style.flow == "parting":
        valley = np.exp(-(((hull.fine[..., 0] - style.part) / 6.0) ** 2)) * smoothstep(
            hull.fine[..., 1], 60, 80
        )
        root = root * (1.0 - 0.35 * valley)
    tone = np.clip(1.0 + style.contrast * (0.16 * thin + 0.15 * thick), 0.35, 1.7) * root
    streak = np.clip(0.5 + 0.35 * thick, 0.0, 1.0)[..., None]
    texture = np.empty((*thin.shape, 4), np.float32)
    texture[..., :3] = (traits.hair + (traits.hair_streaks - traits.hair) * streak) * tone[..., None]
    texture[..., 3] = 0.25 * thin
    triangles = tuple(TRIANGLES[_is_covered(each)] for each in cover)
    behind = TRIANGLES[_is_covered(cover[0]) & hull.behind] if style.length else TRIANGLES[:0]
    tangents = _tangents(hull, grid[-1], style)
    flat = grid.reshape(style.shells, -1, 3).astype(np.float32)
    return Hair(flat, tangents, triangles, behind, texture, tuple(cover), layers.astype(np.float32))


def _shell_points(hull: HairHull, skin: Array, style: HairStyle, traits: Traits, layers: Array) -> Array:
    """Points of all shells, (shells, ROWS, COLUMNS, 3)."""
    lift = _lift(hull, style, traits)
    heights = (_LEAST_LIFT_MM + layers[:, None, None] * lift)[..., None]
    grid = skin + heights * hull.direction
    if style.length:
        fall = _falling_hair(
            hull, skin[DOME_ROWS] + lift[DOME_ROWS, :, None] * hull.direction[DOME_ROWS], style, traits
        )
        squeeze = np.ones((len(layers), 1, 1, 3))
        squeeze[:, 0, 0, ::2] -= 0.10 * (1.0 - layers[:, None])
        grid[:, DOME_ROWS + 1 :] = fall * squeeze
    return grid


def _lift(hull: HairHull, style: HairStyle, traits: Traits) -> Array:
    """Height of the outer shell over the head in mm, (ROWS, COLUMNS)."""
    x, y, z = np.moveaxis(hull.mean, -1, 0)
    around = hull.azimuth[None, :]
    beyond = y - hairline_height(around, style, traits)
    lift = style.sides + (style.top - style.sides) * smoothstep(y, 0.0, 90.0)
    lift = lift * (
        1.0 + style.quiff * np.exp(-((around / 0.75) ** 4)) * smoothstep(y, 50, 85) * smoothstep(z, -10, 20)
    )
    lift = lift * np.maximum(smoothstep(beyond, -2.0, style.rise), style.edge * (beyond > -12))
    if style.flow == "parting":
        near = np.exp(-(((x - style.part) / 9.0) ** 2)) * smoothstep(y, 60, 80) * smoothstep(z, -30, 0)
        lift = lift * (1.0 - 0.75 * near)
    phases = 2.1 * traits.strands[:4]
    turns = np.arange(4)
    angle = (2 + turns) * around[..., None] + 0.17 * np.arange(ROWS)[:, None, None] * (turns - 1.5) + phases
    lift = lift * (1.0 + 0.05 * style.lumps * np.sin(angle).sum(axis=-1))
    if style.curl > 0.8:
        lift = lift * (1.0 + 0.22 * _unevenness())
    if style.knot:
        knot = np.exp(-((x / 24.0) ** 2) - ((y - style.knot) / 22.0) ** 2)
        lift = lift + 34.0 * knot * (np.abs(around) > 2.0)
    return np.asarray(lift)


@lru_cache(maxsize=1)
def _unevenness() -> Array:
    """Noise of single curls on the grid, (ROWS, COLUMNS), periodic."""
    noise = np.clip(normals(0, 0, "constants", 4, ROWS * COLUMNS, start=1 << 20), -2.0, 2.0)
    noise = noise.reshape(ROWS, COLUMNS)
    noise[:, -1] = noise[:, 0]
    return noise


def _falling_hair(hull: HairHull, ring: Array, style: HairStyle, traits: Traits) -> Array:
    """Points of long hair below its ring (COLUMNS, 3) at the ears, (FALL_ROWS - 1, COLUMNS, 3)."""
    share = (np.arange(1, FALL_ROWS) / (FALL_ROWS - 1.0))[:, None]
    around, phases = hull.azimuth[None, :], traits.strands
    width = np.interp(share, [0.0, 0.35, 0.75, 1.0], style.profile)
    width = width * (1.0 + 0.02 * style.lumps * np.sin(3.0 * around + phases[5]) * share)
    width = width + style.wave * np.sin(share * style.length / 11.0 + phases[6] + 1.5 * np.sin(around))
    drop = (EQUATOR_MM + style.length) * share * (1.0 + 0.03 * np.sin(5.0 * around + phases[7]))
    return np.stack([ring[:, 0] * width, ring[:, 1] - drop, ring[:, 2] * width - 6.0 * share], axis=-1)


def _flow_coordinate(points: NDArray[np.floating], style: HairStyle) -> NDArray[np.floating]:
    """Coordinate in radians that is constant along a strand."""
    x, y, z = np.moveaxis(points, -1, 0)
    if style.flow == "parting":
        # Above, strands run sideways: only z tells them apart. At the back they hang.
        out = np.maximum(np.abs(x - style.part), 62.0 * np.sqrt(smoothstep(y, 5.0, 80.0)))
        return np.arctan2(np.where(x > style.part, out, -out), z + 5.0)
    if style.flow == "back":
        return np.arctan2(x, y - 5.0)
    return np.arctan2(x - 4.0, z + 45.0)


def _strands(hull: HairHull, style: HairStyle, traits: Traits) -> tuple[Floats, Floats]:
    """Fine and coarse strands on the texture, N(0, 1) each."""
    import cv2

    phases = traits.strands
    across = _flow_coordinate(hull.fine, style)
    if style.flow == "back":
        along = (hull.fine[..., 2] + 110.0) / 200.0
    else:
        along = np.broadcast_to(hull.fine_row / ROWS, across.shape)
    sway = 0.02 * phases[8] * np.sin(9.0 * along + phases[9])
    if style.wave:
        sway = sway + 1.2 * style.wave * np.sin(34.0 * along + 2.0 * np.sin(3.0 * across))
    x = ((across + sway) * (1024.0 * style.density / (2.0 * np.pi)) + 40.0 * phases[10]) % 512.0
    y = (along * (80.0 * style.frizz) + 30.0 * phases[11]) % 128.0

    def sample(noise: Floats, x: Floats, y: Floats) -> Floats:
        return np.asarray(cv2.remap(noise, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP), np.float32)

    strands = sample(build_strand_noise(), x.astype(np.float32), y.astype(np.float32))
    thin, thick = strands[..., 0], strands[..., 1]
    if style.curl:
        narrowing = (
            np.ceil(4.0 * np.clip(np.hypot(hull.fine[..., 0], hull.fine[..., 2]) / 90.0, 0.15, 1.0)) / 4.0
        )
        x = (hull.fine_azimuth * 110.0 * narrowing % 512.0).astype(np.float32)
        y = np.broadcast_to((hull.fine_row * 14.0 + np.float32(40.0 * phases[12])) % 512.0, x.shape)
        y = np.ascontiguousarray(y, np.float32)
        bands = build_skin_noise()
        thin = thin + (sample(bands[3], x, y) - thin) * np.float32(style.curl)
        thick = thick + (sample(bands[2], x, y) - thick) * np.float32(style.curl)
    return thin, thick


def _distance_inside(hull: HairHull, style: HairStyle, traits: Traits, thin: Floats, thick: Floats) -> Floats:
    """Distance of the texels from the edge of the hair in mm, positive inside."""
    line = hairline_height(hull.fine_azimuth, style, traits)
    beyond = hull.fine[..., 1] - line.astype(np.float32)
    if not style.length:
        return np.asarray(beyond, np.float32)
    share = np.clip((hull.fine_row - DOME_ROWS) / (FALL_ROWS - 1.0), 0.0, 1.0)
    below = smoothstep(hull.fine_row, DOME_ROWS - 2.0, DOME_ROWS + 2.0)
    opening = style.opening + style.opening_low * share + 0.05 * thick
    curtain = (np.abs(hull.fine_azimuth) - opening) * 80.0
    tips = (1.0 - share) * (EQUATOR_MM + style.length) - 4.0 * (1.0 + thick) - 1.5 * thin
    beyond = beyond * (1.0 - below) + curtain * below
    return np.asarray(np.minimum(beyond, np.where(hull.fine_row > DOME_ROWS + 4, tips, 99.0)), np.float32)


def _cover(
    hull: HairHull,
    style: HairStyle,
    traits: Traits,
    layers: Array,
    beyond: Floats,
    thin: Floats,
    thick: Floats,
) -> list[Floats]:
    """Opacity of every shell: outer shells are loose strands."""
    edge = beyond + np.float32(style.ragged) * (0.6 * thin + 0.7 * thick)
    strands = thin + 0.8 * thick + np.float32(style.fill)
    bald = None
    if traits.baldness > BALDING_FROM:
        more = traits.baldness - BALDING_FROM
        x, y, z = np.moveaxis(hull.fine, -1, 0)
        crown = np.hypot(np.hypot(1.1 * x, 0.9 * (z + 45.0)), y - 95.0)
        bald = float(smoothstep(more, 0.0, 0.35)) * (
            1.0 - smoothstep(crown, 38.0 + 20.0 * more, 62.0 + 34.0 * min(more, 0.8))
        )
    covers = []
    for index in range(len(layers)):
        cover = smoothstep(edge - 2.5 * index, -1.4 * style.soft, 2.2 * style.soft)
        if index:
            cover = cover * smoothstep(strands - index / (len(layers) - 1.0), -0.45, 0.35)
        if bald is not None:
            cover = cover * np.clip(1.0 - 1.15 * bald - 0.25 * thin * (bald > 0.02), 0.0, 1.0)
        covers.append(cover.astype(np.float32))
    return covers


def _is_covered(cover: Floats) -> NDArray[np.bool_]:
    """Triangles of the grid with visible hair, (T,)."""
    import cv2

    wide = cv2.dilate(cover, np.ones((7, 15), np.uint8))
    corner = cv2.resize(wide, (COLUMNS, ROWS), interpolation=cv2.INTER_NEAREST).ravel()
    return np.asarray((corner[TRIANGLES] > 0.15).any(axis=1))


def _tangents(hull: HairHull, outer: Array, style: HairStyle) -> Floats:
    """Unit vectors along the strands at the grid's points, (ROWS·COLUMNS, 3)."""
    down, right = np.gradient(outer, axis=0), np.gradient(outer, axis=1)
    flow = np.unwrap(_flow_coordinate(hull.mean, style), axis=1)
    tangent = down * np.gradient(flow, axis=1)[..., None] - right * np.gradient(flow, axis=0)[..., None]
    if style.length:
        tangent[DOME_ROWS:] = down[DOME_ROWS:]
    tangent /= np.linalg.norm(tangent, axis=-1, keepdims=True) + 1e-6
    return smooth_grid(tangent, 1).reshape(-1, 3).astype(np.float32)
