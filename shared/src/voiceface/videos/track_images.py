"""The best images of a face track: one candidate for each part of the track, in bounded memory."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from voiceface.faces.finding import FoundFace
from voiceface.faces.quality import MAX_ANGLE, MIN_SHARPNESS, FaceQuality

__all__ = [
    "MAX_PICTURE_SIDE",
    "PICTURE_SCALE",
    "BestImages",
    "TrackedFace",
    "cut_picture",
    "rate_quality",
    "shrink_image",
]

Image = NDArray[np.uint8]
PICTURE_SCALE = 2.2
"""Side of a picture by the longer side of the face: more than any crop convention needs."""
MAX_PICTURE_SIDE = 512
"""Larger pictures are scaled down."""
SLOT_SECONDS = 0.5
GOOD_EYE_DISTANCE = 60.0  # pixels; more adds nothing that a network of 112 to 160 pixels sees
GOOD_SHARPNESS = 8 * MIN_SHARPNESS
GOOD_BRIGHTNESS = 0.3


@dataclass(frozen=True, eq=False)
class TrackedFace:
    """A face at one time of a video.

    Attributes:
        time: seconds from the beginning of the file.
        face: coordinates are those of `picture`.
        picture: square around the face cut out of the video's image, RGB (S, S, 3) uint8, at most
            `MAX_PICTURE_SIDE`; black beyond the image.
        score: of `rate_quality`, 0...1.
    """

    time: float
    face: FoundFace
    picture: Image
    score: float


def rate_quality(quality: FaceQuality) -> float:
    """One number for the quality of a face, 0...1: size, sharpness, direction, exposure, each at most 1."""
    size = min(1.0, quality.eye_distance / GOOD_EYE_DISTANCE)
    sharpness = min(1.0, max(0.0, quality.sharpness) / GOOD_SHARPNESS)
    angle = np.hypot(quality.yaw, quality.pitch) / (2 * MAX_ANGLE)
    brightness = min(1.0, quality.brightness / GOOD_BRIGHTNESS)
    clipped = max(0.0, 1 - quality.bright - quality.dark)
    return float(size * sharpness**0.5 * max(0.0, 1 - angle**2) * brightness * clipped)


def cut_picture(image: Image, face: FoundFace) -> tuple[Image, FoundFace]:
    """Cut the square around a face out of an image.

    Args:
        image: RGB, (H, W, 3) uint8.
        face: in pixels of the image.

    Returns:
        (picture (S, S, 3), the face in its pixels).
    """
    box = np.asarray(face.box, float)
    side = max(8, round(PICTURE_SCALE * float((box[2:] - box[:2]).max())))
    left, top = np.round((box[:2] + box[2:]) / 2 - side / 2).astype(int)
    height, width = image.shape[:2]
    rows, columns = slice(max(0, top), min(height, top + side)), slice(max(0, left), min(width, left + side))
    part = image[rows, columns]
    picture = np.zeros((side, side, 3), np.uint8)
    if part.size:
        at = rows.start - top, columns.start - left
        picture[at[0] : at[0] + part.shape[0], at[1] : at[1] + part.shape[1]] = part
    return _scale(picture, _move(face, np.array([left, top], np.float32), 1.0), MAX_PICTURE_SIDE)


def shrink_image(image: TrackedFace, side: int) -> TrackedFace:
    """Scale the picture of a face down to a side in pixels, if it is larger."""
    picture, face = _scale(image.picture, image.face, side)
    return replace(image, picture=picture, face=face)


def _scale(picture: Image, face: FoundFace, side: int) -> tuple[Image, FoundFace]:
    """Scale a square picture down to a side, and the face in it."""
    scale = min(1.0, side / len(picture))
    if scale == 1:
        return picture, face
    how = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR  # which is ten times as fast
    smaller = cv2.resize(picture, (side, side), interpolation=how)
    return np.asarray(smaller, np.uint8), _move(face, np.zeros(2, np.float32), scale)


def _move(face: FoundFace, shift: NDArray[np.float32], scale: float) -> FoundFace:
    """Coordinates of a face in a part of its image that begins at `shift` and is then scaled."""
    # whole numbers are centres of pixels, except for boxes, whose numbers are edges
    mesh = face.mesh
    if mesh is not None:
        flat = (mesh[:, :2] - shift + 0.5) * scale - 0.5
        mesh = np.hstack([flat, mesh[:, 2:] * scale]).astype(np.float32)
    return replace(
        face,
        box=((face.box - np.tile(shift, 2)) * scale).astype(np.float32),
        points=((face.points - shift + 0.5) * scale - 0.5).astype(np.float32),
        mesh=mesh,
        quality=replace(face.quality, eye_distance=face.quality.eye_distance * scale),
    )


class BestImages:
    """Keeps the best image of every part of a track; parts become longer as the track does.

    Args:
        count: images in the end.
    """

    def __init__(self, count: int) -> None:
        self._count, self._slot_seconds = count, SLOT_SECONDS
        self._slots: dict[int, TrackedFace] = {}
        self._begin: float | None = None

    def add(self, time: float, image: Image, face: FoundFace) -> None:
        """Offer a face in an image of the video; the image is not kept."""
        if not self._count:
            return
        self._begin = time if self._begin is None else self._begin
        slot = int((time - self._begin) / self._slot_seconds)
        score = rate_quality(face.quality)
        held = self._slots.get(slot)
        if held is not None and held.score >= score:
            return
        picture, moved = cut_picture(image, face)
        self._slots[slot] = TrackedFace(time, moved, picture, score)
        if len(self._slots) > 2 * self._count:
            self._halve()

    def cut_off(self, time: float) -> None:
        """Forget the images behind a time."""
        self._slots = {slot: each for slot, each in self._slots.items() if each.time <= time}

    def best(self) -> tuple[TrackedFace, ...]:
        """The best images, best first; of equal ones the earlier."""
        ranked = sorted(self._slots.values(), key=lambda each: (-each.score, each.time))
        return tuple(ranked[: self._count])

    def _halve(self) -> None:
        """Join parts in pairs."""
        joined: dict[int, TrackedFace] = {}
        for slot, held in sorted(self._slots.items()):
            other = joined.get(slot // 2)
            if other is None or held.score > other.score:
                joined[slot // 2] = held
        self._slots, self._slot_seconds = joined, 2 * self._slot_seconds
