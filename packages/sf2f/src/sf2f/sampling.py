"""Items of a batch: a face with an utterance, or with the windows of a person.

Every item is a function of its number and a generator (`voiceface.training.sampling`). Letters:
B batch, M mel bands, T frames, S windows, W frames of a window, H rows and C columns of a picture.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sf2f.image_transforms import average_with_mirror, resize_image
from sf2f.speakers import Speakers
from sf2f.speech import Mel, MelNormalisation, normalise_mel
from sf2f.windows import WindowsConfig, collect_identity_windows, pad_to_width, pad_windows

ImageArray = NDArray[np.uint8]
ChannelsFirst = NDArray[np.float32]
LENGTH_RNG_STREAM = 11
DEFAULT_NORMALISATION = MelNormalisation()


def image_to_chw(
    image: ImageArray, size: tuple[int, int], *, mirrored: bool = False, mirror_averaged: bool = False
) -> ChannelsFirst:
    """A picture (h, w, 3) uint8 R G B to (3, H, C), 0...1, before `sf2f.image_transforms.normalise`.

    Args:
        image: any size; resized in 8 bits with antialias, the aspect ratio is not kept (as published).
        size: H and C.
        mirrored: left and right exchanged.
        mirror_averaged: mean with the mirror image, cut to bytes, of the resized picture.
    """
    small = resize_image(image, size)
    if mirror_averaged:
        small = average_with_mirror(small)
    planes = (small[:, ::-1] if mirrored else small).transpose(2, 0, 1)
    return np.ascontiguousarray(planes, np.float32) / np.float32(255)


def load_identity_faces(
    speakers: Speakers, identity: int, size: tuple[int, int], mirror_averaged: bool = False
) -> ChannelsFirst:
    """All pictures of a person, (n, 3, H, C), 0...1, sorted by file name."""
    count = range(len(speakers.faces[identity]))
    return np.stack(
        [image_to_chw(speakers.load_face(identity, i), size, mirror_averaged=mirror_averaged) for i in count]
    )


class FaceUtterancePairs:
    """Stage 1: a random face and a random utterance of each person (specification, section 2.4).

    Args:
        speakers: who.
        size: rows and columns of the faces.
        frame_range: shortest and longest window; a batch is cut to one length by `crop_to_length`.
        mel: normalisation.
        flip_probability: share of mirrored faces.
        mirror_average: faces are averaged with their mirror images.
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
    ) -> None:
        if not 1 <= frame_range[0] <= frame_range[1]:
            raise ValueError(f"frames must be 1 <= shortest <= longest, found {frame_range}")
        self.speakers, self.size, self.frame_range, self.normalisation = (
            speakers,
            size,
            frame_range,
            normalisation,
        )
        self.flip_probability, self.mirror_average = flip_probability, mirror_average

    def __len__(self) -> int:
        """Number of people."""
        return len(self.speakers)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """One item.

        Returns:
            "face" (3, H, C), 0...1. "mel" (M, longest), normalised: the frames among which any shared length
            finds its window, with fillings at the end of shorter utterances. "frames": T of the utterance.
            "position" in [0, 1): where in the utterance the window lies. "label".
        """
        who, longest = self.speakers, self.frame_range[1]
        face = who.load_face(index, int(rng.integers(len(who.faces[index]))))
        mirrored = bool(rng.random() < self.flip_probability)
        mel = who.load_mel(index, int(rng.integers(len(who.utterances[index]))))
        position = float(rng.random())
        first = _first_frame(mel.shape[1], longest, position)
        piece = normalise_mel(mel[:, first : first + longest], self.normalisation)
        return {
            "face": image_to_chw(face, self.size, mirrored=mirrored, mirror_averaged=self.mirror_average),
            "mel": np.ascontiguousarray(pad_to_width(piece, longest, self.normalisation.fill_value)),
            "frames": mel.shape[1],
            "position": position,
            "label": index,
        }


def sample_crop_length(frame_range: tuple[int, int], seed: int, step: int) -> int:
    """Frames of the windows of iteration `step`: uniform in shortest...longest, from seed and step alone."""
    rng = np.random.default_rng([seed, LENGTH_RNG_STREAM, step])
    return int(rng.integers(frame_range[0], frame_range[1] + 1))


def crop_to_length(batch: dict[str, Any], length: int) -> dict[str, Any]:
    """A collated batch of `Pairs` with "mel" (B, M, `length`); "frames" and "position" are used up.

    The start of each window is uniform in 0...T - length for utterances of at least so many frames, whatever
    the longest length is; shorter ones are filled up at the end.

    Raises:
        ValueError: the items hold fewer frames.
    """
    mel, total, position = batch["mel"], batch["frames"], batch["position"]
    longest = mel.shape[2]
    if not 1 <= length <= longest:
        raise ValueError(f"a window of {length} frames out of items of {longest}")

    def first(frames: int) -> torch.Tensor:
        room = (total - frames + 1).clamp_min(1)
        return torch.minimum((position * room).floor().long(), room - 1)

    offset = first(length) - first(longest)
    index = offset[:, None] + torch.arange(length, device=mel.device)
    cut = mel.gather(2, index[:, None].expand(-1, mel.shape[1], -1))
    rest = {key: value for key, value in batch.items() if key not in ("mel", "frames", "position")}
    return {**rest, "mel": cut}


class FaceWindowSets:
    """Stage 2: a random face of each person, and the windows that one embedding is fused from.

    Args:
        speakers: who.
        size: rows and columns of the faces.
        windows: sizes, and what training does at random.
        mel: normalisation.
        flip_probability, mirror_average: as `Pairs`.
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
    ) -> None:
        self.speakers, self.size, self.normalisation = speakers, size, normalisation
        self.windows = windows or WindowsConfig()
        self.flip_probability, self.mirror_average = flip_probability, mirror_average

    def __len__(self) -> int:
        """Number of people."""
        return len(self.speakers)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """One item.

        Returns:
            "face" (3, H, C), 0...1. "windows" (S, M, W), normalised. "mask" (S,) False where a window is
            missing. "label".

        Raises:
            ValueError: somebody has too few windows, and the configuration says that this is an error.
        """
        who = self.speakers
        face = who.load_face(index, int(rng.integers(len(who.faces[index]))))
        mirrored = bool(rng.random() < self.flip_probability)
        found = load_identity_windows(who, index, self.windows, self.normalisation, rng)
        windows, mask = pad_windows(found, self.windows.max_windows, self.normalisation.fill_value)
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
    """Normalised windows of a person, (S, M, W), 1 <= S <= `windows.most`.

    Args:
        speakers: who.
        identity: number of the person.
        windows: sizes, and what training does at random.
        normalisation: normalisation.
        rng: for training; without one, utterances are sorted by name and nothing is dropped.
    """
    order = np.arange(len(speakers.utterances[identity]))
    if rng is not None and windows.shuffle:
        order = rng.permutation(order)

    def mels() -> Iterator[Mel]:
        for utterance in order.tolist():
            yield normalise_mel(speakers.load_mel(identity, utterance), normalisation)

    return collect_identity_windows(mels(), windows, normalisation.fill_value, rng, speakers.names[identity])


def _first_frame(total: int, frames: int, position: float) -> int:
    """First frame of a window of `frames` out of `total`, `position` in [0, 1); as in `crop_to_length`."""
    room = max(1, total - frames + 1)
    return min(int(position * room), room - 1)
