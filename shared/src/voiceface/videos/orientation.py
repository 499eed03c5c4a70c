"""Frames as a player shows them: turned and mirrored by their display matrix, with square pixels, in RGB."""

import struct
from typing import Any

import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import Colorspace, VideoReformatter
from numpy.typing import NDArray

__all__ = ["FrameConverter", "read_orientation", "shown_size", "turn_image"]

Image = NDArray[np.uint8]
MAX_PIXEL_ASPECT = 4.0
"""Ratio of width to height of pixels beyond which it is a damaged header (anamorphic video has up to 2)."""
HD_HEIGHT = 720
"""Lines from which colours that are not described are those of high definition (BT.709), as players do."""
UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED

Orientation = tuple[bool, bool, bool]
"""Whether rows and columns are exchanged, then columns reversed, then rows reversed."""


def read_orientation(frame: Any) -> Orientation:
    """Orientation of a frame by its display matrix, to the nearest quarter turn.

    The matrix (ISO/IEC 14496-12, section 8.5.2) moves a point (x, y) to (a x + c y, b x + d y).

    Args:
        frame: an `av.VideoFrame`.
    """
    data = frame.side_data.get(Type.DISPLAYMATRIX) if len(frame.side_data) else None
    if data is None:
        return False, False, False
    content = bytes(data)
    if len(content) < 36:
        return False, False, False
    a, b, _, c, d = struct.unpack("=5i", content[:20])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, a < 0, d < 0
    return True, c < 0, b < 0


def turn_image(image: Image, orientation: Orientation) -> Image:
    """Apply an orientation to an image (H, W, ...); the result is contiguous."""
    exchange, reverse_columns, reverse_rows = orientation
    if not any(orientation):
        return image
    if exchange:
        image = image.swapaxes(0, 1)
    if reverse_columns:
        image = image[:, ::-1]
    if reverse_rows:
        image = image[::-1]
    return np.ascontiguousarray(image)


def shown_size(width: int, height: int, pixel_aspect: float) -> tuple[int, int]:
    """Size with square pixels (width, height), before turning; no dimension becomes smaller.

    Example:
        >>> shown_size(720, 576, 16 / 15)
        (768, 576)
        >>> shown_size(720, 480, 8 / 9)
        (720, 540)
    """
    if not 1 / MAX_PIXEL_ASPECT <= pixel_aspect <= MAX_PIXEL_ASPECT:
        return width, height
    if pixel_aspect >= 1:
        return round(width * pixel_aspect), height
    return width, round(height / pixel_aspect)


class FrameConverter:
    """Converts the frames of one track to upright images of one size.

    A track whose frames change their size, as those of video calls, is scaled to the size of the first frame
    if the sides keep their proportions (within 2 %).

    Args:
        pixel_aspect: width by height of a pixel; 0: unknown, square.
        order: "rgb24" or "bgr24".
        guess_colours: take undescribed colours of high definition for BT.709, as players do; otherwise for
            BT.601, as FFmpeg does.
    """

    def __init__(
        self, pixel_aspect: float = 0.0, order: str = "rgb24", *, guess_colours: bool = True
    ) -> None:
        self.pixel_aspect = pixel_aspect if pixel_aspect > 0 else 1.0
        self.order, self.guess_colours = order, guess_colours
        self._size: tuple[int, int] | None = None
        self._reformatter = VideoReformatter()

    def size_of(self, frame: Any) -> tuple[int, int]:
        """Size in which a frame is shown, (width, height), upright."""
        width, height = self._size_before_turning(frame)
        return (height, width) if read_orientation(frame)[0] else (width, height)

    def convert(self, frame: Any) -> Image:
        """Convert a frame.

        Args:
            frame: an `av.VideoFrame`.

        Returns:
            (H, W, 3) uint8.
        """
        width, height = self._size_before_turning(frame)
        colours: dict[str, Any] = {}
        high = min(frame.width, frame.height) >= HD_HEIGHT
        if self.guess_colours and high and frame.colorspace == UNSPECIFIED:
            colours = {"src_colorspace": Colorspace.ITU709}
        changed = self._reformatter.reformat(
            frame, format=self.order, width=width, height=height, threads=1, **colours
        )
        return turn_image(np.asarray(changed.to_ndarray(), np.uint8), read_orientation(frame))

    def _size_before_turning(self, frame: Any) -> tuple[int, int]:
        width, height = shown_size(frame.width, frame.height, self.pixel_aspect)
        if self._size is None:
            self._size = (width, height)
        first_width, first_height = self._size
        if abs(width * first_height - height * first_width) <= 0.02 * width * first_height:
            return self._size
        return width, height
