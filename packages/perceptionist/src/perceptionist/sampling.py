"""Training samples: triplets of utterances, face images, and utterances or images with regression targets.

Every sample is a function of its index and a random generator (`voiceface.training.sampling`). Letters: M mel
bands, T frames, S image side, N identities, P images, K targets.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from voiceface.datasets.augmentation import VoiceAugmentation

from perceptionist.config import FramesConfig
from perceptionist.dataset.records import FaceImages, Utterances
from perceptionist.face_models.pose import POSE_IMAGE_SIZE, Y_FLIP

__all__ = [
    "CROP_RNG_STREAM",
    "FaceDataset",
    "Features",
    "ImageRegressionDataset",
    "TripletDataset",
    "TripletSampling",
    "VoiceRegressionDataset",
    "image_to_chw",
    "image_to_planes",
    "reframe",
    "sample_batch_crop",
    "sample_crop",
]


TripletSampling = Literal["identity", "published"]
Features = NDArray[np.float32]
CROP_RNG_STREAM = 7


def sample_crop(features: Features, num_frames: int, rng: np.random.Generator, source: str = "") -> Features:
    """Sample a random crop of features (frames, M), transposed: (M, `num_frames`).

    Raises:
        ValueError: too few frames.
    """
    if len(features) < num_frames:
        raise ValueError(
            f"{source or 'an utterance'} has {len(features)} frames, expected at least {num_frames} "
            "(data.frames.clip)"
        )
    first = int(rng.integers(0, len(features) - num_frames + 1))
    return np.ascontiguousarray(features[first : first + num_frames].T)


def sample_batch_crop(frames: FramesConfig, seed: int, step: int) -> slice:
    """Sample the frames that a step uses of every clip, a function of seed and step.

    The length is uniform in `min_crop`...`max_crop`, the start in 0...`clip` - length.
    """
    rng = np.random.default_rng([seed, CROP_RNG_STREAM, step])
    length = int(rng.integers(frames.min_crop, frames.max_crop + 1))
    first = int(rng.integers(0, frames.clip - length + 1))
    return slice(first, first + length)


def image_to_chw(image: NDArray[np.uint8], image_size: int, mirrored: bool = False) -> NDArray[np.float32]:
    """Image (h, w, 3) RGB to (3, S, S), -1...1; resized by Pillow's bicubic filter if necessary."""
    planes = image_to_planes(image, image_size)
    if mirrored:
        planes = np.ascontiguousarray(planes[:, :, ::-1])
    return (planes - np.float32(127.5)) / np.float32(127.5)


def image_to_planes(image: NDArray[np.uint8], image_size: int) -> NDArray[np.float32]:
    """Image (h, w, 3) RGB to (3, S, S), 0...255; resized by Pillow's bicubic filter if necessary."""
    if image.shape[:2] != (image_size, image_size):
        from PIL import Image

        image = np.asarray(Image.fromarray(image).resize((image_size, image_size), Image.Resampling.BICUBIC))
    return np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)


