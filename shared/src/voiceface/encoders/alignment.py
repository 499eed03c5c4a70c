"""Readers of pictures for face encoders with an alignment of their own."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voiceface.encoders.interface import Encoder, EncoderInfo
from voiceface.faces.crops import CROP_CONVENTIONS, CropConvention, crop_face
from voiceface.faces.own_face import OwnFace
from voiceface.faces.own_pictures import PictureReader
from voiceface.images.loading import ImageError, load_image
from voiceface.images.photographs import read_photograph
from voiceface.io.packed_folders import file_exists

if TYPE_CHECKING:
    from voiceface.faces.finding import FaceFinder, FoundFace

__all__ = ["AlignedFaceEncoder", "AligningReader", "check_picture", "folder_convention", "scale_chip"]

Array = NDArray[np.float32]
Image = NDArray[np.uint8]
MAX_REMEMBERED = 20_000


class AligningReader(PictureReader):
    """Reads people's own pictures, and those of data folders, and aligns faces as an encoder expects them.

    Args:
        settings: reader whose settings and finder are used.
        target: where the five points lie in the chips.
        by_mesh: chips are those of `FoundFace.encoder_chip`, where the finder fits a mesh.
    """

    def __init__(self, settings: PictureReader, target: CropConvention, *, by_mesh: bool = False) -> None:
        convention = target.name if target.name in CROP_CONVENTIONS else settings.convention
        super().__init__(settings.crop, convention, every_face=settings.every_face, finder=settings._finder)
        self.target, self.by_mesh = target, by_mesh
        self._memory = _PointMemory()

    @property
    def identity(self) -> str:
        """Names all that decides which pixels a network sees; keys caches."""
        return f"{super().identity} {self.target.name}" if self.finds_faces else ""

    @property
    def finder(self) -> "FaceFinder":
        """What finds faces."""
        if not self.by_mesh:
            return super().finder
        self._memory.finder = super().finder
        return self._memory

    def with_convention(self, convention: str) -> "AligningReader":
        """The same settings: the encoder's alignment has no other convention."""
        return AligningReader(self, self.target, by_mesh=self.by_mesh)

    def load(self, face: OwnFace) -> Image:
        """Chip of a face; with "never" the picture as it is.

        Raises:
            FileNotFoundError, ImageError: the file cannot be read any more.
        """
        image = read_photograph(face.path)[0]
        if face.facts.face is not None:
            return self._cut(image, np.array(face.facts.face.points))
        return image if self.crop == "never" else self.align(image, folder_convention(face.path))

    def align(self, image: Image, convention: str) -> Image:
        """Chip of the largest face of a picture.

        Args:
            image: RGB, (H, W, 3) uint8.
            convention: a key of `CROP_CONVENTIONS`, by whose mean points the chip is cut where no face is
                found; "": the whole picture is scaled then.

        Returns:
            (side, side, 3) uint8.
        """
        faces = self.finder.find([image])[0] if self.finds_faces else []
        if faces:
            return faces[0].encoder_chip(image) if self.by_mesh else self._cut(image, faces[0].points)
        if not convention:
            return scale_chip(image, self.target.side)
        height, width = image.shape[:2]
        return self._cut(image, np.array(CROP_CONVENTIONS[convention].points) * (width, height) - 0.5, False)

    def mark(self, fingerprint: str) -> str:
        """Fingerprint of an encoder and of the way in which pictures of data folders are aligned."""
        found_by = self.finder.identity if self.finds_faces else "mean points"
        return hashlib.sha256(f"{fingerprint} {self.target.name} {found_by}".encode()).hexdigest()

    def _cut(self, image: Image, points: NDArray[Any], by_mesh: bool = True) -> Image:
        """Chip by five points, or by the mesh that belongs to them."""
        finder = self.finder if self.by_mesh and by_mesh else None
        chip = finder.recall(image, points) if isinstance(finder, _PointMemory) else None
        return crop_face(image, points, self.target) if chip is None else chip

    def _keep(self, item: str, pixels: Image) -> None:
        """Keep nothing: `load` cuts otherwise."""


