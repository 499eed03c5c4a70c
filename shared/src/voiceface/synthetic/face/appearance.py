"""What a face looks like apart from its shape: the painted map in grid coordinates and the hair.

Soft masks are shared by all identities (masks.py); an identity mixes them with its own colours. Colours are
linear light in [0, 1] ("linear" = the square of a display value); a fourth channel holds the gloss.

Slots of the counters (stream "face", clip 0), normals unless stated
    64 skin tone, 65 undertone, 66 hair colour, 67 red hair, 68 hair length (uniform), 69 hairline, 70 part,
    71 baldness, 72 eye colour (uniform), 73 brow thickness, 74 brow arch, 75 beard, 76 hair volume,
    77 lip colour, 78 greying, 79 freckles, 80 temples, 81 fringe (uniform), 96-119 hair strands
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.counter_rng import normals, uniforms
from voiceface.synthetic.face.head_bases import COLUMNS, ROWS, profile, ramp, row_heights, sigmoid
from voiceface.synthetic.face.masks import SIDE, Stencil, mean_map, shared_masks
from voiceface.synthetic.identities import People

Array = NDArray[np.float64]
Map = NDArray[np.float32]

SLOT, SLOTS, STRANDS = 64, 18, 96

# Display colours, 0-255 red, green, blue.
FAIR, DEEP = (238, 194, 170), (112, 70, 48)
IRIS = ((72, 44, 26), (96, 66, 36), (104, 104, 52), (86, 124, 146), (112, 128, 136))
HAIR = ((22, 18, 17), (52, 35, 26), (88, 58, 38), (134, 94, 58), (196, 158, 104))
RED_HAIR, GREY_HAIR = (142, 66, 30), (196, 194, 192)
# Hairline: angle from the front in radians, height in mm.
HAIRLINE = (
    *((0.0, 64.0), (0.45, 64.0), (0.80, 58.0), (1.02, 38.0), (1.20, 12.0), (1.36, -6.0), (1.50, 4.0)),
    *((1.68, 16.0), (1.86, 4.0), (1.98, -40.0), (2.20, -74.0), (3.15, -86.0)),
)


@dataclass(frozen=True)
class Appearance:
    """One identity's painted map and hair.

    Attributes:
        texture: (240, 240, 4) float32, linear red, green, blue and gloss, rows from neck to crown.
        lift: (80, 80) float64, mm by which hair lifts the mesh along its normals (pictures only).
        hair: (3,) linear colour of the hair.
        long_hair: mm below eye height where long hair ends; 0 for short hair.
        volume: mm of hair at the crown.
        fringe: long hair's opening angle from the front in radians.
        strands: (24,) N(0, 1), the pattern of the strands.
    """

    texture: Map
    lift: NDArray[np.float64]
    hair: NDArray[np.float64]
    long_hair: float
    volume: float
    fringe: float
    strands: NDArray[np.float64]


def linear(colour: object) -> NDArray[np.float64]:
    """Display colour 0-255 to linear light in [0, 1]."""
    return (np.asarray(colour, float) / 255.0) ** 2


def appearance_of(people: People, i: int) -> Appearance:
    """Paint row `i` of `people`; a few hundredths of a second."""
    who = int(people.k[i])
    n = normals(people.seed, who, "face", 0, SLOTS, start=SLOT)
    u = uniforms(people.seed, who, "face", 0, SLOTS, start=SLOT)
    strands = normals(people.seed, who, "face", 0, 24, start=STRANDS)
    male, g = bool(people.face_sex[i]), people.g[i]
    tone, skin = _skin(n[0], n[1], people.skin_shift[i])
    age = float(min(1.4, 0.50 * np.log1p(np.exp(1.15 * g[7]))))
    grey = float(sigmoid(np.array(3.0 * (g[7] + 0.25 * n[14]) - 2.6)))

    hair = _hair_colour(n, tone, grey)
    brow_colour = _mix(0.62 * _hair_colour(n, tone, 0.55 * grey), linear((40, 30, 26)), 0.35)
    bald = max(0.0, 0.9 * n[7] - 0.5 + 0.35 * max(g[7], -1.0)) if male else 0.0
    length = float(u[4])
    is_long = length < (0.05 if male else 0.86)
    long_hair = float(70.0 + 110.0 * _rest(length, 0.05 if male else 0.86)) if is_long else 0.0
    volume = float(np.clip((6.5 if male else 9.0) + 1.6 * n[12], 4.5, 13.0))

    masks = shared_masks()
    paint = np.empty((SIDE, SIDE, 3), np.float32)
    paint[:] = skin.astype(np.float32)
    # Blood: cheeks, nose tip and ears a little redder; freckles on fair skin.
    _tint(paint, masks["blush"], (1.03, 0.84, 0.80), 0.85 - 0.4 * tone)
    _tint(
        paint, masks["freckles"], (0.80, 0.68, 0.60), float(np.clip(0.4 * n[15] - 0.25, 0, 0.6)) * (1 - tone)
    )
    _tint(paint, masks["hollow"], (0.62, 0.52, 0.50), 0.8)
    _tint(paint, masks["under_chin"], (0.50, 0.42, 0.40), 1.0)
    # Age: lines and bags.
    for name, strength in (
        ("nasolabial", 0.85),
        ("forehead_lines", 0.80),
        ("eye_bags", 0.95),
        ("crow", 0.75),
    ):
        _tint(paint, masks[name], (0.42, 0.33, 0.31), min(1.0, strength * age))
    # Men: shadow or beard, less of it with the larynx factor.
    if male:
        beard = float(np.clip(0.42 - 0.34 * g[0] + 0.30 * n[11], 0.0, 1.0))
        beard_colour = _mix(0.75 * _hair_colour(n, tone, 0.7 * grey), skin, 0.25)
        _blend(paint, masks["beard"], beard_colour, 0.92 * beard)
    _paint_mouth(paint, masks, skin, n, male)
    _paint_nose(paint, masks)
    _paint_eyes(paint, masks, skin, _palette(IRIS, float(u[8]) ** (0.8 + 1.6 * tone)), male)
    thick = (1.18 if male else 0.80) + 0.13 * n[9] - 0.24 * g[0]
    brow = _brow_mask(float(np.clip(thick, 0.28, 2.0)), 0.9 * n[10] + (0.0 if male else 0.8))
    _blend(paint, brow, brow_colour, 0.93)

    cap = _hair_mask(n, bald, float(u[17]), male)
    shade = (1.0 + 0.10 * _strands(strands)) * (1.0 - 1.2 * cap * (1.0 - cap))  # a darker hairline
    hairy = Stencil((slice(CAP_ROW, SIDE), slice(0, SIDE)), 0.97 * cap)
    part = paint[hairy.window]
    part += (shade[..., None] * hair.astype(np.float32) - part) * hairy.mask[..., None]

    texture = np.empty((SIDE, SIDE, 4), np.float32)
    np.clip(paint, 0.0, 1.0, out=texture[..., :3])
    texture[..., 3] = masks["gloss"].mask
    texture[CAP_ROW:, :, 3] += (0.20 - texture[CAP_ROW:, :, 3]) * cap
    fringe = 1.02 + 0.10 * float(n[16])
    return Appearance(texture, _lift(cap, volume), hair, long_hair, volume, fringe, strands)


def skin_colours(people: People) -> NDArray[np.float64]:
    """Unlit display colour of everybody's skin, (N, 3) red, green, blue in [0, 1]; not tied to v or g."""
    n = normals(people.seed, people.k, "face", 0, 2, start=SLOT)
    rows = [_skin(tone, under, shift)[1] for (tone, under), shift in zip(n, people.skin_shift)]
    return np.sqrt(np.clip(np.reshape(rows, (len(people), 3)), 0.0, 1.0))


