"""Speech front end: silence removal and log-mel features of recordings; stored feature files.

No intermediate files are written; the published program cuts recordings into files of a shared folder.
Letters: T samples.
"""

import os
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from voiceface.audio.feature_files import Features, read_feature_file, validate_features
from voiceface.audio.vad import (
    Int16Samples,
    SpeechError,
    detect_in_frames,
    join_segments,
    no_speech_error,
    read_samples,
    split_frames,
    to_int16_samples,
)
from voiceface.audio.vad import collect_segments_requerying as collect

from perceptionist.network_config import DEFAULT_CONFIG, SpeechConfig

if TYPE_CHECKING:
    from torch import Tensor
    from voiceface.audio.frontends import PerceptionistLogMel

__all__ = [
    "PUBLISHED_SAMPLE_RATES",
    "SAMPLE_RATE",
    "Features",
    "Int16Samples",
    "SpeechError",
    "collect",
    "extract_features",
    "extract_file_features",
    "get_frontend",
    "read_features",
    "read_recording",
    "remove_silence",
    "split_frames",
    "to_int16_samples",
    "voiced_segments",
]

SAMPLE_RATE = 16000
PUBLISHED_SAMPLE_RATES = (8000, 16000, 32000)


def remove_silence(
    samples: ArrayLike,
    rate: int = SAMPLE_RATE,
    config: SpeechConfig = DEFAULT_CONFIG,
    source: str = "the recording",
) -> Int16Samples:
    """Join the voiced segments of a recording; see `voiced_segments`."""
    return np.concatenate(voiced_segments(samples, rate, config, source))


def voiced_segments(
    samples: ArrayLike,
    rate: int = SAMPLE_RATE,
    config: SpeechConfig = DEFAULT_CONFIG,
    source: str = "the recording",
) -> list[Int16Samples]:
    """Voiced segments of a recording, by a new voice activity detector.

    Args:
        samples: int16, shape (T,).
        rate: 8, 16, 32 or 48 kHz.
        config: detector and collector.
        source: name of the recording, for messages.

    Returns:
        At least one segment, each a whole number of frames long.

    Raises:
        SpeechError: the samples are not int16 of shape (T,), the rate is another one, or no voice is
            detected.
    """
    wave = to_int16_samples(samples, source)
    frames = split_frames(wave, rate * config.frame_ms // 1000)
    is_speech = detect_in_frames(
        frames, rate, config.detector, aggressiveness=config.aggressiveness, source=source
    )
    segment_of = collect(len(frames), is_speech, config.ring_size, config.voiced_fraction)
    if segment_of.max(initial=-1) < 0:
        raise no_speech_error(wave, rate, source)
    return join_segments(frames, segment_of)


def read_recording(
    path: str | os.PathLike[str], config: SpeechConfig = DEFAULT_CONFIG
) -> tuple[Int16Samples, int]:
    """Load an audio file: wav, flac, mp3, ogg, m4a and others, first channel.

    Returns:
        (samples, rate): int16, shape (T,), and Hz: 16000 unless `config.sample_rates` is "published".

    Raises:
        FileNotFoundError: no such file.
        voiceface.audio.loading.AudioError: not an audio file, truncated, or without samples.
        SpeechError: `config.sample_rates` is "published" and the rate is none of the published ones.
    """
    rate = None if config.sample_rates == "published" else SAMPLE_RATE
    return read_samples(path, rate, accepted_rates=PUBLISHED_SAMPLE_RATES)


def extract_features(
    samples: ArrayLike,
    rate: int = SAMPLE_RATE,
    config: SpeechConfig = DEFAULT_CONFIG,
    source: str = "the recording",
    front_end: "Callable[[Tensor], Tensor] | None" = None,
) -> Features:
    """Extract the features of one recording: silence removal, log-mel bands, standardised, repeated.

    Args:
        samples: int16, shape (T,).
        rate: of the samples; only the detector uses it, the bands are those of 16 kHz.
        config: of the front end.
        source: name of the recording, for messages.
        front_end: samples (1, T) to bands (1, M, frames); None: `get_frontend`.

    Returns:
        Shape (frames, 64), at least 1000 frames, float32, as in stored feature files.

    Raises:
        SpeechError: invalid samples, or no voice detected.
    """
    import torch

    wave = to_int16_samples(samples, source)
    if config.sample_rates != "published" and rate != SAMPLE_RATE:
        raise SpeechError(f"{source}: found {rate} Hz, expected {SAMPLE_RATE} Hz; resample it")
    if config.remove_silence:
        wave = remove_silence(wave, rate, config, source)
    if not len(wave):
        raise SpeechError(f"{source}: found no samples, expected some seconds of speech")
    bands = (front_end or get_frontend())(torch.from_numpy(wave.astype(np.float64))[None])
    return np.ascontiguousarray(bands[0].T.numpy())


def extract_file_features(path: str | os.PathLike[str], config: SpeechConfig = DEFAULT_CONFIG) -> Features:
    """Extract the features (frames, 64) of a file; errors as `read_recording` and `extract_features`."""
    samples, rate = read_recording(path, config)
    return extract_features(samples, rate, config, str(path))


def read_features(path: str | os.PathLike[str], n_mels: int = 64) -> Features:
    """Read a stored feature file (`fbank`, `preprocessed_MFCC`): .npy, (frames, bands).

    Raises:
        FileNotFoundError: no such file.
        SpeechError: not a .npy file, an array of another shape or of objects, no frames, or non-finite
            values.
    """
    return validate_features(read_feature_file(path), n_mels, mel_axis=1, source=str(path))


@lru_cache(maxsize=1)
def get_frontend() -> "PerceptionistLogMel":
    """The front end, one per process."""
    from voiceface.audio.frontends import PerceptionistLogMel

    return PerceptionistLogMel()
