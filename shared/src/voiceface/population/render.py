"""Pictures of invented people: pose, expression, crop, light, background, clothes, blur, noise.

Slots of the counters
    stream "picture", clip = picture: 0-2 yaw, pitch, roll, 3-12 expression, 13-22 which expressions (uniforms),
        23 zoom, 24-25 shift, 26 blur (uniform), 27 noise (uniform), 28 file quality (uniform),
        29-30 light jitter, from 64 on noise of the pixels
    stream "face", clip = 1 + video: 0-1 direction of the light, 2 ambient share (uniform), 3 gain (uniform),
        4-6 white balance, 7-12 two background colours (uniforms), 13 gradient direction (uniform),
        14-16 colour of the clothes (uniforms), 17 collar (uniform)
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import bases
from .appearance import Appearance, appearance_of, linear
from .head import head_model, identity_coefficients
from .people import People, normals, uniforms, video_of_picture

Array = NDArray[np.float64]
Map = NDArray[np.float32]

PICTURE_VERSION = 1
FOCAL = 900.0  # mm from the camera to the point between the ears
BOX_SHARE, BOX_HEIGHT = 0.60, 0.56
POSE_SD = np.radians([14.0, 6.0, 4.0])
SUPERSAMPLING = 2


@dataclass(frozen=True)
class Face:
    """What all pictures of one identity share.

    Attributes:
        alpha: (40,) shape coefficients.
        neutral: (6400, 3) vertices in mm without expression.
        appearance: painted map and hair.
    """

    alpha: Array
    neutral: Array
    appearance: Appearance


@dataclass(frozen=True)
class Picture:
    """One rendered picture and the truth behind it.

    Attributes:
        image: (side, side, 3) uint8, RGB.
        expression: (10,) expression coefficients.
        pose: (3,) yaw, pitch, roll in degrees.
        landmarks: (68, 2) pixel x, y.
        video: which of the identity's videos the picture comes from.
        quality: JPEG quality for the file, 90 to 95.
    """

    image: NDArray[np.uint8]
    expression: Array
    pose: Array
    landmarks: Array
    video: int
    quality: int


def prepare_face(people: People, i: int, *, face_gain: float = 1.0) -> Face:
    """Shape and painted map of row `i` of `people`: the work done once per identity."""
    alpha = identity_coefficients(people.take([i]))[0]
    return Face(alpha, head_model(face_gain).vertices(alpha), appearance_of(people, i))


@dataclass(frozen=True)
class View:
    """What is drawn before anything is rendered: the truth of one picture, cheap to have.

    Attributes:
        pose: (3,) yaw, pitch, roll in radians.
        expression: (10,) expression coefficients.
        zoom: pixels per mm in the picture plane, for a picture of 1 pixel.
        offset: (2,) pixel position of the point between the ears, for a picture of 1 pixel.
        landmarks: (68, 2) x, y as shares of the picture's side.
        video: which of the identity's videos the picture comes from.
    """

    pose: Array
    expression: Array
    zoom: float
    offset: Array
    landmarks: Array
    video: int


def view_of(
    people: People,
    i: int,
    picture: int,
    *,
    seed: int | None = None,
    nuisance: float = 1.0,
    alpha: Array | None = None,
    face_gain: float = 1.0,
) -> View:
    """Pose, expression and crop of a picture without drawing it; arguments as `render_picture`.

    The crop is made as a face detector would: the landmarks' box takes 60 % of the side, so absolute size
    does not show.
    """
    seed = people.seed if seed is None else seed
    who = int(people.k[i])
    n = normals(seed, who, "picture", picture, 26)
    present = uniforms(seed, who, "picture", picture, 10, start=13) < 0.5
    if alpha is None:
        alpha = identity_coefficients(people.take([i]))[0]
    pose = nuisance * POSE_SD * np.clip(n[:3], -2.6, 2.6)
    expression = np.minimum(nuisance * np.abs(n[3:13]) * bases.EXPRESSION_SCALE * present, 1.3)
    marks = head_model(face_gain).landmark_points(alpha, expression)
    plane = _project(marks @ _rotation(pose).T)[:, :2]
    low, high = plane.min(axis=0), plane.max(axis=0)
    zoom = BOX_SHARE * (1.0 + 0.05 * nuisance * n[23]) / (0.5 * (high - low).sum())
    centre = np.array([0.5, BOX_HEIGHT]) + 0.02 * nuisance * n[24:26]
    offset = centre - zoom * 0.5 * (low + high)
    video = video_of_picture(who, picture, seed=seed)
    return View(pose, expression, float(zoom), offset, zoom * plane + offset, video)


def render_picture(
    people: People,
    i: int,
    picture: int,
    *,
    seed: int | None = None,
    side: int = 128,
    nuisance: float = 1.0,
    face: Face | None = None,
    face_gain: float = 1.0,
    compiled: bool = True,
) -> Picture:
    """Draw picture number `picture` of row `i` of `people`.

    Args:
        people: the population.
        i: row.
        picture: number of the picture, at least 0.
        seed: population seed; that of `people` by default.
        side: width and height in pixels.
        nuisance: factor on everything that differs between pictures of one identity.
        face: result of `prepare_face`, to save time over many pictures.
        face_gain: factor on all shape and expression bases; the one `face` was made with.
        compiled: use the compiled z-buffer; otherwise the slow NumPy reference (see splat.py).

    Returns:
        The picture with its expression, pose and landmarks.

    Raises:
        ValueError: side below 8, or a negative nuisance or picture number.
    """
    import cv2

    if side < 8 or nuisance < 0 or picture < 0:
        raise ValueError(f"side >= 8, nuisance >= 0, picture >= 0: got {side}, {nuisance}, {picture}")
    seed = people.seed if seed is None else seed
    face = face or prepare_face(people, i, face_gain=face_gain)
    who = int(people.k[i])
    view = view_of(people, i, picture, seed=seed, nuisance=nuisance, alpha=face.alpha, face_gain=face_gain)
    u = uniforms(seed, who, "picture", picture, 3, start=26)
    jitter = normals(seed, who, "picture", picture, 2, start=29)
    vn = normals(seed, who, "face", 1 + view.video, 18)
    vu = uniforms(seed, who, "face", 1 + view.video, 18)

    model = head_model(face_gain)
    moved = model.gain * np.tensordot(view.expression, model.expression, 1)
    skin = (face.neutral + moved).reshape(bases.ROWS, bases.COLUMNS, 3)
    big = side * SUPERSAMPLING
    light = _light(vn, vu, jitter, nuisance)
    colour = _background(vu, big, nuisance)
    depth = np.full((big, big), -1e9, np.float32)
    for points, texture, closed, two_sided in _surfaces(face, skin, view.pose, vu, nuisance):
        screen = _project(points)
        screen[..., :2] = big * (view.zoom * screen[..., :2] + view.offset)
        _draw(screen, points, texture, light, closed, two_sided, colour, depth, compiled)

    gain = 0.97 + nuisance * (0.25 * vu[3] - 0.125)
    balance = gain * (1.0 + 0.04 * nuisance * np.clip(vn[4:7], -2, 2))
    small = cv2.resize(colour, (side, side), interpolation=cv2.INTER_AREA)
    image = np.sqrt(np.maximum(small, 0.0)) * (255.0 * balance).astype(np.float32)
    blur = 0.8 * u[0] * nuisance
    if blur > 0.15:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    grain = normals(seed, who, "picture", picture, side * side, start=64).reshape(side, side, 1)
    image = image + ((1.0 + 4.0 * u[1]) * nuisance * grain).astype(np.float32)
    return Picture(
        image=np.clip(np.rint(image), 0, 255).astype(np.uint8),
        expression=view.expression,
        pose=np.degrees(view.pose),
        landmarks=side * view.landmarks,
        video=view.video,
        quality=90 + int(6 * u[2]),
    )


def _rotation(pose: Array) -> Array:
    """Rotation (3, 3): roll in the picture plane after pitch after yaw, radians."""
    (cy, cp, cr), (sy, sp, sr) = np.cos(pose), np.sin(pose)
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return roll @ pitch @ yaw


def _project(points: Array) -> Array:
    """Camera-space points (..., 3) to picture-plane x, y (down) in mm and depth."""
    scale = FOCAL / (FOCAL - points[..., 2])
    return np.stack([points[..., 0] * scale, -points[..., 1] * scale, points[..., 2]], axis=-1)


def _light(vn: Array, vu: Array, jitter: Array, nuisance: float) -> Map:
    """Direction, half vector, ambient share and direct strength, (8,)."""
    azimuth = nuisance * (0.55 * vn[0] + 0.08 * jitter[0]) + 0.18
    height = 0.50 + nuisance * (0.20 * vn[1] + 0.05 * jitter[1])
    azimuth, height = np.clip(azimuth, -1.05, 1.05), np.clip(height, 0.0, 1.1)
    towards = np.array([np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)])
    half = towards + np.array([0.0, 0.0, 1.0])
    ambient = 0.36 + nuisance * 0.16 * (vu[2] - 0.5)
    return np.concatenate([towards, half / np.linalg.norm(half), [ambient, 1.12 - ambient]]).astype(np.float32)


def _background(vu: Array, side: int, nuisance: float) -> Map:
    """Two-colour gradient, (side, side, 3) linear."""
    first = linear(_muted(vu[7:10], 150.0, nuisance)).astype(np.float32)
    second = linear(_muted(vu[10:13], 122.0, nuisance)).astype(np.float32)
    angle = 2.0 * np.pi * vu[13]
    at = np.linspace(-0.5, 0.5, side)
    share = np.clip(0.5 + np.cos(angle) * at[None, :] + np.sin(angle) * at[:, None], 0, 1).astype(np.float32)
    return first + (second - first) * share[..., None]


def _muted(u: Array, middle: float, nuisance: float) -> Array:
    """Display colour of walls and clothes from three uniforms: brightness differs more than hue."""
    share = min(nuisance, 1.5)
    return np.clip(middle + share * (140.0 * (u.mean() - 0.5) * 1.7 + 85.0 * (u - u.mean())), 14, 240)


def _surfaces(
    face: Face, skin: Array, pose: Array, vu: Array, nuisance: float
) -> list[tuple[Array, Map, bool, bool]]:
    """What is in the picture: (points in camera space (R, C, 3), texture, closed, two-sided) each."""
    looks, turn = face.appearance, _rotation(pose)
    from .raster import grid_normals

    outward = grid_normals(skin.astype(np.float32), True)
    head = (skin + looks.lift[..., None] * outward) @ turn.T
    result: list[tuple[Array, Map, bool, bool]] = [(head, looks.texture, True, False)]
    result.append((_torso(skin, turn, pose), _cloth(vu, nuisance), True, True))
    if not looks.long_hair or looks.fringe > 1.08:
        tint = _ear_texture(looks)
        result += [(_ear(skin, face.alpha, sign) @ turn.T, tint, True, True) for sign in (-1.0, 1.0)]
    if looks.long_hair:
        result.append((_long_hair(skin, looks) @ turn.T, _long_hair_texture(face), False, True))
    return result


def _torso(skin: Array, turn: Array, pose: Array) -> Array:
    """Collar and shoulders round the neck, in camera space, (12, 80, 3)."""
    row = int(np.argmin(np.abs(bases.row_heights() + 144.0)))
    ring = skin[row]
    theta = bases.column_angles()
    sine, cosine = np.sin(theta), np.cos(theta)
    wide = 190.0 * np.sign(sine) * np.abs(sine) ** 0.8
    deep = np.where(cosine > 0, 78.0, 88.0) * np.sign(cosine) * np.abs(cosine) ** 0.8 - 8.0
    front = 0.5 + 0.5 * cosine
    top = -126.0 - 17.0 * front**2
    share = np.array([0.0, 0.0, 0.012, 0.03, 0.08, 0.18, 0.34, 0.54, 0.74, 0.90, 1.0, 1.0])
    drop = np.array([14.0, -1.0, -1.0, 8.0, 13.0, 18.0, 26.0, 36.0, 50.0, 74.0, 110.0, 170.0])
    grow = np.array([1.02, 1.06, 1.12, 1.17, 1.20, 1.22, 1.2, 1.15, 1.1, 1.05, 1.0, 1.0])
    body = np.empty((12, len(theta), 3))
    body[..., 0] = (1 - share[:, None]) * grow[:, None] * ring[:, 0] + share[:, None] * wide
    body[..., 2] = (1 - share[:, None]) * grow[:, None] * ring[:, 2] + share[:, None] * deep
    body[..., 1] = top - drop[:, None]
    base = np.array([0.0, -144.0, 0.0])
    half = _rotation(np.array([0.45, 0.0, 0.25]) * pose)
    return (body[::-1] - base) @ half.T + turn @ base


def _cloth(vu: Array, nuisance: float) -> Map:
    """Clothes: a collar of another shade over one colour, (12, 80, 4)."""
    share = min(nuisance, 1.5)
    own = np.array([70.0, 84.0, 110.0]) * (1.0 - 0.6 * share) + 0.6 * share * _muted(vu[14:17], 105.0, 1.7)
    colour = linear(np.clip(own, 14, 236))
    rows = np.repeat(colour[None], 12, axis=0)
    rows[8:] = colour * 0.72 if vu[17] < 0.5 else 0.55 * colour + 0.40
    rows[11] *= 0.35
    texture = np.concatenate([rows, np.full((12, 1), 0.03)], axis=1)
    return np.ascontiguousarray(np.repeat(texture[:, None], bases.COLUMNS, axis=1), np.float32)


_EAR_RINGS = np.array([0.0, 0.25, 0.5, 0.70, 0.84, 0.94, 1.0, 1.0])
_EAR_RELIEF = np.array([-7.0, -6.0, -2.0, 1.0, 2.2, 2.0, 0.4, -5.0])


def _ear(skin: Array, alpha: Array, sign: float) -> Array:
    """One outer ear (pictures only) in head coordinates, (8, 25, 3) mm; `sign` -1 on the viewer's left."""
    row = int(np.argmin(np.abs(bases.row_heights() + 5.0)))
    column = int(np.argmin(np.abs(bases.column_angles() - sign * 1.50)))
    size = 1.0 + 0.07 * np.clip(alpha[bases.SHAPE_NAMES.index("ear")], -2.5, 2.5)
    around = np.linspace(0.0, 2.0 * np.pi, 25)
    # Up to down, front to back: wider and rounder above, a lobe below.
    up = 29.0 * size * _EAR_RINGS[:, None] * np.sin(around)
    back = size * _EAR_RINGS[:, None] * np.cos(around) * (15.0 + 3.5 * np.sin(around))
    relief = np.repeat(_EAR_RELIEF[:, None], 25, axis=1) * (0.55 + 0.45 * np.cos(around - 0.5))
    ear = np.empty((len(_EAR_RINGS), 25, 3))
    spread = np.array([0.62, 0.0, -0.78])  # how the ear stands off the head
    face = np.array([0.78, 0.0, 0.62])
    ear[:] = (back + 9.0)[..., None] * spread + relief[..., None] * face
    ear[..., 1] += up - 0.12 * back
    ear[..., 0] *= sign
    if sign < 0:
        ear = ear[:, ::-1]
    return ear + skin[row, column] - np.array([sign * 3.0, 0.0, 0.0])


