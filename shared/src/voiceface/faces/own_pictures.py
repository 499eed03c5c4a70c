"""The door for people's own pictures: as a viewer shows them, faces found and cut out as a system expects.

Every command and every call that takes people's own pictures reads them by a `PictureReader`. Data folders of
training and `test` are read by `voiceface.images.loading`.
"""

import contextlib
import logging
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from voiceface.faces.findings import file_key, from_values, to_values
from voiceface.faces.own_face import OwnFace, cut_out, describe_face, read_face
from voiceface.images.loading import ImageError
from voiceface.images.photographs import read_photograph
from voiceface.io.decoding_worker import decoding_in_workers
from voiceface.io.file_facts import FileFacts
from voiceface.io.file_kinds import printable
from voiceface.io.packed_folders import file_exists
from voiceface.real.installation import MissingModelError, find_installed, models_directory, require_installed

if TYPE_CHECKING:
    import argparse

    from voiceface.faces.finding import FaceFinder, FoundFace

__all__ = ["NO_NETWORKS", "CropMode", "PictureReader", "is_training_picture"]

log = logging.getLogger(__name__)

CropMode = Literal["auto", "always", "never"]
Image = NDArray[np.uint8]
NETWORKS = ("face_detector", "face_mesh")
BATCH = 8
MAX_BYTES_KEPT = 200_000_000
MAX_SEEN = 20_000  # pictures whose faces are kept for the readers of other systems, about 1 KB each
DATA_FOLDERS = {"VGG_ALL_FRONTAL", "unzippedFaces", "masked_faces", "origin_faces"}
"""Folders of aligned faces in published data layouts."""
NO_NETWORKS = (
    "own pictures are used as they are, no faces are looked for: `voiceface models get real` fetches the "
    "networks for it (or say --crop never)"
)
_told: set[str] = set()


