"""Appearance of a face apart from its shape: the texture in grid coordinates, and hair.

All identities share soft masks (masks.py), which are mixed with the colours of the identity. Colours are
linear light in [0, 1], the square of a display value; a fourth channel is the gloss.

Slots of the counters (stream "face", item 0), normals unless stated
    64 skin tone, 65 undertone, 66 hair colour, 67 red hair, 68 hair length (uniform), 69 hairline, 70 part,
    71 baldness, 72 eye colour (uniform), 73 brow thickness, 74 brow arch, 75 beard, 76 hair volume,
    77 lip colour, 78 greying, 79 freckles, 80 temples, 81 fringe (uniform), 96-119 hair strands
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.colours import (
    IRIS_COLOURS,
    hair_colour,
    interpolate,
    palette_colour,
    skin_colour,
    to_linear_light,
)
from voiceface.synthetic.counter_rng import normals, uniforms
from voiceface.synthetic.curves import smoothstep
from voiceface.synthetic.face.masks import MAP_SIZE, SoftMask, build_shared_masks, mean_surface_map
from voiceface.synthetic.face.mean_surface import (
    GRID_COLUMNS,
    GRID_ROWS,
    monotone_cubic,
    row_heights,
    sigmoid,
)
from voiceface.synthetic.identities import Identities

__all__ = ["FIRST_HAIR_ROW", "HAIRLINE_KNOTS", "Appearance", "build_appearance", "compute_skin_colours"]

Array = NDArray[np.float64]
Map = NDArray[np.float32]

_FIRST_SLOT, _NUM_SLOTS, _STRANDS_SLOT = 64, 18, 96

# Hairline: angle from the front in radians, height in mm.
HAIRLINE_KNOTS = (
    (0.0, 64.0), (0.45, 64.0), (0.80, 58.0), (1.02, 38.0), (1.20, 12.0), (1.36, -6.0), (1.50, 4.0),
    (1.68, 16.0), (1.86, 4.0), (1.98, -40.0), (2.20, -74.0), (3.15, -86.0),
)  # fmt: skip


@dataclass(frozen=True)
class Appearance:
    """Texture and hair of one identity.

    Attributes:
        texture: (240, 240, 4) float32, linear red, green, blue and gloss, rows from neck to crown.
        hair_lift: (80, 80) float64, mm by which hair displaces the mesh along its normals (images only).
        hair_colour: (3,) linear colour of the hair.
        hair_length: mm below eye height where long hair ends; 0 for short hair.
        hair_volume: mm of hair at the crown.
        fringe_angle: long hair's opening angle from the front in radians.
        strands: (24,) N(0, 1), the pattern of the strands.
    """

    texture: Map
    hair_lift: NDArray[np.float64]
    hair_colour: NDArray[np.float64]
    hair_length: float
    hair_volume: float
    fringe_angle: float
    strands: NDArray[np.float64]


def build_appearance(identities: Identities, index: int) -> Appearance:
    """Build texture and hair of row `index` of `identities`."""
    k = int(identities.ids[index])
    n = normals(identities.seed, k, "face", 0, _NUM_SLOTS, start=_FIRST_SLOT)
    u = uniforms(identities.seed, k, "face", 0, _NUM_SLOTS, start=_FIRST_SLOT)
    strands = normals(identities.seed, k, "face", 0, 24, start=_STRANDS_SLOT)
    male, g = bool(identities.face_sex[index]), identities.face_factors[index]
    tone, skin = skin_colour(n[0], n[1], identities.skin_shift[index])
    age = float(min(1.4, 0.50 * np.log1p(np.exp(1.15 * g[7]))))
    grey = float(sigmoid(np.array(3.0 * (g[7] + 0.25 * n[14]) - 2.6)))

    hair = hair_colour(n[2], n[3], tone, grey)
    brow_colour = interpolate(
        0.62 * hair_colour(n[2], n[3], tone, 0.55 * grey), to_linear_light((40, 30, 26)), 0.35
    )
    baldness = max(0.0, 0.9 * n[7] - 0.5 + 0.35 * max(g[7], -1.0)) if male else 0.0
    long_hair_rate = 0.05 if male else 0.86
    hair_length = 70.0 + 110.0 * float(u[4]) / long_hair_rate if u[4] < long_hair_rate else 0.0
    volume = float(np.clip((6.5 if male else 9.0) + 1.6 * n[12], 4.5, 13.0))

    masks = build_shared_masks()
    paint = np.empty((MAP_SIZE, MAP_SIZE, 3), np.float32)
    paint[:] = skin.astype(np.float32)
    # Cheeks, nose tip and ears slightly redder; freckles on fair skin.
    _tint(paint, masks["blush"], (1.03, 0.84, 0.80), 0.85 - 0.4 * tone)
    _tint(
        paint, masks["freckles"], (0.80, 0.68, 0.60), float(np.clip(0.4 * n[15] - 0.25, 0, 0.6)) * (1 - tone)
    )
    _tint(paint, masks["hollow"], (0.62, 0.52, 0.50), 0.8)
    _tint(paint, masks["under_chin"], (0.50, 0.42, 0.40), 1.0)
    # Age: wrinkles and eye bags.
    wrinkles = {"nasolabial": 0.85, "forehead_lines": 0.80, "eye_bags": 0.95, "crow": 0.75}
    for name, strength in wrinkles.items():
        _tint(paint, masks[name], (0.42, 0.33, 0.31), min(1.0, strength * age))
    # Men: stubble or beard, less with a larger larynx factor.
    if male:
        beard = float(np.clip(0.42 - 0.34 * g[0] + 0.30 * n[11], 0.0, 1.0))
        beard_colour = interpolate(0.75 * hair_colour(n[2], n[3], tone, 0.7 * grey), skin, 0.25)
        _blend(paint, masks["beard"], beard_colour, 0.92 * beard)
    _paint_mouth(paint, masks, skin, n, male)
    _paint_nose(paint, masks)
    _paint_eyes(paint, masks, skin, palette_colour(IRIS_COLOURS, float(u[8]) ** (0.8 + 1.6 * tone)), male)
    thickness = (1.18 if male else 0.80) + 0.13 * n[9] - 0.24 * g[0]
    brow = _brow_mask(float(np.clip(thickness, 0.28, 2.0)), 0.9 * n[10] + (0.0 if male else 0.8))
    _blend(paint, brow, brow_colour, 0.93)

    cap = _hair_mask(n, baldness, float(u[17]), male)
    hairline = 1.0 - 1.2 * cap * (1.0 - cap)  # darker there
    shade = (1.0 + 0.10 * _strand_pattern(strands)) * hairline
    region = paint[FIRST_HAIR_ROW:]
    region += (shade[..., None] * hair.astype(np.float32) - region) * (0.97 * cap)[..., None]

    texture = np.empty((MAP_SIZE, MAP_SIZE, 4), np.float32)
    np.clip(paint, 0.0, 1.0, out=texture[..., :3])
    texture[..., 3] = masks["gloss"].mask
    texture[FIRST_HAIR_ROW:, :, 3] += (0.20 - texture[FIRST_HAIR_ROW:, :, 3]) * cap
    fringe = 1.02 + 0.10 * float(n[16])
    return Appearance(texture, _hair_lift(cap, volume), hair, hair_length, volume, fringe, strands)


def compute_skin_colours(identities: Identities) -> NDArray[np.float64]:
    """Compute unlit display colours of skin, (N, 3) RGB in [0, 1]; independent of all factors."""
    n = normals(identities.seed, identities.ids, "face", 0, 2, start=_FIRST_SLOT)
    linear = [skin_colour(tone, under, shift)[1] for (tone, under), shift in zip(n, identities.skin_shift)]
    return np.sqrt(np.clip(np.reshape(linear, (len(identities), 3)), 0.0, 1.0))


def _hair_lift(hair_mask: Map, hair_volume: float) -> NDArray[np.float64]:
    """Compute the displacement of the 80 x 80 mesh by hair, in mm, with a soft edge."""
    full_mask = np.zeros((MAP_SIZE, MAP_SIZE))
    full_mask[FIRST_HAIR_ROW:] = hair_mask
    rows = np.rint(np.linspace(0, MAP_SIZE - 1, GRID_ROWS)).astype(int)
    columns = np.rint(np.linspace(0, MAP_SIZE - 1, GRID_COLUMNS)).astype(int)
    lift = full_mask[np.ix_(rows, columns)]
    for _ in range(2):  # an edge of one cell would be jagged
        padded = np.pad(lift, 1, mode="edge")
        lift = (
            sum(
                padded[a : a + GRID_ROWS, b : b + GRID_COLUMNS] * (1 + (a == 1)) * (1 + (b == 1))
                for a in range(3)
                for b in range(3)
            )
            / 16.0
        )
    height = row_heights()[:, None]
    return np.asarray(lift * hair_volume * (0.72 + 0.28 * smoothstep(height, -20, 80)))


def _tint(paint: Map, soft_mask: SoftMask, factor: tuple[float, float, float], strength: float) -> None:
    """Multiply by `factor` where the mask is 1, in place."""
    if strength > 0:
        change = (np.array(factor) - 1.0).astype(np.float32) * np.float32(strength)
        paint[soft_mask.window] *= 1.0 + soft_mask.mask[..., None] * change


def _blend(paint: Map, soft_mask: SoftMask, colour: NDArray[np.float64], strength: float = 1.0) -> None:
    """Mix in `colour` where the mask is 1, in place."""
    if strength > 0:
        region = paint[soft_mask.window]
        region += (colour.astype(np.float32) - region) * (soft_mask.mask * np.float32(strength))[..., None]


def _paint_mouth(
    paint: Map, masks: dict[str, SoftMask], skin: NDArray[np.float64], traits: NDArray[np.float64], male: bool
) -> None:
    depth = 0.55 if male else 0.85 + 0.15 * float(np.tanh(traits[13]))
    rose = skin * np.array([0.74, 0.30, 0.32]) + np.array([0.05, 0.006, 0.012])
    _blend(paint, masks["lips"], interpolate(skin * np.array([0.85, 0.62, 0.60]), rose, depth), 0.95)
    _tint(paint, masks["lip_edge"], (0.70, 0.55, 0.55), 0.6)
    _blend(paint, masks["mouth_line"], to_linear_light((62, 22, 22)), 0.92)


def _paint_nose(paint: Map, masks: dict[str, SoftMask]) -> None:
    _tint(paint, masks["wing_crease"], (0.50, 0.38, 0.36), 0.78)
    _tint(paint, masks["nose_side"], (0.72, 0.62, 0.60), 0.55)
    _tint(paint, masks["nose_ridge"], (1.16, 1.13, 1.12), 0.8)
    _blend(paint, masks["nostril"], to_linear_light((48, 24, 20)), 0.90)


def _paint_eyes(
    paint: Map, masks: dict[str, SoftMask], skin: NDArray[np.float64], iris: NDArray[np.float64], male: bool
) -> None:
    _tint(paint, masks["crease"], (0.46, 0.36, 0.34), 0.8)
    _blend(paint, masks["eye"], to_linear_light((236, 230, 224)))
    _blend(paint, masks["caruncle"], skin * np.array([0.9, 0.55, 0.5]), 0.7)
    _blend(paint, masks["iris"], iris)
    _blend(paint, masks["iris_rim"], 0.25 * iris, 0.8)
    _blend(paint, masks["pupil"], to_linear_light((14, 11, 11)))
    _tint(paint, masks["lid_shadow"], (0.45, 0.43, 0.45), 0.8)
    _blend(paint, masks["highlight"], to_linear_light((250, 250, 250)), 0.95)
    _blend(paint, masks["lashes"], to_linear_light((26, 18, 16)), 0.80 if male else 0.97)
    _blend(paint, masks["lower_lashes"], to_linear_light((70, 46, 40)), 0.45 if male else 0.6)


def _brow_mask(thickness: float, arch_height: float) -> SoftMask:
    """Build the mask of the brows: `thickness` 1 is 5 mm; `arch_height` raises the outer third, mm."""
    window, x, y, front, grain = _brow_window()
    t = np.clip((x - 12.0) / 36.0, 0, 1)
    middle = (
        17.3
        + 4.6 * np.sin(np.pi * np.clip(0.14 + 0.78 * t, 0, 1)) ** 1.4
        + arch_height * np.sin(np.pi * t) ** 2
        - 1.5 * t
    )
    half = 2.5 * thickness * np.interp(t, [0, 0.12, 0.55, 1.0], [0.75, 1.0, 0.85, 0.22])
    ends = sigmoid((x - 12.5) / 0.9) * sigmoid((48.0 - x) / 0.9)
    return SoftMask(
        window, (sigmoid((half - np.abs(y - middle)) / 0.55) * ends * front * grain).astype(np.float32)
    )


@lru_cache(maxsize=1)
def _brow_window() -> tuple[tuple[slice, slice], Array, Array, Array, Array]:
    """Region of the brows: window of the map, and there |x|, y, front mask and hair texture."""
    m = mean_surface_map()
    rows = np.nonzero((m.y[:, 0] > 6) & (m.y[:, 0] < 34))[0]
    columns = np.nonzero(np.abs(m.x[rows].min(axis=0)) < 60)[0]
    columns = columns[np.abs(m.theta[0, columns]) < 1.4]
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    x, y = np.abs(m.x[window]), m.y[window]
    return window, x, y, m.front_mask[window], 0.93 + 0.07 * np.sin(2.4 * x + 1.6 * y)


FIRST_HAIR_ROW = int(np.searchsorted(row_heights(MAP_SIZE), -92.0))


@lru_cache(maxsize=1)
def _hair_grid() -> tuple[Array, Array, Array, Array]:
    """Hair region of the map: angles (240,), heights (rows, 1), 0 at the ears, default hairline (240,)."""
    m = mean_surface_map()
    theta, y = m.theta[0], m.y[FIRST_HAIR_ROW:, :1]
    ear = np.exp(-0.5 * (((np.abs(theta) - 1.68) / 0.17) ** 2 + ((y + 6) / 19) ** 2))
    return theta, y, 1.0 - np.clip(1.6 * ear, 0, 1), monotone_cubic(HAIRLINE_KNOTS, np.abs(theta))


def _hair_mask(traits: Array, baldness: float, fringe: float, male: bool) -> Map:
    """Build the mask of hair on the rows of the map from FIRST_HAIR_ROW: 1 where the head is covered."""
    theta, y, no_ear, line = _hair_grid()
    angle = np.abs(theta)
    top = np.exp(-((angle / 0.85) ** 4))
    line = line + top * (3.5 * traits[5] + 46.0 * min(baldness, 1.1))
    temple = np.exp(-(((angle - 0.72) / 0.24) ** 2))
    line = line + temple * ((5.0 if male else 1.0) + 3.5 * traits[16] + 18.0 * min(baldness, 1.1))
    if not male and fringe > 0.68:  # a fringe over the forehead
        line = line - top * (22.0 + 3.0 * np.sin(9 * theta + traits[6]))
    part = 0.35 * np.tanh(2.0 * traits[6])
    line = line + np.exp(-(((theta - part) / 0.10) ** 2)) * (5.0 if baldness < 0.2 else 0.0)
    line = line + 0.7 * np.sin(7 * theta + traits[6]) + 0.35 * np.sin(61 * theta - traits[5])
    covered = sigmoid((y - line) / 1.4) * no_ear
    if baldness > 0.75:
        covered = covered * (1.0 - smoothstep(y, 84, 98) * min(1.0, 4 * (baldness - 0.75)))
    return covered.astype(np.float32)


def _strand_pattern(phases: Array) -> Map:
    """Compute vertical hair strands, about ±1, on the rows of the map from FIRST_HAIR_ROW."""
    theta, y, _, _ = _hair_grid()
    total = np.zeros((len(y), len(theta)), np.float32)
    for index in range(4):
        frequency = 14.0 + 13.0 * index + 2.0 * phases[index]
        bend = (0.0005 * frequency * phases[6 + index]) * y
        total += np.sin((frequency * theta + 6.3 * phases[12 + index] + bend).astype(np.float32)) / (
            1.0 + 0.3 * index
        )
    return total / np.float32(1.6)
