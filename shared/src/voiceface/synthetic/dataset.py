"""The synthetic population without the disk: a data set in memory, and an endless stream."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from voiceface.runtime.process_pool import map_unordered
from voiceface.synthetic.counter_rng import integers
from voiceface.synthetic.face.head import identity_coefficients
from voiceface.synthetic.identities import People, draw_people
from voiceface.synthetic.layout import Settings, settings_of
from voiceface.synthetic.presets import Preset

if TYPE_CHECKING:
    from voiceface.datasets.view_sampling import Channels, Second, SecondView
    from voiceface.images.transforms import Fit, Rotation


@dataclass(frozen=True)
class Truth:
    """What is true of one identity.

    Attributes:
        k: identity number.
        sex: of the voice, 1 = male; face_sex: of the face.
        v, g: (8,) voice and face factors.
        alpha: (40,) shape coefficients of the head.
        expression: (P, 10) expression coefficients of its pictures.
        pose: (P, 3) yaw, pitch, roll of its pictures in degrees.
    """

    k: int
    sex: int
    face_sex: int
    v: NDArray[np.float64]
    g: NDArray[np.float64]
    alpha: NDArray[np.float64]
    expression: NDArray[np.float64]
    pose: NDArray[np.float64]


class PopulationDataset:
    """One entry per identity, all clips and pictures in memory; drawn from like the data set of files.

    Attributes:
        settings: what the population is made of.
        people: the identities, in the order of the entries.
        clips: (N, clips, T) int16, 16 kHz.
        pictures: (N, pictures, side, side, 3) uint8, RGB.
        views: how they are drawn.
    """

    def __init__(
        self,
        settings: Settings | Preset | str = "quick",
        split: str = "train",
        *,
        side: int | None = None,
        length: int | None = None,
        augment: bool = True,
        rotation: "Rotation" = "centred",
        fit: "Fit" = "pad",
        colour_jitter: float = 0.0,
        channels: "Channels" = "bgr",
        views: Literal[1, 2] = 1,
        second: "Second" = "other",
        second_view: "SecondView" = "shared",
        workers: int | None = None,
        progress: bool = True,
        **changes: Any,
    ) -> None:
        """Make the population.

        Args:
            settings: settings, a preset or a preset's name.
            split: "train", "val", "test" or "all".
            side: of the square faces that `draw` gives; default: as rendered.
            length: samples of the voices that `draw` gives (repeated or cut); default: as synthesised.
            augment, rotation, fit, colour_jitter, channels, views, second, second_view: see
                `voiceface.datasets.view_sampling.Views`.
            workers: processes that make it; None takes every core.
            progress: show a bar on standard error.
            changes: fields of `Settings` to change, such as rho, seed or people.
        """
        from voiceface.datasets.view_sampling import Views

        self.settings = settings if isinstance(settings, Settings) else settings_of(settings, **changes)
        self.side = side or self.settings.picture_side
        self.length = length or round(self.settings.clip_seconds * 16_000)
        self.views = Views(
            self.side, augment, rotation, fit, colour_jitter, channels, views, second, second_view
        )
        ids = self.settings.ids(split)
        if not ids:
            raise ValueError(f"the split {split!r} of this population holds nobody")
        self.people = _people(self.settings, ids)
        row = {k: i for i, k in enumerate(ids)}
        made: dict[int, tuple[NDArray[np.int16], NDArray[np.uint8], Truth]] = {}
        jobs = [(self.settings, k) for k in ids]
        for (_, k), item in map_unordered(
            make_identity, jobs, workers, "population", "identity", progress=progress
        ):
            made[row[k]] = item
        self.clips = np.stack([made[i][0] for i in range(len(ids))])
        self.pictures = np.stack([made[i][1] for i in range(len(ids))])
        self._truth = [made[i][2] for i in range(len(ids))]

    def __len__(self) -> int:
        """Number of identities."""
        return len(self.people)

    def truth(self, index: int) -> Truth:
        """What is true of one entry."""
        return self._truth[index]

    def draw(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """One picture and one clip of an identity, each uniform among its own; or two of each.

        Args:
            index: of the entry.
            rng: source of every draw: picture, clip, then the transform; then the same of the second view.

        Returns:
            "face": (3, side, side), float32, 0...255, B G R or as `channels` says. "voice": (length,),
            float32, 16-bit scale. "label": index of the entry, int. With two views also "face_second" and
            "voice_second".
        """
        from voiceface.audio import loading as audio

        pictures, clips = self.pictures[index], self.clips[index]
        drawn = self.views.draw(
            len(pictures),
            len(clips),
            lambda picture: np.ascontiguousarray(pictures[picture, ..., ::-1]),
            lambda clip: audio.repeat_to_length(clips[clip], self.length).astype(np.float32),
            rng,
        )
        return {**drawn, "label": index}


class PopulationStream(IterableDataset[dict[str, Any]]):
    """An endless, seeded stream of freshly made pairs, shared out among workers and processes.

    Item t is a function of (seed, t): a random identity, one of its clips, one of its pictures. Reader r of R
    (over all processes and data-loader workers) gives t = first + r, first + r + R, …
    """

    def __init__(
        self,
        settings: Settings | Preset | str = "large",
        split: str = "train",
        *,
        side: int | None = None,
        length: int | None = None,
        augment: bool = True,
        rank: int = 0,
        world_size: int = 1,
        first: int = 0,
        items: int | None = None,
        **changes: Any,
    ) -> None:
        """Set up the stream; nothing is made before it is read.

        Args:
            settings: settings, a preset or a preset's name.
            split: "train", "val", "test" or "all".
            side: of the square faces; default: as in the settings.
            length: samples of the voices; default: as in the settings.
            augment: random flip, turn and crop; off: the evaluation transform.
            rank: of this process.
            world_size: number of processes.
            first: number of the first item, to go on where an earlier run stopped.
            items: how many items there are in all; None: no end.
            changes: fields of `Settings` to change.
        """
        self.settings = settings if isinstance(settings, Settings) else settings_of(settings, **changes)
        self.ids: Sequence[int] = self.settings.ids(split)
        if not self.ids or not self.settings.clips or not self.settings.pictures:
            raise ValueError(f"the split {split!r} of this population has nobody with clips and pictures")
        if not 0 <= rank < world_size or first < 0:
            raise ValueError(
                f"rank must be in 0 ... world_size - 1: got rank {rank} of {world_size}, first {first}"
            )
        self.side = side or self.settings.picture_side
        self.length = length or round(self.settings.clip_seconds * 16_000)
        self.augment = augment
        self.rank, self.world_size = rank, world_size
        self.first, self.items = first, items

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Give the items of this reader, in rising order."""
        info = get_worker_info()
        readers = self.world_size * (info.num_workers if info else 1)
        mine = self.rank * (info.num_workers if info else 1) + (info.id if info else 0)
        t = self.first + mine
        while self.items is None or t < self.first + self.items:
            yield self.item(t)
            t += readers

    def item(self, t: int) -> dict[str, Any]:
        """Item number t.

        Returns:
            "face": (3, side, side), float32, 0...255, B G R. "voice": (length,), float32, 16-bit scale.
            "label": place of the identity in the split. "k": identity number. "v", "g": (8,) float32 factors.
            "alpha": (40,) float32 shape coefficients. "expression": (10,) float32.
        """
        from voiceface.audio import loading as audio
        from voiceface.synthetic.face.render import render_picture
        from voiceface.synthetic.voice.speech_synthesis import synthesise_clip

        settings = self.settings
        draws = integers(settings.seed, t, "lists", 2, 4)
        label, clip, picture = (
            int(draw % np.uint64(n))
            for draw, n in zip(draws, (len(self.ids), settings.clips, settings.pictures))
        )
        k = self.ids[label]
        people = _people(settings, [k])
        sound = synthesise_clip(people, 0, clip, seconds=settings.clip_seconds).samples
        drawn = render_picture(
            people,
            0,
            picture,
            side=settings.picture_side,
            nuisance=settings.nuisance,
            face_gain=settings.face_gain,
        )
        rng = np.random.default_rng([int(draws[3] >> np.uint64(1)), t]) if self.augment else None
        return {
            "face": _transform(drawn.image, self.side, rng),
            "voice": audio.repeat_to_length(sound, self.length).astype(np.float32),
            "label": label,
            "k": k,
            "v": people.v[0].astype(np.float32),
            "g": people.g[0].astype(np.float32),
            "alpha": identity_coefficients(people)[0].astype(np.float32),
            "expression": drawn.expression.astype(np.float32),
        }