class AlignedFaceEncoder(Encoder):
    """A face encoder that aligns the faces of all pictures itself.

    In pictures of data folders the largest face is found; where none is found, the five points are taken to
    lie where they lie on average in such folders (`CROP_CONVENTIONS`).

    Args:
        info: what is known about it; its fingerprint, that of the network, is replaced by one of network and
            alignment.
        target: where the five points lie in its chips.
        by_mesh: as of `AligningReader`.
    """

    def __init__(self, info: EncoderInfo, target: CropConvention, *, by_mesh: bool = False) -> None:
        self._data_pictures = AligningReader(PictureReader(), target, by_mesh=by_mesh)
        crop = target.name if target.name in CROP_CONVENTIONS else "population"
        marked = replace(info, fingerprint=self._data_pictures.mark(info.fingerprint))
        super().__init__(marked, batch_size=32, face_crop=crop)
        self.use_pictures(PictureReader())

    def use_pictures(self, reader: PictureReader) -> None:
        """Read people's own pictures with the settings and the finder of a reader."""
        files = self._data_pictures
        self.pictures = AligningReader(reader, files.target, by_mesh=files.by_mesh)

    def load_file(self, path: str | Path) -> Array:
        """Load a picture of a data folder; errors as `Encoder.load_file`."""
        return self.prepare_crop(self._data_pictures.align(load_image(path), folder_convention(path)))

    def prepare(self, array: NDArray[Any]) -> Array:
        """Find the largest face of an RGB picture (H, W, 3) uint8 and align it.

        A picture in which no face is found is scaled as a whole.

        Raises:
            ImageError: another shape or type.
        """
        return self.prepare_crop(self._data_pictures.align(check_picture(array), ""))

    def prepare_crop(self, image: NDArray[np.uint8]) -> Array:
        """Convert an aligned face to network input, (3, S, S), 0...255; another picture is scaled."""
        chip = scale_chip(check_picture(image), self._data_pictures.target.side)
        return np.ascontiguousarray(chip.transpose(2, 0, 1), np.float32)

    def prepare_face(self, image: NDArray[np.uint8], face: OwnFace) -> Array:
        """Convert a face to network input; one of a video, which is cut out otherwise, is aligned again."""
        seen = face.facts.face
        if seen is not None and seen.time is not None and self._data_pictures.target.name != seen.crop:
            return self.prepare(image)
        return self.prepare_crop(image)


class _PointMemory:
    """A face finder that remembers the points by which `voiceface.real` aligns the faces that it found."""

    finder: "FaceFinder"

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[float, ...], NDArray[Any] | None] = OrderedDict()

    @property
    def identity(self) -> str:
        """Identity of the finder."""
        return self.finder.identity

    def find(self, images: Sequence[Image]) -> "list[list[FoundFace]]":
        """Find faces, and remember their points."""
        found = self.finder.find(images)
        for face in (face for faces in found for face in faces):
            self._known[_point_key(face.points)] = face.encoder_points
        while len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
        return found

    def recall(self, image: Image, points: NDArray[Any]) -> Image | None:
        """Chip of a face of a picture, found again if it is not remembered; None: it has no mesh."""
        from voiceface.real.face_encoder import align_faces

        key = _point_key(points)
        if key not in self._known:
            self.find([image])
        wanted = self._known.get(key)
        return None if wanted is None else align_faces(image, wanted[None]).chips[0]


def folder_convention(path: str | Path) -> str:
    """Crop convention of the data folder that a picture lies in: of populations, or of VGG_ALL_FRONTAL."""
    for folder in Path(path).absolute().parents:
        if file_exists(folder / "truth" / "population.json"):
            return "population"
    return "vggface_frontal"


def scale_chip(image: Image, side: int) -> Image:
    """Scale a picture (H, W, 3) to (side, side, 3)."""
    import cv2

    if image.shape[:2] == (side, side):
        return image
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def check_picture(array: NDArray[Any]) -> Image:
    """Return an array if it is an RGB picture.

    Raises:
        ImageError: another shape or type.
    """
    image = np.asarray(array)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ImageError(f"expected an RGB picture (H, W, 3) of bytes, found {image.dtype} of {image.shape}")
    return image


def _point_key(points: NDArray[Any]) -> tuple[float, ...]:
    """Points as `voiceface.faces.own_face.describe_face` rounds them."""
    return tuple(round(float(value), 2) for value in np.asarray(points).reshape(-1))
