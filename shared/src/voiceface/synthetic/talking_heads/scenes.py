"""What a rendered video shows: scenes between two cuts, who is seen in them and who speaks when."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

__all__ = ["VIDEO_KINDS", "Backdrop", "Scene", "Turn", "VideoKind", "sample_scenes"]

Backdrop = Literal["wall", "landscape", "texture"]
VideoKind = Literal["one", "cuts", "two", "chewing", "voice-over", "mixed"]
VIDEO_KINDS: tuple[VideoKind, ...] = get_args(VideoKind)
MIN_TURN = 0.5
MAX_PEOPLE = 3
REST = 0.5  # seconds before, between and after turns


@dataclass(frozen=True)
class Turn:
    """Speech of one identity without interruption.

    Attributes:
        start: s from the beginning of the scene.
        end: s, at least 0.5 later.
        identity: who speaks; a voice-over if the scene does not show this identity.
    """

    start: float
    end: float
    identity: int


@dataclass(frozen=True)
class Scene:
    """What is seen and heard between two cuts.

    Attributes:
        seconds: length; rounded to whole frames when rendered.
        people: identities that are seen, from left to right, at most 3; none: the backdrop alone.
        turns: who speaks when; of those seen, whoever does not speak is silent.
        chewing: those of `people` who chew while they do not speak.
        head_height: height of the heads as a fraction of the picture's, 0.1 to 0.9.
        backdrop: "wall", "landscape" or "texture".
        signal_to_noise: level of the speech above the noise in the background, dB.
    """

    seconds: float
    people: tuple[int, ...] = ()
    turns: tuple[Turn, ...] = ()
    chewing: tuple[int, ...] = ()
    head_height: float = 0.55
    backdrop: Backdrop = "wall"
    signal_to_noise: float = 25.0

    def __post_init__(self) -> None:
        """Validate all values.

        Raises:
            ValueError: a value out of range, an identity that is seen twice, or one that chews unseen.
        """
        wrong = []
        if not self.seconds > 0:
            wrong.append(f"a scene must be longer than 0 s, got {self.seconds:g}")
        if len(self.people) > MAX_PEOPLE or len(set(self.people)) != len(self.people):
            wrong.append(f"expected at most {MAX_PEOPLE} different people, got {self.people}")
        if not set(self.chewing) <= set(self.people):
            wrong.append(f"expected chewing people among those seen, {self.people}, got {self.chewing}")
        if not 0.1 <= self.head_height <= 0.9:
            wrong.append(f"head_height must lie in 0.1 ... 0.9, got {self.head_height:g}")
        if self.backdrop not in get_args(Backdrop):
            wrong.append(f"no backdrop {self.backdrop!r}; expected one of {', '.join(get_args(Backdrop))}")
        for turn in self.turns:
            if not (turn.start >= 0 and turn.start + MIN_TURN <= turn.end <= self.seconds):
                wrong.append(
                    f"a turn must last at least {MIN_TURN} s and lie in 0 ... {self.seconds:g} s, "
                    f"got {turn.start:g} ... {turn.end:g}"
                )
        if wrong:
            raise ValueError("; ".join(wrong))


def sample_scenes(
    kind: VideoKind, identities: tuple[int, ...] | list[int], rng: np.random.Generator
) -> tuple[Scene, ...]:
    """Sample the scenes of a video in which the first identity is the main person.

    Kinds: "one" (the main person speaks), "cuts" (the same in several shots of other sizes), "two" (two
    people in one picture speak in turn), "chewing" (the other one chews), "voice-over" (the voice of somebody
    else while the main person is silent or chews, or a landscape is seen), "mixed" (all of these with cuts).

    Args:
        kind: one of `VIDEO_KINDS`.
        identities: at least three different identities; later ones are other people.
        rng: random numbers.

    Raises:
        ValueError: another kind, or too few identities.
    """
    if kind not in VIDEO_KINDS:
        raise ValueError(f"no kind of video {kind!r}; expected one of {', '.join(VIDEO_KINDS)}")
    if len(set(identities)) < 3:
        raise ValueError(f"expected three different identities or more, got {list(identities)}")
    main, other, voice = (int(each) for each in identities[:3])
    size = float(rng.uniform(0.45, 0.7))
    noise = float(rng.uniform(15, 30))

    def solo(identity: int, height: float, turns: int = 2) -> Scene:
        return _conversation((identity,), (identity,) * turns, (), height, noise, rng)

    def pair(chewing: tuple[int, ...]) -> Scene:
        people = (main, other) if rng.uniform() < 0.5 else (other, main)
        speakers = (main,) * 3 if chewing else (main, other, main)
        return _conversation(people, speakers, chewing, min(size, 0.5), noise, rng)

    def over(people: tuple[int, ...], backdrop: Backdrop = "wall") -> Scene:
        chewing = people if rng.uniform() < 0.5 else ()
        return _conversation(people, (voice,), chewing, size, noise, rng, backdrop)

    if kind == "one":
        return (solo(main, size, 3),)
    if kind == "cuts":
        return solo(main, size), solo(other, size, 1), solo(main, min(1.2 * size, 0.8)), solo(main, size, 1)
    if kind == "two":
        return (pair(()),)
    if kind == "chewing":
        return (pair((other,)),)
    if kind == "voice-over":
        return solo(main, size), over((main,)), over((), "landscape"), solo(main, size, 1)
    return solo(main, size), pair(()), over((), "texture"), solo(main, size), pair((other,)), over((main,))


def _conversation(
    people: tuple[int, ...],
    speakers: tuple[int, ...],
    chewing: tuple[int, ...],
    head_height: float,
    signal_to_noise: float,
    rng: np.random.Generator,
    backdrop: Backdrop = "wall",
) -> Scene:
    """Build a scene of turns of 1.8 to 3.5 s."""
    turns, now = [], REST
    for speaker in speakers:
        end = now + float(rng.uniform(1.8, 3.5))
        turns.append(Turn(round(now, 2), round(end, 2), speaker))
        now = end + REST
    return Scene(round(now, 2), people, tuple(turns), chewing, head_height, backdrop, signal_to_noise)
