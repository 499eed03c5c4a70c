"""The synthetic population without the disk: a data set in memory, and an endless stream."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from voiceface.runtime.process_pool import map_unordered
from voiceface.synthetic.counter_rng import integers
from voiceface.synthetic.face.head import shape_coefficients
from voiceface.synthetic.identities import Identities, sample_identities
from voiceface.synthetic.layout import PopulationSettings, build_settings
from voiceface.synthetic.presets import Preset

if TYPE_CHECKING:
    from voiceface.datasets.augmentation import Augmentation
    from voiceface.datasets.view_sampling import ChannelOrder, PairAugmentation, SecondSample
    from voiceface.images.transforms import ResizeMode, Rotation


@dataclass(frozen=True)
class IdentityGroundTruth:
    """Ground truth of one identity.

    Attributes:
        id: identity number.
        sex: of the voice, 1 = male; face_sex: of the face.
        voice_factors, face_factors: (8,) voice and face factors.
        shape: (40,) shape coefficients of the head.
        expression: (P, 10) expression coefficients of its images.
        pose: (P, 3) yaw, pitch, roll of its images in degrees.
    """

    id: int
    sex: int
    face_sex: int
    voice_factors: NDArray[np.float64]
    face_factors: NDArray[np.float64]
    shape: NDArray[np.float64]
    expression: NDArray[np.float64]
    pose: NDArray[np.float64]


class PopulationDataset:
    """One entry per identity, all clips and images in memory; drawn from like the data set of files.

    Attributes:
        settings: what the population is made of.
        identities: the identities, in the order of the entries.
        clips: (N, clips, T) int16, 16 kHz.
        images: (N, images, side, side, 3) uint8, RGB.
        view_sampler: how they are drawn.
    """

    def __init__(
        self,
        settings: PopulationSettings | Preset | str = "quick",
        split: str = "train",
        *,
        image_size: int | None = None,
        clip_length: int | None = None,
        augment: bool = True,
        rotation: "Rotation" = "expand_centred",
        resize_mode: "ResizeMode" = "letterbox",
        colour_jitter: float = 0.0,
        channels: "ChannelOrder" = "bgr",
        num_views: Literal[1, 2] = 1,
        second_sample: "SecondSample" = "distinct",
        pair_augmentation: "PairAugmentation" = "shared",
        augmentation: "Augmentation | None" = None,
        workers: int | None = None,
        progress: bool = True,
        **changes: Any,
    ) -> None:
        """Make the population.

        Args:
            settings: settings, a preset or a preset's name.
            split: "train", "val", "test" or "all".
            image_size: of the square faces that `sample` gives; default: as rendered.
            clip_length: samples of the voices that `sample` gives (repeated or cut); default: as synthesised.
            augment, rotation, resize_mode, colour_jitter, channels, num_views, second_sample,
                pair_augmentation, augmentation: see
                `voiceface.datasets.view_sampling.ViewSampler`.
            workers: processes that make it; None takes every core.
            progress: show a bar on standard error.
            changes: fields of `PopulationSettings` to change, such as rho, seed or identities.
        """
        from voiceface.datasets.view_sampling import ViewSampler

        self.settings = (
            settings if isinstance(settings, PopulationSettings) else build_settings(settings, **changes)
        )
        self.image_size = image_size or self.settings.render_size
        self.clip_length = clip_length or round(self.settings.clip_seconds * 16_000)
        self.view_sampler = ViewSampler(
            self.image_size,
            augment,
            rotation,
            resize_mode,
            colour_jitter,
            channels,
            num_views,
            second_sample,
            pair_augmentation,
            augmentation,
        )
        ids = self.settings.ids(split)
        if not ids:
            raise ValueError(f"the split {split!r} of this population holds nobody")
        self.identities = _sample_identities(self.settings, ids)
        row = {k: i for i, k in enumerate(ids)}
        made: dict[int, tuple[NDArray[np.int16], NDArray[np.uint8], IdentityGroundTruth]] = {}
        jobs = [(self.settings, k) for k in ids]
        for (_, k), item in map_unordered(
            generate_identity, jobs, workers, "population", "identity", progress=progress
        ):
            made[row[k]] = item
        self.clips = np.stack([made[i][0] for i in range(len(ids))])
        self.images = np.stack([made[i][1] for i in range(len(ids))])
        self._ground_truth = [made[i][2] for i in range(len(ids))]

    def __len__(self) -> int:
        """Number of identities."""
        return len(self.identities)

    def ground_truth(self, index: int) -> IdentityGroundTruth:
        """What is true of one entry."""
        return self._ground_truth[index]

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """One image and one clip of an identity, each uniform among its own; or two of each.

        Args:
            index: of the entry.
            rng: source of every draw: image, clip, then the transform; then the same of the second view.

        Returns:
            "face": (3, side, side), float32, 0...255, B G R or as `channels` says. "voice": (length,),
            float32, 16-bit scale. "label": index of the entry, int. With two views also "face_second" and
            "voice_second".
        """
        from voiceface.audio.loading import repeat_to_length

        pictures, clips = self.images[index], self.clips[index]
        drawn = self.view_sampler.sample(
            len(pictures),
            len(clips),
            lambda picture: np.ascontiguousarray(pictures[picture, ..., ::-1]),
            lambda clip: repeat_to_length(clips[clip], self.clip_length).astype(np.float32),
            rng,
        )
        return {**drawn, "label": index}


class PopulationStream(IterableDataset[dict[str, Any]]):
    """An endless, seeded stream of freshly made pairs, shared out among workers and processes.

    Item t is a function of (seed, t): a random identity, one of its clips, one of its images. Reader r of R
    (over all processes and data-loader workers) gives t = first + r, first + r + R, …
    """

    def __init__(
        self,
        settings: PopulationSettings | Preset | str = "large",
        split: str = "train",
        *,
        image_size: int | None = None,
        clip_length: int | None = None,
        augment: bool = True,
        rank: int = 0,
        world_size: int = 1,
        first_item: int = 0,
        num_items: int | None = None,
        **changes: Any,
    ) -> None:
        """Set up the stream; nothing is made before it is read.

        Args:
            settings: settings, a preset or a preset's name.
            split: "train", "val", "test" or "all".
            image_size: of the square faces; default: as in the settings.
            clip_length: samples of the voices; default: as in the settings.
            augment: random flip, turn and crop; off: the evaluation transform.
            rank: of this process.
            world_size: number of processes.
            first_item: number of the first item, to go on where an earlier run stopped.
            num_items: how many items there are in all; None: no end.
            changes: fields of `PopulationSettings` to change.
        """
        self.settings = (
            settings if isinstance(settings, PopulationSettings) else build_settings(settings, **changes)
        )
        self.ids: Sequence[int] = self.settings.ids(split)
        if not self.ids or not self.settings.clips or not self.settings.images:
            raise ValueError(f"the split {split!r} of this population has nobody with clips and images")
        if not 0 <= rank < world_size or first_item < 0:
            raise ValueError(
                f"rank must be in 0 ... world_size - 1: got rank {rank} of {world_size}, first {first_item}"
            )
        self.image_size = image_size or self.settings.render_size
        self.clip_length = clip_length or round(self.settings.clip_seconds * 16_000)
        self.augment = augment
        self.rank, self.world_size = rank, world_size
        self.first_item, self.num_items = first_item, num_items

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Give the items of this reader, in rising order."""
        info = get_worker_info()
        readers = self.world_size * (info.num_workers if info else 1)
        mine = self.rank * (info.num_workers if info else 1) + (info.id if info else 0)
        t = self.first_item + mine
        while self.num_items is None or t < self.first_item + self.num_items:
            yield self.generate_item(t)
            t += readers

    def generate_item(self, index: int) -> dict[str, Any]:
        """Item number t.

        Returns:
            "face": (3, side, side), float32, 0...255, B G R. "voice": (length,), float32, 16-bit scale.
            "label": place of the identity in the split. "k": identity number. "v", "g": (8,) float32 factors.
            "alpha": (40,) float32 shape coefficients. "expression": (10,) float32.
        """
        from voiceface.audio.loading import repeat_to_length
        from voiceface.synthetic.face.render import render_image
        from voiceface.synthetic.voice.speech_synthesis import synthesise_clip

        settings = self.settings
        draws = integers(settings.seed, index, "lists", 2, 4)
        label, clip, picture = (
            int(draw % np.uint64(n))
            for draw, n in zip(draws, (len(self.ids), settings.clips, settings.images))
        )
        k = self.ids[label]
        people = _sample_identities(settings, [k])
        sound = synthesise_clip(people, 0, clip, seconds=settings.clip_seconds).samples
        drawn = render_image(
            people,
            0,
            picture,
            image_size=settings.render_size,
            nuisance=settings.nuisance,
            face_gain=settings.face_gain,
        )
        rng = np.random.default_rng([int(draws[3] >> np.uint64(1)), index]) if self.augment else None
        return {
            "face": _transform_image(drawn.image, self.image_size, rng),
            "voice": repeat_to_length(sound, self.clip_length).astype(np.float32),
            "label": label,
            "k": k,
            "v": people.voice_factors[0].astype(np.float32),
            "g": people.face_factors[0].astype(np.float32),
            "alpha": shape_coefficients(people)[0].astype(np.float32),
            "expression": drawn.expression.astype(np.float32),
        }


