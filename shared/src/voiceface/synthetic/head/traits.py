"""Traits of a person's looks, drawn once per identity.

Slots of the counters (stream "face", item 0), normals unless stated:
    64 skin tone, 65 undertone, 66 hair colour, 67 red hair, 68 hair length (uniform), 69 hairline, 70 part,
    71 baldness, 72 eye colour (uniform), 73 brow thickness, 74 brow arch, 75 beard, 76 hair volume,
    77 lip colour, 78 greying, 79 freckles, 80 temples, 81 fringe (uniform), 83 roughness, 84 shine,
    85 tilt of the brows, 86-90 place of the noise (uniforms), 91 waves, 92 length of the fringe,
    93 height of the brows, 94 fold of the lids, 95 shade of the sockets,
    96-119 hair strands, 256-319 style, moles, iris, clothes (uniforms), 320-2719 hairs of the brows
    (uniforms), 2720-2731 glasses (uniforms), 2732-2747 density of the brows, paint, lips, size of the iris

Skin, hair and lids go with the two coefficients of the shape that stand for ancestry (rbf0, rbf1), which
belong to no factor.
"""

from dataclasses import dataclass

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
from voiceface.synthetic.head.glasses import UNIFORMS_START, Glasses, choose_glasses
from voiceface.synthetic.head.shape_space import SHAPE_NAMES
from voiceface.synthetic.identities import Identities

__all__ = ["BROW_HAIRS", "Traits", "compute_skin_colours", "sample_traits"]

Array = NDArray[np.float64]

BROW_HAIRS = 300  # of one brow
_AFRICAN, _ASIAN = SHAPE_NAMES.index("rbf0"), SHAPE_NAMES.index("rbf1")


@dataclass(frozen=True)
class Traits:
    """Looks of one identity apart from the shape; colours are linear light.

    Attributes:
        male: of the face.
        tone: skin, 0 fair to 1 dark.
        skin, lips, iris, hair, hair_streaks, brow, beard_hair: colours (3,).
        age: strength of wrinkles, 0 to 1.4.
        rosy: redness of the cheeks, -1 to 1.
        freckles, shine: about N(0, 1).
        roughness: of the skin, 0 to 1.
        beard: 0 shaved to 1 full.
        baldness: 0 none, from about 0.55 visible, above 1.15 bald.
        brow_thickness: 1 is about 5 mm.
        brow_arch, brow_tilt, brow_raise: mm.
        lid_fold, socket: strength, 1 is usual.
        lid_paint: colour (3,) by which paint on the lids multiplies.
        lashes: opacity of the line of the lashes, 0 to 1.
        brow_density: factor on the opacity of the brows.
        iris_size: factor on the radius of the iris.
        beard_cut: 0 full beard, 1 round the mouth, 2 moustache, 3 chin and moustache.
        hair_length: mm below eye height where long hair ends; 0 for short hair.
        hair_volume: mm at the crown.
        hairline, temples, part, waves, fringe_length: about N(0, 1).
        fringe: whether long hair has a fringe.
        style: (12,) uniforms that choose and vary the hair style.
        strands: (24,) N(0, 1), pattern of the strands.
        noise_places: (5,) int, shift of the skin's noise in texels.
        moles: (N, 4) x and y in mm, size in mm, darkness.
        iris_pattern: (32,) uniforms.
        clothes: (4,) uniforms.
        brow_hairs: (2, 4, BROW_HAIRS) uniforms.
        glasses: None without.
    """

    male: bool
    tone: float
    skin: Array
    lips: Array
    iris: Array
    hair: Array
    hair_streaks: Array
    brow: Array
    beard_hair: Array
    age: float
    rosy: float
    freckles: float
    shine: float
    roughness: float
    beard: float
    baldness: float
    brow_thickness: float
    brow_arch: float
    brow_tilt: float
    brow_raise: float
    lid_fold: float
    socket: float
    lid_paint: Array
    lashes: float
    brow_density: float
    iris_size: float
    beard_cut: int
    hair_length: float
    hair_volume: float
    hairline: float
    temples: float
    part: float
    waves: float
    fringe_length: float
    fringe: bool
    style: Array
    strands: Array
    noise_places: NDArray[np.int64]
    moles: Array
    iris_pattern: Array
    clothes: Array
    brow_hairs: Array
    glasses: Glasses | None


