"""Who speaks in a video: the visible face whose mouth moves with the sound.

Speech is split where the picture cuts, where a track ends and where the mouth that agrees with the sound
changes. It belongs to a face if the face's mouth agrees with the sound (`mouth_motion`) clearly better than
with the sound at other places of the file, and clearly better than any other mouth. All other speech is
refused with a reason: a voice without a face, a mouth that chews or speaks other words, two people at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from voiceface.audio.samples import check_waveform
from voiceface.videos.mouth_motion import (
    ALL_LAGS,
    GRID_RATE,
    MotionMatch,
    band_limit,
    compute_band_levels,
    match_motion,
    partial_agreement,
)
from voiceface.videos.speaker_turns import (
    Group,
    Mouth,
    Sound,
    find_turns,
    group_segments,
    measure_mouth,
    split_shots,
)
from voiceface.videos.speech_segments import (
    SpeechLengths,
    SpeechSegment,
    find_speech_segments,
)

if TYPE_CHECKING:
    from voiceface.videos.tracks import VideoFaces

__all__ = [
    "REASONS",
    "Attribution",
    "SpeakerSettings",
    "SpeechLengths",
    "SpeechSegment",
    "attribute_speech",
    "find_speech_segments",
]

NO_FACE, STILL, OTHER_WORDS, TWO_MOUTHS, TOO_SHORT = REASONS = (
    "no face",
    "no mouth moves",
    "no mouth moves with the sound",
    "two mouths move with the sound",
    "too short after a cut or a change of the speaker",
)
"""Why speech is not attributed."""
MARGIN = 10  # grid samples around speech, 0.2 s: mouths open before the sound
CHANCE = 0.95  # correlation that a mouth needs in one second
MIN_FOR_LAG = 3  # attributed segments from which the lags of a file are known
LAG_PERCENTILES = (10, 90)  # of the lags of attributed segments
LAG_REACH = 4  # grid samples around them, 0.08 s
MIN_AGREEMENT = 0.1  # of a second mouth beside the first, from which it may be speech


@dataclass(frozen=True)
class Attribution:
    """Speech and the face that speaks.

    Attributes:
        segment: the speech.
        track: index in `VideoFaces.tracks`; None if the segment is refused.
        correlation: of sound and mouth in the segment, of the track or, if it is refused, the best; 0
            without a face.
        margin: by which the next mouth correlates less; `correlation` itself if there is none.
        reason: why `track` is None, one of `REASONS`; empty if it is not.
        lag: of the sound behind the mouth at this correlation, s.
    """

    segment: SpeechSegment
    track: int | None
    correlation: float
    margin: float
    reason: str
    lag: float = 0.0


@dataclass(frozen=True)
class SpeakerSettings:
    """Lengths of segments and thresholds; docs/data.md has the figures that they rest on.

    Attributes:
        lengths: of segments; shorter ones that cuts leave are refused.
        max_turn_pause: s; what one mouth says with shorter pauses is judged together.
        min_correlation: of a mouth that speaks for four seconds or more. Chance falls with the root of the
            duration, therefore shorter speech needs 0.95 by the root of its seconds,
        short_correlation: but never more than this.
        min_score: standard deviations above the agreement with the sound at other places.
        max_p_value: share of other places that may agree as well.
        min_margin: to the second mouth.
        min_movement: standard deviation of the opening of the mouth, by the distance of the eyes.
        second_movement: of a second mouth, by that of the first, that may be speech.
        second_agreement: of such a mouth with what the first leaves unexplained; more is two people.
        second_score: of such a mouth with an agreement above 0.1; more is two people.
        part_correlation: that each segment of a turn needs by itself.
        part_margin: likewise.
        neutral_correlation: local correlation above which a mouth speaks rather than nobody.
        switch_cost: of another speaker without a pause, correlation times seconds.
        min_visible: part of a segment in which the mouth must be measured.
    """

    lengths: SpeechLengths = field(default_factory=SpeechLengths)
    max_turn_pause: float = 0.8
    min_correlation: float = 0.45
    short_correlation: float = 0.6
    min_score: float = 2.5
    max_p_value: float = 0.02
    min_margin: float = 0.15
    min_movement: float = 0.005
    second_movement: float = 0.33
    second_agreement: float = 0.2
    second_score: float = 2.0
    part_correlation: float = 0.3
    part_margin: float = 0.1
    neutral_correlation: float = 0.3
    switch_cost: float = 0.4
    min_visible: float = 0.8


def attribute_speech(
    waveform: npt.ArrayLike, faces: "VideoFaces", settings: SpeakerSettings = SpeakerSettings()
) -> list[Attribution]:
    """Find the speech of a video and the face that speaks each segment.

    Args:
        waveform: (T,), the sound of the video, 16 kHz, -1...1.
        faces: its face tracks; sound and pictures begin at the same time.
        settings: thresholds.

    Returns:
        In order of time: segments with the track that speaks, and refused ones with the reason.

    Raises:
        ValueError: a waveform of another shape or type.
    """
    wave = check_waveform(waveform)
    levels = compute_band_levels(wave)
    sound = Sound(levels, band_limit(levels))
    mouths = [measure_mouth(index, track) for index, track in enumerate(faces.tracks)]
    segments = find_speech_segments(wave, settings.lengths)
    groups = [
        Group(*shot, pieces)
        for shot in split_shots(faces.cuts, len(levels))
        for pieces in group_segments(segments, shot, settings.max_turn_pause)
    ]
    found = [each for group in groups for each in _attribute_group(group, mouths, sound, settings)]
    lags = _common_lags(found)
    if lags != ALL_LAGS:
        sound = replace(sound, lags=lags)
        found = [each for group in groups for each in _attribute_group(group, mouths, sound, settings)]
    return found


def _common_lags(found: Sequence[Attribution]) -> tuple[int, int]:
    """Lags around those of most attributed segments: sound and picture of a file keep their distance.

    People differ in how far the mouth leads.
    """
    lags = [round(each.lag * GRID_RATE) for each in found if each.track is not None]
    if len(lags) < MIN_FOR_LAG:
        return ALL_LAGS
    least, most = (int(each) for each in np.percentile(lags, LAG_PERCENTILES, method="nearest"))
    return max(ALL_LAGS[0], least - LAG_REACH), min(ALL_LAGS[1], most + LAG_REACH)


def _attribute_group(
    group: Group, mouths: Sequence[Mouth], sound: Sound, settings: SpeakerSettings
) -> list[Attribution]:
    """Split a group at changes of the speaker, judge what each says, and then each segment of it."""
    begin, end = group.pieces[0][0], group.pieces[-1][1]
    near = [mouth for mouth in mouths if mouth.cut(begin, end)[1].sum() >= GRID_RATE // 2]
    found = []
    for low, high, state in find_turns(
        group, near, sound, neutral=settings.neutral_correlation, switch_cost=settings.switch_cost
    ):
        parts = [(max(low, first), min(high, last)) for first, last in group.pieces]
        parts = [(first, last) for first, last in parts if first < last]
        if parts:
            turn = parts[0][0], parts[-1][1]
            reason, chosen = _judge_turn(turn, group, state, near, sound, settings)
            found += [_judge_part(part, group, chosen, reason, near, sound, settings) for part in parts]
    return found


def _match_all(
    part: tuple[int, int], group: Group, mouths: Sequence[Mouth], sound: Sound
) -> list[MotionMatch]:
    low, high = max(group.low, part[0] - MARGIN), min(group.high, part[1] + MARGIN)
    return [match_motion(*mouth.cut(low, high), sound.series, low, sound.lags) for mouth in mouths]


def _judge_turn(
    turn: tuple[int, int],
    group: Group,
    state: int,
    mouths: Sequence[Mouth],
    sound: Sound,
    settings: SpeakerSettings,
) -> tuple[str, int]:
    """Reason to refuse a turn, empty if there is none, and the index of the mouth that agrees best, or -1."""
    if all(mouth.visible(*turn) < settings.min_visible for mouth in mouths):
        return NO_FACE, -1
    matches = _match_all(turn, group, mouths, sound)
    low, high = max(group.low, turn[0] - MARGIN), min(group.high, turn[1] + MARGIN)
    first = int(np.argmax([match.correlation for match in matches]))
    match = matches[first]
    if all(each.movement < settings.min_movement for each in matches):
        return STILL, first
    chance = CHANCE / np.sqrt(max(turn[1] - turn[0], 1) / GRID_RATE)
    if (
        mouths[first].visible(*turn) < settings.min_visible
        or match.movement < settings.min_movement
        or match.correlation < np.clip(chance, settings.min_correlation, settings.short_correlation)
        or match.score < settings.min_score
        or match.p_value > settings.max_p_value
    ):
        return OTHER_WORDS, first
    if state not in (-1, first):
        return TWO_MOUTHS, first
    for index, other in enumerate(matches):
        if index == first:
            continue
        if match.correlation - other.correlation < settings.min_margin:
            return TWO_MOUTHS, first
        inner = mouths[index].cut(turn[0] + MARGIN, turn[1] - MARGIN)[0]
        least = max(settings.min_movement, settings.second_movement * match.movement)
        if len(inner) and inner.std() >= least:
            rest = partial_agreement(
                (*mouths[first].cut(low, high), match), (*mouths[index].cut(low, high), other)
            )
            limit = settings.second_agreement if other.score <= settings.second_score else MIN_AGREEMENT
            if rest > limit:
                return TWO_MOUTHS, first
    return "", first


def _judge_part(
    part: tuple[int, int],
    group: Group,
    chosen: int,
    reason: str,
    mouths: Sequence[Mouth],
    sound: Sound,
    settings: SpeakerSettings,
) -> Attribution:
    """Attribution of one segment of a turn that is judged already."""
    segment = SpeechSegment(part[0] / GRID_RATE, part[1] / GRID_RATE)
    if segment.seconds < settings.lengths.min_seconds:
        reason = TOO_SHORT
    matches = _match_all(part, group, mouths, sound)
    if not matches:
        return Attribution(segment, None, 0.0, 0.0, reason or NO_FACE)
    best = chosen if chosen >= 0 else int(np.argmax([match.correlation for match in matches]))
    own = matches[best].correlation
    margin = own - max([0.0, *(each.correlation for index, each in enumerate(matches) if index != best)])
    if not reason and (own < settings.part_correlation or mouths[best].visible(*part) < settings.min_visible):
        reason = OTHER_WORDS
    if not reason and margin < settings.part_margin:
        reason = TWO_MOUTHS
    track = None if reason else mouths[best].track
    return Attribution(segment, track, own, margin, reason, matches[best].lag)
