"""Items of a batch: triplets of recordings, pictures, recordings and pictures with their truth.

Every item is a function of its number and a generator (`voiceface.training.sampling`).
Letters: M mel bands, T frames, S picture side.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from perceptionist.config import FramesConfig
from perceptionist.dataset.records import FaceImages, Utterances

TripletSampling = Literal["identity", "published"]
Features = NDArray[np.float32]
CROP_RNG_STREAM = 7


def sample_crop(features: Features, num_frames: int, rng: np.random.Generator, source: str = "") -> Features:
    """Random crop of features (frames, M), turned: (M, `num_frames`).

    Raises:
        ValueError: too few frames.
    """
    if len(features) < num_frames:
        raise ValueError(
            f"{source or 'a recording'} has {len(features)} frames, data.frames.clip asks for {num_frames}"
        )
    first = int(rng.integers(0, len(features) - num_frames + 1))
    return np.ascontiguousarray(features[first : first + num_frames].T)


def sample_batch_crop(frames: FramesConfig, seed: int, step: int) -> slice:
    """Frames that iteration `step` uses of every recording, a function of seed and step.

    The length is uniform in shortest...longest, the start in 0...file - length (specification, section 2).
    """
    rng = np.random.default_rng([seed, CROP_RNG_STREAM, step])
    length = int(rng.integers(frames.min_crop, frames.max_crop + 1))
    first = int(rng.integers(0, frames.clip - length + 1))
    return slice(first, first + length)


def image_to_chw(image: NDArray[np.uint8], image_size: int, mirrored: bool = False) -> NDArray[np.float32]:
    """Picture (h, w, 3) R G B to (3, S, S), -1...1; resized by Pillow's bicubic filter where need be."""
    if image.shape[:2] != (image_size, image_size):
        from PIL import Image

        image = np.asarray(Image.fromarray(image).resize((image_size, image_size), Image.Resampling.BICUBIC))
    planes = (image[:, ::-1] if mirrored else image).transpose(2, 0, 1)
    return (np.ascontiguousarray(planes, np.float32) - np.float32(127.5)) / np.float32(127.5)


class TripletDataset:
    """Recordings with a positive and a negative one.

    Args:
        utterances: recordings.
        num_frames: length of the crops.
        sampling: "identity": positives of the same person (another file wherever there is one), negatives of
            other people; "published": the next file of the list (before the first for the last), and any.
        anchors_only: anchors only.
        faces: pictures, one of which, of the anchor's person, is given with it.
    """

    def __init__(
        self,
        utterances: Utterances,
        num_frames: int,
        sampling: TripletSampling = "identity",
        *,
        anchors_only: bool = False,
        faces: "FaceDataset | None" = None,
    ) -> None:
        self.utterances, self.num_frames, self.sampling, self.anchors_only, self.faces = (
            utterances,
            num_frames,
            sampling,
            anchors_only,
            faces,
        )
        labels = utterances.labels
        self.images_by_identity: dict[int, NDArray[np.int64]] = {}
        if faces is not None:
            owners = faces.images.labels
            self.images_by_identity = {
                int(label): np.flatnonzero(owners == label) for label in np.unique(labels)
            }
            if unseen := [label for label, own in self.images_by_identity.items() if not len(own)]:
                raise ValueError(f"{len(unseen)} people with recordings have no picture")
        self.utterances_by_identity = {
            int(label): np.flatnonzero(labels == label) for label in np.unique(labels)
        }
        if not anchors_only and sampling == "identity" and len(self.utterances_by_identity) < 2:
            raise ValueError(
                f"negatives need recordings of two people, found {len(self.utterances_by_identity)}"
            )

    def __len__(self) -> int:
        """Recordings."""
        return len(self.utterances)

    def sample_partners(self, index: int, rng: np.random.Generator) -> tuple[int, int]:
        """Numbers of the positive and the negative recording of one."""
        if self.sampling == "published":
            last = index + 1 == len(self)
            return index - 1 if last else index + 1, int(rng.integers(len(self)))
        own = self.utterances_by_identity[int(self.utterances.labels[index])]
        others = own[own != index]
        positive = int(rng.choice(others)) if len(others) else index
        place = int(rng.integers(len(self) - len(own)))  # among those of other people, in list order
        return positive, int(np.flatnonzero(self.utterances.labels != self.utterances.labels[index])[place])

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Give "anchor", "positive" and "negative", (M, T) each, and "label" of the anchor; with pictures
        "face" (3, S, S).
        """
        chosen = {"anchor": index}
        if not self.anchors_only:
            chosen["positive"], chosen["negative"] = self.sample_partners(index, rng)
        found: dict[str, Any] = {
            name: sample_crop(self.utterances.read(i), self.num_frames, rng, f"recording {i}")
            for name, i in chosen.items()
        }
        label = int(self.utterances.labels[index])
        if self.faces is not None:
            found["face"] = self.faces.sample(int(rng.choice(self.images_by_identity[label])), rng)["face"]
        return {**found, "label": label}


class FaceDataset:
    """Pictures with their people, mirrored with a probability."""

    def __init__(self, images: FaceImages, image_size: int, flip_probability: float = 0.5) -> None:
        self.images, self.image_size, self.flip_probability = images, image_size, flip_probability

    def __len__(self) -> int:
        """Pictures."""
        return len(self.images)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Give "face" (3, S, S) and "label"."""
        mirrored = bool(rng.random() < self.flip_probability)
        face = image_to_chw(self.images.read(index), self.image_size, mirrored)
        return {"face": face, "label": int(self.images.labels[index])}


