"""Recordings of any length in bounded memory: decoded, mixed and resampled block by block."""

import heapq
import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from voiceface.audio.channels import ChannelChoice, ChannelStatistics, mix_channels
from voiceface.audio.decoding import decode_blocks
from voiceface.audio.loading import require_rate
from voiceface.audio.recording_quality import (
    CLIPPED_SHARE,
    QUIET_LEVEL_DB,
    RecordingQuality,
    SpeechFinder,
    measure_quality,
)
from voiceface.audio.samples import DecodedAudio, OnCorrupt, SampleScale, Waveform, scale_factor_offset
from voiceface.audio.spoken_parts import fade_joint
from voiceface.io.file_kinds import printable

__all__ = ["RecordingStream", "choose_best", "join_stretches", "rate_window", "read_all"]

SAMPLE_RATE = 16000
BLOCK_SECONDS = 20.0
WINDOW_SECONDS = 5.0  # of the windows among which the best are chosen
GOOD_LEVEL_DB = -30.0  # of speech; quieter windows count less
MIN_WEIGHT = 0.25  # of windows that are clipped, and of those at `QUIET_LEVEL_DB`


class RecordingStream:
    """One channel of a file at 16 kHz, block by block.

    The result is that of `voiceface.audio.loading.load_audio` with `resample`, up to 1e-5 of full scale where
    the rate is converted. A file of several channels with `channel` "auto" is decoded twice: whether channels
    are silent or cancel is decided by the whole. Only where its first part has one channel and a later one
    several, each block decides for itself.

    Args:
        path, scale, resample, on_corrupt, channel: see `load_audio`.

    Attributes:
        seconds: of the blocks so far.
        full_scale: of the values; known from the first block on.
        offset: value of silence; as `full_scale`.
        notes: losses and notes of the file; known at the end.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        scale: SampleScale,
        resample: bool,
        on_corrupt: OnCorrupt,
        channel: ChannelChoice,
    ) -> None:
        self._path, self._scale, self._resample = path, scale, resample
        self._on_corrupt, self._channel = on_corrupt, channel
        self.offset = 0.0
        self.seconds = 0.0
        self.full_scale = 1.0
        self.notes: tuple[str, ...] = ()

    def judged(self, waveform: Waveform) -> Waveform:
        """Remove the offset of the sample format, so that `full_scale` is that of the values."""
        return waveform - np.float32(self.offset) if self.offset else waveform

    def windows(self, seconds: float) -> Iterator[tuple[float, Waveform]]:
        """Yield (begin in seconds, samples) of windows, one behind another; the last one may be shorter."""
        length = max(1, round(seconds * SAMPLE_RATE))
        held: list[Waveform] = []
        begin = count = 0
        for block in self.blocks():
            held.append(block)
            count += len(block)
            if count < length:
                continue
            joined = np.concatenate(held)
            whole = count - count % length
            for start in range(0, whole, length):
                yield (begin + start) / SAMPLE_RATE, joined[start : start + length]
            held = [joined[whole:].copy()]
            begin, count = begin + whole, count - whole
        if count:
            yield begin / SAMPLE_RATE, np.concatenate(held)

    def blocks(self) -> Iterator[Waveform]:
        """Yield blocks (T,), one behind another.

        Raises:
            FileNotFoundError, AudioError: as `load_audio`.
        """
        import soxr

        chosen = self._choose_channels()
        resampler = None
        name = printable(self._path)
        lost_packets, lost_seconds = 0, 0.0
        self.seconds = 0.0
        with closing(self._decode()) as decoded:
            for block in decoded:
                rate = block.sample_rate
                lost_packets += block.lost_packets
                lost_seconds += block.lost_seconds
                if not self.seconds:
                    require_rate(name, rate, SAMPLE_RATE, self._resample)
                    self.full_scale, self.offset = scale_factor_offset(self._scale, block.subtype)
                    if rate != SAMPLE_RATE:
                        resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
                self.seconds += block.samples.shape[1] / rate
                wave = self._mix(block, chosen)
                if resampler is not None:
                    wave = resampler.resample_chunk(np.ascontiguousarray(wave))
                if len(wave):
                    yield wave
                last = block
        if resampler is not None and len(
            rest := resampler.resample_chunk(np.zeros(0, np.float32), last=True)
        ):
            yield rest
        loss = DecodedAudio(last.samples, last.sample_rate, lost_packets, lost_seconds).loss
        self.notes = (*((loss,) if loss else ()), *last.notes)

    def _decode(self) -> Generator[DecodedAudio, None, None]:
        return decode_blocks(
            self._path, scale=self._scale, on_corrupt=self._on_corrupt, block_seconds=BLOCK_SECONDS
        )

    def _choose_channels(self) -> NDArray[np.intp] | None:
        """Channels whose mean is taken; None: the first block has one channel, or "auto" is not asked for."""
        if self._channel != "auto":
            return None
        statistics = None
        with closing(self._decode()) as decoded:
            for block in decoded:
                if statistics is None:
                    if len(block.samples) == 1:
                        return None
                    statistics = ChannelStatistics(len(block.samples))
                statistics.add(block.samples)
        return None if statistics is None else statistics.choose()

    def _mix(self, block: DecodedAudio, chosen: NDArray[np.intp] | None) -> Waveform:
        if chosen is None or len(block.samples) == 1:
            return mix_channels(block.samples, self._channel)
        if len(chosen) == 1:
            return block.samples[chosen[0]]
        return block.samples[chosen].mean(axis=0, dtype=np.float32)


def rate_window(quality: RecordingQuality) -> float:
    """Rate a window, 0...1: its share of speech, weighted by its level and by clipping.

    The weight of the level rises from 0.25 at -45 dB to 1 at -30 dB; that of a clipped window is 0.25.

    Args:
        quality: of the window.
    """
    if not quality.seconds or not quality.speech_seconds:
        return 0.0
    rise = (quality.level_db - QUIET_LEVEL_DB) / (GOOD_LEVEL_DB - QUIET_LEVEL_DB)
    level = MIN_WEIGHT + (1 - MIN_WEIGHT) * min(1.0, max(0.0, rise))
    clipping = MIN_WEIGHT if quality.clipped > CLIPPED_SHARE else 1.0
    return quality.speech_seconds / quality.seconds * level * clipping


def choose_best(
    stream: RecordingStream, seconds: float, finder: SpeechFinder
) -> tuple[Waveform, tuple[tuple[float, float], ...]]:
    """Choose the best windows of a recording, in the order of time; memory is that of the result.

    Windows without speech are none of them, unless there are no others.

    Args:
        stream: the recording.
        seconds: of the result, in windows of about 5 s.
        finder: of speech.

    Returns:
        The samples (T,), with fades of 5 ms where windows are no neighbours, and the stretches of the
        recording, (begin, end) in seconds.
    """
    count = max(1, round(seconds / WINDOW_SECONDS))
    length = round(seconds * SAMPLE_RATE) // count
    best: list[tuple[float, float, Waveform]] = []  # worst first; of equal ones the earliest stays
    for begin, window in stream.windows(length / SAMPLE_RATE):
        quality = measure_quality(stream.judged(window), full_scale=stream.full_scale, finder=finder)
        rating = rate_window(quality)
        rating *= len(window) / length
        if len(best) < count:
            heapq.heappush(best, (rating, -begin, window.copy()))
        elif (rating, -begin) > best[0][:2]:
            heapq.heapreplace(best, (rating, -begin, window.copy()))
    spoken = [each for each in best if each[0]] or best
    chosen = sorted((-begin, window) for _, begin, window in spoken)
    for (begin, window), (after, following) in pairwise(chosen):
        if after - begin - len(window) / SAMPLE_RATE > 0.5 / SAMPLE_RATE:
            fade_joint(window, following, offset=stream.offset)
    stretches = [(begin, begin + len(window) / SAMPLE_RATE) for begin, window in chosen]
    return np.concatenate([window for _, window in chosen]), join_stretches(stretches)


def join_stretches(stretches: Iterable[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Join stretches (begin, end) of time that follow one another.

    Example:
        >>> join_stretches([(0, 5), (5, 10), (20, 25)])
        ((0, 10), (20, 25))
    """
    joined: list[tuple[float, float]] = []
    for begin, end in stretches:
        if joined and begin - joined[-1][1] < 0.5 / SAMPLE_RATE:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return tuple(joined)


def read_all(stream: RecordingStream) -> Waveform:
    """Read a whole recording into one array; nothing else grows with its length."""
    waveform = np.zeros(0, np.float32)
    count = 0
    for _, window in stream.windows(BLOCK_SECONDS):
        if count + len(window) > len(waveform):
            waveform.resize(max(count + len(window), len(waveform) * 5 // 4), refcheck=False)
        waveform[count : count + len(window)] = window
        count += len(window)
    waveform.resize(count, refcheck=False)
    return waveform