class PictureReader:
    """Reads people's own pictures for one system.

    Args:
        crop: "auto" finds faces where a finder is at hand and leaves pictures as they are that are crops of
            the convention already, or lie in a data folder (`is_training_picture`); "always" cuts out every
            face; "never" leaves all pictures as they are.
        convention: a key of `voiceface.faces.crops.CROP_CONVENTIONS`: what the weights were trained on.
        every_face: each face of a picture is a candidate, not the largest only.
        finder: what finds faces; None: the networks that `voiceface models get real` fetched.

    Raises:
        ValueError: another mode or convention, or `every_face` with "never".
    """

    def __init__(
        self,
        crop: CropMode = "auto",
        convention: str = "population",
        *,
        every_face: bool = False,
        finder: "FaceFinder | None" = None,
    ) -> None:
        from voiceface.faces.crops import CROP_CONVENTIONS

        if crop not in get_args(CropMode):
            raise ValueError(f"crop is {crop!r}, expected one of {', '.join(get_args(CropMode))}")
        if convention not in CROP_CONVENTIONS:
            raise ValueError(
                f"no crop convention {convention!r}; expected one of {', '.join(CROP_CONVENTIONS)}"
            )
        if crop == "never" and every_face:
            raise ValueError("--every-face contradicts --crop never: omit one of them")
        self.crop, self.convention, self.every_face = crop, convention, every_face
        self._finder = finder
        self._kept: OrderedDict[str, Image] = OrderedDict()
        self._bytes_kept = 0
        # File -> faces and size of the picture, shared by the readers of several systems.
        self._seen: dict[str, tuple[list[FoundFace], tuple[int, int]]] = {}

    @property
    def finds_faces(self) -> bool:
        """Whether faces are looked for."""
        return self.crop != "never" and (self._finder is not None or _are_networks_installed())

    @property
    def identity(self) -> str:
        """Names all that decides which pixels a network sees; keys caches. "": pictures as they are."""
        if not self.finds_faces:
            return ""
        faces = "every face" if self.every_face else "largest"
        return f"{self.crop} {self.convention} {faces} {self.finder.identity}"

    @property
    def finder(self) -> "FaceFinder":
        """What finds faces; loaded on first use.

        Raises:
            MissingModelError: no finder was given and the networks were not fetched.
        """
        return _load_installed_finder(models_directory()) if self._finder is None else self._finder

    @classmethod
    def from_arguments(cls, args: "argparse.Namespace") -> "PictureReader":
        """Build the reader that a command line asks for, before any work.

        Args:
            args: with the values of `voiceface.commandline.arguments.add_crop_arguments`.

        Raises:
            FileNotFoundError: no file at --face-finder.
            voiceface.faces.onnx_files.FaceModelFileError: it is no face detector.
            MissingModelError: faces must be found and the networks were not fetched.
            ValueError: arguments that contradict.
        """
        finder = None
        if args.face_finder is not None and args.crop != "never":
            from voiceface.faces.finder_files import open_face_finder

            finder = open_face_finder(args.face_finder)
        reader = cls(args.crop, every_face=getattr(args, "every_face", False), finder=finder)
        reader.require()
        return reader

    def with_convention(self, convention: str) -> "PictureReader":
        """The same settings and finder for weights of another crop convention."""
        other = PictureReader(self.crop, convention, every_face=self.every_face, finder=self._finder)
        other._seen = self._seen
        return other

    def require(self) -> None:
        """Check, before any work, that what the settings need is there.

        Raises:
            MissingModelError: faces must be found and the networks were not fetched.
        """
        if self._finder is None and (self.crop == "always" or self.every_face):
            for name in NETWORKS:
                try:
                    require_installed(name)
                except MissingModelError as error:
                    flag = "--every-face" if self.every_face else "--crop always"
                    raise MissingModelError(f"{flag} needs networks that find faces. {error}") from None

    def read(self, path: str | os.PathLike[str]) -> Image:
        """Read a picture as the network sees it: its largest face cut out, or as it is, (H, W, 3) uint8 RGB.

        Raises:
            FileNotFoundError: no such file.
            ImageError: no readable picture, or no face in it.
        """
        faces = self.read_faces(Path(path))
        return self.load(faces[0])

    def read_faces(self, path: Path) -> list[OwnFace]:
        """Read one picture: its faces, largest first, one of them unless `every_face` is set.

        Raises:
            FileNotFoundError: no such file.
            ImageError: no readable picture, or no face in it.
        """
        if not self._must_look_at(path):
            return [self._as_it_is(path)]
        seen = self._seen.get(file_key(path))
        if seen is not None:
            return self._select(path, None, *seen)
        image = read_photograph(path)[0]
        return self._select(path, image, self.finder.find([image])[0], image.shape[:2])

    def find(
        self, paths: Sequence[Path], *, workers: int = 2, known: "dict[str, Any] | None" = None
    ) -> Iterator[tuple[Path, "list[OwnFace] | str"]]:
        """Find the faces of pictures, decoded in worker processes ahead of the networks.

        Args:
            paths: pictures.
            workers: decoding processes; 0 decodes in this process.
            known: findings of an earlier call, which are used and completed; see `voiceface.faces.findings`.

        Yields:
            Every path, in order, with its faces (largest first, one of them unless `every_face` is set), or
            with the reason why it cannot be used.
        """
        with decoding_in_workers(workers), ThreadPoolExecutor(max(1, workers)) as pool:
            for start in range(0, len(paths), BATCH):
                part = list(paths[start : start + BATCH])
                yield from zip(part, self._find_batch(part, pool, {} if known is None else known))

    def load(self, face: OwnFace) -> Image:
        """Pixels of a face as the network sees them, (H, W, 3) uint8 RGB.

        Raises:
            FileNotFoundError, ImageError: the file cannot be read any more.
        """
        pixels = self._kept.pop(face.item, None)
        if pixels is not None:
            self._bytes_kept -= pixels.nbytes
            return pixels
        return read_face(face.path, face.facts.face)

    def _must_look_at(self, path: Path) -> bool:
        """Whether faces of a picture are looked for."""
        if self.crop == "never":
            return False
        if self.crop == "auto" and is_training_picture(path):
            return False
        if self.crop == "auto" and not self.finds_faces and not self.every_face:
            if NO_NETWORKS not in _told:
                _told.add(NO_NETWORKS)
                log.warning(NO_NETWORKS)
            return False
        return True

    def _as_it_is(self, path: Path) -> OwnFace:
        return OwnFace(path.as_posix(), path, FileFacts(str(path), "picture"))

    def _find_batch(
        self, paths: Sequence[Path], pool: ThreadPoolExecutor, known: dict[str, Any]
    ) -> "list[list[OwnFace] | str]":
        """Faces of a few pictures, or reasons."""
        results: dict[Path, list[OwnFace] | str] = {}
        keys = {}
        for path in paths:
            if not self._must_look_at(path):
                results[path] = [self._as_it_is(path)]
                continue
            keys[path] = file_key(path)
            if keys[path] in known:
                with contextlib.suppress(ValueError, TypeError):  # a damaged entry: look again
                    results[path] = from_values(path, known[keys[path]])
            elif keys[path] in self._seen:
                results[path] = self._attempt_to_select(path, None, *self._seen[keys[path]])
        rest = [path for path in dict.fromkeys(paths) if path not in results]
        images = dict(zip(rest, pool.map(_attempt_to_load, rest)))
        results |= {path: image for path, image in images.items() if isinstance(image, str)}
        readable = {path: image for path, image in images.items() if not isinstance(image, str)}
        found = self.finder.find(list(readable.values())) if readable else []
        for (path, image), faces in zip(readable.items(), found):
            results[path] = self._attempt_to_select(path, image, faces, image.shape[:2])
            if keys[path]:
                known[keys[path]] = to_values(results[path])
        return [results[path] for path in paths]

    def _attempt_to_select(self, path: Path, *found: Any) -> "list[OwnFace] | str":
        try:
            return self._select(path, *found)
        except ImageError as error:
            return str(error)

    def _select(
        self, path: Path, image: Image | None, found: "Sequence[FoundFace]", size: tuple[int, int]
    ) -> list[OwnFace]:
        """The faces of a picture that are used; their pixels are kept for `load` while there is room."""
        from voiceface.faces.crops import CROP_CONVENTIONS, is_tight_crop

        if len(self._seen) < MAX_SEEN and (key := file_key(path)):
            self._seen[key] = [replace(face, mesh=None) for face in found], size
        if not found:
            raise ImageError(
                f"{printable(path)}: no face found; give a picture in which the face is larger or faces the "
                "camera, or use the picture as it is (--crop never)"
            )
        wanted = CROP_CONVENTIONS[self.convention]
        tight = self.crop == "auto" and is_tight_crop(found[0].points, size, wanted)
        chosen = found if self.every_face and not tight else found[:1]
        faces = []
        for number, face in enumerate(chosen, 1):
            facts = describe_face(
                path, face, number=number, faces_in_picture=len(found), crop="" if tight else self.convention
            )
            name = path.as_posix()
            own = OwnFace(f"{name}#{number}" if len(chosen) > 1 else name, path, facts)
            if image is not None:
                self._keep(own.item, cut_out(image, facts.face))
            faces.append(own)
        return faces

    def _keep(self, item: str, pixels: Image) -> None:
        if self._bytes_kept + pixels.nbytes <= MAX_BYTES_KEPT and item not in self._kept:
            self._kept[item] = pixels
            self._bytes_kept += pixels.nbytes


def is_training_picture(path: str | os.PathLike[str]) -> bool:
    """Whether a picture lies in a data folder of aligned faces: a population, or a published layout."""
    return _is_data_folder(Path(os.path.abspath(path)).parent)  # noqa: PTH100 - links are not followed


@lru_cache(4096)
def _is_data_folder(folder: Path) -> bool:
    if folder.name in DATA_FOLDERS or file_exists(folder / "truth" / "population.json"):
        return True
    return folder.parent != folder and _is_data_folder(folder.parent)


def _are_networks_installed() -> bool:
    return all(find_installed(name) is not None for name in NETWORKS)


@lru_cache(2)
def _load_installed_finder(_: Path) -> "FaceFinder":
    """The finder of the networks in a cache folder, with the faster back end where it is installed."""
    from voiceface.faces.finding import load_face_finder
    from voiceface.real.backends import choose_backend

    return load_face_finder(choose_backend())


def _attempt_to_load(path: Path) -> Image | str:
    try:
        return read_photograph(path)[0]
    except (ImageError, OSError) as error:
        return str(error)
