"""Turns in the sound of a video: stretches of speech in which one mouth, or none, agrees with the sound."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from voiceface.videos.mouth_motion import (
    ALL_LAGS,
    GRID_RATE,
    Series,
    band_limit,
    local_agreement,
    resample_mouth,
)
from voiceface.videos.speech_segments import SpeechSegment

if TYPE_CHECKING:
    from voiceface.videos.tracks import FaceTrack

__all__ = [
    "Group",
    "Mouth",
    "Sound",
    "best_path",
    "find_turns",
    "group_segments",
    "measure_mouth",
    "split_shots",
]

CONTEXT = 75  # grid samples around speech, 1.5 s
STEP = 5  # grid samples between decisions, 0.1 s
SNAP = 20  # grid samples, 0.4 s
PAUSE_COST = 0.3  # of the cost of a change in a pause


@dataclass(frozen=True)
class Sound:
    """Sound of a file on the grid.

    Attributes:
        levels: (F,) dB, from `compute_band_levels`.
        series: (F,) their changes, from `band_limit`.
        lags: first and last that mouths are compared at, grid steps.
    """

    levels: Series
    series: Series
    lags: tuple[int, int] = ALL_LAGS


@dataclass(frozen=True)
class Mouth:
    """Opening of the mouth of one track.

    Attributes:
        track: its index.
        first: grid sample at which it begins.
        series: (F,) opening, from `band_limit`.
        valid: (F,) where it is known.
    """

    track: int
    first: int
    series: Series
    valid: NDArray[np.bool_]

    def cut(self, first: int, last: int) -> tuple[Series, NDArray[np.bool_]]:
        """Series and validity of grid samples first to last, zeros and False outside of the track."""
        series, valid = np.zeros(max(0, last - first)), np.zeros(max(0, last - first), bool)
        begin, end = max(first, self.first), min(last, self.first + len(self.series))
        if begin < end:
            inside = slice(begin - self.first, end - self.first)
            series[begin - first : end - first] = self.series[inside]
            valid[begin - first : end - first] = self.valid[inside]
        return series, valid

    def visible(self, first: int, last: int) -> float:
        """Part of the grid samples in which the mouth is measured."""
        return float(self.cut(first, last)[1].mean()) if first < last else 0.0


@dataclass(frozen=True)
class Group:
    """Speech with short pauses in one shot.

    Attributes:
        low: first grid sample of the shot.
        high: end of the shot.
        pieces: first grid sample and end of each piece of speech.
    """

    low: int
    high: int
    pieces: list[tuple[int, int]]


def measure_mouth(index: int, track: "FaceTrack") -> Mouth:
    """Bring the opening of the mouth of a track to the grid."""
    times = np.asarray(track.times, float)
    first = int(np.floor(times[0] * GRID_RATE)) if len(times) else 0
    last = int(np.ceil(times[-1] * GRID_RATE)) + 1 if len(times) else 0
    opening, valid = resample_mouth(times, track.mouth, first, last)
    return Mouth(index, first, band_limit(opening, valid), valid)


def group_segments(
    segments: Sequence[SpeechSegment], shot: tuple[int, int], max_pause: float
) -> list[list[tuple[int, int]]]:
    """The parts of segments inside a shot, those with short pauses between them together."""
    groups: list[list[tuple[int, int]]] = []
    for segment in segments:
        first = max(shot[0], round(segment.start * GRID_RATE))
        last = min(shot[1], round(segment.end * GRID_RATE))
        if first < last and groups and first - groups[-1][-1][1] <= max_pause * GRID_RATE:
            groups[-1].append((first, last))
        elif first < last:
            groups.append([(first, last)])
    return groups


def split_shots(cuts: Sequence[float], length: int) -> list[tuple[int, int]]:
    """First and last grid sample of each shot."""
    bounds = [0.0, *sorted(cuts), length / GRID_RATE]
    starts = [min(length, max(0, int(np.ceil(each * GRID_RATE)))) for each in bounds[:-1]]
    ends = [min(length, max(0, int(each * GRID_RATE))) for each in bounds[1:]]
    return list(zip(starts, ends, strict=True))


def find_turns(
    group: Group, mouths: Sequence[Mouth], sound: Sound, *, neutral: float, switch_cost: float
) -> list[tuple[int, int, int]]:
    """Split a group into parts with one speaker.

    The sequence of speakers has the highest sum of local correlations over the time of speech, less a cost
    for each change (Viterbi's algorithm). Changes lie at the quietest place within 0.4 s.

    Args:
        group: the speech.
        mouths: of the faces that may speak.
        sound: of the file.
        neutral: local correlation above which a mouth speaks rather than nobody.
        switch_cost: of a change, correlation times seconds; less in a pause.

    Returns:
        First grid sample, end, and index in `mouths` of each part, -1 for nobody.
    """
    begin, end = group.pieces[0][0], group.pieces[-1][1]
    low, high = max(group.low, begin - CONTEXT), min(group.high, end + CONTEXT)
    if not mouths or end - begin <= STEP:
        return [(begin, end, -1)]
    speech = np.zeros(end - begin, bool)
    for first, last in group.pieces:
        speech[first - begin : last - begin] = True
    steps = speech[::STEP]
    gains = np.full((len(mouths) + 1, len(steps)), neutral)
    for row, mouth in enumerate(mouths):
        series, valid = mouth.cut(low, high)
        agreement = local_agreement(series, valid, sound.series[low:high], sound.lags)
        gains[row] = np.where(valid, agreement, -1.0)[begin - low : end - low : STEP]
    costs = switch_cost * np.where(steps, 1.0, PAUSE_COST)
    path = best_path(gains * steps * (STEP / GRID_RATE), costs)
    changes = np.flatnonzero(np.diff(path)) + 1
    places = [begin, *(_quietest(begin + int(each) * STEP, begin, end, sound) for each in changes), end]
    states = path[[0, *changes]]
    return [
        (first, last, int(state) if state < len(mouths) else -1)
        for (first, last), state in zip(pairwise(places), states, strict=True)
    ]


def _quietest(middle: int, begin: int, end: int, sound: Sound) -> int:
    """The quietest sample within 0.4 s of `middle`."""
    low, high = max(begin + 1, middle - SNAP), min(end - 1, middle + SNAP + 1)
    return low + int(sound.levels[low:high].argmin()) if low < high else middle


def best_path(gains: Series, costs: Series) -> NDArray[np.int64]:
    """Find the sequence of states with the highest sum (Viterbi's algorithm).

    Args:
        gains: (S, N) of each state at each step.
        costs: (N,) of a change of the state before each step.

    Returns:
        (N,) state of each step.
    """
    total, back = gains[:, 0], np.zeros(gains.shape, np.int64)
    own = np.arange(len(gains))
    for step in range(1, gains.shape[1]):
        best = int(total.argmax())
        changed = total[best] - costs[step]
        back[:, step] = np.where(changed > total, best, own)
        total = np.maximum(changed, total) + gains[:, step]
    path = np.empty(gains.shape[1], np.int64)
    path[-1] = total.argmax()
    for step in range(gains.shape[1] - 1, 0, -1):
        path[step - 1] = back[path[step], step]
    return path
