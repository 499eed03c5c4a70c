"""Parts of a person's own recording in which somebody speaks: quiet beginnings, ends and pauses are cut off.

A network that hears twelve seconds of room tone beside three of speech embeds the room, and one that hears
half a second of zeros, as noise gates write them between words, embeds the zeros.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voiceface.audio.recording_quality import (
    FRAME,
    HOP,
    SpeechFinder,
    background_power,
    find_speech_frames,
)
from voiceface.audio.samples import Waveform

__all__ = [
    "MAX_PAUSE_SECONDS",
    "SpokenParts",
    "fade_joint",
    "find_spoken_parts",
]

SAMPLE_RATE = 16000
FADE_SAMPLES = 80  # 5 ms, where parts meet that are no neighbours
MAX_PAUSE_SECONDS = 1.0
"""Seconds of a pause between speech that are kept if it is not quiet; a longer one is cut."""
MIN_QUIET_SECONDS, KEPT_QUIET_SECONDS = 0.1, 0.05  # of a quiet pause: shortened from, and to
MIN_SILENCE_SECONDS = 0.02  # of digital silence within speech: nothing of it is kept
MARGIN = round(0.15 * SAMPLE_RATE)  # around speech; what is quiet is cut off
MIN_CUT_SECONDS = 0.2  # at the beginning or end; of digital silence any length is cut
SILENCE_DB = -80.0  # of full scale: digital silence, with its dither
SILENCE_BELOW_DB = 40.0  # and below the level of the speech, within it
MIN_SILENCE = 16  # samples; any recording begins with one that equals itself
MIN_NOTED_SECONDS = 1.0
MIN_NOTED_PLACE = 0.05  # s of them in one place
QUIET_DB = 25.0  # below the level of the speech
MEDIAN_QUIET_DB = 20.0  # and, within it, below its median: a bang must not make speech quiet
PIECE = 16  # samples, whose extremes are examined within speech
TONE_FRAME = 320  # samples, whose level is examined
TONE_BELOW_DB, TONE_CREST_DB = 3.0, 12.0  # level of room tone below "quiet", and its peaks above its level
MIN_TONE_SHARE = 0.2  # of what is kept; less of it does no harm
BLOCK_SAMPLES = 1 << 16  # that are searched at once


@dataclass(frozen=True)
class SpokenParts:
    """What is kept of a waveform.

    Attributes:
        parts: (begin, end) in samples, in the order of time; a single one with everything if nothing is cut.
        length: of the waveform, in samples.
    """

    parts: tuple[tuple[int, int], ...]
    length: int

    @property
    def is_whole(self) -> bool:
        """Whether nothing is cut."""
        return self.parts == ((0, self.length),)

    @property
    def seconds_left_out(self) -> float:
        """Seconds that are cut."""
        return (self.length - sum(end - begin for begin, end in self.parts)) / SAMPLE_RATE

    @property
    def notes(self) -> tuple[str, ...]:
        """One note that says what is left out, or none for less than a second."""
        if self.seconds_left_out < MIN_NOTED_SECONDS:
            return ()
        begin, end = self.parts[0][0], self.length - self.parts[-1][1]
        pauses = round(self.seconds_left_out * SAMPLE_RATE) - begin - end
        places = [
            f"{samples / SAMPLE_RATE:.1f} s {place}"
            for samples, place in ((begin, "at the beginning"), (pauses, "in pauses"), (end, "at the end"))
            if samples >= MIN_NOTED_PLACE * SAMPLE_RATE
        ]
        return (f"silence left out: nobody speaks for {', '.join(places)}",)

    def cut(self, waveform: Waveform, *, offset: float = 0.0) -> Waveform:
        """Cut a waveform (T,) to the parts, with fades of 5 ms where they meet; itself if nothing is cut.

        Args:
            waveform: (T,).
            offset: value of silence.
        """
        if self.is_whole:
            return waveform
        kept = np.empty(sum(end - begin for begin, end in self.parts), waveform.dtype)
        place = 0
        for begin, end in self.parts:
            kept[place : place + end - begin] = waveform[begin:end]
            if place:
                fade_joint(kept[:place], kept[place : place + end - begin], offset=offset)
            place += end - begin
        return kept

    def locate(self, stretches: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
        """Find the parts in a recording of whose stretches the waveform consists.

        Args:
            stretches: (begin, end) in seconds, in the order in which they were joined.

        Returns:
            (begin, end) in seconds of the recording.
        """
        found = []
        offset = 0.0
        for begin, end in stretches:
            for first, last in self.parts:
                start = max(begin, begin + first / SAMPLE_RATE - offset)
                stop = min(end, begin + last / SAMPLE_RATE - offset)
                if stop > start:
                    found.append((start, stop))
            offset += end - begin
        return tuple(found)


def find_spoken_parts(
    waveform: NDArray[np.floating], *, full_scale: float = 1.0, finder: SpeechFinder = "pitch"
) -> SpokenParts:
    """Find what is to be kept of a recording: speech, and up to 0.15 s around it that are not quiet.

    Quiet are samples more than 25 dB below the level of the speech. Of digital silence (within -80 dB of
    full scale) nothing is kept: its logarithm outweighs everything else. Quiet pauses of 0.1 s or more are
    shortened to 0.05 s; so are pauses of louder room tone where they make up a fifth of the recording. Others
    of up to 1 s stay as they are. So do beginnings and ends of which less than 0.2 s would be cut, but for
    digital silence. Without any speech, all is kept.

    Args:
        waveform: (T,) at 16 kHz.
        full_scale: value of full scale, 1 or 32768.
        finder: of speech; see `voiceface.audio.recording_quality.measure_quality`.
    """
    length = len(waveform)
    speech, power = find_speech_frames(waveform, full_scale=full_scale, finder=finder)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], speech.astype(np.int8), [0]]))).reshape(-1, 2)
    if not len(edges):
        return SpokenParts(((0, length),), length)
    far = edges[1:, 0] - edges[:-1, 1] > MAX_PAUSE_SECONDS * SAMPLE_RATE / HOP
    begins = np.maximum(edges[np.append(True, far), 0] * HOP - MARGIN, 0)
    ends = np.minimum(edges[np.append(far, True), 1] * HOP + FRAME - HOP + MARGIN, length)
    quiet = full_scale * float(np.sqrt(background_power(power[speech], QUIET_DB)))
    middle = float(np.mean(waveform, dtype=np.float64))
    parts = [_trim(waveform, begin, end, middle, quiet) for begin, end in zip(begins.tolist(), ends.tolist())]
    (begin, _), (_, end) = parts[0], parts[-1]
    first = _count_silent(waveform[:begin], full_scale)
    last = length - _count_silent(waveform[end:][::-1], full_scale)
    if begin - first < MIN_CUT_SECONDS * SAMPLE_RATE:
        parts[0] = (first, parts[0][1])
    if last - end < MIN_CUT_SECONDS * SAMPLE_RATE:
        parts[-1] = (parts[-1][0], last)
    median = full_scale * float(np.sqrt(np.median(power[speech]))) * 10 ** (-MEDIAN_QUIET_DB / 20)
    parts = _shorten_pauses(waveform, parts, middle, min(quiet, median), full_scale)
    return SpokenParts(tuple(_shorten_room_tone(waveform, parts, middle, min(quiet, median))), length)


def _shorten_pauses(
    waveform: NDArray[np.floating],
    parts: list[tuple[int, int]],
    middle: float,
    quiet: float,
    full_scale: float,
) -> list[tuple[int, int]]:
    """Shorten quiet pauses within parts, and leave digital silence out."""
    silent = min(full_scale * 10 ** (SILENCE_DB / 20), quiet * 10 ** ((QUIET_DB - SILENCE_BELOW_DB) / 20))
    shortened = []
    for begin, end in parts:
        pieces = waveform[begin : end - (end - begin) % PIECE].reshape(-1, PIECE)
        if not len(pieces):
            continue
        low, high = pieces.min(axis=1), pieces.max(axis=1)
        kept = np.ones(len(pieces), bool)
        rest = round(KEPT_QUIET_SECONDS * SAMPLE_RATE / PIECE / 2)
        for first, last in _find_runs((low >= middle - quiet) & (high <= middle + quiet), MIN_QUIET_SECONDS):
            kept[first + rest : last - rest] = False
        for first, last in _find_runs((high - low <= 2 * silent) & kept, MIN_SILENCE_SECONDS):
            kept[first:last] = False
        runs = begin + PIECE * _find_runs(kept, 0)
        if kept[-1:].any():
            runs[-1, 1] = end
        shortened += [(int(first), int(last)) for first, last in runs]
    return shortened or parts


def _shorten_room_tone(
    waveform: NDArray[np.floating], parts: list[tuple[int, int]], middle: float, quiet: float
) -> list[tuple[int, int]]:
    """Shorten pauses of noise whose single samples are not quiet, where they are a large share of the parts.

    Frames of 20 ms belong to them that are quiet on average, by 3 dB, and have no peak 12 dB above that.
    """
    limit = quiet * 10 ** (-TONE_BELOW_DB / 20)
    rest = round(KEPT_QUIET_SECONDS * SAMPLE_RATE / TONE_FRAME / 2)
    shortened, num_left_out = [], 0
    for begin, end in parts:
        whole = begin + (end - begin) // TONE_FRAME * TONE_FRAME
        frames = waveform[begin:whole].reshape(-1, TONE_FRAME) - middle
        is_tone = np.sqrt(np.mean(np.square(frames), axis=1)) <= limit
        is_tone &= np.abs(frames).max(axis=1, initial=0.0) <= limit * 10 ** (TONE_CREST_DB / 20)
        kept = np.ones(len(frames) + 1, bool)  # the last one is what forms no whole frame
        for first, last in _find_runs(is_tone, MIN_QUIET_SECONDS, TONE_FRAME):
            kept[first + rest : last - rest] = False
        num_left_out += int(np.sum(~kept)) * TONE_FRAME
        runs = begin + TONE_FRAME * _find_runs(kept, 0, TONE_FRAME)
        shortened += [(int(first), min(int(last), end)) for first, last in runs if first < end]
    total = sum(end - begin for begin, end in parts)
    return shortened if num_left_out > MIN_TONE_SHARE * total else parts


def _find_runs(flags: NDArray[np.bool_], seconds: float, piece: int = PIECE) -> NDArray[np.intp]:
    """First and last + 1, (N, 2), of the runs of pieces that last so long."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]))).reshape(-1, 2)
    return edges[(edges[:, 1] - edges[:, 0]) * piece >= seconds * SAMPLE_RATE]