def _ear_texture(looks: Appearance) -> Map:
    """Skin of the ear, dark in the hollow, (8, 25, 4)."""
    row = int(np.searchsorted(bases.row_heights(240), -30.0))
    skin = looks.texture[row, 120 + 44, :3].astype(float) * np.array([0.98, 0.93, 0.92])
    shade = np.array([0.38, 0.48, 0.70, 0.92, 1.0, 1.0, 0.92, 0.8])
    texture = np.concatenate([shade[:, None] * skin, np.full((len(shade), 1), 0.12)], axis=1)
    return np.ascontiguousarray(np.repeat(texture[:, None], 25, axis=1), np.float32)


_HAIR_ROWS, _HAIR_COLUMNS = 26, 64


def _long_hair(skin: Array, looks: Appearance) -> Array:
    """Open shell of long hair behind the ears in head coordinates, (26, 64, 3) mm."""
    heights = np.linspace(-looks.long_hair, 104.0, _HAIR_ROWS)
    opening = looks.fringe
    angle = np.linspace(opening - 2.0 * np.pi, -opening, _HAIR_COLUMNS)
    y = np.repeat(heights[:, None], _HAIR_COLUMNS, axis=1)
    theta = np.repeat(angle[None], _HAIR_ROWS, axis=0)
    width = float(np.abs(skin[40:56, :, 0]).max()) + 4.0 + 0.7 * looks.volume
    a = width * np.interp(heights, [-190, -110, -40, 20, 60, 85, 104], [1.06, 1.08, 1.04, 1.0, 0.93, 0.76, 0.40])
    back = np.interp(heights, [-190, -110, -40, 20, 60, 85, 104], [86, 94, 110, 113, 105, 86, 52])
    front = np.interp(heights, [-190, -110, -40, 20, 60, 85, 104], [64, 60, 54, 50, 60, 60, 40])
    sine, cosine = np.sin(theta), np.cos(theta)
    strands = looks.strands
    wave = sum(np.sin((7 + 5 * j) * theta + 2 * strands[j] + 0.012 * y * strands[6 + j]) for j in range(3))
    sway = 0.05 * np.abs(strands[9]) * np.sin(y / 17.0 + strands[10])
    bulge = 1.0 + 0.012 * wave + sway * np.interp(y, [-160, -40, 30], [1.0, 0.6, 0.0])
    x = a[:, None] * np.sign(sine) * np.abs(sine) ** 0.85 * bulge
    z = np.where(cosine > 0, front[:, None], back[:, None]) * cosine * bulge
    return np.stack([x, y, z], axis=-1)


