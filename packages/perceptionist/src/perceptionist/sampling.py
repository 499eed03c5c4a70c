"""Items of a batch: triplets of recordings, pictures, recordings and pictures with their truth.

Every item is a function of its number and a generator (`voiceface.training.sampling`).
Letters: M mel bands, T frames, S picture side.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from perceptionist.config import FramesConfig
from perceptionist.dataset.records import Pictures, Voices

Draw = Literal["identity", "published"]
Features = NDArray[np.float32]
CROP_STREAM = 7


def crop(features: Features, frames: int, rng: np.random.Generator, source: str = "") -> Features:
    """Random crop of features (frames, M), turned: (M, `frames`).

    Raises:
        ValueError: too few frames.
    """
    if len(features) < frames:
        raise ValueError(
            f"{source or 'a recording'} has {len(features)} frames, data.frames.file asks for {frames}"
        )
    first = int(rng.integers(0, len(features) - frames + 1))
    return np.ascontiguousarray(features[first : first + frames].T)


def shared_crop(frames: FramesConfig, seed: int, step: int) -> slice:
    """Frames that iteration `step` uses of every recording, a function of seed and step.

    The length is uniform in shortest...longest, the start in 0...file - length (specification, section 2).
    """
    rng = np.random.default_rng([seed, CROP_STREAM, step])
    length = int(rng.integers(frames.shortest, frames.longest + 1))
    first = int(rng.integers(0, frames.file - length + 1))
    return slice(first, first + length)


def face_input(picture: NDArray[np.uint8], side: int, mirrored: bool = False) -> NDArray[np.float32]:
    """Picture (h, w, 3) R G B to (3, S, S), -1...1; resized by Pillow's bicubic filter where need be."""
    if picture.shape[:2] != (side, side):
        from PIL import Image

        picture = np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))
    planes = (picture[:, ::-1] if mirrored else picture).transpose(2, 0, 1)
    return (np.ascontiguousarray(planes, np.float32) - np.float32(127.5)) / np.float32(127.5)


class Triplets:
    """Recordings with a positive and a negative one.

    Args:
        voices: recordings.
        frames: length of the crops.
        how: "identity": positives of the same person (another file wherever there is one), negatives of
            other people; "published": the next file of the list (before the first for the last), and any.
        alone: anchors only.
        faces: pictures, one of which, of the anchor's person, is given with it.
    """

    def __init__(
        self,
        voices: Voices,
        frames: int,
        how: Draw = "identity",
        *,
        alone: bool = False,
        faces: "Faces | None" = None,
    ) -> None:
        self.voices, self.frames, self.how, self.alone, self.faces = voices, frames, how, alone, faces
        labels = voices.labels
        self.seen: dict[int, NDArray[np.int64]] = {}
        if faces is not None:
            owners = faces.pictures.labels
            self.seen = {int(label): np.flatnonzero(owners == label) for label in np.unique(labels)}
            if unseen := [label for label, own in self.seen.items() if not len(own)]:
                raise ValueError(f"{len(unseen)} people with recordings have no picture")
        self.own = {int(label): np.flatnonzero(labels == label) for label in np.unique(labels)}
        if not alone and how == "identity" and len(self.own) < 2:
            raise ValueError(f"negatives need recordings of two people, found {len(self.own)}")

    def __len__(self) -> int:
        """Recordings."""
        return len(self.voices)

    def partners(self, index: int, rng: np.random.Generator) -> tuple[int, int]:
        """Numbers of the positive and the negative recording of one."""
        if self.how == "published":
            last = index + 1 == len(self)
            return index - 1 if last else index + 1, int(rng.integers(len(self)))
        own = self.own[int(self.voices.labels[index])]
        others = own[own != index]
        positive = int(rng.choice(others)) if len(others) else index
        place = int(rng.integers(len(self) - len(own)))  # among those of other people, in list order
        return positive, int(np.flatnonzero(self.voices.labels != self.voices.labels[index])[place])

    def draw(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Give "anchor", "positive" and "negative", (M, T) each, and "label" of the anchor; with pictures
        "face" (3, S, S).
        """
        chosen = {"anchor": index}
        if not self.alone:
            chosen["positive"], chosen["negative"] = self.partners(index, rng)
        found: dict[str, Any] = {
            name: crop(self.voices.read(i), self.frames, rng, f"recording {i}") for name, i in chosen.items()
        }
        label = int(self.voices.labels[index])
        if self.faces is not None:
            found["face"] = self.faces.draw(int(rng.choice(self.seen[label])), rng)["face"]
        return {**found, "label": label}


class Faces:
    """Pictures with their people, mirrored with a probability."""

    def __init__(self, pictures: Pictures, side: int, flip: float = 0.5) -> None:
        self.pictures, self.side, self.flip = pictures, side, flip

    def __len__(self) -> int:
        """Pictures."""
        return len(self.pictures)

    def draw(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Give "face" (3, S, S) and "label"."""
        mirrored = bool(rng.random() < self.flip)
        face = face_input(self.pictures.read(index), self.side, mirrored)
        return {"face": face, "label": int(self.pictures.labels[index])}


class VoicesWithTruth:
    """Recordings with the numbers of their people's faces.

    Args:
        voices: recordings.
        truth: (N, K), one row a person.
        frames: length of the crops.
    """

    def __init__(self, voices: Voices, truth: NDArray[np.float32], frames: int) -> None:
        self.voices, self.truth, self.frames = voices, truth, frames

    def __len__(self) -> int:
        """Recordings."""
        return len(self.voices)

    def draw(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Give "voice" (M, T) and "truth" (K,)."""
        voice = crop(self.voices.read(index), self.frames, rng, f"recording {index}")
        return {"voice": voice, "truth": self.truth[self.voices.labels[index]]}


class PicturesWithTruth:
    """Pictures with their whitened parameters.

    Args:
        pictures: pictures.
        truth: (P, K).
        side: S.
        colour_jitter: strength of a random contrast and colour cast.
        blur: greatest deviation of a random blur, pixels; made pictures are not sharp.
        published: B G R, minus 127.5 by 128, in place of R G B, -1...1.
    """

    def __init__(
        self,
        pictures: Pictures,
        truth: NDArray[np.float32],
        side: int,
        colour_jitter: float = 0.0,
        *,
        blur: float = 0.0,
        published: bool = False,
    ) -> None:
        self.pictures, self.truth, self.side = pictures, truth, side
        self.colour_jitter, self.blur, self.published = colour_jitter, blur, published

    def __len__(self) -> int:
        """Pictures."""
        return len(self.pictures)

    def draw(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Give "face" (3, S, S) and "truth" (K,)."""
        from voiceface.images.transforms import jitter_colour

        face = face_input(self.pictures.read(index), self.side)
        if self.colour_jitter:
            face = jitter_colour(face * 127.5 + 127.5, self.colour_jitter, rng) / 127.5 - 1
        if self.blur:
            import cv2

            deviation = max(self.blur * float(rng.random()), 1e-3)
            soft = cv2.GaussianBlur(np.ascontiguousarray(face.transpose(1, 2, 0)), (0, 0), deviation)
            face = np.asarray(soft, np.float32).transpose(2, 0, 1)
        if self.published:
            face = face[::-1] * np.float32(127.5 / 128)
        return {"face": np.ascontiguousarray(face, np.float32), "truth": self.truth[index]}
