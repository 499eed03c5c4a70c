"""Shot cuts: where a video goes on with another picture.

Images are compared on a small grid. Each block of the grid is looked for in the image before, near its
place, so that motion and noise are no difference; brightness and contrast are taken out of each block, so
that neither a flash nor a change of the exposure is one. A hard cut is a large difference, larger than
those shortly before. A dissolve is found where an image is a mixture of one before and one behind it that
differ. Black and white images, as in a fade, and flashes are passed over: the images on both
sides are compared.
"""

from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["DISSOLVE_SPANS", "ShotDetector", "image_difference", "shot_features"]

Image = NDArray[np.uint8]
Map = NDArray[np.float32]
LONG_SIDE, BLOCK = 64, 8  # cells of the grid, side of its blocks
FINE = 4  # pixels of an image that are averaged in a cell, in each direction, at least
REACH = 4  # cells by which a block may have moved in each direction
MIN_CONTRAST = 4.0  # grey levels, standard deviation in a block that shows something
COLOUR_SCALE = 0.25  # difference of chroma by luminance that is another colour
DARK = 10.0  # levels of luminance below which colours fade away
FLAT_DEVIATION = 6.0  # grey levels; a black or white image with less shows nothing
BLACK_LEVEL, WHITE_LEVEL = 40.0, 230.0
QUIET = 0.2  # difference without motion below which motion is not looked for
WHITE, FLASH_RISE, FLASH_SHARE, FLASH_IMAGES = 250, 15.0, 0.15, 3
GAP_FACTOR, GAP_THRESHOLD = 0.4, 0.55  # more motion is expected across images that were passed over
DISSOLVE_SPANS = (4, 8, 14)  # images
DISSOLVE_SHARE = 0.3  # of the difference that a mixture may leave unexplained
CALM_THRESHOLD, CALM_RATIO = 0.18, 4.0  # of a shot in which little changes
COOLDOWN = 4  # images after a cut without another


