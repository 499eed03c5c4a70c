"""Training samples: a face with a clip (stage 1), or a face with the windows of an identity (stage 2).

Every sample is a function of its index and a generator (`voiceface.training.sampling`). Letters: B batch, M
mel bands, T frames, S windows, W frames of a window, H rows and C columns of an image.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from voiceface.datasets.augmentation import VoiceAugmentation

from sf2f.image_transforms import average_with_mirror, resize_image
from sf2f.network_config import MelNormalisation, WindowsConfig
from sf2f.speakers import Speakers
from sf2f.speech import Mel, normalise_mel
from sf2f.windows import collect_identity_windows, pad_to_width, pad_windows

__all__ = [
    "DEFAULT_NORMALISATION",
    "LENGTH_RNG_STREAM",
    "ChannelsFirst",
    "FaceUtterancePairs",
    "FaceWindowSets",
    "ImageArray",
    "crop_to_length",
    "image_to_chw",
    "load_identity_faces",
    "load_identity_windows",
    "sample_crop_length",
]

ImageArray = NDArray[np.uint8]
ChannelsFirst = NDArray[np.float32]
LENGTH_RNG_STREAM = 11
DEFAULT_NORMALISATION = MelNormalisation()


def image_to_chw(
    image: ImageArray, size: tuple[int, int], *, mirrored: bool = False, mirror_averaged: bool = False
) -> ChannelsFirst:
    """Convert an image (h, w, 3) uint8 RGB to (3, H, C) in 0...1, not normalised.

    Args:
        image: any size; resized in 8 bits with antialiasing; the aspect ratio is not kept (as published).
        size: H and C.
        mirrored: flip left and right.
        mirror_averaged: average the resized image with its mirror image, truncated to bytes.
    """
    small = resize_image(image, size)
    if mirror_averaged:
        small = average_with_mirror(small)
    planes = (small[:, ::-1] if mirrored else small).transpose(2, 0, 1)
    return np.ascontiguousarray(planes, np.float32) / np.float32(255)


def load_identity_faces(
    speakers: Speakers, identity: int, size: tuple[int, int], mirror_averaged: bool = False
) -> ChannelsFirst:
    """Load all images of an identity, (n, 3, H, C) in 0...1, sorted by file name."""
    count = range(len(speakers.faces[identity]))
    return np.stack(
        [image_to_chw(speakers.load_face(identity, i), size, mirror_averaged=mirror_averaged) for i in count]
    )


class FaceUtterancePairs:
    """Stage-1 data set: a random face and a random utterance of each identity.

    Args:
        speakers: the identities.
        size: rows and columns of the faces.
        frame_range: minimum and maximum clip length; `crop_to_length` crops a batch to one length.
        normalisation: of the features.
        flip_probability: probability of mirroring a face.
        mirror_average: average faces with their mirror images.
        augmentation: masks of the features; None: none.
    """

    def __init__(
        self,
        speakers: Speakers,
        size: tuple[int, int],
        frame_range: tuple[int, int] = (100, 150),
        normalisation: MelNormalisation = DEFAULT_NORMALISATION,
        *,
        flip_probability: float = 0.0,
        mirror_average: bool = False,
        augmentation: VoiceAugmentation | None = None,
    ) -> None:
        if not 1 <= frame_range[0] <= frame_range[1]:
            raise ValueError(f"frame_range must be 1 <= min <= max, found {frame_range}")
        self.speakers, self.size, self.frame_range, self.normalisation = (
            speakers,
            size,
            frame_range,
            normalisation,
        )
        self.flip_probability, self.mirror_average = flip_probability, mirror_average
        self.augmentation = augmentation

    def __len__(self) -> int:
        """Number of identities."""
        return len(self.speakers)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Draw one sample.

        Returns:
            "face" (3, H, C) in 0...1. "mel" (M, maximum length), normalised: the frames that contain the clip
            for any shared length, padded at the end for shorter utterances. "frames": T of the utterance.
            "position" in [0, 1): relative position of the clip in the utterance. "label".
        """
        speakers, longest = self.speakers, self.frame_range[1]
        face = speakers.load_face(index, int(rng.integers(len(speakers.faces[index]))))
        mirrored = bool(rng.random() < self.flip_probability)
        mel = speakers.load_mel(index, int(rng.integers(len(speakers.utterances[index]))))
        position = float(rng.random())
        first = _first_frame(mel.shape[1], longest, position)
        clip = normalise_mel(mel[:, first : first + longest], self.normalisation)
        if self.augmentation:
            clip = self.augmentation.mask_bands(clip, rng.spawn(1)[0])
        return {
            "face": image_to_chw(face, self.size, mirrored=mirrored, mirror_averaged=self.mirror_average),
            "mel": np.ascontiguousarray(pad_to_width(clip, longest, self.normalisation.fill_value)),
            "frames": mel.shape[1],
            "position": position,
            "label": index,
        }