def _skin(tone: float, undertone: float, shift: float) -> tuple[float, NDArray[np.float64]]:
    """Place between fair and deep in (0, 1), and the linear colour (3,), from two N(0, 1) numbers."""
    place = float(sigmoid(np.array(1.15 * (tone + shift) - 0.7)))
    colour = _mix(linear(FAIR), linear(DEEP), place) * (1.0 + 0.045 * undertone * np.array([0.6, 0.1, -1.0]))
    return place, np.asarray(colour)


def _lift(cap: Map, volume: float) -> NDArray[np.float64]:
    """How far hair lifts the 80 x 80 mesh, in mm, with a soft edge."""
    whole = np.zeros((SIDE, SIDE))
    whole[CAP_ROW:] = cap
    rows = np.rint(np.linspace(0, SIDE - 1, ROWS)).astype(int)
    columns = np.rint(np.linspace(0, SIDE - 1, COLUMNS)).astype(int)
    lift = whole[np.ix_(rows, columns)]
    for _ in range(2):  # the edge of one cell would look like a saw
        padded = np.pad(lift, 1, mode="edge")
        lift = (
            sum(
                padded[a : a + ROWS, b : b + COLUMNS] * (1 + (a == 1)) * (1 + (b == 1))
                for a in range(3)
                for b in range(3)
            )
            / 16.0
        )
    height = row_heights()[:, None]
    return np.asarray(lift * volume * (0.72 + 0.28 * ramp(height, -20, 80)))


