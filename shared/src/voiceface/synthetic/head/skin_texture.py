"""Skin of one identity as a texture in the coordinates of `unrolling`: linear colour and gloss."""

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.head.brows import BrowWindow, draw_brow
from voiceface.synthetic.head.patterns import build_skin_noise
from voiceface.synthetic.head.skin_masks import Anchors, Mask, SkinMap, SkinMasks
from voiceface.synthetic.head.traits import Traits
from voiceface.synthetic.head.unrolling import MAP_SIZE

__all__ = ["paint_skin"]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

# Colour by which the mask multiplies at strength 1.
_FEATURES = {
    "forehead": (1.04, 1.06, 1.02),
    "wing": (0.66, 0.54, 0.52),
    "nostril": (0.32, 0.23, 0.22),
    "nose_ridge": (1.055, 1.05, 1.05),
    "philtrum": (0.90, 0.86, 0.86),
    "sulcus": (0.89, 0.85, 0.85),
    "mouth_corner": (0.82, 0.74, 0.73),
    "mouth_line": (0.38, 0.24, 0.24),
    "lip_edge": (0.93, 0.89, 0.89),
    "lip_light": (1.17, 1.14, 1.14),
}
_WRINKLE = (0.50, 0.39, 0.36)
_WRINKLES = {
    **{"nasolabial": 0.80, "marionette": 0.62, "forehead_lines": 0.66, "glabella": 0.65, "eye_bags": 0.85},
    **{"crow": 0.80, "neck_lines": 0.7, "lip_lines": 0.45, "jowl": 0.22},
}


def paint_skin(
    skin: SkinMap, masks: SkinMasks, brows: tuple[BrowWindow, BrowWindow], at: Anchors, traits: Traits
) -> Floats:
    """Paint the skin of one identity.

    Args:
        skin: mean head in the texture.
        masks: from `build_skin_masks`.
        brows: windows of the brows.
        at: places of the features.
        traits: the identity.

    Returns:
        (512, 512, 4) float32: linear red, green, blue in [0, 1], and gloss.
    """
    # Views of periodic noise, from blotches to pores.
    bands = [
        band[:, start : start + MAP_SIZE]
        for band, start in zip(build_skin_noise(), traits.noise_places.tolist())
    ]
    coarse, middle, fine, grain, pores = bands
    texture = np.empty((MAP_SIZE, MAP_SIZE, 4), np.float32)
    paint = texture[..., :3]
    tone = 0.030 * coarse
    tone += 0.020 * middle
    tone += 0.016 * fine
    tone += np.float32(0.012 + 0.020 * traits.roughness) * grain
    tone += np.float32(0.008 + 0.018 * traits.roughness) * pores
    tone += 1.0
    blood = np.float32(0.030 * (1.1 - 0.6 * traits.tone)) * (middle[::-1] + coarse[::-1])
    pale = tone - blood
    for channel, layer in enumerate((tone, pale, pale)):
        np.multiply(layer, np.float32(traits.skin[channel]), out=paint[..., channel])
    paint[masks.window] *= _combine_tints(masks, traits)
    _cover(paint, masks.blends["caruncle"], traits.skin * np.array([0.85, 0.50, 0.48]), 0.8)
    _paint_spots(paint, skin, masks.blends["freckles"], fine, grain, traits)
    beard, cut = masks.blends["beard"], masks.blends[f"beard_cut_{max(1, traits.beard_cut)}"]
    _paint_beard(paint, beard, cut, grain, pores, traits)
    _paint_lips(paint, masks, grain, traits)
    _cover(paint, masks.blends["lashes"], np.array([0.012, 0.008, 0.007]), traits.lashes)
    _cover(paint, masks.blends["lower_lashes"], np.array([0.05, 0.03, 0.026]), 0.5 * traits.lashes)
    for side, place in enumerate(brows):
        _cover(paint, draw_brow(traits, side, place, at), traits.brow, 0.95)
    np.clip(paint, 0.0, 1.0, out=paint)
    np.multiply(1.0 + 0.25 * pores, masks.gloss * np.float32(0.75 + 0.2 * traits.shine), out=texture[..., 3])
    np.maximum(texture[..., 3], 0.0, out=texture[..., 3])
    return texture


