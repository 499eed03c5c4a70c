"""Items of a batch: a face with an utterance, or with the windows of a person.

Every item is a function of its number and a generator (`voiceface.training.sampling`). Letters:
B batch, M mel bands, T frames, S windows, W frames of a window, H rows and C columns of a picture.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sf2f.image_transforms import mirror_average, resized
from sf2f.speakers import Speakers
from sf2f.speech import Mel, MelNormalisation, normalised
from sf2f.windows import WindowsConfig, filled_up, padded_windows, windows_of_person

Picture = NDArray[np.uint8]
Planes = NDArray[np.float32]
LENGTH_STREAM = 11
USUAL = MelNormalisation()


def face_planes(
    picture: Picture, size: tuple[int, int], *, mirrored: bool = False, averaged: bool = False
) -> Planes:
    """A picture (h, w, 3) uint8 R G B to (3, H, C), 0...1, before `sf2f.image_transforms.normalise`.

    Args:
        picture: any size; resized in 8 bits with antialias, the aspect ratio is not kept (as published).
        size: H and C.
        mirrored: left and right exchanged.
        averaged: mean with the mirror image, cut to bytes, of the resized picture.
    """
    small = resized(picture, size)
    if averaged:
        small = mirror_average(small)
    planes = (small[:, ::-1] if mirrored else small).transpose(2, 0, 1)
    return np.ascontiguousarray(planes, np.float32) / np.float32(255)


def faces_of_person(speakers: Speakers, person: int, size: tuple[int, int], averaged: bool = False) -> Planes:
    """All pictures of a person, (n, 3, H, C), 0...1, sorted by file name."""
    count = range(len(speakers.faces[person]))
    return np.stack([face_planes(speakers.face(person, i), size, averaged=averaged) for i in count])


class Pairs:
    """Stage 1: a random face and a random utterance of each person (specification, section 2.4).

    Args:
        speakers: who.
        size: rows and columns of the faces.
        frames: shortest and longest window; a batch is cut to one length by `cut_to_shared_length`.
        mel: normalisation.
        flip: share of mirrored faces.
        mirror_average: faces are averaged with their mirror images.
    """

    def __init__(
        self,
        speakers: Speakers,
        size: tuple[int, int],
        frames: tuple[int, int] = (100, 150),
        mel: MelNormalisation = USUAL,
        *,
        flip: float = 0.0,
        mirror_average: bool = False,
    ) -> None:
        if not 1 <= frames[0] <= frames[1]:
            raise ValueError(f"frames must be 1 <= shortest <= longest, found {frames}")
        self.speakers, self.size, self.frames, self.normalisation = speakers, size, frames, mel
        self.flip, self.averaged = flip, mirror_average

    def __len__(self) -> int:
        """Number of people."""
        return len(self.speakers)

    def draw(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """One item.

        Returns:
            "face" (3, H, C), 0...1. "mel" (M, longest), normalised: the frames among which any shared length
            finds its window, with fillings at the end of shorter utterances. "frames": T of the utterance.
            "place" in [0, 1): where in the utterance the window lies. "label".
        """
        who, longest = self.speakers, self.frames[1]
        face = who.face(index, int(rng.integers(len(who.faces[index]))))
        mirrored = bool(rng.random() < self.flip)
        mel = who.mel(index, int(rng.integers(len(who.utterances[index]))))
        place = float(rng.random())
        first = _first(mel.shape[1], longest, place)
        piece = normalised(mel[:, first : first + longest], self.normalisation)
        return {
            "face": face_planes(face, self.size, mirrored=mirrored, averaged=self.averaged),
            "mel": np.ascontiguousarray(filled_up(piece, longest, self.normalisation.filling)),
            "frames": mel.shape[1],
            "place": place,
            "label": index,
        }


def shared_length(frames: tuple[int, int], seed: int, step: int) -> int:
    """Frames of the windows of iteration `step`: uniform in shortest...longest, from seed and step alone."""
    rng = np.random.default_rng([seed, LENGTH_STREAM, step])
    return int(rng.integers(frames[0], frames[1] + 1))


def cut_to_shared_length(batch: dict[str, Any], length: int) -> dict[str, Any]:
    """A collated batch of `Pairs` with "mel" (B, M, `length`); "frames" and "place" are used up.

    The start of each window is uniform in 0...T - length for utterances of at least so many frames, whatever
    the longest length is; shorter ones are filled up at the end.

    Raises:
        ValueError: the items hold fewer frames.
    """
    mel, total, place = batch["mel"], batch["frames"], batch["place"]
    longest = mel.shape[2]
    if not 1 <= length <= longest:
        raise ValueError(f"a window of {length} frames out of items of {longest}")

    def first(frames: int) -> torch.Tensor:
        room = (total - frames + 1).clamp_min(1)
        return torch.minimum((place * room).floor().long(), room - 1)

    offset = first(length) - first(longest)
    index = offset[:, None] + torch.arange(length, device=mel.device)
    cut = mel.gather(2, index[:, None].expand(-1, mel.shape[1], -1))
    rest = {key: value for key, value in batch.items() if key not in ("mel", "frames", "place")}
    return {**rest, "mel": cut}


class PeopleInWindows:
    """Stage 2: a random face of each person, and the windows that one embedding is fused from.

    Args:
        speakers: who.
        size: rows and columns of the faces.
        windows: sizes, and what training does at random.
        mel: normalisation.
        flip, mirror_average: as `Pairs`.
    """

    def __init__(
        self,
        speakers: Speakers,
        size: tuple[int, int],
        windows: WindowsConfig | None = None,
        mel: MelNormalisation = USUAL,
        *,
        flip: float = 0.0,
        mirror_average: bool = False,
    ) -> None:
        self.speakers, self.size, self.normalisation = speakers, size, mel
        self.windows = windows or WindowsConfig()
        self.flip, self.averaged = flip, mirror_average

    def __len__(self) -> int:
        """Number of people."""
        return len(self.speakers)

    def draw(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """One item.

        Returns:
            "face" (3, H, C), 0...1. "windows" (S, M, W), normalised. "present" (S,) False where a window is
            missing. "label".

        Raises:
            ValueError: somebody has too few windows, and the configuration says that this is an error.
        """
        who = self.speakers
        face = who.face(index, int(rng.integers(len(who.faces[index]))))
        mirrored = bool(rng.random() < self.flip)
        found = person_windows(who, index, self.windows, self.normalisation, rng)
        windows, present = padded_windows(found, self.windows.most, self.normalisation.filling)
        return {
            "face": face_planes(face, self.size, mirrored=mirrored, averaged=self.averaged),
            "windows": windows,
            "present": present,
            "label": index,
        }


def person_windows(
    speakers: Speakers,
    person: int,
    windows: WindowsConfig,
    mel: MelNormalisation = USUAL,
    rng: np.random.Generator | None = None,
) -> Mel:
    """Normalised windows of a person, (S, M, W), 1 <= S <= `windows.most`.

    Args:
        speakers: who.
        person: number of the person.
        windows: sizes, and what training does at random.
        mel: normalisation.
        rng: for training; without one, utterances are sorted by name and nothing is dropped.
    """
    order = np.arange(len(speakers.utterances[person]))
    if rng is not None and windows.shuffled:
        order = rng.permutation(order)

    def mels() -> Iterator[Mel]:
        for utterance in order.tolist():
            yield normalised(speakers.mel(person, utterance), mel)

    return windows_of_person(mels(), windows, mel.filling, rng, speakers.names[person])


def _first(total: int, frames: int, place: float) -> int:
    """First frame of a window of `frames` out of `total`, `place` in [0, 1); as in `cut_to_shared_length`."""
    room = max(1, total - frames + 1)
    return min(int(place * room), room - 1)
