"""Voice front ends: utterances to network input, without intermediate files (docs/cmpc2.md).

"sphinx" is the front end of the published package cmpc2 (256-pixel model, VoiceStyle): silence removed,
standardised log-mel bands of at least 800 frames. "decibels" is that of CMPC's training and evaluation code:
log-mel bands in decibels, clips of 500 frames. A model must be used with the front end it was trained with.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from voiceface.audio.vad import (
    Int16Samples,
    SpeechError,
    VoiceActivityDetector,
    collect_segments_requerying,
    format_rates,
    join_segments,
    no_speech_error,
    split_frames,
    to_int16_samples,
)

from cmpc2.log_mel import compute_decibel_log_mel, crop_or_pad
from cmpc2.model_config import MIN_FRAMES, VoiceFrontendConfig
from cmpc2.sphinx import get_published_frontend, standardise_bands

__all__ = [
    "N_MELS",
    "PUBLISHED_SAMPLE_RATES",
    "SAMPLE_RATE",
    "LogMelArray",
    "audio_preprocess",
    "compute_log_mel",
    "compute_sphinx_bands",
    "load_log_mel",
    "load_voice",
    "prepare_voice",
    "read_stored_log_mel",
    "read_utterance",
    "remove_silence",
]

LogMelArray = NDArray[np.float32]
SAMPLE_RATE = 16000
PUBLISHED_SAMPLE_RATES = (8000, 16000, 32000)
N_MELS = 64


def remove_silence(
    samples: ArrayLike, sample_rate: int = SAMPLE_RATE, aggressiveness: int = 2, source: str = "the utterance"
) -> Int16Samples:
    """Remove silence by voice activity detection (frames of 20 ms, ring buffer of two).

    Args:
        samples: int16, shape (T,).
        sample_rate: 8000, 16000, 32000 or 48000 Hz.
        aggressiveness: of the WebRTC detector, 0 to 3.
        source: name of the utterance, for messages.

    Returns:
        The concatenated speech, int16, shape (T',).

    Raises:
        SpeechError: unusable samples or sampling rate, or no speech.
    """
    waveform = to_int16_samples(samples, source)
    detector = VoiceActivityDetector(aggressiveness, sample_rate, source)
    frames = split_frames(waveform, sample_rate // 50)
    frame_bytes = [frame.tobytes() for frame in frames]
    segments = collect_segments_requerying(len(frame_bytes), lambda i: detector(frame_bytes[i]))
    if segments.max(initial=-1) < 0:
        raise no_speech_error(waveform, sample_rate, source)
    return np.concatenate(join_segments(frames, segments))


def compute_sphinx_bands(
    samples: ArrayLike,
    sample_rate: int = SAMPLE_RATE,
    *,
    min_frames: int = MIN_FRAMES,
    aggressiveness: int = 2,
    on_no_speech: str = "error",
    source: str = "the utterance",
) -> LogMelArray:
    """Compute network input by the front end of the published package cmpc2.

    Args:
        samples: int16, shape (T,).
        sample_rate: Hz; used by the voice activity detector only: the mel bands are those of 16 kHz.
        min_frames: minimum number of frames; shorter utterances are repeated.
        aggressiveness: of the detector, 0 to 3.
        on_no_speech: utterances without speech: "error", or "keep" all samples.
        source: name of the utterance, for messages.

    Returns:
        Standardised log-mel bands, shape (64, T), float32.

    Raises:
        SpeechError: no usable samples, or no speech.
    """
    waveform = to_int16_samples(samples, source)
    if not len(waveform):
        raise SpeechError(f"{source}: no samples, expected some seconds of speech")
    try:
        waveform = remove_silence(waveform, sample_rate, aggressiveness, source)
    except SpeechError:
        if on_no_speech != "keep":
            raise
    log_mel = get_published_frontend().log_mel(torch.from_numpy(waveform.astype(np.float64))[None]).float()
    return standardise_bands(log_mel, min_frames)[0].numpy()


def compute_log_mel(
    samples: Int16Samples, sample_rate: int, config: VoiceFrontendConfig, source: str = "the utterance"
) -> LogMelArray:
    """Compute the log-mel bands of an utterance by the configured front end, (64, T), not cropped.

    Args:
        samples: int16, shape (T,).
        sample_rate: Hz.
        config: the front end.
        source: name of the utterance, for messages.

    Raises:
        SpeechError: no usable samples, or no speech.
    """
    if config.frontend == "sphinx":
        return compute_sphinx_bands(
            samples,
            sample_rate,
            min_frames=config.min_frames,
            aggressiveness=config.vad_aggressiveness,
            on_no_speech=config.on_no_speech,
            source=source,
        )
    waveform = to_int16_samples(samples, source)
    if len(waveform) <= SAMPLE_RATE // 20:
        raise SpeechError(f"{source}: {len(waveform)} samples, expected more than 50 ms; skip it")
    return compute_decibel_log_mel(torch.from_numpy(waveform.astype(np.float32) / 32768)).numpy()


def load_log_mel(path: str | os.PathLike[str], config: VoiceFrontendConfig) -> LogMelArray:
    """Load the log-mel bands (64, T) of an utterance or of a stored feature file (`.pkl`, `.npy`).

    Raises:
        FileNotFoundError: no such file.
        voiceface.audio.loading.AudioError, SpeechError: the file cannot be used.
    """
    path = Path(path)
    if path.suffix in (".pkl", ".npy"):
        return read_stored_log_mel(path, sphinx=config.frontend == "sphinx")
    samples, rate = read_utterance(path, config)
    return compute_log_mel(samples, rate, config, str(path))


def read_utterance(path: Path, config: VoiceFrontendConfig) -> tuple[Int16Samples, int]:
    """Read the first channel of an audio file as int16, with its rate in Hz; errors as `load_log_mel`."""
    from voiceface.audio.loading import load_audio, read_audio_info

    rate = SAMPLE_RATE
    if config.sample_rates == "published":
        rate = read_audio_info(path).sample_rate
        if rate not in PUBLISHED_SAMPLE_RATES:
            raise SpeechError(
                f"{path}: sampling rate {rate} Hz, expected {format_rates(PUBLISHED_SAMPLE_RATES)} Hz as "
                "published; convert the file or set data.voice.sample_rates=resample"
            )
    resample = config.sample_rates == "resample"
    waveform = load_audio(
        path, scale="int16", sample_rate=rate, resample=resample, on_corrupt=config.corrupt_audio
    )
    return np.clip(np.rint(waveform), -32768, 32767).astype(np.int16), rate


def read_stored_log_mel(path: Path, *, sphinx: bool) -> LogMelArray:
    """Read stored features: CMPC's pickles (64, T), or .npy files of shape (T, 64) (sphinx) or (64, T).

    Returns:
        Shape (64, T), float32.

    Raises:
        FileNotFoundError: no such file.
        SpeechError: no array, another shape, or values that are not finite.
    """
    from voiceface.io.safe_pickle import ArrayFileError, read_npy, read_pickle

    try:
        features = read_pickle(path) if path.suffix == ".pkl" else read_npy(path)
    except ArrayFileError as error:
        raise SpeechError(str(error)) from None
    transposed = sphinx and path.suffix == ".npy"
    if not isinstance(features, np.ndarray) or features.ndim != 2 or features.dtype.kind not in "fiu":
        raise SpeechError(f"{path}: expected an array of numbers, found {type(features).__name__}")
    log_mel = features.T if transposed else features
    if log_mel.shape[0] != N_MELS or not log_mel.shape[1]:
        expected = f"(frames, {N_MELS})" if transposed else f"({N_MELS}, frames)"
        raise SpeechError(f"{path}: expected features of shape {expected}, found {features.shape}")
    log_mel = np.ascontiguousarray(log_mel, np.float32)
    if not np.isfinite(log_mel).all():
        raise SpeechError(f"{path}: {np.count_nonzero(~np.isfinite(log_mel))} values are not finite")
    return log_mel


def prepare_voice(
    log_mel: LogMelArray,
    config: VoiceFrontendConfig,
    choose_start: Callable[[int], int] | None = None,
    *,
    crop: bool = False,
) -> LogMelArray:
    """Convert log-mel bands (64, T) to network input (1, 64, T').

    Args:
        log_mel: bands of a complete utterance.
        config: the front end.
        choose_start: number of possible starts -> the start, from 0; None takes the middle.
        crop: crop to `config.num_frames` frames as in training, with either front end.
    """
    keep_length = config.frontend == "sphinx" or config.clip_position == "whole"
    min_frames = config.num_frames if config.frontend == "decibels" else 1
    if not crop and keep_length and log_mel.shape[1] >= min_frames:
        return np.ascontiguousarray(log_mel[None])
    return crop_or_pad(log_mel, config.num_frames, choose_start)[None]


def audio_preprocess(
    valid_level: int = 2, min_time: int = MIN_FRAMES, *, config: VoiceFrontendConfig | None = None
) -> Callable[[str | os.PathLike[str]], Tensor]:
    """Build the function from an utterance to network input, (1, 64, T) float32, as in the package cmpc2.

    Args:
        valid_level: aggressiveness of the voice activity detector, 0 to 3.
        min_time: minimum number of frames; shorter utterances are repeated, longer ones are not cropped.
        config: front end, in place of both.

    Returns:
        Path -> tensor. It raises `FileNotFoundError`, `AudioError` or `SpeechError` for unusable files.
    """
    frontend = config or VoiceFrontendConfig(
        frontend="sphinx", vad_aggressiveness=valid_level, min_frames=min_time
    )

    def preprocess(path: str | os.PathLike[str]) -> Tensor:
        return torch.from_numpy(prepare_voice(load_log_mel(path, frontend), frontend))

    return preprocess


def load_voice(
    min_time: int = MIN_FRAMES, *, rng: np.random.Generator | None = None
) -> Callable[[str | os.PathLike[str]], Tensor]:
    """Build the function from a stored feature file, `.npy` (T, 64), to a random crop, (1, 64, min_time).

    Args:
        min_time: frames of the crop; shorter files are an error.
        rng: source of randomness; None: a new one.
    """
    generator: Any = np.random.default_rng() if rng is None else rng

    def load(path: str | os.PathLike[str]) -> Tensor:
        log_mel = read_stored_log_mel(Path(path), sphinx=True)
        if log_mel.shape[1] < min_time:
            raise SpeechError(f"{path}: {log_mel.shape[1]} frames, expected at least {min_time}")
        start = int(generator.integers(log_mel.shape[1] - min_time + 1))
        return torch.from_numpy(np.ascontiguousarray(log_mel[None, :, start : start + min_time]))

    return load