def _trim(
    waveform: NDArray[np.floating], begin: int, end: int, middle: float, quiet: float
) -> tuple[int, int]:
    """Move the ends of a part inwards to the first and the last sample that is not quiet."""
    part = waveform[begin:end]
    first = _find_louder(part, middle, quiet)
    return (
        (begin + first, end - _find_louder(part[::-1], middle, quiet)) if first < len(part) else (begin, end)
    )


def _count_silent(waveform: NDArray[np.floating], full_scale: float) -> int:
    """Number of samples of digital silence with which a waveform begins, whatever their value."""
    if not len(waveform):
        return 0
    count = _find_louder(waveform, float(waveform[0]), full_scale * 10 ** (SILENCE_DB / 20))
    return count if count >= MIN_SILENCE else 0


def _find_louder(waveform: NDArray[np.floating], middle: float, limit: float) -> int:
    """Number of samples before the first that is farther than `limit` from `middle`; all if there is none."""
    for start in range(0, len(waveform), BLOCK_SAMPLES):
        loud = np.flatnonzero(np.abs(waveform[start : start + BLOCK_SAMPLES] - middle) > limit)
        if len(loud):
            return start + int(loud[0])
    return len(waveform)


def fade_joint(before: Waveform, after: Waveform, *, offset: float = 0.0) -> None:
    """Fade one waveform out and the next one in, 5 ms each, in place, to the value of silence."""
    fade = np.linspace(0, 1, FADE_SAMPLES, dtype=np.float32)
    for piece, factor in (
        (before[-FADE_SAMPLES:], fade[::-1][-len(before) :]),
        (after[:FADE_SAMPLES], fade[: len(after)]),
    ):
        piece -= np.float32(offset)
        piece *= factor
        piece += np.float32(offset)