def _long_hair_texture(face: Face) -> Map:
    """Strands of the long hair, (4, 128, 4): colour varies along the columns, darker inside and below."""
    return _strand_texture(tuple(face.appearance.hair.tolist()), tuple(face.appearance.strands.tolist()))


@lru_cache(maxsize=8)
def _strand_texture(hair: tuple[float, ...], strands: tuple[float, ...]) -> Map:
    at = np.linspace(0, 1, 128)
    grain = sum(np.sin((31 + 17 * j) * at + 3 * strands[12 + j]) / (1 + 0.4 * j) for j in range(5))
    shade = (0.92 + 0.07 * grain)[None, :, None] * np.array([0.72, 0.9, 1.0, 1.0])[:, None, None]
    texture = np.concatenate([shade * np.array(hair), np.full((4, 128, 1), 0.16)], axis=2)
    return np.ascontiguousarray(texture, np.float32)


def _draw(
    screen: Array,
    points: Array,
    texture: Map,
    light: Map,
    closed: bool,
    two_sided: bool,
    colour: Map,
    depth: Map,
    compiled: bool,
) -> None:
    """Draw one surface, compiled or by the reference."""
    from .raster import draw_grid, grid_normals

    outward = grid_normals(np.ascontiguousarray(points, np.float32), closed)
    draw: Any = draw_grid
    if not compiled:
        from .splat import draw_grid_reference as draw
    draw(np.ascontiguousarray(screen, np.float32), outward, texture, light, two_sided, colour, depth)
