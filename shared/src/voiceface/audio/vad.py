"""Which parts of a recording hold speech: the WebRTC detector, and collectors that smooth its decisions.

Two collectors are in use. Both hold a ring of the latest frames and switch when more than a share of it
agrees. `collect_segments_requerying` asks the detector about the whole ring at every step (perceptionist,
and Wen et al., "Face Reconstruction from Voice"), which changes its answers, since it adapts with every call;
`collect_segments` asks about each frame once (sf2f).
"""

import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Int16Samples = NDArray[np.int16]
SegmentIndices = NDArray[np.int32]
SUPPORTED_RATES = (8000, 16000, 32000, 48000)


class SpeechError(ValueError):
    """A recording or feature file that cannot be used; the message names it, the finding and the remedy."""


class VoiceActivityDetector:
    """A new WebRTC detector, which adapts to what it is asked about.

    Args:
        aggressiveness: 0 to 3; 3 drops most.
        sample_rate: of the samples, one of `SUPPORTED_RATES`.
        source: what is judged, for messages.

    Raises:
        SpeechError: another rate.
    """

    def __init__(self, aggressiveness: int, sample_rate: int, source: str = "the recording") -> None:
        import webrtcvad

        if sample_rate not in SUPPORTED_RATES:
            raise SpeechError(
                f"{source}: voice activity needs {format_rates(SUPPORTED_RATES)} Hz, found {sample_rate}; "
                "resample it"
            )
        self.sample_rate, self._is_speech = sample_rate, webrtcvad.Vad(aggressiveness).is_speech

    def __call__(self, frame: bytes) -> bool:
        """Whether a frame of 10, 20 or 30 ms, 16-bit samples, is speech."""
        return self._is_speech(frame, self.sample_rate)


def collect_segments_requerying(
    num_frames: int, is_voiced: Callable[[int], bool], ring_size: int = 2, threshold: float = 0.9
) -> SegmentIndices:
    """Which frames of a recording are kept, and in which segment, every frame of the ring asked at each step.

    A segment begins when more than `threshold` of the ring's frames are voiced, with all of these, and ends
    with the frame at which more than `threshold` of the ring's frames are unvoiced.

    Args:
        num_frames: frames of the recording.
        is_voiced: the decision about the frame of a number; asked about every frame of the ring, oldest
            first: number and order of the calls belong to the result.
        ring_size: frames that are looked at together.
        threshold: see above.

    Returns:
        Number of its segment, from 0, for every frame; -1 where it is dropped. Shape (count,).
    """
    segment, number, triggered = np.full(num_frames, -1, np.int32), 0, False
    recent: deque[int] = deque(maxlen=ring_size)
    for frame in range(num_frames):
        recent.append(frame)
        if triggered:
            segment[frame] = number
        heard = sum([is_voiced(each) for each in recent])
        if not triggered and heard > threshold * ring_size:
            triggered = True
            segment[list(recent)] = number
            recent.clear()
        elif triggered and len(recent) - heard > threshold * ring_size:
            triggered, number = False, number + 1
            recent.clear()
    return segment


def collect_segments(
    decisions: Sequence[bool] | NDArray[np.bool_], ring_size: int = 10, threshold: float = 0.9
) -> SegmentIndices:
    """The same from one decision a frame; segments and switching as in `collect_segments_requerying`.

    Args:
        decisions: of all frames, in order.
        ring_size: frames that are looked at together.
        threshold: of the ring that switches the collector on or off.

    Returns:
        Number of its segment, from 0, for every frame; -1 where it is dropped. Shape (count,).
    """
    answers = [bool(each) for each in decisions]
    return collect_segments_requerying(len(answers), lambda frame: answers[frame], ring_size, threshold)


def split_frames(samples: Int16Samples, frame_length: int) -> list[Int16Samples]:
    """Frames of `frame_length` samples; the rest, and a last frame that ends with the data, are dropped."""
    return [
        samples[start : start + frame_length] for start in range(0, len(samples) - frame_length, frame_length)
    ]


def join_segments(frames: Sequence[Int16Samples], segment_indices: SegmentIndices) -> list[Int16Samples]:
    """The kept frames joined to segments, in order; none where nothing is kept."""
    return [
        np.concatenate([frames[i] for i in np.flatnonzero(segment_indices == segment).tolist()])
        for segment in range(int(segment_indices.max(initial=-1)) + 1)
    ]


def no_speech_error(samples: Int16Samples, sample_rate: int, source: str) -> SpeechError:
    """The error for a recording without speech, with its length and level."""
    level = np.sqrt(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
    return SpeechError(
        f"{source}: no voice found in {len(samples) / sample_rate:.2f} s at {sample_rate} Hz (r.m.s. "
        f"level {level:.0f} of "
        "32768); speak longer or louder, or turn the removal of silence off"
    )


def to_int16_samples(samples: ArrayLike, source: str = "the recording") -> Int16Samples:
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
    sample_rate: int | None = 16000,
    *,
    channel: Literal["first", "mean"] = "first",
    accepted_rates: Sequence[int] = (),
) -> tuple[Int16Samples, int]:
    """Load a sound file: wav, flac, mp3, ogg, m4a and others.

    Args:
        path: the file.
        sample_rate: what every recording is resampled to, Hz; None keeps its own.
        channel: of several channels the "first" one, or their "mean".
        accepted_rates: with `sample_rate` None, those that are accepted.

    Returns:
        (samples, rate): int16, shape (T,), and Hz.

    Raises:
        FileNotFoundError: no such file.
        voiceface.audio.loading.AudioError: not a sound file, truncated, no samples.
        SpeechError: its own rate is wanted and is none of `accepted_rates`.
    """
    from voiceface.audio.loading import load_audio, read_audio_info

    wanted = sample_rate
    if wanted is None:
        wanted = read_audio_info(path).sample_rate
        if wanted not in accepted_rates:
            raise SpeechError(
                f"{path}: sample rate {wanted} Hz, the published program reads "
                f"{format_rates(accepted_rates)} Hz; "
                "convert the file or use speech.rates=resample"
            )
    wave = load_audio(
        path, scale="int16", sample_rate=wanted, resample=sample_rate is not None, channel=channel
    )
    return np.clip(np.rint(wave), -32768, 32767).astype(np.int16), wanted


def format_rates(rates: Sequence[int]) -> str:
    """Rates in words: `8000, 16000 or 32000`."""
    return ", ".join(map(str, rates[:-1])) + f" or {rates[-1]}"
