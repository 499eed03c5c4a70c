"""One or two random views of a person, a picture and a clip each: what the data sets of pairs share."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from voiceface.images import loading as images
from voiceface.images import transforms

Channels = Literal["bgr", "rgb"]
Second = Literal["other", "any"]
SecondView = Literal["shared", "own"]


@dataclass(frozen=True)
class Views:
    """How a person is drawn.

    Attributes:
        side: of the square faces, in pixels.
        augment: random flip, turn and crop; off: the evaluation transform.
        rotation: see `images.training_transform`.
        fit: see `images.resize`.
        colour_jitter: strength of `images.jitter_colour` after the other steps, 0 for none; without effect
            where `augment` is off.
        channels: order of the planes of a face; "rgb" gives the planes of "bgr" in reverse.
        views: 1, or 2 for a second picture and a second clip of the same person.
        second: "other" takes second files that differ from the first wherever the person has two; "any" takes
            every file with equal chance.
        second_view: "shared" does the same random steps on both pictures, as published for
            archetype_agnostic (specification, section 3.2); "own" draws them apart. Someone with a single
            picture always gets "own", for the two faces would be one.
    """

    side: int
    augment: bool = True
    rotation: transforms.Rotation = "centred"
    fit: transforms.Fit = "pad"
    colour_jitter: float = 0.0
    channels: Channels = "bgr"
    views: Literal[1, 2] = 1
    second: Second = "other"
    second_view: SecondView = "shared"

    def __post_init__(self) -> None:
        """Refuse values that are no option."""
        for name, known in (
            ("rotation", get_args(transforms.Rotation)),
            ("fit", get_args(transforms.Fit)),
            ("channels", get_args(Channels)),
            ("views", (1, 2)),
            ("second", get_args(Second)),
            ("second_view", get_args(SecondView)),
        ):
            if getattr(self, name) not in known:
                expected = " or ".join(map(json.dumps, known))
                raise ValueError(f"{name} must be {expected}, found {getattr(self, name)!r}")
        if self.side < 1:
            raise ValueError(f"side must be at least 1, found {self.side}")
        if self.colour_jitter < 0:
            raise ValueError(f"colour_jitter must be at least 0, found {self.colour_jitter}")

    def draw(
        self,
        pictures: int,
        clips: int,
        read_picture: Callable[[int], images.Picture],
        read_clip: Callable[[int], NDArray[np.float32]],
        rng: np.random.Generator,
    ) -> dict[str, Any]:
        """Draw a person, each file uniform among that person's.

        A second view is drawn after the first, so the first is the same with one view and with two.

        Args:
            pictures: how many the person has.
            clips: how many the person has.
            read_picture: gives picture i, shape (H, W, 3), uint8, B G R.
            read_clip: gives clip i as it is to be handed out, shape (length,), float32.
            rng: source of every draw: picture, clip, then the transform; then the second ones.

        Returns:
            "face": (3, side, side), float32, 0...255. "voice": what `read_clip` gave. With two views also
            "face_second" and "voice_second".
        """
        picture, clip = int(rng.integers(pictures)), int(rng.integers(clips))
        image = read_picture(picture)
        steps = self._draw_steps(rng)
        drawn = {"face": self._face(image, steps), "voice": read_clip(clip)}
        if self.views == 2:
            picture, clip = self._second(picture, pictures, rng), self._second(clip, clips, rng)
            if self.second_view == "own" or pictures == 1:
                steps = self._draw_steps(rng)
            drawn["face_second"] = self._face(read_picture(picture), steps)
            drawn["voice_second"] = read_clip(clip)
        return drawn

    def _second(self, first: int, files: int, rng: np.random.Generator) -> int:
        """Number of the second file."""
        if self.second == "any" or files == 1:
            return int(rng.integers(files))
        return (first + 1 + int(rng.integers(files - 1))) % files

    def _draw_steps(
        self, rng: np.random.Generator
    ) -> tuple[transforms.View, NDArray[np.float64] | None] | None:
        """The random steps of one picture: view, then colours; None without augmentation."""
        if not self.augment:
            return None
        view = transforms.draw_view(rng)
        return view, rng.normal(0, self.colour_jitter, 4) if self.colour_jitter else None

    def _face(
        self, image: images.Picture, steps: tuple[transforms.View, NDArray[np.float64] | None] | None
    ) -> NDArray[np.float32]:
        """Do the steps that were drawn."""
        if steps is None:
            face = transforms.evaluation_transform(image, self.side, fit=self.fit)
        else:
            view, colours = steps
            face = transforms.apply_view(image, self.side, view, rotation=self.rotation, fit=self.fit)
            face = face if colours is None else transforms.apply_jitter(face, colours)
        return face if self.channels == "bgr" else np.ascontiguousarray(face[::-1])
