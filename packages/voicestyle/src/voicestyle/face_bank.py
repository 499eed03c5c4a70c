"""Face banks: videos or single images of identities, and the prototypes that they form.

See `voicestyle.bank_builders` for the ways to build one.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from cmpc2.prototype_retrieval import TrainingVideo
from cmpc2.published import PrototypeMemory
from numpy.typing import NDArray
from voiceface.faces.own_pictures import PictureReader
from voiceface.images.loading import load_image
from voiceface.io.own_files import LeftOut

__all__ = ["BankImage", "FaceBank", "FaceBankError", "ImageFile", "SyntheticImage", "describe_unreadable"]

NUISANCE = 0.3  # strength of pose and light of synthetic images; the bundled generator was trained with it


class FaceBankError(ValueError):
    """The bank cannot be used; the message says why and suggests a remedy."""


class BankImage(Protocol):
    """An image that is read on demand."""

    @property
    def label(self) -> str:
        """Unique name, shown to the user and used in file names."""
        ...

    def read(self) -> NDArray[np.uint8]:
        """Return (H, W, 3) uint8 RGB; a greyscale image has three equal channels."""
        ...


@dataclass(frozen=True)
class ImageFile:
    """An image file.

    Attributes:
        path: the file.
        label: its path relative to the bank, or its name.
        pictures: reads it as a person's own picture, whose face is found; None: as data folders are read.
    """

    path: Path
    label: str
    pictures: PictureReader | None = None

    def read(self) -> NDArray[np.uint8]:
        """Decode the file.

        Raises:
            ImageError: the file cannot be read, or an own picture shows no face.
        """
        return load_image(self.path) if self.pictures is None else self.pictures.read(self.path)

    @property
    def stamp(self) -> str:
        """Size of the file, and what decides which part of it is used."""
        crop = "" if self.pictures is None else self.pictures.identity
        return f"{self.path.stat().st_size} {crop}".strip()


@dataclass(frozen=True)
class SyntheticImage:
    """Image `image_index` of synthetic identity `identity_index`, rendered on demand."""

    identity_index: int
    image_index: int
    label: str
    seed: int = 0
    rho: float = 1.0
    side: int = 128
    nuisance: float = NUISANCE

    def read(self) -> NDArray[np.uint8]:
        """Render the image, or take it from the cache."""
        return _render_image(
            self.identity_index, self.image_index, self.seed, self.rho, self.side, self.nuisance
        )


@dataclass(frozen=True)
class FaceBank:
    """Videos (or single images) with their prototypes and frames.

    Attributes:
        memory: prototypes and the assignment of the videos to them.
        videos: one row per video.
        frames: images of each video.
        frontal_images: frontal images of the same identities by name; empty if there are none.
        name: name shown to the user.
        disclaimer: text to show with every result, or empty.
        left_out: images that cannot be read, found when the bank was built or when they were to be used.
    """

    memory: PrototypeMemory
    videos: Sequence[TrainingVideo]
    frames: Sequence[Sequence[BankImage]]
    frontal_images: dict[str, list[BankImage]] = field(default_factory=dict)
    name: str = "bank"
    disclaimer: str = ""
    left_out: list[LeftOut] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Check that all parts have the same number of videos."""
        sizes = {len(self.videos), len(self.frames), *(len(each) for each in self.memory.assignment)}
        if len(sizes) != 1:
            raise FaceBankError(
                f"table, images and memory have {len(self.videos)}, {len(self.frames)} and "
                f"{len(self.memory.assignment[0])} videos: give files of the same bank"
            )

    def __len__(self) -> int:
        """Number of videos."""
        return len(self.videos)

    def try_read(self, image: BankImage) -> NDArray[np.uint8] | None:
        """Pixels of an image, (H, W, 3) uint8 RGB; None, and an entry of `left_out`, if it cannot be read."""
        try:
            return image.read()
        except (ValueError, OSError) as error:
            item = describe_unreadable(image, error)
            if item not in self.left_out:
                self.left_out.append(item)
            return None

    @property
    def digest(self) -> str:
        """Hash of the videos, the prototypes, and the names, sizes and crops of all images."""
        digest = hashlib.sha256("\n".join(video.image_folder for video in self.videos).encode())
        for images in (*self.frames, *self.frontal_images.values()):
            digest.update("\n".join(f"{each.label} {_stamp(each)}" for each in images).encode())
        for centroids, assignment in zip(self.memory.centroids, self.memory.assignment):
            digest.update(np.ascontiguousarray(centroids.numpy()).tobytes())
            digest.update(np.ascontiguousarray(assignment.numpy()).tobytes())
        return digest.hexdigest()

    def label(self, row: int) -> str:
        """Name of a video, shown to the user."""
        video = self.videos[row]
        return video.image_folder if len(self.frames[row]) != 1 else self.frames[row][0].label


def describe_unreadable(image: BankImage, error: object) -> LeftOut:
    """Entry of a list of files that were left out.

    Args:
        image: the image.
        error: of its reader, or the text of the error.
    """
    return LeftOut.from_error(image.path if isinstance(image, ImageFile) else image.label, error)


@lru_cache(1024)
def _render_image(
    identity_index: int, image_index: int, seed: int, rho: float, side: int, nuisance: float
) -> NDArray[np.uint8]:
    """Render an image of a synthetic identity."""
    from voiceface.synthetic.head.render import render_image
    from voiceface.synthetic.identities import sample_identities

    return render_image(
        sample_identities([identity_index], rho=rho, seed=seed),
        0,
        image_index,
        image_size=side,
        nuisance=nuisance,
    ).image


def _stamp(image: BankImage) -> str:
    """Stamp of the image's file; 0 if it is rendered."""
    return image.stamp if isinstance(image, ImageFile) else "0"