def make_identity(job: tuple[Settings, int]) -> tuple[NDArray[np.int16], NDArray[np.uint8], Truth]:
    """All clips (C, T) int16 and pictures (P, side, side, 3) uint8 RGB of one identity, and its truth."""
    from voiceface.synthetic.face.render import prepare_face, render_picture
    from voiceface.synthetic.voice.speech_synthesis import synthesise_clip

    settings, k = job
    people = _people(settings, [k])
    length = round(settings.clip_seconds * 16_000)
    clips = np.zeros((settings.clips, length), np.int16)
    for clip in range(settings.clips):
        samples = synthesise_clip(people, 0, clip, seconds=settings.clip_seconds).samples[:length]
        clips[clip, : len(samples)] = samples
    pictures = np.zeros((settings.pictures, settings.picture_side, settings.picture_side, 3), np.uint8)
    expression, pose = np.zeros((settings.pictures, 10)), np.zeros((settings.pictures, 3))
    face = prepare_face(people, 0, face_gain=settings.face_gain)
    how: dict[str, Any] = {"side": settings.picture_side, "nuisance": settings.nuisance}
    for picture in range(settings.pictures):
        drawn = render_picture(people, 0, picture, face=face, face_gain=settings.face_gain, **how)
        pictures[picture], expression[picture], pose[picture] = drawn.image, drawn.expression, drawn.pose
    truth = Truth(
        k, int(people.sex[0]), int(people.face_sex[0]), people.v[0], people.g[0], face.alpha, expression, pose
    )
    return clips, pictures, truth


def _people(settings: Settings, ids: Sequence[int]) -> People:
    return draw_people(
        np.asarray(ids),
        seed=settings.seed,
        rho=settings.rho,
        share_sex=settings.share_sex,
        confound=settings.confound,
    )


def _transform(image: NDArray[np.uint8], side: int, rng: np.random.Generator | None) -> NDArray[np.float32]:
    """RGB picture to (3, side, side) float32 B G R, with random steps when there is a generator."""
    from voiceface.images import transforms

    bgr = np.ascontiguousarray(image[..., ::-1])
    return (
        transforms.evaluation_transform(bgr, side)
        if rng is None
        else transforms.training_transform(bgr, side, rng)
    )
