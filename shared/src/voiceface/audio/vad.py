"""Which parts of a recording hold speech: the WebRTC detector, and collectors that smooth its decisions.

Two collectors are in use. Both hold a ring of the latest frames and switch when more than a share of it
agrees. `collect_reasked` asks the detector about the whole ring at every step (perceptionist, and Wen et al.,
"Face Reconstruction from Voice"), which changes its answers, since it adapts with every call; `collect_once`
asks about each frame once (sf2f).
"""

import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Samples = NDArray[np.int16]
Segments = NDArray[np.int32]
DETECTOR_RATES = (8000, 16000, 32000, 48000)


class SpeechError(ValueError):
    """A recording or feature file that cannot be used; the message names it, the finding and the remedy."""


class Detector:
    """A new WebRTC detector, which adapts to what it is asked about.

    Args:
        aggressiveness: 0 to 3; 3 drops most.
        rate: of the samples, one of `DETECTOR_RATES`.
        source: what is judged, for messages.

    Raises:
        SpeechError: another rate.
    """

    def __init__(self, aggressiveness: int, rate: int, source: str = "the recording") -> None:
        import webrtcvad

        if rate not in DETECTOR_RATES:
            raise SpeechError(
                f"{source}: voice activity needs {listed(DETECTOR_RATES)} Hz, found {rate}; resample it"
            )
        self.rate, self._ask = rate, webrtcvad.Vad(aggressiveness).is_speech

    def __call__(self, frame: bytes) -> bool:
        """Whether a frame of 10, 20 or 30 ms, 16-bit samples, is speech."""
        return self._ask(frame, self.rate)


def collect_reasked(count: int, voiced: Callable[[int], bool], ring: int = 2, share: float = 0.9) -> Segments:
    """Which frames of a recording are kept, and in which segment, every frame of the ring asked at each step.

    A segment begins when more than `share` of the ring's frames are voiced, with all of these, and ends with
    the frame at which more than `share` of the ring's frames are unvoiced.

    Args:
        count: frames of the recording.
        voiced: the decision about the frame of a number; asked about every frame of the ring, oldest first:
            number and order of the calls belong to the result.
        ring: frames that are looked at together.
        share: see above.

    Returns:
        Number of its segment, from 0, for every frame; -1 where it is dropped. Shape (count,).
    """
    segment, number, triggered = np.full(count, -1, np.int32), 0, False
    recent: deque[int] = deque(maxlen=ring)
    for frame in range(count):
        recent.append(frame)
        if triggered:
            segment[frame] = number
        heard = sum([voiced(each) for each in recent])
        if not triggered and heard > share * ring:
            triggered = True
            segment[list(recent)] = number
            recent.clear()
        elif triggered and len(recent) - heard > share * ring:
            triggered, number = False, number + 1
            recent.clear()
    return segment


def collect_once(
    decisions: Sequence[bool] | NDArray[np.bool_], ring: int = 10, share: float = 0.9
) -> Segments:
    """The same from one decision a frame; segments and switching as in `collect_reasked`.

    Args:
        decisions: of all frames, in order.
        ring: frames that are looked at together.
        share: of the ring that switches the collector on or off.

    Returns:
        Number of its segment, from 0, for every frame; -1 where it is dropped. Shape (count,).
    """
    answers = [bool(each) for each in decisions]
    return collect_reasked(len(answers), lambda frame: answers[frame], ring, share)


def frames_of(samples: Samples, size: int) -> list[Samples]:
    """Frames of `size` samples; the rest, and a last frame that ends with the data, are dropped."""
    return [samples[start : start + size] for start in range(0, len(samples) - size, size)]


def segments_of(frames: Sequence[Samples], number: Segments) -> list[Samples]:
    """The kept frames joined to segments, in order; none where nothing is kept."""
    return [
        np.concatenate([frames[i] for i in np.flatnonzero(number == segment).tolist()])
        for segment in range(int(number.max(initial=-1)) + 1)
    ]


def nothing_heard(samples: Samples, rate: int, source: str) -> SpeechError:
    """The error for a recording without speech, with its length and level."""
    level = np.sqrt(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
    return SpeechError(
        f"{source}: no voice found in {len(samples) / rate:.2f} s at {rate} Hz (r.m.s. level {level:.0f} of "
        "32768); speak longer or louder, or turn the removal of silence off"
    )


def as_samples(samples: ArrayLike, source: str = "the recording") -> Samples:
    """The samples as a contiguous int16 array of shape (T,).

    Raises:
        SpeechError: another type or shape.
    """
    wave = np.asarray(samples)
    if wave.dtype != np.int16 or wave.ndim != 1:
        raise SpeechError(
            f"{source}: expected int16 samples of shape (T,), found {wave.dtype} of shape {wave.shape}"
        )
    return np.ascontiguousarray(wave)


def read_samples(
    path: str | os.PathLike[str],
    rate: int | None = 16000,
    *,
    channel: Literal["first", "mean"] = "first",
    rates: Sequence[int] = (),
) -> tuple[Samples, int]:
    """Load a sound file: wav, flac, mp3, ogg, m4a and others.

    Args:
        path: the file.
        rate: what every recording is resampled to, Hz; None keeps its own.
        channel: of several channels the "first" one, or their "mean".
        rates: with `rate` None, those that are accepted.

    Returns:
        (samples, rate): int16, shape (T,), and Hz.

    Raises:
        FileNotFoundError: no such file.
        voiceface.audio.loading.AudioError: not a sound file, truncated, no samples.
        SpeechError: its own rate is wanted and is none of `rates`.
    """
    from voiceface.audio import loading as audio

    wanted = rate
    if wanted is None:
        wanted = audio.info(path).rate
        if wanted not in rates:
            raise SpeechError(
                f"{path}: sample rate {wanted} Hz, the published program reads {listed(rates)} Hz; "
                "convert the file or use speech.rates=resample"
            )
    wave = audio.load(path, scale="int16", rate=wanted, resample=rate is not None, channel=channel)
    return np.clip(np.rint(wave), -32768, 32767).astype(np.int16), wanted


def listed(rates: Sequence[int]) -> str:
    """Rates in words: `8000, 16000 or 32000`."""
    return ", ".join(map(str, rates[:-1])) + f" or {rates[-1]}"