def sample_crop_length(frame_range: tuple[int, int], seed: int, step: int) -> int:
    """Clip length of step `step`, uniform in min...max, a function of seed and step only."""
    rng = np.random.default_rng([seed, LENGTH_RNG_STREAM, step])
    return int(rng.integers(frame_range[0], frame_range[1] + 1))


def crop_to_length(batch: dict[str, Any], length: int) -> dict[str, Any]:
    """Crop a collated batch of `FaceUtterancePairs` to "mel" (B, M, `length`); drops "frames" and "position".

    The start of each clip is uniform in 0...T - length for utterances of at least `length` frames, whatever
    the maximum length is; shorter ones are padded at the end.

    Raises:
        ValueError: the items hold fewer frames.
    """
    mel, total, position = batch["mel"], batch["frames"], batch["position"]
    longest = mel.shape[2]
    if not 1 <= length <= longest:
        raise ValueError(f"cannot crop {length} frames from items of {longest} frames")

    def first(frames: int) -> torch.Tensor:
        room = (total - frames + 1).clamp_min(1)
        return torch.minimum((position * room).floor().long(), room - 1)

    offset = first(length) - first(longest)
    index = offset[:, None] + torch.arange(length, device=mel.device)
    cropped = mel.gather(2, index[:, None].expand(-1, mel.shape[1], -1))
    rest = {key: value for key, value in batch.items() if key not in ("mel", "frames", "position")}
    return {**rest, "mel": cropped}


class FaceWindowSets:
    """Stage-2 data set: a random face of each identity, and the windows to fuse.

    Args:
        speakers: the identities.
        size: rows and columns of the faces.
        windows: window sizes and random choices in training.
        normalisation: of the features.
        flip_probability, mirror_average, augmentation: as `FaceUtterancePairs`.
    """

    def __init__(
        self,
        speakers: Speakers,
        size: tuple[int, int],
        windows: WindowsConfig | None = None,
        normalisation: MelNormalisation = DEFAULT_NORMALISATION,
        *,
        flip_probability: float = 0.0,
        mirror_average: bool = False,
        augmentation: VoiceAugmentation | None = None,
    ) -> None:
        self.speakers, self.size, self.normalisation = speakers, size, normalisation
        self.windows = windows or WindowsConfig()
        self.flip_probability, self.mirror_average = flip_probability, mirror_average
        self.augmentation = augmentation

    def __len__(self) -> int:
        """Number of identities."""
        return len(self.speakers)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Draw one sample.

        Returns:
            "face" (3, H, C) in 0...1. "windows" (S, M, W), normalised. "mask" (S,), False for padding.
            "label".

        Raises:
            ValueError: an identity has too few windows, and `windows.missing` is "error".
        """
        speakers = self.speakers
        face = speakers.load_face(index, int(rng.integers(len(speakers.faces[index]))))
        mirrored = bool(rng.random() < self.flip_probability)
        own_windows = load_identity_windows(speakers, index, self.windows, self.normalisation, rng)
        if self.augmentation:
            own_windows = self.augmentation.mask_bands(own_windows, rng.spawn(1)[0])
        windows, mask = pad_windows(own_windows, self.windows.max_windows, self.normalisation.fill_value)
        return {
            "face": image_to_chw(face, self.size, mirrored=mirrored, mirror_averaged=self.mirror_average),
            "windows": windows,
            "mask": mask,
            "label": index,
        }


def load_identity_windows(
    speakers: Speakers,
    identity: int,
    windows: WindowsConfig,
    normalisation: MelNormalisation = DEFAULT_NORMALISATION,
    rng: np.random.Generator | None = None,
) -> Mel:
    """Load the normalised windows of an identity, (S, M, W), 1 <= S <= `windows.max_windows`.

    Args:
        speakers: the identities.
        identity: index of the identity.
        windows: window sizes and random choices in training.
        normalisation: of the features.
        rng: for training; without one, utterances are sorted by name and no frames are dropped.
    """
    order = np.arange(len(speakers.utterances[identity]))
    if rng is not None and windows.shuffle:
        order = rng.permutation(order)

    def mels() -> Iterator[Mel]:
        for utterance in order.tolist():
            yield normalise_mel(speakers.load_mel(identity, utterance), normalisation)

    return collect_identity_windows(mels(), windows, normalisation.fill_value, rng, speakers.names[identity])


def _first_frame(total: int, frames: int, position: float) -> int:
    """First frame of a crop of `frames` out of `total`, `position` in [0, 1); as in `crop_to_length`."""
    room = max(1, total - frames + 1)
    return min(int(position * room), room - 1)
