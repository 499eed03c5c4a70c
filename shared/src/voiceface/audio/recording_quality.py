"""Measurements of a person's own recording, and the gate that lets no silence or noise reach a network."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from voiceface.audio.samples import AudioError
from voiceface.audio.silero import has_silero, load_silero

__all__ = [
    "MIN_SECONDS",
    "MIN_SPEECH_SECONDS",
    "RecordingQuality",
    "SpeechFinder",
    "background_power",
    "choose_speech_finder",
    "combine_qualities",
    "find_speech_frames",
    "find_speech_runs",
    "measure_quality",
    "require_sound",
    "require_speech",
]

MIN_SECONDS = 0.5
"""Seconds that a recording must have."""
MIN_SPEECH_SECONDS = 0.3
"""Seconds of voiced sound that a recording must have."""
FEW_SPEECH_SECONDS = 1.0  # fewer get a note
SILENCE_PEAK = 1e-3  # of full scale
QUIET_LEVEL_DB = -45.0  # of the voiced part, below full scale; quieter gets a note
CLIPPED_SHARE = 0.005  # of all samples at full scale; more get a note
ANALYSIS_RATE = 16000
FRAME, HOP = 1024, 512  # 64 ms, 32 ms
PITCH_LAGS = slice(ANALYSIS_RATE // 500, ANALYSIS_RATE // 60)  # 60...500 Hz
VOICE_BINS = slice(80 * 2 * FRAME // ANALYSIS_RATE, 1000 * 2 * FRAME // ANALYSIS_RATE)  # 80...1000 Hz
MIN_PERIODICITY = 0.6  # normalised autocorrelation at the best lag
MIN_RELATIVE_LEVEL_DB = -35.0  # of a frame, below the loudest one
PAUSE_FRAMES = 3  # around a voiced frame, for consonants
TELEPHONE_HZ, TELEPHONE_DB = 4000, -70.0  # nothing above, relative to the strongest below
MIN_PROBABILITY = 0.4  # of silero
MIN_RUN_FRAMES = 5  # of 32 ms
MIN_SPEECH_SHARE = 0.2  # of the frames about as loud as the speech; less is music or noise
SPEECH_RANGE_DB = 20.0  # below the level of the speech; quieter sound is background
BLOCK_FRAMES = 2000  # in which speech is found; 64 s
CORRELATED_FRAMES = 256  # at a time; memory grows by 40 kB with each of them
FINDER_VARIABLE = "VOICEFACE_SPEECH_FINDER"
SpeechFinder = Literal["pitch", "silero"]
MAX_SECONDS = 120.0  # of a recording that are examined, evenly spaced frames of a longer one


@dataclass(frozen=True)
class RecordingQuality:
    """Measurements of a recording.

    Attributes:
        seconds: duration.
        speech_seconds: duration of speech: of voiced sound with up to 0.1 s around it, or as silero finds it.
        peak: largest deviation from the mean, 1 is full scale.
        level_db: root mean square of the voiced part, in dB below full scale; -inf without one.
        clipped: share of samples at full scale.
        is_telephone: whether there is nothing above 4 kHz.
    """

    seconds: float
    speech_seconds: float
    peak: float
    level_db: float
    clipped: float
    is_telephone: bool

    @property
    def notes(self) -> tuple[str, ...]:
        """What makes a result doubtful, such as "clipped: 2.0 % of the samples"."""
        found = []
        if self.speech_seconds < FEW_SPEECH_SECONDS:
            found.append(
                f"little speech: {self.speech_seconds:.1f} s of speech, {FEW_SPEECH_SECONDS:g} s or more are "
                "better"
            )
        if self.level_db < QUIET_LEVEL_DB:
            found.append(f"quiet: the speech is {-self.level_db:.0f} dB below full scale")
        if self.clipped > CLIPPED_SHARE:
            found.append(f"clipped: {100 * self.clipped:.1f} % of the samples")
        if self.is_telephone:
            found.append("telephone: nothing above 4 kHz, the networks were trained on wideband sound")
        return tuple(found)


def choose_speech_finder() -> SpeechFinder:
    """Choose how the gate finds speech: by silero where it is installed, else by the pitch.

    The environment variable `VOICEFACE_SPEECH_FINDER` ("silero" or "pitch") takes the choice.

    Raises:
        ValueError: the variable has another value.
    """
    chosen = os.environ.get(FINDER_VARIABLE) or ("silero" if has_silero() else "pitch")
    if chosen not in get_args(SpeechFinder):
        raise ValueError(f'{FINDER_VARIABLE}={chosen}: expected "silero" or "pitch"')
    return cast(SpeechFinder, chosen)


def measure_quality(
    waveform: NDArray[np.floating], *, full_scale: float = 1.0, finder: SpeechFinder = "pitch"
) -> RecordingQuality:
    """Measure a recording.

    Args:
        waveform: (T,) at 16 kHz.
        full_scale: value of full scale, 1 or 32768.
        finder: of speech. "pitch": voiced sound, by the autocorrelation of frames, 80 to 1000 Hz; noise and
            silence have none, whispering has little, music has much. "silero": by
            `voiceface.audio.silero`; speech in less than a fifth of the frames that are at most 20 dB quieter
            counts as none.

    Returns:
        The measurements.

    Raises:
        ModuleNotFoundError: silero is asked for and not installed.
    """
    wave = np.asarray(waveform, np.float32) / np.float32(full_scale)
    seconds = len(wave) / ANALYSIS_RATE
    if not len(wave):
        return RecordingQuality(0.0, 0.0, 0.0, -np.inf, 0.0, False)
    clipped = float(np.mean(np.abs(wave) >= 0.999))
    wave = wave - wave.mean()
    peak = float(np.abs(wave).max())
    padded = np.pad(wave, (0, max(0, FRAME - len(wave))))
    step = max(1, round(seconds / MAX_SECONDS))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP][::step]
    power = np.mean(np.square(frames), axis=1)
    loud = power > max(power.max() * 10 ** (MIN_RELATIVE_LEVEL_DB / 10), 1e-12)
    if finder == "silero":
        voiced = speech = find_speech_runs(load_silero().probabilities(wave))[: len(frames) * step][::step]
        near = loud & (power > background_power(power[speech]))
        if not near.any() or np.mean(speech[near]) < MIN_SPEECH_SHARE:
            voiced = speech = np.zeros_like(speech)
        share = float(np.mean(speech))
    else:
        voiced, speech = _find_voiced(frames, loud, is_dense=step == 1)
        share = float(np.mean(speech & loud))
    level = 10 * float(np.log10(power[voiced].mean())) if voiced.any() else -np.inf
    mean_power = _mean_spectrum(frames)
    edge = TELEPHONE_HZ * FRAME // ANALYSIS_RATE
    above, below = mean_power[edge + 8 :].mean(), mean_power[:edge].max()
    telephone = bool(voiced.any() and above < below * 10 ** (TELEPHONE_DB / 10))
    return RecordingQuality(seconds, share * seconds, peak, level, clipped, telephone)


def background_power(power: NDArray[np.floating], range_db: float = SPEECH_RANGE_DB) -> float:
    """Power of frames below which sound is background, from the power of speech frames, weighted by itself.

    Quiet frames that were taken for speech, such as hum, weigh little.
    """
    total = float(power.sum(dtype=np.float64))
    level = float(np.square(power, dtype=np.float64).sum()) / total if total else 0.0
    return level * 10 ** (-range_db / 10)


def find_speech_frames(
    waveform: NDArray[np.floating], *, full_scale: float = 1.0, finder: SpeechFinder = "pitch"
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Find the frames of a recording in which somebody speaks.

    Memory does not grow with the length, but for a few bytes a frame.

    Args:
        waveform: (T,) at 16 kHz.
        full_scale: value of full scale, 1 or 32768.
        finder: see `measure_quality`. By the pitch, frames more than 20 dB quieter than the speech are none.

    Returns:
        (speech, power): whether somebody speaks, and mean square of full scale, of each frame. Shape
        (max(1, ceil((T - 1024) / 512) + 1),): frames of 1024 samples, 512 apart, the last of which ends with
        the recording or behind it.

    Raises:
        ModuleNotFoundError: silero is asked for and not installed.
    """
    count = max(1, -(-(len(waveform) - FRAME) // HOP) + 1)
    mean = np.mean(waveform, dtype=np.float64) if len(waveform) else 0.0
    power, periodic = np.zeros(count), np.zeros(count, bool)
    for first in range(0, count, BLOCK_FRAMES):
        last = min(first + BLOCK_FRAMES, count)
        block = np.zeros((last - first - 1) * HOP + FRAME, np.float32)
        piece = waveform[first * HOP : first * HOP + len(block)]
        block[: len(piece)] = (piece - mean) / full_scale
        frames = np.lib.stride_tricks.sliding_window_view(block, FRAME)[::HOP]
        power[first:last] = np.mean(np.square(frames), axis=1)
        if finder == "silero":
            periodic[first:last] = find_speech_runs(load_silero().probabilities(block))[: last - first]
        else:
            everywhere = np.ones(last - first, bool)
            periodic[first:last] = _find_voiced(frames, everywhere, is_dense=True)[0]
    if finder == "silero":
        return periodic, power
    loud = power > max(power.max() * 10 ** (MIN_RELATIVE_LEVEL_DB / 10), 1e-12)
    return periodic & (power > background_power(power[periodic & loud])), power


def _find_voiced(
    frames: NDArray[np.float32], loud: NDArray[np.bool_], *, is_dense: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Voiced frames, and those with frames of consonants around them, of frames (N, `FRAME`)."""
    blocks = range(0, len(frames), CORRELATED_FRAMES)
    periodicity = np.concatenate([_periodicity(frames[at : at + CORRELATED_FRAMES]) for at in blocks])
    voiced = loud & (periodicity > MIN_PERIODICITY)
    if not is_dense:
        return voiced, voiced
    voiced &= np.convolve(voiced, [1, 0, 1], "same")[: len(voiced)] > 0  # a single frame is chance
    return voiced, np.convolve(voiced, np.ones(2 * PAUSE_FRAMES + 1), "same")[: len(voiced)] > 0


def _mean_spectrum(frames: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean power spectrum (513,) of frames (N, `FRAME`)."""
    window, total = np.hanning(FRAME), np.zeros(FRAME // 2 + 1)
    for at in range(0, len(frames), CORRELATED_FRAMES):
        spectrum = np.fft.rfft(frames[at : at + CORRELATED_FRAMES] * window, axis=1)
        total += np.square(np.abs(spectrum)).sum(axis=0)
    return total / len(frames)


def _periodicity(frames: NDArray[np.float32]) -> NDArray[np.floating]:
    """Normalised autocorrelation at the best lag of a voice, of frames (N, `FRAME`)."""
    spectrum = np.square(np.abs(np.fft.rfft(frames, 2 * FRAME, axis=1)))
    spectrum[:, : VOICE_BINS.start] = 0
    spectrum[:, VOICE_BINS.stop :] = 0
    correlation = np.fft.irfft(spectrum, axis=1)[:, : FRAME // 2]
    overlap = 1 - np.arange(FRAME // 2) / FRAME  # shorter at longer lags
    best: NDArray[np.floating] = (correlation[:, PITCH_LAGS] / overlap[PITCH_LAGS]).max(axis=1)
    return best / np.maximum(correlation[:, 0], 1e-20)


def find_speech_runs(probabilities: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Frames of speech: runs above 0.4 of 0.16 s or more, with pauses of up to 0.1 s.

    Args:
        probabilities: (N,), of frames of 32 ms.

    Returns:
        Shape (N,).

    Example:
        >>> find_speech_runs(np.array([0, 1, 1, 1, 0, 1, 1, 0, 0, 0, 0, 1])).astype(int).tolist()
        [0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0]
    """
    speech = np.concatenate([[False], probabilities > MIN_PROBABILITY, [False]])
    edges = np.flatnonzero(np.diff(speech)).reshape(-1, 2)
    if not len(edges):
        return speech[1:-1]
    begins = np.concatenate([[True], edges[1:, 0] - edges[:-1, 1] > PAUSE_FRAMES])  # of a run with pauses
    ends = np.append(begins[1:], True)
    runs = np.stack([edges[begins, 0], edges[ends, 1]], axis=1)
    runs = runs[runs[:, 1] - runs[:, 0] >= MIN_RUN_FRAMES]
    change = np.zeros(len(probabilities) + 1, np.int64)
    np.add.at(change, runs[:, 0], 1)
    np.add.at(change, runs[:, 1], -1)
    return np.cumsum(change[:-1]) > 0


def require_sound(waveform: NDArray[Any], source: str = "the recording") -> None:
    """Refuse a constant signal, such as digital silence.

    Args:
        waveform: (T,), any scale.
        source: name for the message.

    Raises:
        AudioError: all samples are equal.
    """
    if len(waveform) and np.ptp(waveform) == 0:
        raise AudioError(f"{source}: is silent from beginning to end ({len(waveform)} equal samples)")


def require_speech(quality: RecordingQuality, source: str) -> None:
    """Refuse a recording without speech.

    Args:
        quality: from `measure_quality`.
        source: name for the message.

    Raises:
        AudioError: silence, noise, or less than `MIN_SECONDS` of sound or `MIN_SPEECH_SECONDS` of speech.
    """
    if quality.seconds < MIN_SECONDS:
        finding = f"has {quality.seconds:.2f} s of sound"
    elif quality.peak < SILENCE_PEAK:
        finding = f"is silent (the loudest sample is {quality.peak:.1g} of full scale)"
    elif quality.speech_seconds == 0:
        finding = f"holds no voice: its {quality.seconds:.2f} s are noise, music or other sound"
    elif quality.speech_seconds < MIN_SPEECH_SECONDS:
        finding = f"holds {quality.speech_seconds:.2f} s of speech in {quality.seconds:.2f} s"
    else:
        return
    raise AudioError(
        f"{source}: {finding}, expected at least {MIN_SECONDS:g} s with {MIN_SPEECH_SECONDS:g} s of speech; "
        "record it again"
    )


def combine_qualities(parts: Sequence[RecordingQuality]) -> RecordingQuality:
    """Measurements of a recording from those of its parts.

    Args:
        parts: of parts that lie one behind another, at least one.
    """
    seconds = sum(part.seconds for part in parts)
    voiced = [part for part in parts if part.speech_seconds]
    speech = sum(part.speech_seconds for part in parts)
    power = sum(part.speech_seconds * 10 ** (part.level_db / 10) for part in voiced)
    return RecordingQuality(
        seconds,
        speech,
        max(part.peak for part in parts),
        10 * float(np.log10(power / speech)) if voiced else -np.inf,
        sum(part.clipped * part.seconds for part in parts) / seconds if seconds else 0.0,
        bool(voiced) and all(part.is_telephone for part in voiced),
    )
