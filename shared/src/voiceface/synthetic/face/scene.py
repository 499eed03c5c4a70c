"""Scene of an image as grid meshes: head with hair, ears, long hair, collar and shoulders.

Only the head belongs to the 3-D ground truth; hair, ears and clothes exist in images only.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.camera import rotation_matrix
from voiceface.synthetic.colours import muted_colour, to_linear_light
from voiceface.synthetic.face import head_bases, mean_surface
from voiceface.synthetic.face.appearance import Appearance
from voiceface.synthetic.face.masks import MAP_SIZE

__all__ = ["PreparedFace", "Surface", "build_surfaces"]

Array = NDArray[np.float64]
Map = NDArray[np.float32]


@dataclass(frozen=True)
class PreparedFace:
    """Face of one identity, shared by all its images.

    Attributes:
        shape: (40,) shape coefficients.
        neutral_vertices: (6400, 3) vertices in mm without expression.
        appearance: texture and hair.
    """

    shape: Array
    neutral_vertices: Array
    appearance: Appearance


@dataclass(frozen=True)
class Surface:
    """Grid mesh with texture.

    Attributes:
        points: (R, C, 3) in camera space, mm.
        texture: (H, W, 4) float32 linear colour and gloss.
        closed: the first and last column coincide.
        two_sided: back faces are drawn.
    """

    points: Array
    texture: Map
    closed: bool
    two_sided: bool


def build_surfaces(
    face: PreparedFace, face_grid: Array, pose: Array, clothes_uniforms: Array, nuisance: float
) -> list[Surface]:
    """Build all surfaces of an image, in camera space.

    Args:
        face: the identity.
        face_grid: (80, 80, 3) mesh with expression, mm.
        pose: yaw, pitch, roll in radians.
        clothes_uniforms: (4,) uniforms: colour and collar.
        nuisance: how much clothes differ between videos.
    """
    from voiceface.synthetic.face.raster import compute_grid_normals

    appearance, rotation = face.appearance, rotation_matrix(pose)
    outward = compute_grid_normals(face_grid.astype(np.float32), True)
    head = face_grid + appearance.hair_lift[..., None] * outward
    neck = mean_surface.row_heights() < -146.0  # must not intersect the clothes
    head[neck] *= np.array([0.8, 1.0, 0.7])
    torso = _torso_mesh(face_grid, rotation, pose)
    surfaces = [
        Surface(head @ rotation.T, appearance.texture, True, False),
        Surface(torso, _clothes_texture(clothes_uniforms, nuisance), True, True),
    ]
    if not appearance.hair_length or appearance.fringe_angle > 1.08:
        texture = _ear_texture(appearance)
        for side_sign in (-1.0, 1.0):
            ear = _ear_mesh(face_grid, face.shape, side_sign)
            surfaces.append(Surface(ear @ rotation.T, texture, True, True))
    if appearance.hair_length:
        hair = _long_hair_mesh(face_grid, appearance)
        surfaces.append(Surface(hair @ rotation.T, _long_hair_texture(face), False, True))
    return surfaces


def _torso_mesh(face_grid: Array, head_rotation: Array, pose: Array) -> Array:
    """Build collar and shoulders around the neck in camera space, (12, 80, 3)."""
    row = int(np.argmin(np.abs(mean_surface.row_heights() + 144.0)))
    ring = face_grid[row]
    theta = mean_surface.column_angles()
    sine, cosine = np.sin(theta), np.cos(theta)
    wide = 190.0 * np.sign(sine) * np.abs(sine) ** 0.8
    deep = np.where(cosine > 0, 78.0, 88.0) * np.sign(cosine) * np.abs(cosine) ** 0.8 - 8.0
    front = 0.5 + 0.5 * cosine
    middle = float(ring[:, 1].mean())  # a long lower face lowers the neck
    top = middle + 18.0 - 17.0 * front**2
    share = np.array([0.0, 0.0, 0.012, 0.03, 0.08, 0.18, 0.34, 0.54, 0.74, 0.90, 1.0, 1.0])
    drop = np.array([14.0, -1.0, -1.0, 8.0, 13.0, 18.0, 26.0, 36.0, 50.0, 74.0, 110.0, 170.0])
    grow = np.array([1.02, 1.06, 1.12, 1.17, 1.20, 1.22, 1.2, 1.15, 1.1, 1.05, 1.0, 1.0])
    body = np.empty((12, len(theta), 3))
    body[..., 0] = (1 - share[:, None]) * grow[:, None] * ring[:, 0] + share[:, None] * wide
    body[..., 2] = (1 - share[:, None]) * grow[:, None] * ring[:, 2] + share[:, None] * deep
    body[..., 1] = top - drop[:, None]
    base = np.array([0.0, middle, 0.0])
    half = rotation_matrix(np.array([0.45, 0.0, 0.25]) * pose)
    return (body[::-1] - base) @ half.T + head_rotation @ base


def _clothes_texture(uniforms: Array, nuisance: float) -> Map:
    """Texture of the clothes: one colour with a collar of another shade, (12, 80, 4)."""
    weight = 0.6 * min(nuisance, 1.5)
    display = np.array([70.0, 84.0, 110.0]) * (1.0 - weight) + weight * muted_colour(uniforms[:3], 105.0, 1.7)
    colour = to_linear_light(np.clip(display, 14, 236))
    rows = np.repeat(colour[None], 12, axis=0)
    rows[8:] = colour * 0.72 if uniforms[3] < 0.5 else 0.55 * colour + 0.40
    rows[11] *= 0.35
    texture = np.concatenate([rows, np.full((12, 1), 0.03)], axis=1)
    return np.ascontiguousarray(np.repeat(texture[:, None], mean_surface.GRID_COLUMNS, axis=1), np.float32)


_EAR_RINGS = np.array([0.0, 0.25, 0.5, 0.70, 0.84, 0.94, 1.0, 1.0])
_EAR_RELIEF = np.array([-7.0, -6.0, -2.0, 1.0, 2.2, 2.0, 0.4, -5.0])


def _ear_mesh(face_grid: Array, shape: Array, side_sign: float) -> Array:
    """Build an outer ear in head coordinates, (8, 25, 3) mm; `side_sign` -1 on the viewer's left."""
    row = int(np.argmin(np.abs(mean_surface.row_heights() + 5.0)))
    column = int(np.argmin(np.abs(mean_surface.column_angles() - side_sign * 1.50)))
    size = 1.0 + 0.07 * np.clip(shape[head_bases.SHAPE_NAMES.index("ear")], -2.5, 2.5)
    around = np.linspace(0.0, 2.0 * np.pi, 25)
    # Wider and rounder above, a lobe below.
    up = 29.0 * size * _EAR_RINGS[:, None] * np.sin(around)
    back = size * _EAR_RINGS[:, None] * np.cos(around) * (15.0 + 3.5 * np.sin(around))
    relief = np.repeat(_EAR_RELIEF[:, None], 25, axis=1) * (0.55 + 0.45 * np.cos(around - 0.5))
    ear = np.empty((len(_EAR_RINGS), 25, 3))
    spread = np.array([0.62, 0.0, -0.78])  # direction in which the ear stands off the head
    face = np.array([0.78, 0.0, 0.62])
    ear[:] = (back + 9.0)[..., None] * spread + relief[..., None] * face
    ear[..., 1] += up - 0.12 * back
    ear[..., 0] *= side_sign
    if side_sign < 0:
        ear = ear[:, ::-1]
    return ear + face_grid[row, column] - np.array([side_sign * 3.0, 0.0, 0.0])


