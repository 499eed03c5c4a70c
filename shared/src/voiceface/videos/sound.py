"""The sound of a video on the clock of its images: one waveform whose first sample is at a given second.

Sound is placed by its time stamps. Where a track begins late, or leaves gaps, there is silence, so that
images and sound stay together.
"""

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from voiceface.audio.channels import ChannelStatistics
from voiceface.audio.packets import frame_samples
from voiceface.audio.samples import AudioError
from voiceface.io.file_kinds import printable
from voiceface.videos.containers import REMEDY, VideoError, iterate_frames

__all__ = ["MAX_SOUND_SECONDS", "TIMESTAMP_TOLERANCE", "read_sound"]

Waveform = NDArray[np.float32]
TIMESTAMP_TOLERANCE = 0.02
"""Rounding of time stamps in seconds; larger steps are gaps."""
MAX_SOUND_SECONDS = 6 * 3600.0
"""Longest sound that is held: 1.4 GB at 16 kHz."""
LONG_GAP_SECONDS = 600.0  # more silence between two packets is believed of files
MIN_BYTE_RATE = 100  # of so many bytes a second


def read_sound(
    path: str | os.PathLike[str], start: float = 0.0, end: float | None = None, sample_rate: int = 16000
) -> Waveform:
    """Decode the sound of a video; blocks are mixed and resampled (soxr, high quality) as they come.

    Several channels are mixed as by `voiceface.audio.channels.mix_channels` with "auto". What cannot be
    decoded is silence.

    Args:
        path: file with an audio track.
        start: seconds from the beginning of the file: the first sample of the result.
        end: seconds; None: to the end.
        sample_rate: of the result, Hz.

    Returns:
        (T,) in about -1...1; it ends with the sound, or with `end`.

    Raises:
        FileNotFoundError: no such file.
        VideoError: no audio track, nothing of it can be decoded, longer than `MAX_SOUND_SECONDS`, or a time
            stamp that leaves a gap of ten minutes or more in a file of less than 100 bytes a second.
    """
    statistics: ChannelStatistics | None = None
    count = 0
    for _, samples, _ in _iterate_samples(path, start, end):
        if statistics is None or len(samples) != count:
            if len(samples) == 1:
                break
            statistics, count = ChannelStatistics(len(samples)), len(samples)
        statistics.add(samples)
    chosen = statistics.choose() if statistics is not None else None
    sound = _PlacedSound(path, start, sample_rate)
    for time, samples, rate in _iterate_samples(path, start, end):
        fits = chosen is not None and len(samples) == count
        mixed = samples[chosen] if fits else samples
        sound.add(time, mixed.mean(axis=0, dtype=np.float32), rate)
    return sound.finish(end)


def _iterate_samples(
    path: str | os.PathLike[str], start: float, end: float | None
) -> Generator[tuple[float, Waveform, int], None, None]:
    """Yield (seconds, samples (channels, T), rate) of every frame that reaches into a stretch of time.

    Raises:
        VideoError: no audio track, or nothing of it can be decoded.
    """
    decoded, damaged = False, [0]

    def count_damage() -> None:
        damaged[0] += 1

    frames = iterate_frames(path, "audio", start, on_damage=count_damage)
    try:
        for time, frame in frames:
            samples = _finite_samples(path, frame)
            if samples is None:
                count_damage()
                continue
            decoded = True
            if time + samples.shape[1] / frame.sample_rate <= start:
                continue
            if end is not None and time >= end:
                return
            yield time, samples, frame.sample_rate
    finally:
        frames.close()
    if not decoded and start <= 0:
        found = f"{damaged[0]} damaged packets and nothing" if damaged[0] else "nothing"
        raise VideoError(f"{printable(path)}: its audio track holds {found} that can be decoded; {REMEDY}")


def _finite_samples(path: str | os.PathLike[str], frame: Any) -> Waveform | None:
    """Samples of a frame with zeros for values that are not numbers; None if its format is none of sound."""
    try:
        samples = np.asarray(frame_samples(path, frame), np.float32)
    except AudioError:
        return None
    return np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)


class _PlacedSound:
    """A waveform that grows; stretches without a gap are resampled as one.

    Args:
        path: for messages.
        start: seconds: the first sample.
        sample_rate: Hz.
    """

    def __init__(self, path: str | os.PathLike[str], start: float, sample_rate: int) -> None:
        self._path, self._start, self._rate = path, start, sample_rate
        self._wave = np.zeros(0, np.float32)
        self._filled = 0  # behind the last sample
        self._place = 0  # where the next sample of the stretch goes; may be before the beginning
        self._native, self._follows = 0, 0.0
        self._resampler: soxr.ResampleStream | None = None

    def add(self, time: float, samples: Waveform, native: int) -> None:
        """Add samples (T,) that begin at a time."""
        late = time - self._follows
        if native != self._native or late > TIMESTAMP_TOLERANCE:
            self._end_stretch()
            self._native, self._follows = native, time
            self._place = round((time - self._start) * self._rate)
            if native != self._rate:
                self._resampler = soxr.ResampleStream(native, self._rate, 1, dtype="float32", quality="HQ")
        elif late < -TIMESTAMP_TOLERANCE:  # told twice
            samples = samples[round(-late * native) :]
        self._follows += len(samples) / native
        self._write(samples if self._resampler is None else self._resampler.resample_chunk(samples))

    def finish(self, end: float | None) -> Waveform:
        """End the sound; return the waveform."""
        self._end_stretch()
        limit = self._filled if end is None else round((end - self._start) * self._rate)
        return self._wave[: max(0, min(self._filled, limit))]

    def _check_gap(self, time: float) -> None:
        """Refuse a damaged time stamp before memory is filled with silence."""
        size = Path(self._path).stat().st_size
        if time > size / MIN_BYTE_RATE:
            found = f"a time stamp says {time:.0f} s behind {self._filled / self._rate:.0f} s of sound"
            raise VideoError(f"{printable(self._path)}: {found}, in a file of {size:,} bytes; {REMEDY}")

    def _end_stretch(self) -> None:
        if self._resampler is not None:
            self._write(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
            self._resampler = None

    def _write(self, samples: Waveform) -> None:
        low, high = max(self._place, 0), self._place + len(samples)
        if high > MAX_SOUND_SECONDS * self._rate:
            raise VideoError(
                f"{printable(self._path)}: more than {MAX_SOUND_SECONDS / 3600:.0f} hours of sound; "
                "cut the video into parts"
            )
        if low - self._filled > LONG_GAP_SECONDS * self._rate:
            self._check_gap(low / self._rate + self._start)
        if low < high:
            if high > len(self._wave):  # in place where the system can; zeros behind
                self._wave.resize(max(high, len(self._wave) * 5 // 4), refcheck=False)
            self._wave[low:high] = samples[low - self._place :]
            self._filled = max(self._filled, high)
        self._place = high