def _rest(value: float, below: float) -> float:
    """Where `value` lies in (0, below), as a number in (0, 1)."""
    return min(1.0, value / below)


def _mix(a: NDArray[np.float64], b: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    return np.asarray(a + (b - a) * share)


def _palette(colours: tuple[tuple[int, int, int], ...], place: float) -> NDArray[np.float64]:
    """Colour at `place` in [0, 1] along a row of display colours, linear."""
    stops = linear(colours)
    where = np.clip(place, 0.0, 1.0) * (len(stops) - 1)
    return np.array([np.interp(where, np.arange(len(stops)), stops[:, c]) for c in range(3)])


def _hair_colour(n: NDArray[np.float64], tone: float, grey: float) -> NDArray[np.float64]:
    place = float(sigmoid(np.array(1.3 * n[2] - 0.4))) * (1.0 - 0.75 * tone)
    colour = _palette(HAIR, place)
    colour = _mix(colour, linear(RED_HAIR), float(np.clip(0.8 * n[3] - 0.7, 0, 0.8)) * (1 - tone))
    return _mix(colour, linear(GREY_HAIR), grey)


def _tint(paint: Map, stencil: Stencil, factor: tuple[float, float, float], strength: float) -> None:
    """Multiply by `factor` where the mask is 1, in place."""
    if strength > 0:
        change = (np.array(factor) - 1.0).astype(np.float32) * np.float32(strength)
        paint[stencil.window] *= 1.0 + stencil.mask[..., None] * change


def _blend(paint: Map, stencil: Stencil, colour: NDArray[np.float64], strength: float = 1.0) -> None:
    """Mix in `colour` where the mask is 1, in place."""
    if strength > 0:
        part = paint[stencil.window]
        part += (colour.astype(np.float32) - part) * (stencil.mask * np.float32(strength))[..., None]


def _paint_mouth(
    paint: Map, masks: dict[str, Stencil], skin: NDArray[np.float64], n: NDArray[np.float64], male: bool
) -> None:
    depth = 0.55 if male else 0.85 + 0.15 * float(np.tanh(n[13]))
    rose = skin * np.array([0.74, 0.30, 0.32]) + np.array([0.05, 0.006, 0.012])
    _blend(paint, masks["lips"], _mix(skin * np.array([0.85, 0.62, 0.60]), rose, depth), 0.95)
    _tint(paint, masks["lip_edge"], (0.70, 0.55, 0.55), 0.6)
    _blend(paint, masks["mouth_line"], linear((62, 22, 22)), 0.92)


def _paint_nose(paint: Map, masks: dict[str, Stencil]) -> None:
    _tint(paint, masks["wing_crease"], (0.50, 0.38, 0.36), 0.78)
    _tint(paint, masks["nose_side"], (0.72, 0.62, 0.60), 0.55)
    _tint(paint, masks["nose_ridge"], (1.16, 1.13, 1.12), 0.8)
    _blend(paint, masks["nostril"], linear((48, 24, 20)), 0.90)


def _paint_eyes(
    paint: Map, masks: dict[str, Stencil], skin: NDArray[np.float64], iris: NDArray[np.float64], male: bool
) -> None:
    _tint(paint, masks["crease"], (0.46, 0.36, 0.34), 0.8)
    _blend(paint, masks["eye"], linear((236, 230, 224)))
    _blend(paint, masks["caruncle"], skin * np.array([0.9, 0.55, 0.5]), 0.7)
    _blend(paint, masks["iris"], iris)
    _blend(paint, masks["iris_rim"], 0.25 * iris, 0.8)
    _blend(paint, masks["pupil"], linear((14, 11, 11)))
    _tint(paint, masks["lid_shadow"], (0.45, 0.43, 0.45), 0.8)
    _blend(paint, masks["highlight"], linear((250, 250, 250)), 0.95)
    _blend(paint, masks["lashes"], linear((26, 18, 16)), 0.80 if male else 0.97)
    _blend(paint, masks["lower_lashes"], linear((70, 46, 40)), 0.45 if male else 0.6)


def _brow_mask(thickness: float, arch: float) -> Stencil:
    """Brows: `thickness` 1 is 5 mm, `arch` in mm of extra height at the outer third."""
    window, x, y, front, grain = _brow_window()
    t = np.clip((x - 12.0) / 36.0, 0, 1)
    middle = (
        17.3
        + 4.6 * np.sin(np.pi * np.clip(0.14 + 0.78 * t, 0, 1)) ** 1.4
        + arch * np.sin(np.pi * t) ** 2
        - 1.5 * t
    )
    half = 2.5 * thickness * np.interp(t, [0, 0.12, 0.55, 1.0], [0.75, 1.0, 0.85, 0.22])
    ends = sigmoid((x - 12.5) / 0.9) * sigmoid((48.0 - x) / 0.9)
    return Stencil(
        window, (sigmoid((half - np.abs(y - middle)) / 0.55) * ends * front * grain).astype(np.float32)
    )


@lru_cache(maxsize=1)
def _brow_window() -> tuple[tuple[slice, slice], Array, Array, Array, Array]:
    """Where brows can be: window of the map, |x|, y, front mask and hairs there."""
    m = mean_map()
    rows = np.nonzero((m.y[:, 0] > 6) & (m.y[:, 0] < 34))[0]
    columns = np.nonzero(np.abs(m.x[rows].min(axis=0)) < 60)[0]
    columns = columns[np.abs(m.theta[0, columns]) < 1.4]
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    x, y = np.abs(m.x[window]), m.y[window]
    return window, x, y, m.front[window], 0.93 + 0.07 * np.sin(2.4 * x + 1.6 * y)


CAP_ROW = int(np.searchsorted(row_heights(SIDE), -92.0))


@lru_cache(maxsize=1)
def _cap_grid() -> tuple[Array, Array, Array, Array]:
    """Hair region of the map: angles (240,), heights (rows, 1), place of the ears, usual hairline (240,)."""
    m = mean_map()
    theta, y = m.theta[0], m.y[CAP_ROW:, :1]
    ear = np.exp(-0.5 * (((np.abs(theta) - 1.68) / 0.17) ** 2 + ((y + 6) / 19) ** 2))
    return theta, y, 1.0 - np.clip(1.6 * ear, 0, 1), profile(HAIRLINE, np.abs(theta))


def _hair_mask(n: Array, bald: float, fringe: float, male: bool) -> Map:
    """Hair cap on the rows of the map from CAP_ROW: 1 where the head is covered."""
    theta, y, no_ear, line = _cap_grid()
    angle = np.abs(theta)
    top = np.exp(-((angle / 0.85) ** 4))
    line = line + top * (3.5 * n[5] + 46.0 * min(bald, 1.1))
    temple = np.exp(-(((angle - 0.72) / 0.24) ** 2))
    line = line + temple * ((5.0 if male else 1.0) + 3.5 * n[16] + 18.0 * min(bald, 1.1))
    if not male and fringe > 0.68:  # a fringe over the forehead
        line = line - top * (22.0 + 3.0 * np.sin(9 * theta + n[6]))
    part = 0.35 * np.tanh(2.0 * n[6])
    line = line + np.exp(-(((theta - part) / 0.10) ** 2)) * (5.0 if bald < 0.2 else 0.0)
    line = line + 0.7 * np.sin(7 * theta + n[6]) + 0.35 * np.sin(61 * theta - n[5])
    covered = sigmoid((y - line) / 1.4) * no_ear
    if bald > 0.75:
        covered = covered * (1.0 - ramp(y, 84, 98) * min(1.0, 4 * (bald - 0.75)))
    return covered.astype(np.float32)


def _strands(phases: Array) -> Map:
    """Fine hair strands, about ±1, running up and down the head; rows of the map from CAP_ROW."""
    theta, y, _, _ = _cap_grid()
    total = np.zeros((len(y), len(theta)), np.float32)
    for index in range(4):
        frequency = 14.0 + 13.0 * index + 2.0 * phases[index]
        bend = (0.0005 * frequency * phases[6 + index]) * y
        total += np.sin((frequency * theta + 6.3 * phases[12 + index] + bend).astype(np.float32)) / (
            1.0 + 0.3 * index
        )
    return total / np.float32(1.6)