def sample_traits(identities: Identities, index: int) -> Traits:
    """Draw the traits of row `index` of `identities`."""
    k, seed = int(identities.ids[index]), identities.seed
    n = normals(seed, k, "face", 0, 32, start=64)
    u = uniforms(seed, k, "face", 0, 32, start=64)
    free = uniforms(seed, k, "face", 0, 64, start=256)
    male, g = bool(identities.face_sex[index]), identities.face_factors[index]
    more = normals(seed, k, "face", 0, 16, start=2732)
    ancestry = identities.shape_nuisance[index, [_AFRICAN, _ASIAN]]
    asian = float(np.clip(ancestry[1], -1.5, 1.5))
    tone, skin = _complexion(n[:2], ancestry, identities.skin_shift[index])
    age = float(min(1.4, 0.50 * np.log1p(np.exp(1.15 * g[7]))))
    grey = float(1.0 / (1.0 + np.exp(2.6 - 3.0 * (g[7] + 0.25 * n[14]))))
    shade, red = 1.35 * n[2] - 0.9 * asian, n[3] - 0.7 * asian
    hair = hair_colour(shade, red, tone, grey)
    brow = 0.50 * hair_colour(shade, red, tone, 0.55 * grey)
    long_hair_rate = 0.05 if male else 0.86
    # Lips of women are painted in shades from coral to plum.
    rose = skin * np.array([0.74, 0.30, 0.32]) + np.array([0.05, 0.006, 0.012])
    rose = rose * (1.0 if male else np.array([1.0, 1.0, 1.0]) - 0.30 * free[15] * np.array([0.7, 1.0, 0.2]))
    lip_paint = 0.34 if male else 0.62 + 0.34 * float(np.tanh(n[13]))
    lips = 0.92 * interpolate(skin * np.array([0.80, 0.54, 0.52]), rose, lip_paint)
    moles = free[1:13].reshape(3, 4)[: int(3.2 * free[0] ** 2)]
    return Traits(
        male=male,
        tone=tone,
        skin=skin,
        lips=lips * np.exp((0.10 if male else 0.22) * more[2] + 0.06 * more[3:6]),
        iris=palette_colour(IRIS_COLOURS, float(u[8]) ** (0.6 + 5.0 * tone**2 + max(0.0, 1.5 * asian))),
        hair=hair,
        hair_streaks=np.clip(hair * (0.62 + 0.9 * free[13]) * np.array([1.04, 1.0, 0.95]), 0.0, 0.75),
        brow=interpolate(brow, to_linear_light((40, 30, 26)), 0.35),
        beard_hair=0.75 * hair_colour(shade - 0.3, red, tone, 0.7 * grey),
        age=age,
        rosy=float(np.tanh(0.5 * n[11] + 0.5 * n[15])),
        freckles=float(n[15]),
        shine=float(np.clip(n[20], -2.0, 2.0)),
        roughness=float(np.clip(0.35 + 0.2 * age + 0.15 * male + 0.15 * n[19], 0.1, 1.0)),
        beard=float(np.clip(0.42 - 0.34 * g[0] + 0.30 * n[11], 0.0, 1.0)) if male else 0.0,
        baldness=max(0.0, 0.9 * float(n[7]) - 0.5 + 0.35 * max(float(g[7]), -1.0)) if male else 0.0,
        brow_thickness=float(np.clip((1.18 if male else 0.80) + 0.12 * n[9] - 0.24 * g[0], 0.28, 2.0)),
        brow_arch=2.0 * float(n[10]) + (0.0 if male else 1.0),
        brow_tilt=2.2 * float(n[21]),
        brow_raise=1.1 * float(n[29]),
        lid_fold=float(np.clip(1.0 + 0.8 * n[30] - 0.5 * asian, 0.0, 2.4)),
        socket=float(np.clip(1.0 + 0.6 * n[31], 0.0, 2.6)),
        lid_paint=_lid_paint(male, n, free),
        lashes=float(np.clip((0.68 if male else 0.88) + 0.12 * more[1], 0.4, 1.0)),
        brow_density=float(np.clip(np.exp(0.15 * more[0]), 0.5, 1.7)),
        iris_size=float(np.clip(1.0 + 0.05 * more[6], 0.88, 1.12)),
        beard_cut=int(np.searchsorted([0.55, 0.75, 0.88], free[14])),
        hair_length=70.0 + 110.0 * float(u[4]) / long_hair_rate if u[4] < long_hair_rate else 0.0,
        hair_volume=float(np.clip((7.5 if male else 10.0) + 1.8 * n[12], 4.5, 15.0)),
        hairline=float(n[5]),
        temples=float(n[16]),
        part=float(n[6]),
        waves=float(n[27]),
        fringe_length=float(n[28]),
        fringe=not male and float(u[17]) > 0.66,
        style=free[52:64],
        strands=normals(seed, k, "face", 0, 24, start=96),
        noise_places=np.floor(512 * u[22:27]).astype(np.int64),
        moles=moles * [100.0, 140.0, 1.0, 0.45] + [-50.0, -95.0, 0.7, 0.5],
        iris_pattern=free[16:48],
        clothes=free[48:52],
        brow_hairs=uniforms(seed, k, "face", 0, 8 * BROW_HAIRS, start=320).reshape(2, 4, BROW_HAIRS),
        glasses=choose_glasses(uniforms(seed, k, "face", 0, 12, start=UNIFORMS_START), more[7:10]),
    )


