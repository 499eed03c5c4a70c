"""Brows: single hairs along their flow, drawn into the skin texture."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.head.skin_masks import Anchors, Mask, SkinMap
from voiceface.synthetic.head.traits import BROW_HAIRS, Traits

__all__ = ["BrowWindow", "draw_brow", "find_brow_windows"]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

# Plane on which the hairs are drawn: |x| and y of the mean head.
_PIXELS_PER_MM, _FIRST_X_MM, _WIDTH_MM, _ABOVE_MM, _HEIGHT_MM = 4, 4.0, 56, 20.0, 36
_ANGLES = ([0.0, 0.12, 0.35, 0.7, 1.0], [72.0, 46.0, 20.0, 0.0, -20.0])  # flow, degrees above outwards
_HALF_WIDTH = ([0.0, 0.12, 0.55, 1.0], [2.2, 3.0, 2.6, 0.9])
_LENGTH = ([0.0, 0.2, 0.7, 1.0], [4.5, 6.0, 5.5, 4.2])
_SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class BrowWindow:
    """Part of the texture that holds a brow, and the pixel of the plane at each of its texels."""

    window: tuple[slice, slice]
    x: Floats
    y: Floats


def find_brow_windows(skin: SkinMap, at: Anchors) -> tuple[BrowWindow, BrowWindow]:
    """Find the windows of the brows on the viewer's left and right."""
    found = []
    for sign in (-1.0, 1.0):
        x = sign * skin.x
        inside = (np.cos(skin.azimuth) > 0.15) & (x > 4) & (x < 60) & (np.abs(skin.y - at.brow) < 17)
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        across = _PIXELS_PER_MM * (x[window] - _FIRST_X_MM)
        down = _PIXELS_PER_MM * (at.brow + _ABOVE_MM - skin.y[window])
        found.append(BrowWindow(window, across.astype(np.float32), down.astype(np.float32)))
    return found[0], found[1]


def draw_brow(traits: Traits, side: int, place: BrowWindow, at: Anchors) -> Mask:
    """Draw the hairs of one brow.

    Args:
        traits: thickness, arch, tilt and random numbers.
        side: 0 on the viewer's left, 1 right.
        place: its window.
        at: where the brow lies.
    """
    import cv2

    lines = np.rint(_hair_lines(traits, traits.brow_hairs[side], at) * 2**_SUBPIXEL_BITS)
    lines = np.ascontiguousarray(lines, np.int32)
    shape = _HEIGHT_MM * _PIXELS_PER_MM, _WIDTH_MM * _PIXELS_PER_MM
    hairs = np.zeros(shape, np.float32)
    thickness = float(np.clip(0.30 + 0.72 * traits.brow_thickness, 0.3, 1.35))
    dense = traits.brow_density * thickness  # thin brows are sparse, too
    for start, strength, thickness in ((0, 0.42, 2), (1, 0.55, 1), (2, 0.75, 1)):
        layer = np.zeros(shape, np.uint8)
        cv2.polylines(layer, list(lines[start::3]), False, 255, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
        hairs += layer * np.float32(strength * dense / 255.0)
    hairs = np.clip(cv2.GaussianBlur(hairs, (0, 0), 1.0), 0.0, 1.0)
    shadow = cv2.blur(cv2.blur(hairs, (9, 9)), (9, 9))
    mask = cv2.remap(0.85 * hairs + 0.25 * shadow, place.x, place.y, cv2.INTER_LINEAR)
    return Mask(place.window, np.minimum(mask, 1.0))


def _hair_lines(traits: Traits, random: Array, at: Anchors) -> Array:
    """Polylines of the hairs in pixels of the plane, (BROW_HAIRS, 4, 2)."""
    along = random[0] ** 0.9
    across = 2.0 * random[1] - 1.0
    across = np.sign(across) * np.abs(across) ** 0.85
    x = at.brow_inner + along * (at.brow_outer - at.brow_inner)
    bow = np.sin(np.pi * np.clip(0.06 + 0.70 * along, 0, 1)) ** 1.2
    middle = at.brow - 1.4 + traits.brow_raise + (3.6 + traits.brow_arch) * bow
    middle = middle - 1.8 * along**4 + traits.brow_tilt * (along - 0.5)
    y = middle + across * traits.brow_thickness * np.interp(along, *_HALF_WIDTH) - 0.9
    # Upper hairs lie flatter than lower ones: they meet in the middle.
    meet = 0.38 * across * np.interp(along, [0.0, 0.2, 1.0], [0.2, 1.0, 0.8])
    angle = np.radians(np.interp(along, *_ANGLES)) - meet + 0.16 * (2.0 * random[2] - 1.0)
    length = np.interp(along, *_LENGTH) * (0.75 + 0.4 * random[3])
    turn = angle - 0.35 * (np.arange(1, 4) / 3.0)[:, None] * np.sign(np.cos(angle))
    step = np.stack([np.cos(turn), np.sin(turn)], axis=-1) * (length / 3.0)[:, None]
    line = np.concatenate([np.zeros((1, BROW_HAIRS, 2)), np.cumsum(step, axis=0)]) + np.stack([x, y], axis=-1)
    pixel = (line - [_FIRST_X_MM, at.brow + _ABOVE_MM]) * [_PIXELS_PER_MM, -_PIXELS_PER_MM]
    return np.asarray(pixel.transpose(1, 0, 2))