def reframe(
    face: NDArray[np.float32],
    target: NDArray[np.float32],
    shift: NDArray[np.float64],
    zoom: float,
    pose_whitening: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Shift and zoom an image about its centre, and its whitened parameters with it.

    Args:
        face: (3, S, S); its border is repeated where the new image shows more.
        target: (K,) whitened parameters, pose first.
        shift: (2,) to the right and downwards, fraction of the side.
        zoom: above 0; 2 shows the face twice as large.
        pose_whitening: (2, 12) mean and standard deviation of the pose parameters.

    Returns:
        Image and parameters, new arrays.
    """
    import cv2

    size = face.shape[1]
    matrix = zoom * np.eye(2, 3)
    matrix[:, 2] = (1 - zoom) * (size - 1) / 2 + size * np.asarray(shift)
    warped = cv2.warpAffine(
        np.ascontiguousarray(face.transpose(1, 2, 0)),
        matrix,
        (size, size),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    mean, std = pose_whitening.astype(np.float64)
    pose = (target[: len(mean)] * std + mean).reshape(3, 4)
    pose[:, :3] *= zoom
    middle = (POSE_IMAGE_SIZE - 1) / 2
    right, down = POSE_IMAGE_SIZE * np.asarray(shift)
    pose[0, 3] = zoom * pose[0, 3] + (1 - zoom) * middle + right
    pose[1, 3] = zoom * pose[1, 3] + (1 - zoom) * (Y_FLIP - middle) - down
    new = np.concatenate([(pose.ravel() - mean) / std, target[len(mean) :]]).astype(np.float32)
    return np.ascontiguousarray(np.asarray(warped, np.float32).transpose(2, 0, 1)), new


class TripletDataset:
    """Utterances with a positive and a negative one.

    Args:
        utterances: anchors.
        num_frames: length of the clips.
        sampling: "identity": positives of the same identity (another file if there is one), negatives of
            other identities; "published": the next file of the list (for the last file the one before it)
            and any file.
        anchors_only: sample no positives and negatives.
        faces: images; one of the anchor's identity is sampled with it. None: no images.
        augmentation: masks of the features; None: none.

    Raises:
        ValueError: an identity has no image, or negatives are needed and there is one identity only.
    """

    def __init__(
        self,
        utterances: Utterances,
        num_frames: int,
        sampling: TripletSampling = "identity",
        *,
        anchors_only: bool = False,
        faces: "FaceDataset | None" = None,
        augmentation: VoiceAugmentation | None = None,
    ) -> None:
        self.utterances, self.num_frames, self.augmentation = utterances, num_frames, augmentation
        self.sampling, self.anchors_only, self.faces = sampling, anchors_only, faces
        labels = utterances.labels
        self.images_by_identity: dict[int, NDArray[np.int64]] = {}
        if faces is not None:
            image_labels = faces.images.labels
            self.images_by_identity = {
                int(label): np.flatnonzero(image_labels == label) for label in np.unique(labels)
            }
            missing = [label for label, indices in self.images_by_identity.items() if not len(indices)]
            if missing:
                raise ValueError(
                    f"{len(missing)} identities with utterances have no image; expected one each"
                )
        self.utterances_by_identity = {
            int(label): np.flatnonzero(labels == label) for label in np.unique(labels)
        }
        if not anchors_only and sampling == "identity" and len(self.utterances_by_identity) < 2:
            raise ValueError(
                f"negatives need utterances of two identities, found {len(self.utterances_by_identity)}"
            )

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self.utterances)

    def sample_partners(self, index: int, rng: np.random.Generator) -> tuple[int, int]:
        """Sample the indices of the positive and the negative utterance of an anchor."""
        if self.sampling == "published":
            last = index + 1 == len(self)
            return index - 1 if last else index + 1, int(rng.integers(len(self)))
        labels = self.utterances.labels
        same = self.utterances_by_identity[int(labels[index])]
        positives = same[same != index]
        positive = int(rng.choice(positives)) if len(positives) else index
        row = int(rng.integers(len(self) - len(same)))  # among those of other identities, in list order
        return positive, int(np.flatnonzero(labels != labels[index])[row])

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Sample "anchor", "positive", "negative" (M, T), "label" of the anchor, and "face" (3, S, S)."""
        indices = {"anchor": index}
        if not self.anchors_only:
            indices["positive"], indices["negative"] = self.sample_partners(index, rng)
        sample: dict[str, Any] = {
            role: sample_crop(self.utterances.read(i), self.num_frames, rng, f"utterance {i}")
            for role, i in indices.items()
        }
        if self.augmentation:
            mask_rng = rng.spawn(1)[0]
            sample = {role: self.augmentation.mask_bands(bands, mask_rng) for role, bands in sample.items()}
        label = int(self.utterances.labels[index])
        if self.faces is not None:
            image_index = int(rng.choice(self.images_by_identity[label]))
            sample["face"] = self.faces.sample(image_index, rng)["face"]
        return {**sample, "label": label}


class FaceDataset:
    """Face images with their identities, mirrored with a probability."""

    def __init__(self, images: FaceImages, image_size: int, flip_probability: float = 0.5) -> None:
        self.images, self.image_size, self.flip_probability = images, image_size, flip_probability

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Sample "face" (3, S, S) and "label"."""
        mirrored = bool(rng.random() < self.flip_probability)
        face = image_to_chw(self.images.read(index), self.image_size, mirrored)
        return {"face": face, "label": int(self.images.labels[index])}


class VoiceRegressionDataset:
    """Utterances with the face coefficients of their identities.

    Args:
        utterances: inputs.
        targets: (N, K), one row per identity.
        num_frames: length of the clips.
        augmentation: masks of the features; None: none.
    """

    def __init__(
        self,
        utterances: Utterances,
        targets: NDArray[np.float32],
        num_frames: int,
        augmentation: VoiceAugmentation | None = None,
    ) -> None:
        self.utterances, self.targets, self.num_frames = utterances, targets, num_frames
        self.augmentation = augmentation

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self.utterances)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Sample "voice" (M, T) and "target" (K,)."""
        voice = sample_crop(self.utterances.read(index), self.num_frames, rng, f"utterance {index}")
        if self.augmentation:
            voice = self.augmentation.mask_bands(voice, rng.spawn(1)[0])
        return {"voice": voice, "target": self.targets[self.utterances.labels[index]]}


class ImageRegressionDataset:
    """Images with their whitened parameters.

    Args:
        images: inputs.
        targets: (P, K).
        image_size: S.
        colour_jitter: strength of a random contrast and colour cast.
        max_blur_sigma: largest standard deviation of a random blur, pixels; generated images are not sharp.
        max_shift: largest random shift, fraction of the side; the pose in the targets follows.
        max_zoom: largest random enlargement or reduction, fraction; the pose in the targets follows.
        pose_whitening: (2, 12) mean and deviation of the pose parameters; needed to shift or zoom.
        published_preprocessing: BGR, (x - 127.5) / 128, instead of RGB, -1...1.
    """

    def __init__(
        self,
        images: FaceImages,
        targets: NDArray[np.float32],
        image_size: int,
        colour_jitter: float = 0.0,
        *,
        max_blur_sigma: float = 0.0,
        max_shift: float = 0.0,
        max_zoom: float = 0.0,
        pose_whitening: NDArray[np.float32] | None = None,
        published_preprocessing: bool = False,
    ) -> None:
        self.images, self.targets, self.image_size = images, targets, image_size
        if (max_shift or max_zoom) and pose_whitening is None:
            raise ValueError("max_shift and max_zoom change the pose, expected pose_whitening with them")
        self.colour_jitter, self.max_blur_sigma = colour_jitter, max_blur_sigma
        self.max_shift, self.max_zoom, self.pose_whitening = max_shift, max_zoom, pose_whitening
        self.published_preprocessing = published_preprocessing

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Sample "face" (3, S, S) and "target" (K,)."""
        from voiceface.images.transforms import jitter_colour

        face, target = image_to_chw(self.images.read(index), self.image_size), self.targets[index]
        if self.max_shift or self.max_zoom:
            shift = rng.uniform(-self.max_shift, self.max_shift, 2)
            zoom = float(np.exp(rng.uniform(-1, 1) * np.log1p(self.max_zoom)))
            assert self.pose_whitening is not None
            face, target = reframe(face, target, shift, zoom, self.pose_whitening)
        if self.colour_jitter:
            face = jitter_colour(face * 127.5 + 127.5, self.colour_jitter, rng) / 127.5 - 1
        if self.max_blur_sigma:
            import cv2

            sigma = max(self.max_blur_sigma * float(rng.random()), 1e-3)
            blurred = cv2.GaussianBlur(np.ascontiguousarray(face.transpose(1, 2, 0)), (0, 0), sigma)
            face = np.asarray(blurred, np.float32).transpose(2, 0, 1)
        if self.published_preprocessing:
            face = face[::-1] * np.float32(127.5 / 128)
        return {"face": np.ascontiguousarray(face, np.float32), "target": target}