def _combine_tints(masks: SkinMasks, traits: Traits) -> Floats:
    """Product of all tints in the window of `masks`, (H, W, 3): a sum of logarithms."""
    fair, strength = 1.0 - traits.tone, np.zeros((len(masks.rows), 3))

    def put(name: str, colour: tuple[float, float, float], amount: float) -> None:
        strength[masks.rows[name]] = amount * np.log(colour)

    for name, colour in _FEATURES.items():
        put(name, colour, 1.0)
    put("blush", (1.01, 0.84, 0.82), (0.50 + 0.45 * fair) * (1.0 + 0.3 * traits.rosy))
    put("socket", (0.72, 0.62, 0.64), (0.75 + 0.25 * traits.age) * traits.socket)
    put("lid_fold", (0.56, 0.44, 0.42), traits.lid_fold)
    strength[masks.rows["lid"]] = np.log(traits.lid_paint)
    put("ears", (1.02, 0.80, 0.76), 0.5 + 0.4 * fair)
    put("jaw", (0.93, 0.95, 0.97), 0.8 if traits.male else 0.0)
    for name, amount in _WRINKLES.items():
        put(name, _WRINKLE, min(1.0, 1.05 * amount * traits.age**1.7))
    total = strength.T.astype(np.float32) @ masks.tints
    rows, columns = masks.window
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    return np.ascontiguousarray(np.exp(total).T).reshape(*shape, 3)


def _cover(paint: Floats, mask: Mask, colour: NDArray[np.floating], strength: float = 1.0) -> None:
    """Mix in a colour where the mask is 1, in place."""
    region = paint[mask.window]
    region += (np.asarray(colour, np.float32) - region) * (mask.weight * np.float32(strength))[..., None]


def _paint_spots(
    paint: Floats, skin: SkinMap, place: Mask, fine: Floats, grain: Floats, traits: Traits
) -> None:
    """Freckles of fair skin, and moles."""
    freckled = float(np.clip(0.55 * traits.freckles - 0.35, 0, 0.9)) * (1.0 - traits.tone)
    if freckled > 0:
        spots = np.clip((grain[place.window] + 0.5 * fine[place.window] - 0.9) * 1.4, 0, 1)
        change = np.array([-0.34, -0.50, -0.60], np.float32) * np.float32(freckled)
        paint[place.window] *= 1.0 + (spots * place.weight)[..., None] * change
    for x, y, size, darkness in traits.moles.tolist():
        row = int(np.clip(np.searchsorted(-skin.y[:, MAP_SIZE // 2], -y), 8, MAP_SIZE - 9))
        behind = 1e3 * (np.cos(skin.azimuth[row]) < 0.2)
        column = int(np.clip(np.argmin(np.abs(skin.x[row] - x) + behind), 8, MAP_SIZE - 9))
        window = slice(row - 7, row + 8), slice(column - 7, column + 8)
        away = ((skin.x[window] - x) ** 2 + (skin.y[window] - y) ** 2) / size**2
        spot = np.exp(-(np.minimum(away, 40.0) ** 1.5)).astype(np.float32)
        _cover(paint, Mask(window, spot), np.array([0.20, 0.13, 0.10]) * traits.skin + 0.004, darkness)


def _paint_beard(paint: Floats, place: Mask, cut: Mask, grain: Floats, pores: Floats, traits: Traits) -> None:
    """Shadow of a shaved beard, stubble, or the ground of a full beard; `cut` remains of a trimmed one."""
    if not traits.male:
        return
    noise = np.clip(0.25 * grain[place.window] + 0.8 * pores[place.window], -1.6, 1.6)
    weight = place.weight * (0.55 + 0.45 * cut.weight if traits.beard_cut else 1.0)
    stubble = np.clip((0.76 + (0.26 - 0.14 * traits.beard) * noise) * weight, 0.0, 1.0).astype(np.float32)
    colour = 0.48 * traits.beard_hair + 0.08 * (1.0 - 0.6 * traits.beard) * traits.skin
    _cover(paint, Mask(place.window, stubble), colour, 0.93 * min(1.0, 0.04 + 1.1 * traits.beard))


def _paint_lips(paint: Floats, masks: SkinMasks, grain: Floats, traits: Traits) -> None:
    lips, upper = masks.blends["lips"], masks.blends["upper_lip"]
    shade = (1.0 + 0.09 * grain[::-1][lips.window]) * (1.0 - 0.22 * upper.weight)
    # The tints of the mouth stay: only their ground changes from skin to lip.
    ground = np.asarray(traits.lips / traits.skin, np.float32) - 1.0
    paint[lips.window] *= 1.0 + (0.92 * lips.weight)[..., None] * ((1.0 + ground) * shade[..., None] - 1.0)
