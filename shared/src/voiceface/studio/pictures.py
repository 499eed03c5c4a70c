"""Pictures of visitors: the faces in them, and pictures for the page."""

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from voiceface.io.file_facts import FaceFacts
from voiceface.studio.schemas import FaceBox
from voiceface.studio.settings import Limits

if TYPE_CHECKING:
    from voiceface.faces.own_pictures import PictureReader

__all__ = ["SeenPicture", "encode_crop", "image_url", "look_at_picture", "own_pictures", "require_few_pixels"]

SHOWN_SIDE = 900  # pixels of a picture on the page


class SeenPicture(NamedTuple):
    """A picture and the faces in it.

    Attributes:
        width, height: upright, pixels.
        faces: largest first; empty where none was found or looked for.
        notes: about the file.
        shown: JPEG for the page.
    """

    width: int
    height: int
    faces: list[FaceBox]
    notes: list[str]
    shown: bytes


def look_at_picture(path: Path, limits: Limits) -> SeenPicture:
    """Read a picture and find its faces, where the networks for it are installed.

    Raises:
        ImageError: no readable picture.
        ValueError: more pixels than `limits.pixels`.
    """
    from voiceface.faces.own_pictures import NO_NETWORKS, PictureReader, is_training_picture
    from voiceface.images.loading import ImageError
    from voiceface.images.photographs import read_photograph
    from voiceface.report.media import encode_image

    require_few_pixels(path, limits.pixels)
    pixels, notes = read_photograph(path)
    height, width = pixels.shape[:2]
    found: list[FaceBox] = []
    remarks = list(notes)
    reader = PictureReader("auto")
    if is_training_picture(path):
        pass  # a face that is cut out already
    elif not reader.finds_faces:
        remarks.append(NO_NETWORKS)
    else:
        try:
            faces = PictureReader("always", every_face=True).read_faces(path)
        except ImageError:
            faces = []
        for face in faces:
            facts = face.facts.face
            if facts is not None:
                left, top, right, bottom = facts.box
                box = (left / width, top / height, right / width, bottom / height)
                shorts = [note for note in face.facts.notes if note not in notes]
                found.append(FaceBox(number=facts.number, box=box, score=facts.score, notes=shorts))
        if not found:
            remarks.append("no face found: take a picture in which the face is larger or looks at the camera")
    return SeenPicture(width, height, found, remarks, encode_image(pixels, SHOWN_SIDE))


def require_few_pixels(path: Path, most: int) -> None:
    """Refuse a picture by its header, before a pixel is decoded; unreadable ones are left to the reader.

    Raises:
        ValueError: more than `most` pixels.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            width, height = image.size
    except Image.DecompressionBombError as error:
        raise ValueError(f"too many pixels: {error}") from None
    except (OSError, ValueError, SyntaxError):
        return
    if width * height > most:
        raise ValueError(
            f"the picture has {width} x {height} pixels, expected at most {most / 1e6:g} million"
        )


def own_pictures() -> "PictureReader":
    """Reader of people's own pictures: every face is a candidate where faces can be found."""
    from voiceface.faces.own_pictures import PictureReader

    return PictureReader("auto", every_face=PictureReader("auto").finds_faces)


def encode_crop(path: Path, face: FaceFacts | None, size: int = 256) -> bytes:
    """JPEG of a face as the networks see it; errors as of `voiceface.report.media.encode_image`."""
    from voiceface.report.media import encode_image
    from voiceface.report.records import Photograph

    return encode_image(Photograph(path, face), size)


def image_url(image: NDArray[np.uint8]) -> str:
    """A picture (H, W, 3) as a data URL, lossless."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
