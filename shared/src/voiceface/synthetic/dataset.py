"""Synthetic data without files: an in-memory dataset and an infinite stream."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from voiceface.runtime.process_pool import map_unordered
from voiceface.synthetic.counter_rng import integers
from voiceface.synthetic.head.shape_space import shape_coefficients
from voiceface.synthetic.layout import PopulationSettings, build_settings
from voiceface.synthetic.presets import Preset

if TYPE_CHECKING:
    from voiceface.datasets.augmentation import Augmentation
    from voiceface.datasets.view_sampling import ChannelOrder, PairAugmentation, SecondSample
    from voiceface.images.transforms import ResizeMode, Rotation

__all__ = ["IdentityGroundTruth", "PopulationDataset", "PopulationStream", "generate_identity"]


@dataclass(frozen=True)
class IdentityGroundTruth:
    """Ground truth of one identity.

    Attributes:
        id: identity number.
        sex: of the voice, 1 = male.
        face_sex: of the face.
        voice_factors, face_factors: (8,) each.
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
    """Clips and images of identities in memory, one entry per identity.

    Attributes:
        settings: settings of the population.
        image_size: width and height of sampled faces, pixels.
        clip_length: samples of sampled voices.
        identities: the identities, in the order of entries.
        clips: (N, clips, T) int16, 16 kHz.
        images: (N, images, S, S, 3) uint8, RGB, S = `settings.render_size`.
        view_sampler: samples and transforms clips and images.
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
        """Generate the population.

        Args:
            settings: settings, a preset or a preset's name.
            split: "train", "val", "test" or "all".
            image_size: width and height of sampled faces; default: as rendered.
            clip_length: samples of sampled voices (repeated or cut); default: as synthesised.
            augment: see `voiceface.datasets.view_sampling.ViewSampler`.
            rotation: likewise.
            resize_mode: likewise.
            colour_jitter: likewise.
            channels: likewise.
            num_views: likewise.
            second_sample: likewise.
            pair_augmentation: likewise.
            augmentation: likewise.
            workers: processes; None uses every core.
            progress: show a progress bar on standard error.
            changes: fields of `PopulationSettings` to change, such as rho or seed, and `num_identities`; only
                for presets.

        Raises:
            ValueError: the split has no identities, or a value is out of range.
        """
        from voiceface.datasets.view_sampling import ViewSampler

        self.settings = _resolve_settings(settings, changes)
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
            raise ValueError(f"split {split!r} of this population has no identities")
        self.identities = self.settings.sample_identities(ids)
        jobs = [(self.settings, k) for k in ids]
        results = map_unordered(generate_identity, jobs, workers, "population", "identity", progress=progress)
        generated = {k: item for (_, k), item in results}
        self.clips = np.stack([generated[k][0] for k in ids])
        self.images = np.stack([generated[k][1] for k in ids])
        self._ground_truth = [generated[k][2] for k in ids]

    def __len__(self) -> int:
        """Number of identities."""
        return len(self.identities)

    def ground_truth(self, index: int) -> IdentityGroundTruth:
        """Return the ground truth of one entry."""
        return self._ground_truth[index]

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Sample an image and a clip of an identity uniformly; two of each with two views.

        Args:
            index: entry.
            rng: generator of all random numbers: image, clip, transform; then those of the second view.

        Returns:
            "face": (3, S, S) float32, 0...255, channels as `channels`. "voice": (clip_length,) float32,
            16-bit scale. "label": entry, int. With two views also "face_second" and "voice_second".
        """
        from voiceface.audio.loading import repeat_to_length

        images, clips = self.images[index], self.clips[index]
        sample = self.view_sampler.sample(
            len(images),
            len(clips),
            lambda image: np.ascontiguousarray(images[image, ..., ::-1]),
            lambda clip: repeat_to_length(clips[clip], self.clip_length).astype(np.float32),
            rng,
        )
        return {**sample, "label": index}


