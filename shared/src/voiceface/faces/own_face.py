"""One face of a person's own picture: its record, and its pixels as a network sees them."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from voiceface.images.photographs import load_photograph, read_photograph, remembered_notes
from voiceface.io.file_facts import FaceFacts, FileFacts

if TYPE_CHECKING:
    from voiceface.faces.finding import FoundFace

__all__ = ["OwnFace", "cut_out", "describe_face", "read_face"]

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class OwnFace:
    """One face of an own picture, or a picture that is used as it is.

    Attributes:
        item: name of the candidate: the path, or "photo.jpg#2" where a picture has several.
        path: the file.
        facts: what is known about it.
    """

    item: str
    path: Path
    facts: FileFacts


def describe_face(
    path: str | os.PathLike[str],
    face: "FoundFace",
    *,
    number: int = 1,
    faces_in_picture: int = 1,
    crop: str = "",
    time: float | None = None,
    box: npt.ArrayLike | None = None,
    points: npt.ArrayLike | None = None,
) -> FileFacts:
    """Build the record of a face. Its points decide the crop: they are rounded here and nowhere else.

    Args:
        path: the file.
        face: as it was found.
        number: within the picture, from 1, largest first.
        faces_in_picture: how many were found.
        crop: convention by which it is cut out; "": the picture is used as it is.
        time: of a video, seconds.
        box, points: in place of those of `face`, which may be stated for a part of an image.
    """
    corners = np.asarray(face.box if box is None else box, float)
    places = np.asarray(face.points if points is None else points, float)
    left, top, right, bottom = (round(float(value), 2) for value in corners)
    return FileFacts(
        file=str(path),
        kind="picture",
        notes=(*remembered_notes(path), *face.quality.problems),
        measures={name: round(float(value), 4) for name, value in asdict(face.quality).items()},
        face=FaceFacts(
            number=number,
            faces_in_picture=faces_in_picture,
            box=(left, top, right, bottom),
            points=tuple((round(float(x), 2), round(float(y), 2)) for x, y in places),
            score=round(float(face.score), 4),
            presence=round(float(face.presence), 4),
            crop=crop,
            time=time,
        ),
    )


def cut_out(image: Image, face: FaceFacts | None) -> Image:
    """Pixels of a face as the network sees them, from its upright picture.

    Args:
        image: RGB, (H, W, 3) uint8.
        face: the face; None, or one without a crop convention: the picture itself.
    """
    if face is None or not face.crop:
        return image
    from voiceface.faces.crops import crop_face

    return crop_face(image, np.array(face.points), face.crop)


def read_face(path: str | os.PathLike[str], face: FaceFacts | None) -> Image:
    """Read a picture and cut out a known face: the array that went into the network, (H, W, 3) uint8 RGB.

    Raises:
        FileNotFoundError: no such file.
        ImageError: no readable picture.
    """
    noted = bool(remembered_notes(path))  # told already
    return cut_out(read_photograph(path)[0] if noted else load_photograph(path), face)
