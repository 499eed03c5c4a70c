"""A person's own recordings: one channel, and a gate that lets no silence or noise reach a network.

Data folders are read by `voiceface.audio.loading.load_audio`, without a gate.
"""

import logging
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voiceface.audio.channels import ChannelChoice
from voiceface.audio.loading import load_audio_with_notes, read_audio_info
from voiceface.audio.samples import INT16_FULL_SCALE, AudioError, OnCorrupt, SampleScale, Waveform
from voiceface.io.file_kinds import printable

__all__ = [
    "MIN_SECONDS",
    "MIN_SPEECH_SECONDS",
    "Recording",
    "RecordingQuality",
    "load_recording",
    "measure_quality",
    "read_recording",
    "require_sound",
    "require_speech",
]

log = logging.getLogger(__name__)

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
MAX_SECONDS = 120.0  # of a recording that are examined, evenly spaced frames of a longer one


@dataclass(frozen=True)
class RecordingQuality:
    """Measurements of a recording.

    Attributes:
        seconds: duration.
        speech_seconds: duration of voiced sound with up to 0.1 s around it.
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
        """Sentences about what makes a result doubtful."""
        found = []
        if self.speech_seconds < FEW_SPEECH_SECONDS:
            found.append(
                f"only {self.speech_seconds:.1f} s of speech; {FEW_SPEECH_SECONDS:g} s or more are better"
            )
        if self.level_db < QUIET_LEVEL_DB:
            found.append(f"the speech is very quiet ({self.level_db:.0f} dB below full scale)")
        if self.clipped > CLIPPED_SHARE:
            found.append(f"{100 * self.clipped:.1f} % of the samples are clipped")
        if self.is_telephone:
            found.append(
                "nothing above 4 kHz, as of a telephone; the networks were trained on wideband sound"
            )
        return tuple(found)


def measure_quality(waveform: NDArray[np.floating], *, full_scale: float = 1.0) -> RecordingQuality:
    """Measure a recording: voiced sound by the autocorrelation of frames, 80 to 1000 Hz.

    Args:
        waveform: (T,) at 16 kHz.
        full_scale: value of full scale, 1 or 32768.

    Returns:
        The measurements; noise and silence have no voiced sound.
    """
    wave = np.asarray(waveform, np.float32) / np.float32(full_scale)
    seconds = len(wave) / ANALYSIS_RATE
    if not len(wave):
        return RecordingQuality(0.0, 0.0, 0.0, -np.inf, 0.0, False)
    clipped = float(np.mean(np.abs(wave) >= 0.999))
    wave = wave - wave.mean()
    peak = float(np.abs(wave).max())
    padded = np.pad(wave, (0, max(0, FRAME - len(wave))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP]
    step = max(1, round(seconds / MAX_SECONDS))
    spectrum = np.square(np.abs(np.fft.rfft(frames[::step], 2 * FRAME, axis=1)))
    spectrum[:, : VOICE_BINS.start] = 0
    spectrum[:, VOICE_BINS.stop :] = 0
    correlation = np.fft.irfft(spectrum, axis=1)[:, : FRAME // 2]
    overlap = 1 - np.arange(FRAME // 2) / FRAME  # shorter at longer lags
    best = (correlation[:, PITCH_LAGS] / overlap[PITCH_LAGS]).max(axis=1)
    periodicity = best / np.maximum(correlation[:, 0], 1e-20)
    power = np.mean(np.square(frames[::step]), axis=1)
    loud = power > max(power.max() * 10 ** (MIN_RELATIVE_LEVEL_DB / 10), 1e-12)
    voiced = loud & (periodicity > MIN_PERIODICITY)
    if step == 1:  # a single frame is chance
        voiced &= np.convolve(voiced, [1, 0, 1], "same")[: len(voiced)] > 0
        speech = np.convolve(voiced, np.ones(2 * PAUSE_FRAMES + 1), "same")[: len(voiced)] > 0
    else:
        speech = voiced
    share = float(np.mean(speech & loud))
    level = 10 * float(np.log10(power[voiced].mean())) if voiced.any() else -np.inf
    mean_power = np.square(np.abs(np.fft.rfft(frames[::step] * np.hanning(FRAME), axis=1))).mean(axis=0)
    edge = TELEPHONE_HZ * FRAME // ANALYSIS_RATE
    above, below = mean_power[edge + 8 :].mean(), mean_power[:edge].max()
    telephone = bool(voiced.any() and above < below * 10 ** (TELEPHONE_DB / 10))
    return RecordingQuality(seconds, share * seconds, peak, level, clipped, telephone)


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
        finding = f"holds no voice: its {quality.seconds:.2f} s are noise"
    elif quality.speech_seconds < MIN_SPEECH_SECONDS:
        finding = f"holds {quality.speech_seconds:.2f} s of speech in {quality.seconds:.2f} s"
    else:
        return
    raise AudioError(
        f"{source}: {finding}, expected at least {MIN_SECONDS:g} s with {MIN_SPEECH_SECONDS:g} s of speech; "
        "record it again"
    )


@dataclass(frozen=True, eq=False)
class Recording:
    """A person's own recording, ready for a front end.

    Attributes:
        waveform: (T,), float32, 16 kHz, in the scale that was asked for.
        quality: measurements.
        notes: sentences about what makes a result doubtful, and about peculiarities of the file, without its
            name; empty for most.
    """

    waveform: Waveform
    quality: RecordingQuality
    notes: tuple[str, ...] = ()


def read_recording(
    path: str | os.PathLike[str],
    *,
    scale: SampleScale,
    resample: bool = True,
    on_corrupt: OnCorrupt = "error",
    channel: ChannelChoice = "auto",
) -> Recording:
    """Read a person's own recording at 16 kHz, measure it, and refuse it if it holds no speech.

    Nothing is logged: the notes are returned.

    Args:
        path: any file that `voiceface.audio.loading.decode_audio` reads.
        scale: see there. With "native" the values are judged by their 16-bit scale.
        resample: convert other rates instead of refusing them.
        on_corrupt: see `decode_audio`.
        channel: see `voiceface.audio.channels.mix_channels`.

    Raises:
        FileNotFoundError: no such file.
        AudioError: as of `load_audio`; silence, noise, or too little speech.
    """
    options = {"resample": resample, "on_corrupt": on_corrupt, "channel": channel}
    loaded = load_audio_with_notes(path, scale=scale, **options)  # type: ignore[arg-type]
    judged, full_scale = loaded.waveform, INT16_FULL_SCALE if scale == "int16" else 1.0
    if scale == "native" and read_audio_info(path).subtype != "PCM_16":
        judged = load_audio_with_notes(path, scale="unit", **options).waveform  # type: ignore[arg-type]
    elif scale == "native":
        full_scale = INT16_FULL_SCALE
    quality = measure_quality(judged, full_scale=full_scale)
    require_speech(quality, printable(path))
    losses = (loaded.loss,) if loaded.loss else ()
    return Recording(loaded.waveform, quality, (*losses, *loaded.notes, *quality.notes))


def load_recording(
    path: str | os.PathLike[str],
    *,
    scale: SampleScale,
    resample: bool = True,
    on_corrupt: OnCorrupt = "error",
    channel: ChannelChoice = "auto",
) -> Waveform:
    """Load a person's own recording as `read_recording` does, log its notes, and return the waveform alone.

    Returns:
        Shape (T,), float32.

    Raises:
        FileNotFoundError, AudioError: see `read_recording`.
    """
    recording = read_recording(path, scale=scale, resample=resample, on_corrupt=on_corrupt, channel=channel)
    for note in recording.notes:
        log.warning("%s: %s", printable(path), note)
    return recording.waveform