def _ear_texture(appearance: Appearance) -> Map:
    """Texture of the ear: skin, dark in the hollow, (8, 25, 4)."""
    row = int(np.searchsorted(mean_surface.row_heights(MAP_SIZE), -30.0))
    skin = appearance.texture[row, MAP_SIZE // 2 + 44, :3].astype(float) * np.array([0.98, 0.93, 0.92])
    shade = np.array([0.38, 0.48, 0.70, 0.92, 1.0, 1.0, 0.92, 0.8])
    texture = np.concatenate([shade[:, None] * skin, np.full((len(shade), 1), 0.12)], axis=1)
    return np.ascontiguousarray(np.repeat(texture[:, None], 25, axis=1), np.float32)


_HAIR_ROWS, _HAIR_COLUMNS = 26, 64


def _long_hair_mesh(face_grid: Array, appearance: Appearance) -> Array:
    """Build the open shell of long hair behind the ears in head coordinates, (26, 64, 3) mm."""
    heights = np.linspace(-appearance.hair_length, 104.0, _HAIR_ROWS)
    opening = appearance.fringe_angle
    angle = np.linspace(opening - 2.0 * np.pi, -opening, _HAIR_COLUMNS)
    y = np.repeat(heights[:, None], _HAIR_COLUMNS, axis=1)
    theta = np.repeat(angle[None], _HAIR_ROWS, axis=0)
    width = float(np.abs(face_grid[40:56, :, 0]).max()) + 4.0 + 0.7 * appearance.hair_volume
    a = width * np.interp(
        heights, [-190, -110, -40, 20, 60, 85, 104], [1.06, 1.08, 1.04, 1.0, 0.93, 0.76, 0.40]
    )
    back = np.interp(heights, [-190, -110, -40, 20, 60, 85, 104], [86, 94, 110, 113, 105, 86, 52])
    front = np.interp(heights, [-190, -110, -40, 20, 60, 85, 104], [64, 60, 54, 50, 60, 60, 40])
    sine, cosine = np.sin(theta), np.cos(theta)
    strands = appearance.strands
    waves = [np.sin((7 + 5 * j) * theta + 2 * strands[j] + 0.012 * y * strands[6 + j]) for j in range(3)]
    sway = 0.05 * np.abs(strands[9]) * np.sin(y / 17.0 + strands[10])
    bulge = 1.0 + 0.012 * np.sum(waves, axis=0) + sway * np.interp(y, [-160, -40, 30], [1.0, 0.6, 0.0])
    x = a[:, None] * np.sign(sine) * np.abs(sine) ** 0.85 * bulge
    z = np.where(cosine > 0, front[:, None], back[:, None]) * cosine * bulge
    return np.stack([x, y, z], axis=-1)


def _long_hair_texture(face: PreparedFace) -> Map:
    """Texture of long hair, (4, 128, 4): strands along the rows, darker inside and below."""
    appearance = face.appearance
    return _strand_texture(tuple(appearance.hair_colour.tolist()), tuple(appearance.strands.tolist()))


@lru_cache(maxsize=8)
def _strand_texture(hair: tuple[float, ...], strands: tuple[float, ...]) -> Map:
    position = np.linspace(0, 1, 128)
    waves = [np.sin((31 + 17 * j) * position + 3 * strands[12 + j]) / (1 + 0.4 * j) for j in range(5)]
    grain = np.sum(waves, axis=0)
    shade = (0.92 + 0.07 * grain)[None, :, None] * np.array([0.72, 0.9, 1.0, 1.0])[:, None, None]
    texture = np.concatenate([shade * np.array(hair), np.full((4, 128, 1), 0.16)], axis=2)
    return np.ascontiguousarray(texture, np.float32)
