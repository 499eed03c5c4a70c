"""Voice activity detection: WebRTC's detector or Silero's, and collectors that smooth their decisions.

Two collectors are in use. Both keep a ring buffer of the latest frames and switch when more than a fraction
of it agrees. `collect_segments_requerying` calls the detector for the complete ring at every step
(perceptionist, and Wen et al., "Face Reconstruction from Voice"), which changes its decisions, since it
adapts with every call; `collect_segments` calls it once per frame (sf2f).
"""

import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voiceface.audio.channels import ChannelChoice
from voiceface.audio.silero import SILERO_FRAME, SILERO_RATE, load_silero

__all__ = [
    "SUPPORTED_RATES",
    "DetectorName",
    "Int16Samples",
    "SegmentIndices",
    "SpeechError",
    "VoiceActivityDetector",
    "collect_segments",
    "collect_segments_requerying",
    "detect_in_frames",
    "format_rates",
    "join_segments",
    "no_speech_error",
    "read_samples",
    "split_frames",
    "to_int16_samples",
]

Int16Samples = NDArray[np.int16]
SegmentIndices = NDArray[np.int32]
DetectorName = Literal["webrtc", "silero"]
MIN_PROBABILITY = 0.5  # of silero
SUPPORTED_RATES = (8000, 16000, 32000, 48000)


class SpeechError(ValueError):
    """An utterance or feature file that cannot be used; the message names it, the finding and the remedy."""


class VoiceActivityDetector:
    """A new WebRTC detector; it adapts to the frames it has processed.

    Args:
        aggressiveness: 0 to 3; 3 drops most.
        sample_rate: of the samples, one of `SUPPORTED_RATES`.
        source: name of the utterance, for messages.

    Raises:
        SpeechError: another rate.
    """

    def __init__(self, aggressiveness: int, sample_rate: int, source: str = "the recording") -> None:
        import webrtcvad

        _require_rate(sample_rate, source)
        self.sample_rate, self._is_speech = sample_rate, webrtcvad.Vad(aggressiveness).is_speech

    def __call__(self, frame: bytes) -> bool:
        """Decide whether a frame of 10, 20 or 30 ms, 16-bit samples, is speech."""
        return self._is_speech(frame, self.sample_rate)


def detect_in_frames(
    frames: Sequence[Int16Samples],
    sample_rate: int,
    detector: DetectorName = "webrtc",
    *,
    aggressiveness: int = 2,
    source: str = "the recording",
) -> Callable[[int], bool]:
    """Build the function from the number of a frame to whether it is speech.

    Args:
        frames: of 10, 20 or 30 ms, all of one length, that follow one another.
        sample_rate: of the samples, one of `SUPPORTED_RATES`.
        detector: "webrtc": a new `VoiceActivityDetector`, which adapts with every call; "silero": a frame is
            speech if the probability of the 32 ms around its middle is above 0.5.
        aggressiveness: of "webrtc", 0 to 3.
        source: name of the utterance, for messages.

    Raises:
        SpeechError: another rate.
        ModuleNotFoundError: silero is not installed.
    """
    if detector == "webrtc":
        webrtc = VoiceActivityDetector(aggressiveness, sample_rate, source)
        raw = [frame.tobytes() for frame in frames]
        return lambda number: webrtc(raw[number])
    _require_rate(sample_rate, source)
    silero = load_silero()
    if not len(frames):
        return lambda number: False
    wave = np.concatenate(frames).astype(np.float32) / np.float32(32768)
    if sample_rate != SILERO_RATE:
        import soxr

        wave = soxr.resample(wave, sample_rate, SILERO_RATE, quality="HQ")
    speech = silero.probabilities(wave) > MIN_PROBABILITY
    middles = (np.arange(len(frames)) + 0.5) * len(frames[0]) * SILERO_RATE / sample_rate
    decisions = speech[np.minimum((middles / SILERO_FRAME).astype(int), len(speech) - 1)].tolist()
    return decisions.__getitem__


def _require_rate(sample_rate: int, source: str) -> None:
    if sample_rate not in SUPPORTED_RATES:
        raise SpeechError(
            f"{source}: voice activity needs {format_rates(SUPPORTED_RATES)} Hz, found {sample_rate}; "
            "resample it"
        )