class ShotDetector:
    """Finds cuts in images that are given in order.

    Args:
        threshold: difference of successive images, 0...1, that is a cut if it exceeds those shortly before;
            in a calm shot half of it is enough.
        ratio: factor by which it has to exceed the largest of those shortly before.
        find_dissolves: whether gradual changes are cuts.

    Attributes:
        mixed_images: images before the last cut that show both pictures: 0 after a hard cut.
    """

    def __init__(self, threshold: float = 0.3, ratio: float = 1.7, *, find_dissolves: bool = True) -> None:
        self.threshold, self.ratio, self.find_dissolves = threshold, ratio, find_dissolves
        self._history: deque[Map] = deque(maxlen=max(DISSOLVE_SPANS) + 1)
        self._recent: deque[float] = deque(maxlen=5)
        self._flashes, self._gap = 0, 0
        self._since_cut = max(DISSOLVE_SPANS)
        self.mixed_images = 0

    @property
    def in_doubt(self) -> bool:
        """Whether the last image is a flash or black, so that the next ones tell whether it was a cut."""
        return 0 < self._gap <= FLASH_IMAGES

    def add(self, image: Image) -> bool:
        """Take the next image.

        Args:
            image: RGB, (H, W, 3) uint8.

        Returns:
            Whether a cut lies between this image and the one before; never at the first.
        """
        features = shot_features(image)
        if _shows_nothing(features):
            self._gap += 1
            return False
        self._since_cut += 1
        if not self._history:
            self._history.append(features)
            return False
        before = self._history[-1]
        if features.shape != before.shape:
            return self._cut(features)
        if _is_flash(features, before) and self._flashes < FLASH_IMAGES:
            self._flashes += 1
            self._gap += 1
            return False
        difference = image_difference(features, before)
        usual = max(self._recent, default=0.0)
        calm = max(CALM_THRESHOLD, CALM_RATIO * (usual + 0.01)) if len(self._recent) >= 3 else 1.0
        limit = max(self.ratio * usual, min(self.threshold, calm))
        if self._gap:
            limit = max(limit, min(self.threshold * (1 + GAP_FACTOR * self._gap), GAP_THRESHOLD))
        if self._since_cut > COOLDOWN and difference > limit:
            return self._cut(features)
        self._flashes = self._gap = 0
        self._recent.append(difference)
        self._history.append(features)
        if self.find_dissolves and self._since_cut > max(DISSOLVE_SPANS) and (span := self._find_dissolve()):
            return self._cut(features, span)
        return False

    def _cut(self, features: Map, mixed_images: int = 0) -> bool:
        self.mixed_images = mixed_images
        self._history.clear()
        self._recent.clear()
        self._history.append(features)
        self._flashes = self._gap = self._since_cut = 0
        return True

    def _find_dissolve(self) -> int:
        """Images from one to this one, with a mixture of both in the middle; 0 without one."""
        last = self._history[-1]
        for span in DISSOLVE_SPANS:
            if len(self._history) <= span:
                return 0
            first, middle = self._history[-1 - span], self._history[-1 - span // 2]
            change, part = _new_light(first, last), _new_light(first, middle)
            power = float(change @ change)
            if power / change.size < MIN_CONTRAST**2:
                continue
            share = float(part @ change) / power
            rest = part - share * change
            unexplained = float(np.sqrt(rest @ rest / power))
            mixed = 0.25 < share < 0.75 and unexplained < DISSOLVE_SHARE
            if mixed and image_difference(last, first) > self.threshold:
                return span
        return 0


def shot_features(image: Image) -> Map:
    """Luminance, two colours that do not depend on it, and the largest of the three channels, on a grid.

    Args:
        image: RGB, (H, W, 3) uint8.

    Returns:
        (h, w, 4); the longer side has `LONG_SIDE` cells.
    """
    height, width = image.shape[:2]
    scale = LONG_SIDE / max(height, width)
    size = [max(BLOCK, BLOCK * round(scale * side / BLOCK)) for side in (width, height)]
    step = max(1, min(height, width) // (FINE * min(size)))  # some of the pixels are enough
    small = cv2.resize(image[::step, ::step], (size[0], size[1]), interpolation=cv2.INTER_AREA)
    maps = cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    maps[..., 1:] = (maps[..., 1:] - 128) / (maps[..., :1] + DARK)
    return np.dstack([maps, small.max(axis=2)])


def image_difference(after: Map, before: Map) -> float:
    """Part of an image that was not in the image before, 0...1.

    Args:
        after: (h, w, 4) from `shot_features`.
        before: the same shape.
    """
    after, before = after[..., :3], before[..., :3]
    still = _block_differences(after, before[None])
    if still.mean() < QUIET:
        return float(still.mean())
    height, width = after.shape[:2]
    padded = np.pad(before, ((REACH, REACH), (REACH, REACH), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(0, 1))
    moved = windows.transpose(0, 1, 3, 4, 2).reshape(-1, height, width, 3)
    return float(_block_differences(after, moved).mean())


def _block_differences(after: Map, candidates: Map) -> Map:
    """Difference of each block from the best of its candidates.

    Args:
        after: (h, w, 3).
        candidates: (S, h, w, 3), one for every shift.

    Returns:
        (blocks,) in 0...1: by correlation of the luminance and by the mean colour.
    """
    a, b = _blocks(after[None]), _blocks(candidates)
    a_mean, b_mean = a.mean(axis=2), b.mean(axis=2)
    a_light, b_light = a[..., 0] - a_mean[..., None, 0], b[..., 0] - b_mean[..., None, 0]
    a_power, b_power = (a_light**2).mean(axis=2), (b_light**2).mean(axis=2)
    product = (a_light * b_light).mean(axis=2)
    noise = MIN_CONTRAST**2
    alike = (product + noise) / np.sqrt((a_power + noise) * (b_power + noise))
    colour = np.abs(a_mean[..., 1:] - b_mean[..., 1:]).max(axis=2) / COLOUR_SCALE
    return np.maximum(1 - alike, np.minimum(colour, 1)).clip(0, 1).min(axis=0)


def _new_light(before: Map, after: Map) -> Map:
    """Luminance of an image less the best multiple of that of another, and less a constant, (cells,)."""
    a, b = before[..., 0].ravel(), after[..., 0].ravel()
    a, b = a - a.mean(), b - b.mean()
    return np.asarray(b - a * (a @ b / max(float(a @ a), 1.0)), np.float32)


def _blocks(maps: Map) -> Map:
    """(S, h, w, 3) to (S, blocks, cells, 3)."""
    count, height, width, channels = maps.shape
    parts = maps.reshape(count, height // BLOCK, BLOCK, width // BLOCK, BLOCK, channels)
    return parts.transpose(0, 1, 3, 2, 4, 5).reshape(count, -1, BLOCK * BLOCK, channels)


def _shows_nothing(features: Map) -> bool:
    """Whether an image is black or white."""
    light = features[..., 0]
    return bool(light.std() < FLAT_DEVIATION and not BLACK_LEVEL < light.mean() < WHITE_LEVEL)


def _is_flash(features: Map, before: Map) -> bool:
    """Whether an image is suddenly bright, with white parts."""
    share = float((features[..., 3] > WHITE).mean() - (before[..., 3] > WHITE).mean())
    return float((features[..., 0] - before[..., 0]).mean()) > FLASH_RISE and share > FLASH_SHARE