class PopulationStream(IterableDataset[dict[str, Any]]):
    """Infinite, seeded stream of generated pairs, distributed over workers and processes.

    Item t is a function of (seed, t): a random identity, one of its clips, one of its images. Reader r of R
    (over all processes and data-loader workers) yields t = first_item + r, first_item + r + R, …
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
        """Set up the stream; items are generated when they are read.

        Args:
            settings: settings, a preset or a preset's name.
            split: "train", "val", "test" or "all".
            image_size: width and height of faces; default: as in the settings.
            clip_length: samples of voices; default: as in the settings.
            augment: random flip, rotation and crop; off: the evaluation transform.
            rank: rank of this process.
            world_size: number of processes.
            first_item: number of the first item, to resume a run.
            num_items: number of items; None: infinite.
            changes: fields of `PopulationSettings` to change, and `num_identities`; only for presets.

        Raises:
            ValueError: the split has no identities with clips and images, or a value is out of range.
        """
        self.settings = _resolve_settings(settings, changes)
        self.ids: Sequence[int] = self.settings.ids(split)
        if not self.ids or not self.settings.clips or not self.settings.images:
            raise ValueError(f"split {split!r} of this population has no identities with clips and images")
        if not 0 <= rank < world_size or first_item < 0:
            raise ValueError(
                "expected 0 <= rank < world_size and first_item >= 0, got "
                f"rank {rank} of {world_size} and first_item {first_item}"
            )
        self.image_size = image_size or self.settings.render_size
        self.clip_length = clip_length or round(self.settings.clip_seconds * 16_000)
        self.augment = augment
        self.rank, self.world_size = rank, world_size
        self.first_item, self.num_items = first_item, num_items

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the items of this reader, in ascending order."""
        info = get_worker_info()
        num_workers, worker = (info.num_workers, info.id) if info else (1, 0)
        t = self.first_item + self.rank * num_workers + worker
        while self.num_items is None or t < self.first_item + self.num_items:
            yield self.generate_item(t)
            t += self.world_size * num_workers

    def generate_item(self, index: int) -> dict[str, Any]:
        """Generate item number `index`.

        Returns:
            "face": (3, S, S) float32, 0...255, BGR. "voice": (clip_length,) float32, 16-bit scale. "label":
            index of the identity in the split. "k": identity number. "v", "g": (8,) float32 factors. "alpha":
            (40,) float32 shape coefficients. "expression": (10,) float32.
        """
        from voiceface.audio.loading import repeat_to_length
        from voiceface.synthetic.head.render import render_image
        from voiceface.synthetic.voice.speech_synthesis import synthesise_clip

        settings = self.settings
        words = integers(settings.seed, index, "lists", 2, 4)
        counts = (len(self.ids), settings.clips, settings.images)
        label, clip, image = (int(word % np.uint64(count)) for word, count in zip(words, counts))
        k = self.ids[label]
        identities = settings.sample_identities([k])
        samples = synthesise_clip(identities, 0, clip, seconds=settings.clip_seconds).samples
        rendered = render_image(
            identities,
            0,
            image,
            image_size=settings.render_size,
            nuisance=settings.nuisance,
            face_gain=settings.face_gain,
        )
        rng = np.random.default_rng([int(words[3] >> np.uint64(1)), index]) if self.augment else None
        return {
            "face": _transform_image(rendered.image, self.image_size, rng),
            "voice": repeat_to_length(samples, self.clip_length).astype(np.float32),
            "label": label,
            "k": k,
            "v": identities.voice_factors[0].astype(np.float32),
            "g": identities.face_factors[0].astype(np.float32),
            "alpha": shape_coefficients(identities)[0].astype(np.float32),
            "expression": rendered.expression.astype(np.float32),
        }


def generate_identity(
    job: tuple[PopulationSettings, int],
) -> tuple[NDArray[np.int16], NDArray[np.uint8], IdentityGroundTruth]:
    """Generate clips (C, T) int16, images (P, S, S, 3) uint8 RGB and ground truth of one identity.

    Args:
        job: settings and identity number.
    """
    from voiceface.synthetic.head.render import prepare_face, render_image
    from voiceface.synthetic.voice.speech_synthesis import synthesise_clip

    settings, k = job
    identities = settings.sample_identities([k])
    clips = np.zeros((settings.clips, round(settings.clip_seconds * 16_000)), np.int16)
    for clip in range(settings.clips):
        samples = synthesise_clip(identities, 0, clip, seconds=settings.clip_seconds).samples
        samples = samples[: clips.shape[1]]
        clips[clip, : len(samples)] = samples
    images = np.zeros((settings.images, settings.render_size, settings.render_size, 3), np.uint8)
    expression, pose = np.zeros((settings.images, 10)), np.zeros((settings.images, 3))
    options: dict[str, Any] = {"image_size": settings.render_size, "nuisance": settings.nuisance}
    options["face_gain"] = settings.face_gain
    face = prepare_face(identities, 0, face_gain=settings.face_gain)
    for image in range(settings.images):
        rendered = render_image(identities, 0, image, face=face, **options)
        images[image] = rendered.image
        expression[image] = rendered.expression
        pose[image] = rendered.pose_degrees
    ground_truth = IdentityGroundTruth(
        k,
        int(identities.sex[0]),
        int(identities.face_sex[0]),
        identities.voice_factors[0],
        identities.face_factors[0],
        face.shape,
        expression,
        pose,
    )
    return clips, images, ground_truth


def _resolve_settings(
    settings: PopulationSettings | Preset | str, changes: dict[str, Any]
) -> PopulationSettings:
    found = settings if isinstance(settings, PopulationSettings) else build_settings(settings, **changes)
    return found.require_current()


def _transform_image(
    image: NDArray[np.uint8], image_size: int, rng: np.random.Generator | None
) -> NDArray[np.float32]:
    """Transform an RGB image to (3, S, S) float32 BGR; randomly if there is a generator."""
    from voiceface.images import transforms

    bgr = np.ascontiguousarray(image[..., ::-1])
    if rng is None:
        return transforms.evaluation_transform(bgr, image_size)
    return transforms.training_transform(bgr, image_size, rng)
