"""A stand-in for networks that find faces."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from voiceface.faces.finding import FoundFace
from voiceface.faces.quality import FaceQuality

__all__ = ["FrameFinder"]

PLACES = ((0.35, 0.35), (0.65, 0.35), (0.5, 0.55), (0.4, 0.7), (0.6, 0.7))
QUALITY = FaceQuality(0.0, 0.2, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0)
FRAME = np.array([255, 0, 255])


class FrameFinder:
    """Takes squares with a frame of pure magenta, one pixel wide, for faces; their sides are multiples of 8.

    `frame` draws such a square. The five points of its face lie at `PLACES`.
    """

    identity = "frames"

    @staticmethod
    def frame(picture: NDArray[np.uint8], left: int, top: int, side: int) -> None:
        """Draw the frame of a square into a picture (H, W, 3)."""
        part = picture[top : top + side, left : left + side]
        part[[0, -1]] = FRAME
        part[:, [0, -1]] = FRAME

    def find(self, images: Sequence[NDArray[np.uint8]]) -> list[list[FoundFace]]:
        """Find the framed squares of pictures, the largest first."""
        return [self._find_one(image) for image in images]

    def _find_one(self, image: NDArray[np.uint8]) -> list[FoundFace]:
        marked = (image == FRAME).all(2)
        # The upper left corner of a frame: it goes on to the right and down, nothing is left of it or above.
        around = np.pad(marked, 1)
        corner = marked & around[1:-1, 2:] & around[2:, 1:-1] & ~around[1:-1, :-2] & ~around[:-2, 1:-1]
        faces = []
        for top, left in np.argwhere(corner):
            side = int(np.argmin(np.append(marked[top, left:], False)))
            points = (np.array(PLACES) * side + (left - 0.5, top - 0.5)).astype(np.float32)
            box = np.array([left, top, left + side, top + side], np.float32)
            quality = FaceQuality(**{**vars(QUALITY), "eye_distance": 0.3 * side})
            faces.append(FoundFace(box, points, 0.9, 0.99, quality))
        return sorted(faces, key=lambda face: -face.quality.eye_distance)