def generate_identity(
    job: tuple[PopulationSettings, int],
) -> tuple[NDArray[np.int16], NDArray[np.uint8], IdentityGroundTruth]:
    """All clips (C, T) int16 and images (P, side, side, 3) uint8 RGB of one identity, and its truth."""
    from voiceface.synthetic.face.render import prepare_face, render_image
    from voiceface.synthetic.voice.speech_synthesis import synthesise_clip

    settings, k = job
    people = _sample_identities(settings, [k])
    length = round(settings.clip_seconds * 16_000)
    clips = np.zeros((settings.clips, length), np.int16)
    for clip in range(settings.clips):
        samples = synthesise_clip(people, 0, clip, seconds=settings.clip_seconds).samples[:length]
        clips[clip, : len(samples)] = samples
    pictures = np.zeros((settings.images, settings.render_size, settings.render_size, 3), np.uint8)
    expression, pose = np.zeros((settings.images, 10)), np.zeros((settings.images, 3))
    face = prepare_face(people, 0, face_gain=settings.face_gain)
    how: dict[str, Any] = {"image_size": settings.render_size, "nuisance": settings.nuisance}
    for picture in range(settings.images):
        drawn = render_image(people, 0, picture, face=face, face_gain=settings.face_gain, **how)
        pictures[picture], expression[picture], pose[picture] = (
            drawn.image,
            drawn.expression,
            drawn.pose_degrees,
        )
    truth = IdentityGroundTruth(
        k,
        int(people.sex[0]),
        int(people.face_sex[0]),
        people.voice_factors[0],
        people.face_factors[0],
        face.shape,
        expression,
        pose,
    )
    return clips, pictures, truth


def _sample_identities(settings: PopulationSettings, ids: Sequence[int]) -> Identities:
    return sample_identities(
        np.asarray(ids),
        seed=settings.seed,
        rho=settings.rho,
        share_sex=settings.share_sex,
        confound=settings.confound,
    )


def _transform_image(
    image: NDArray[np.uint8], image_size: int, rng: np.random.Generator | None
) -> NDArray[np.float32]:
    """RGB image to (3, side, side) float32 B G R, with random steps when there is a generator."""
    from voiceface.images import transforms

    bgr = np.ascontiguousarray(image[..., ::-1])
    return (
        transforms.evaluation_transform(bgr, image_size)
        if rng is None
        else transforms.training_transform(bgr, image_size, rng)
    )