def compute_skin_colours(identities: Identities, *, with_ancestry: bool = True) -> Array:
    """Compute unlit display colours of skin, (N, 3) RGB in [0, 1]; independent of all factors.

    Args:
        identities: the population.
        with_ancestry: whether skin goes with the ancestry of the shape.
    """
    numbers = normals(identities.seed, identities.ids, "face", 0, 2, start=64)
    ancestry, shifts = identities.shape_nuisance[:, [_AFRICAN, _ASIAN]], identities.skin_shift
    if with_ancestry:
        rows = [_complexion(*each)[1] for each in zip(numbers, ancestry, shifts)]
    else:
        each = zip(*numbers.T.tolist(), shifts.tolist())
        rows = [skin_colour(tone, undertone, shift)[1] for tone, undertone, shift in each]
    return np.asarray(np.sqrt(np.clip(np.reshape(rows, (len(identities), 3)), 0.0, 1.0)))


def _complexion(own: Array, ancestry: Array, shift: float) -> tuple[float, Array]:
    """Position between fair and dark and colour of the skin, from N(0, 1) and the ancestry of the shape."""
    tone = 1.6 * (0.5 * own[0] + 0.87 * ancestry[0] + shift) + 0.25
    return skin_colour(float(tone), float(1.5 * own[1] + 1.2 * ancestry[1]), 0.0)


def _lid_paint(male: bool, n: Array, free: Array) -> Array:
    """Colour of the lids: shadow of the lashes, and in some women paint between brown and violet."""
    natural = np.array([0.85, 0.73, 0.73])
    if male or n[17] < 0.2:
        return natural
    shade = np.array([0.62, 0.48, 0.40]) * (1.0 - free[15]) + np.array([0.56, 0.46, 0.58]) * free[15]
    return interpolate(natural, shade, min(1.0, 0.6 * (float(n[17]) + 0.4)))