class VoiceRegressionDataset:
    """Recordings with the numbers of their people's faces.

    Args:
        utterances: recordings.
        targets: (N, K), one row a person.
        num_frames: length of the crops.
    """

    def __init__(self, utterances: Utterances, targets: NDArray[np.float32], num_frames: int) -> None:
        self.utterances, self.targets, self.num_frames = utterances, targets, num_frames

    def __len__(self) -> int:
        """Recordings."""
        return len(self.utterances)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Give "voice" (M, T) and "truth" (K,)."""
        voice = sample_crop(self.utterances.read(index), self.num_frames, rng, f"recording {index}")
        return {"voice": voice, "truth": self.targets[self.utterances.labels[index]]}


class ImageRegressionDataset:
    """Pictures with their whitened parameters.

    Args:
        images: pictures.
        targets: (P, K).
        image_size: S.
        colour_jitter: strength of a random contrast and colour cast.
        max_blur_sigma: greatest deviation of a random blur, pixels; made pictures are not sharp.
        published_preprocessing: B G R, minus 127.5 by 128, in place of R G B, -1...1.
    """

    def __init__(
        self,
        images: FaceImages,
        targets: NDArray[np.float32],
        image_size: int,
        colour_jitter: float = 0.0,
        *,
        max_blur_sigma: float = 0.0,
        published_preprocessing: bool = False,
    ) -> None:
        self.images, self.targets, self.image_size = images, targets, image_size
        self.colour_jitter, self.max_blur_sigma, self.published_preprocessing = (
            colour_jitter,
            max_blur_sigma,
            published_preprocessing,
        )

    def __len__(self) -> int:
        """Pictures."""
        return len(self.images)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Give "face" (3, S, S) and "truth" (K,)."""
        from voiceface.images.transforms import jitter_colour

        face = image_to_chw(self.images.read(index), self.image_size)
        if self.colour_jitter:
            face = jitter_colour(face * 127.5 + 127.5, self.colour_jitter, rng) / 127.5 - 1
        if self.max_blur_sigma:
            import cv2

            deviation = max(self.max_blur_sigma * float(rng.random()), 1e-3)
            soft = cv2.GaussianBlur(np.ascontiguousarray(face.transpose(1, 2, 0)), (0, 0), deviation)
            face = np.asarray(soft, np.float32).transpose(2, 0, 1)
        if self.published_preprocessing:
            face = face[::-1] * np.float32(127.5 / 128)
        return {"face": np.ascontiguousarray(face, np.float32), "truth": self.targets[index]}
