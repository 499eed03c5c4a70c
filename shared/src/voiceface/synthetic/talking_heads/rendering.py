"""Render videos of talking heads: scenes to pictures, sound and ground truth, written as one file."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voiceface.synthetic.camera import light_vector
from voiceface.synthetic.head.prepared import PreparedHead
from voiceface.synthetic.head.render import prepare_face
from voiceface.synthetic.head.shading import make_light
from voiceface.synthetic.identities import Identities
from voiceface.synthetic.layout import PopulationSettings, build_settings
from voiceface.synthetic.talking_heads import motion
from voiceface.synthetic.talking_heads.frames import (
    BODY_MM,
    HEAD_MM,
    FramePainter,
    PlacedHead,
    draw_backdrop,
)
from voiceface.synthetic.talking_heads.scenes import Scene, Turn
from voiceface.synthetic.talking_heads.truth import TalkingVideo, TrueFace, TrueSegment
from voiceface.synthetic.talking_heads.video_files import check_ending, write_video
from voiceface.synthetic.voice.speech_synthesis import SAMPLE_RATE, SyntheticClip, synthesise_clip

__all__ = ["render_talking_video"]

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

SPEECH_RMS = 10 ** (-21 / 20)  # about that of the clips of the population
_CLIPS_PER_VIDEO, _FIRST_CLIP, _VIDEO_PERIOD = 1000, 1_000_000, 12


@dataclass(frozen=True)
class _SpokenTurn:
    """A turn with its speech; times in s from the beginning of the video."""

    turn: Turn
    start: float
    end: float
    clip: SyntheticClip


class _Cast:
    """Identities of one video, each prepared once.

    Args:
        settings: the population.
        number: of the video.
    """

    def __init__(self, settings: PopulationSettings, number: int) -> None:
        self.settings, self.number = settings, number
        self._people: dict[int, tuple[Identities, PreparedHead]] = {}

    def get(self, identity: int) -> tuple[Identities, PreparedHead]:
        """Return identity (one row) and face."""
        if identity not in self._people:
            row = self.settings.sample_identities([identity])
            self._people[identity] = row, prepare_face(row, 0, face_gain=self.settings.face_gain)
        return self._people[identity]

    def speak(self, turn: Turn, index: int) -> SyntheticClip:
        """Synthesise turn number `index` of the video; one identity has one channel in one video."""
        clip = _VIDEO_PERIOD * (_CLIPS_PER_VIDEO * self.number + index + _FIRST_CLIP)
        return synthesise_clip(
            self.get(turn.identity)[0],
            0,
            clip + self.number % _VIDEO_PERIOD,
            seconds=turn.end - turn.start,
            nuisance=self.settings.nuisance,
        )


def render_talking_video(
    path: str | Path,
    scenes: Sequence[Scene],
    *,
    number: int = 0,
    population: PopulationSettings | str = "tiny",
    width: int = 320,
    height: int = 240,
    frame_rate: float = 25.0,
) -> TalkingVideo:
    """Render scenes, with a cut between any two, and write them with their sound.

    The same arguments give the same frames and samples on one machine.

    Args:
        path: new file; .mp4 (MPEG-4 part 2 and AAC) or .webm (VP9 and Opus).
        scenes: at least one.
        number: of the video, at least 0; determines light, motion, speech and noise.
        population: settings or preset from which the identities come (seed, coupling, variation).
        width, height: in pixels, even, at least 64.
        frame_rate: frames per second, at least 5, such as 12.5 or 29.97.

    Returns:
        The ground truth.

    Raises:
        ValueError: a value out of range, a population of another version, or another ending of the file.
    """
    check_ending(path)
    settings = build_settings(population) if isinstance(population, str) else population
    if not scenes or number < 0 or frame_rate < 5 or min(width, height) < 64 or width % 2 or height % 2:
        raise ValueError(
            "expected one scene or more, number >= 0, frame_rate >= 5 and an even width and height of at "
            f"least 64, got {len(scenes)} scenes, {number}, {frame_rate}, {width} x {height}"
        )
    settings.require_current()
    cast = _Cast(settings, number)
    counts = [max(2, round(scene.seconds * frame_rate)) for scene in scenes]
    starts = np.concatenate([[0], np.cumsum(counts)]) / frame_rate
    spoken: list[list[_SpokenTurn]] = []
    for scene, start in zip(scenes, starts[:-1].tolist()):
        done = sum(map(len, spoken))
        spoken.append(
            [
                _SpokenTurn(turn, start + turn.start, start + turn.end, cast.speak(turn, done + index))
                for index, turn in enumerate(scene.turns)
            ]
        )
    sound = _build_sound(scenes, spoken, starts, np.random.default_rng([settings.seed, number]))
    faces: list[TrueFace] = []
    generators = [np.random.default_rng([settings.seed, number, index]) for index in range(len(scenes))]
    stages = [
        _Stage(cast, scene, turns, start + np.arange(count) / frame_rate, (width, height), rng, index)
        for index, (scene, turns, start, count, rng) in enumerate(
            zip(scenes, spoken, starts[:-1].tolist(), counts, generators)
        )
    ]
    for stage in stages:
        faces += stage.true_faces()

    def frames() -> Iterator[Image]:
        for stage in stages:
            yield from stage.frames()

    write_video(path, frames(), sound, width, height, frame_rate, SAMPLE_RATE)
    return TalkingVideo(
        path=Path(path),
        seconds=float(starts[-1]),
        frame_rate=frame_rate,
        width=width,
        height=height,
        segments=tuple(_true_segment(turn, scene) for scene, turns in zip(scenes, spoken) for turn in turns),
        cuts=tuple(starts[1:-1].tolist()),
        faces=tuple(faces),
    )


def _true_segment(spoken: _SpokenTurn, scene: Scene) -> TrueSegment:
    heard = np.flatnonzero(spoken.clip.speech) / 100
    voice = spoken.turn.identity
    shown = voice if voice in scene.people else None
    return TrueSegment(
        round(spoken.start + float(heard[0]), 3), round(spoken.start + float(heard[-1]), 3), shown, voice
    )


def _build_sound(
    scenes: Sequence[Scene], spoken: list[list[_SpokenTurn]], starts: Array, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Mix speech and the noise of each scene, (T,) in -1 ... 1."""
    ends = np.round(starts * SAMPLE_RATE).astype(int)
    sound = np.zeros(ends[-1])
    for scene, begin, end in zip(scenes, ends[:-1], ends[1:]):
        white = rng.standard_normal(end - begin)
        brown = np.convolve(white, np.hanning(18)[1:-1], mode="same")
        level = SPEECH_RMS * 10 ** (-scene.signal_to_noise / 20)
        sound[begin:end] += level * brown / max(float(brown.std()), 1e-12)
    for turn in (turn for turns in spoken for turn in turns):
        begin = round(turn.start * SAMPLE_RATE)
        samples = turn.clip.samples[: len(sound) - begin] / 32768.0
        sound[begin : begin + len(samples)] += samples
    return np.clip(sound, -0.99, 0.99).astype(np.float32)


