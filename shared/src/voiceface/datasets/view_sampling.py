"""Sampling of one or two random views of an identity, each an image and a clip."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from voiceface.datasets.augmentation import Augmentation, FaceParams
from voiceface.images import transforms
from voiceface.images.loading import ImageArray

__all__ = [
    "ChannelOrder",
    "PairAugmentation",
    "SecondSample",
    "ViewSampler",
]

ChannelOrder = Literal["bgr", "rgb"]
SecondSample = Literal["distinct", "with_replacement"]
PairAugmentation = Literal["shared", "independent"]


@dataclass(frozen=True)
class _FaceSteps:
    """Random steps of one image: view, colours, further changes."""

    view: transforms.AugmentationParams
    colours: NDArray[np.float64] | None
    params: FaceParams


@dataclass(frozen=True)
class ViewSampler:
    """Sampler of the views of an identity.

    Attributes:
        image_size: of the square faces, in pixels.
        augment: random flip, rotation and crop; False: the evaluation transform.
        rotation: see `images.training_transform`.
        resize_mode: see `images.resize`.
        colour_jitter: strength of `images.jitter_colour` after the other steps, 0 for none; without effect if
            `augment` is False.
        channels: order of the colour planes of a face.
        num_views: 1, or 2 for a second image and a second clip of the same identity.
        second_sample: "distinct": second files differ from the first if the identity has two;
            "with_replacement": every file has the same probability.
        pair_augmentation: "shared": the same random steps for both images, as published for
            archetype_agnostic (docs/archetype_agnostic.md); "independent": separate steps. An identity with a
            single image always gets "independent", since both views would be equal.
        augmentation: further random changes of faces and voices; None for none, also where `augment` is off.
    """

    image_size: int
    augment: bool = True
    rotation: transforms.Rotation = "expand_centred"
    resize_mode: transforms.ResizeMode = "letterbox"
    colour_jitter: float = 0.0
    channels: ChannelOrder = "bgr"
    num_views: Literal[1, 2] = 1
    second_sample: SecondSample = "distinct"
    pair_augmentation: PairAugmentation = "shared"
    augmentation: Augmentation | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        for name, known in (
            ("rotation", get_args(transforms.Rotation)),
            ("resize_mode", get_args(transforms.ResizeMode)),
            ("channels", get_args(ChannelOrder)),
            ("num_views", (1, 2)),
            ("second_sample", get_args(SecondSample)),
            ("pair_augmentation", get_args(PairAugmentation)),
        ):
            if getattr(self, name) not in known:
                expected = " or ".join(map(json.dumps, known))
                raise ValueError(f"{name} must be {expected}, found {getattr(self, name)!r}")
        if self.image_size < 1:
            raise ValueError(f"image_size must be at least 1, found {self.image_size}")
        if self.colour_jitter < 0:
            raise ValueError(f"colour_jitter must be at least 0, found {self.colour_jitter}")

    def sample(
        self,
        num_images: int,
        num_clips: int,
        read_image: Callable[[int], ImageArray],
        read_clip: Callable[[int], NDArray[np.float32]],
        rng: np.random.Generator,
    ) -> dict[str, Any]:
        """Draw an identity, each file uniform among that identity's.

        A second view is drawn after the first, so the first is the same with one view and with two.

        Args:
            num_images: how many the identity has.
            num_clips: how many the identity has.
            read_image: gives image i, shape (H, W, 3), uint8, B G R.
            read_clip: gives clip i as it is to be handed out, shape (length,), float32.
            rng: source of every draw: image, clip, then the transform; then the second ones. Further changes
                have generators of their own, spawned from it, so that files and views are the same with and
                without them.

        Returns:
            "face": (3, side, side), float32, 0...255. "voice": what `read_clip` gave, with its changes. With
            masks of spectrograms also "voice_masks": (K, 4), see `VoiceAugmentation.sample_masks`. With two
            views also the same with the suffix "_second".
        """
        voice_rng, face_rng = rng.spawn(2) if self.augmentation and self.augment else (None, None)
        picture, clip = int(rng.integers(num_images)), int(rng.integers(num_clips))
        image = read_image(picture)
        steps = self._sample_augmentation(rng, face_rng)
        drawn = {"face": self._transform_face(image, steps), **self._change_voice(read_clip(clip), voice_rng)}
        if self.num_views == 2:
            picture, clip = (
                self._sample_second(picture, num_images, rng),
                self._sample_second(clip, num_clips, rng),
            )
            if self.pair_augmentation == "independent" or num_images == 1:
                steps = self._sample_augmentation(rng, face_rng)
            drawn["face_second"] = self._transform_face(read_image(picture), steps)
            second = self._change_voice(read_clip(clip), voice_rng)
            drawn |= {f"{key}_second": value for key, value in second.items()}
        return drawn

    def _sample_second(self, first: int, num_files: int, rng: np.random.Generator) -> int:
        """Number of the second file."""
        if self.second_sample == "with_replacement" or num_files == 1:
            return int(rng.integers(num_files))
        return (first + 1 + int(rng.integers(num_files - 1))) % num_files

    def _change_voice(
        self, waveform: NDArray[np.float32], rng: np.random.Generator | None
    ) -> dict[str, NDArray[np.float32]]:
        """The random changes of one clip, and the masks of its spectrogram."""
        voice = self.augmentation.voice if self.augmentation else None
        if voice is None or rng is None:
            return {"voice": waveform}
        changed = {"voice": voice.apply(waveform, rng)}
        return (
            changed
            if voice.config.spec_augment is None
            else {**changed, "voice_masks": voice.sample_masks(rng)}
        )

    def _sample_augmentation(
        self, rng: np.random.Generator, face_rng: np.random.Generator | None
    ) -> _FaceSteps | None:
        """The random steps of one image; None without augmentation."""
        if not self.augment:
            return None
        view = transforms.sample_augmentation(rng)
        colours = rng.normal(0, self.colour_jitter, 4) if self.colour_jitter else None
        face = self.augmentation.face if self.augmentation else None
        return _FaceSteps(view, colours, face.sample(face_rng) if face and face_rng else {})

    def _transform_face(self, image: ImageArray, steps: _FaceSteps | None) -> NDArray[np.float32]:
        """Do the steps that were drawn."""
        if steps is None:
            face = transforms.evaluation_transform(image, self.image_size, resize_mode=self.resize_mode)
        else:
            face = transforms.apply_augmentation(
                image, self.image_size, steps.view, rotation=self.rotation, resize_mode=self.resize_mode
            )
            if self.augmentation and self.augmentation.face:
                face = self.augmentation.face.apply(face, steps.params)
            face = face if steps.colours is None else transforms.apply_colour_jitter(face, steps.colours)
        return face if self.channels == "bgr" else np.ascontiguousarray(face[::-1])
