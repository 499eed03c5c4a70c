"""Settings of `voiceface prepare`: what is taken out of a video, and how the data set is gathered."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from voiceface import __version__
from voiceface.datasets.splits import DEFAULT_FRACTIONS, check_fractions

__all__ = ["FORMAT", "NAME_MODES", "GatherSettings", "PreparationError", "VideoSettings"]

FORMAT = 2
"""Version of the records in the work folder; another one makes every video anew."""
NAME_MODES = ("auto", "folders", "files", "none")


class PreparationError(ValueError):
    """Wrong input or options of a preparation; the message states what was found and what was expected."""


@dataclass(frozen=True)
class VideoSettings:
    """What is taken out of a video. Every value takes part in the digest of the results.

    Attributes:
        images_per_track: best images of a face track.
        convention: of the crops, a key of `voiceface.faces.crops.CROP_CONVENTIONS`.
        image_size: side of the crops, pixels.
        min_clip_seconds: shorter pieces of speech are not used.
        max_clip_seconds: longer speech is split at its quietest places.
        backend: library of the networks, "torch" or "onnxruntime".
    """

    images_per_track: int = 8
    convention: str = "vggface_frontal"
    image_size: int = 128
    min_clip_seconds: float = 1.0
    max_clip_seconds: float = 10.0
    backend: str = "torch"

    def __post_init__(self) -> None:
        """Check the values."""
        if not 1 <= self.images_per_track <= 99 or not 16 <= self.image_size <= 1024:
            raise PreparationError(
                f"{self.images_per_track} images per track of {self.image_size} pixels, expected 1 to 99 of "
                "16 to 1024 pixels"
            )
        if not 0.5 <= self.min_clip_seconds <= self.max_clip_seconds / 2:
            raise PreparationError(
                f"clips of {self.min_clip_seconds:g} s to {self.max_clip_seconds:g} s, expected 0.5 s or "
                "more and a maximum of at least twice the minimum"
            )

    def digest(self, networks: Mapping[str, str]) -> str:
        """SHA-256 of what results depend on: settings, networks (name -> fingerprint), version."""
        content = {
            "format": FORMAT,
            "version": __version__,
            "settings": asdict(self),
            "networks": dict(networks),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class GatherSettings:
    """How tracks become people, and people a data set.

    Attributes:
        face_distance: mean Euclidean distance of face embeddings below which groups of tracks are one person.
        check_voices: leave out clips that do not sound like the other clips of the person.
        max_clips: clips of a person; further ones are left out.
        max_images: images of a person; further ones are left out.
        min_clips: people with fewer clips are left out.
        min_images: people with fewer images are left out.
        seed: of the split.
        split_fractions: fractions of the people in train, val and test; the sum is 1.
    """

    face_distance: float = 0.6
    check_voices: bool = True
    max_clips: int = 200
    max_images: int = 100
    min_clips: int = 2
    min_images: int = 2
    seed: int = 0
    split_fractions: tuple[float, float, float] = DEFAULT_FRACTIONS

    def __post_init__(self) -> None:
        """Check the values."""
        if not 0 < self.face_distance < 2:
            raise PreparationError(f"face distance {self.face_distance:g}, expected 0 < distance < 2")
        for what, least, most in (
            ("clips", self.min_clips, self.max_clips),
            ("images", self.min_images, self.max_images),
        ):
            if not 1 <= least <= most:
                raise PreparationError(
                    f"{least} to {most} {what} per person, expected 1 <= minimum <= maximum"
                )
        if self.seed < 0:
            raise PreparationError(f"seed {self.seed}, expected 0 or more")
        if problem := check_fractions(self.split_fractions):
            raise PreparationError(problem)