def collect_segments_requerying(
    num_frames: int, is_voiced: Callable[[int], bool], ring_size: int = 2, threshold: float = 0.9
) -> SegmentIndices:
    """Assign the frames of an utterance to segments, with a decision on the complete ring at each step.

    A segment begins when more than `threshold` of the ring's frames are voiced, with all of these, and ends
    with the frame at which more than `threshold` of the ring's frames are unvoiced.

    Args:
        num_frames: frames of the utterance.
        is_voiced: frame index -> decision; called for every frame of the ring, oldest first. Number and order
            of the calls affect the result.
        ring_size: frames in the ring.
        threshold: fraction of the ring, see above.

    Returns:
        Segment index of every frame, from 0; -1 if it is dropped. Shape (num_frames,).
    """
    segment, number, triggered = np.full(num_frames, -1, np.int32), 0, False
    recent: deque[int] = deque(maxlen=ring_size)
    for frame in range(num_frames):
        recent.append(frame)
        if triggered:
            segment[frame] = number
        num_voiced = sum([is_voiced(each) for each in recent])
        if not triggered and num_voiced > threshold * ring_size:
            triggered = True
            segment[list(recent)] = number
            recent.clear()
        elif triggered and len(recent) - num_voiced > threshold * ring_size:
            triggered, number = False, number + 1
            recent.clear()
    return segment


def collect_segments(
    decisions: Sequence[bool] | NDArray[np.bool_], ring_size: int = 10, threshold: float = 0.9
) -> SegmentIndices:
    """Assign frames to segments from one decision per frame; otherwise as `collect_segments_requerying`.

    Args:
        decisions: of all frames, in order.
        ring_size: frames in the ring.
        threshold: fraction of the ring that starts or ends a segment.

    Returns:
        Segment index of every frame, from 0; -1 if it is dropped. Shape (len(decisions),).
    """
    voiced = [bool(each) for each in decisions]
    return collect_segments_requerying(len(voiced), lambda frame: voiced[frame], ring_size, threshold)


def split_frames(samples: Int16Samples, frame_length: int) -> list[Int16Samples]:
    """Split into frames of `frame_length` samples, without the rest or a frame that ends with the data."""
    return [
        samples[start : start + frame_length] for start in range(0, len(samples) - frame_length, frame_length)
    ]


def join_segments(frames: Sequence[Int16Samples], segment_indices: SegmentIndices) -> list[Int16Samples]:
    """Join the kept frames to segments, in order; an empty list if nothing is kept."""
    return [
        np.concatenate([frames[i] for i in np.flatnonzero(segment_indices == segment).tolist()])
        for segment in range(int(segment_indices.max(initial=-1)) + 1)
    ]


def no_speech_error(samples: Int16Samples, sample_rate: int, source: str) -> SpeechError:
    """Build the error for an utterance without speech, with its length and level."""
    level = np.sqrt(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
    return SpeechError(
        f"{source}: no voice found in {len(samples) / sample_rate:.2f} s at {sample_rate} Hz (r.m.s. level "
        f"{level:.0f} of 32768); speak longer or louder, or turn the removal of silence off"
    )


def to_int16_samples(samples: ArrayLike, source: str = "the recording") -> Int16Samples:
    """Check and convert samples to a contiguous int16 array of shape (T,).

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
    channel: ChannelChoice = "first",
    accepted_rates: Sequence[int] = (),
) -> tuple[Int16Samples, int]:
    """Load an utterance as int16: wav, flac, mp3, ogg, m4a and others.

    Args:
        path: the file.
        sample_rate: target rate in Hz; None keeps that of the file.
        channel: of several channels the "first" one, their "mean", or "auto"; see
            `voiceface.audio.channels.mix_channels`.
        accepted_rates: rates that are accepted if `sample_rate` is None.

    Returns:
        (samples, rate): int16, shape (T,), and Hz.

    Raises:
        FileNotFoundError: no such file.
        voiceface.audio.loading.AudioError: not a sound file, truncated, no samples.
        SpeechError: `sample_rate` is None and the rate of the file is not accepted.
    """
    from voiceface.audio.loading import load_audio, read_audio_info

    rate = sample_rate
    if rate is None:
        rate = read_audio_info(path).sample_rate
        if rate not in accepted_rates:
            raise SpeechError(
                f"{path}: sample rate {rate} Hz, the published program reads {format_rates(accepted_rates)} "
                "Hz; convert the file or use speech.sample_rates=resample"
            )
    wave = load_audio(
        path, scale="int16", sample_rate=rate, resample=sample_rate is not None, channel=channel
    )
    return np.clip(np.rint(wave), -32768, 32767).astype(np.int16), rate


def format_rates(rates: Sequence[int]) -> str:
    """Format rates as `8000, 16000 or 32000`."""
    return ", ".join(map(str, rates[:-1])) + f" or {rates[-1]}"