class _Stage:
    """One scene with all tracks of its people.

    Args:
        cast: identities.
        scene: what is shown.
        spoken: its turns.
        times: (K,) s of its frames from the beginning of the video.
        size: width and height of the picture.
        rng: random numbers of the scene.
        index: number of the scene.
    """

    def __init__(
        self,
        cast: _Cast,
        scene: Scene,
        spoken: list[_SpokenTurn],
        times: Array,
        size: tuple[int, int],
        rng: np.random.Generator,
        index: int,
    ) -> None:
        self._times, self._index, self._people = times, index, scene.people
        self._gain = cast.settings.face_gain
        width, height = size
        backdrop = draw_backdrop(scene.backdrop, width, height, rng)
        lamp = light_vector(rng.standard_normal(2), rng.uniform(size=3), np.zeros(2), 0.7)
        balance = rng.uniform(0.9, 1.05) * (1 + 0.03 * rng.standard_normal(3).clip(-2, 2))
        light, grain = make_light(lamp, 0.5, 1.0), rng.uniform(1.0, 3.0)
        self._painter = FramePainter(backdrop, light, balance, grain, rng)
        self._tracks = [
            self._track(cast, scene, spoken, place, size, rng) for place in range(len(scene.people))
        ]

    def _track(
        self,
        cast: _Cast,
        scene: Scene,
        spoken: list[_SpokenTurn],
        place: int,
        size: tuple[int, int],
        rng: np.random.Generator,
    ) -> Callable[[int], PlacedHead]:
        """Sample the motion of one person; the result gives the head in frame k."""
        identity, (width, height), times = scene.people[place], size, self._times
        count = len(scene.people)
        face = cast.get(identity)[1]
        chews = identity in scene.chewing
        opening = motion.chewing_track(times, rng) if chews else motion.idle_track(times, rng)
        lead, rounding = rng.uniform(-0.04, 0.10), np.zeros(len(times))
        strength = float(np.exp(0.15 * rng.standard_normal()))
        speaks = np.zeros(len(times))
        for turn in (each for each in spoken if each.turn.identity == identity):
            own, rounded = motion.speech_track(turn.clip.phones, times - turn.start, lead)
            here = motion.turn_weight(times, turn.start, turn.end)
            opening = opening * (1 - here) + strength * own
            rounding += rounded
            speaks += here
        opening = np.clip(opening, 0, motion.MAX_OPENING_MM)
        facing = 0.2 * (count - 1 - 2 * place) / max(count - 1, 1) if count > 1 else 0.0
        moves = motion.sample_head_motion(times, rng, facing=facing, liveliness=np.clip(speaks, 0, 1))
        moves.expression[:, 3] += 0.8 * rounding.clip(0, 1)
        scale = scene.head_height * height / HEAD_MM * rng.uniform(0.95, 1.05)
        centre = np.array(
            [
                width * (0.5 + place) / count
                + (0.04 if count == 1 else 0.01) * width * rng.standard_normal(),
                max(0.47 * height, height - BODY_MM * scale),
            ]
        )
        clothes = rng.uniform(size=4)
        owned = face.traits.glasses
        glasses = owned is not None and bool(rng.uniform() < owned.worn)

        def head(k: int) -> PlacedHead:
            return PlacedHead(
                face, moves.pose[k], moves.expression[k], float(opening[k]),
                centre + scale * moves.shift[k], scale, clothes, glasses,
            )  # fmt: skip

        return head

    def true_faces(self) -> list[TrueFace]:
        """Where every face is and how far its mouth is open."""
        found = []
        for identity, track in zip(self._people, self._tracks):
            heads = [track(k) for k in range(len(self._times))]
            boxes = np.stack([head.compute_box(self._gain) for head in heads])
            mouth = np.array([head.opening for head in heads])
            found.append(TrueFace(identity, self._index, self._times, boxes, mouth))
        return found

    def frames(self) -> Iterator[Image]:
        """Paint the frames in order; only once, since the camera's noise goes on."""
        for k in range(len(self._times)):
            yield self._painter.paint([track(k) for track in self._tracks])
