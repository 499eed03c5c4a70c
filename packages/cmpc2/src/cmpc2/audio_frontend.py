"""Recordings to what the voice network reads, by either front end; nothing is written on the way.

"sphinx" is the cmpc2 package's (256-pixel model, VoiceStyle): silence removed, standardised log-mel bands of
at least 800 frames. "decibels" is that of CMPC's training and evaluation code: log-mel in decibels, clips of
500 frames. Weights trained with one must not be fed with the other (docs/cmpc2.md).
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

LogMelArray = NDArray[np.float32]
SAMPLE_RATE = 16000
PUBLISHED_SAMPLE_RATES = (8000, 16000, 32000)
N_MELS = 64


def remove_silence(
    samples: ArrayLike, sample_rate: int = SAMPLE_RATE, aggressiveness: int = 2, source: str = "the recording"
) -> Int16Samples:
    """The parts of a recording that hold speech, joined (frames of 20 ms, ring of two).

    Args:
        samples: int16, shape (T,).
        rate: 8, 16, 32 or 48 kHz.
        aggressiveness: of the WebRTC detector, 0 to 3.
        source: what is cut, for messages.

    Raises:
        SpeechError: other samples or another rate, or nothing is voiced.
    """
    wave = to_int16_samples(samples, source)
    detector = VoiceActivityDetector(aggressiveness, sample_rate, source)
    frames = split_frames(wave, sample_rate // 50)
    raw = [frame.tobytes() for frame in frames]
    number = collect_segments_requerying(len(raw), lambda i: detector(raw[i]))
    if number.max(initial=-1) < 0:
        raise no_speech_error(wave, sample_rate, source)
    return np.concatenate(join_segments(frames, number))


def compute_sphinx_bands(
    samples: ArrayLike,
    sample_rate: int = SAMPLE_RATE,
    *,
    min_frames: int = MIN_FRAMES,
    aggressiveness: int = 2,
    on_no_speech: str = "error",
    source: str = "the recording",
) -> LogMelArray:
    """Network input of one recording by the cmpc2 package's front end.

    Args:
        samples: int16, shape (T,).
        rate: of the samples; the detector looks at it, the bands are those of 16 kHz.
        least: frames at least; shorter recordings are repeated.
        aggressiveness: of the detector.
        unvoiced: recordings without speech: "error", or "keep" all of it.
        source: for messages.

    Returns:
        Shape (64, T), float32.

    Raises:
        SpeechError: no usable samples, or no speech in them.
    """
    wave = to_int16_samples(samples, source)
    if not len(wave):
        raise SpeechError(f"{source}: no samples, expected some seconds of speech")
    try:
        wave = remove_silence(wave, sample_rate, aggressiveness, source)
    except SpeechError:
        if on_no_speech != "keep":
            raise
    bands = get_published_frontend().log_mel(torch.from_numpy(wave.astype(np.float64))[None]).float()
    return standardise_bands(bands, min_frames)[0].numpy()


def compute_log_mel(
    samples: Int16Samples, sample_rate: int, config: VoiceFrontendConfig, source: str = "the recording"
) -> LogMelArray:
    """All bands of a recording, (64, T), before any crop; errors as the front ends'."""
    if config.frontend == "sphinx":
        return compute_sphinx_bands(
            samples,
            sample_rate,
            min_frames=config.min_frames,
            aggressiveness=config.vad_aggressiveness,
            on_no_speech=config.on_no_speech,
            source=source,
        )
    wave = to_int16_samples(samples, source)
    if len(wave) <= SAMPLE_RATE // 20:
        raise SpeechError(f"{source}: {len(wave)} samples, expected more than 50 ms; leave it out")
    return compute_decibel_log_mel(torch.from_numpy(wave.astype(np.float32) / 32768)).numpy()


def load_log_mel(path: str | os.PathLike[str], config: VoiceFrontendConfig) -> LogMelArray:
    """All bands of a recording or of a stored feature file (`.pkl`, `.npy`), (64, T).

    Raises:
        FileNotFoundError: no such file.
        voiceface.audio.loading.AudioError, SpeechError: it cannot be used; the message says why.
    """
    path = Path(path)
    if path.suffix in (".pkl", ".npy"):
        return read_stored_log_mel(path, sphinx=config.frontend == "sphinx")
    samples, rate = read_utterance(path, config)
    return compute_log_mel(samples, rate, config, str(path))


def read_utterance(path: Path, config: VoiceFrontendConfig) -> tuple[Int16Samples, int]:
    """First channel of a sound file as int16, and its rate in Hz; errors as `load_log_mel`."""
    from voiceface.audio.loading import load_audio, read_audio_info

    rate = SAMPLE_RATE
    if config.sample_rates == "published":
        rate = read_audio_info(path).sample_rate
        if rate not in PUBLISHED_SAMPLE_RATES:
            raise SpeechError(
                f"{path}: sample rate {rate} Hz, the published program reads "
                f"{format_rates(PUBLISHED_SAMPLE_RATES)} Hz; "
                "convert the file or use data.voice.sample_rates=resample"
            )
    resample = config.sample_rates == "resample"
    wave = load_audio(
        path, scale="int16", sample_rate=rate, resample=resample, on_corrupt=config.corrupt_audio
    )
    return np.clip(np.rint(wave), -32768, 32767).astype(np.int16), rate


def read_stored_log_mel(path: Path, *, sphinx: bool) -> LogMelArray:
    """Stored features: CMPC's pickles (64, T), or .npy of (T, 64) (sphinx) or (64, T).

    Raises:
        FileNotFoundError: no such file.
        SpeechError: an array of another shape, values that are not finite, or no array.
    """
    from voiceface.io.safe_pickle import ArrayFileError, read_npy, read_pickle

    try:
        found = read_pickle(path) if path.suffix == ".pkl" else read_npy(path)
    except ArrayFileError as error:
        raise SpeechError(str(error)) from None
    turned = sphinx and path.suffix == ".npy"
    if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype.kind not in "fiu":
        raise SpeechError(f"{path}: expected an array of numbers, found {type(found).__name__}")
    bands = found.T if turned else found
    if bands.shape[0] != N_MELS or not bands.shape[1]:
        wanted = f"(frames, {N_MELS})" if turned else f"({N_MELS}, frames)"
        raise SpeechError(f"{path}: expected features of shape {wanted}, found {found.shape}")
    bands = np.ascontiguousarray(bands, np.float32)
    if not np.isfinite(bands).all():
        raise SpeechError(f"{path}: {np.count_nonzero(~np.isfinite(bands))} values are not finite")
    return bands


def prepare_voice(
    log_mel: LogMelArray,
    config: VoiceFrontendConfig,
    choose_start: Callable[[int], int] | None = None,
    *,
    crop: bool = False,
) -> LogMelArray:
    """Bands (64, T) as the network takes them, (1, 64, T').

    Args:
        bands: of a whole recording.
        config: the front end.
        start: number of possible starts -> which one; None takes the middle.
        crop: cut `config.frames` frames as in training, whatever the front end.
    """
    whole = config.frontend == "sphinx" or config.clip_position == "whole"
    if not crop and whole and log_mel.shape[1] >= (config.num_frames if config.frontend == "decibels" else 1):
        return np.ascontiguousarray(log_mel[None])
    return crop_or_pad(log_mel, config.num_frames, choose_start)[None]


def audio_preprocess(
    valid_level: int = 2, min_time: int = MIN_FRAMES, *, config: VoiceFrontendConfig | None = None
) -> Callable[[str | os.PathLike[str]], Tensor]:
    """A function from a recording to network input, (1, 64, T) float32; by default as in the cmpc2 package.

    Args:
        valid_level: aggressiveness of the voice activity detector, 0 to 3.
        min_time: frames at least; shorter recordings are repeated, longer ones stay whole.
        config: a front end of its own instead.

    Returns:
        Path -> tensor. It raises `FileNotFoundError`, `AudioError` or `SpeechError` for what cannot be used.
    """
    chosen = config or VoiceFrontendConfig(
        frontend="sphinx", vad_aggressiveness=valid_level, min_frames=min_time
    )

    def preprocess(path: str | os.PathLike[str]) -> Tensor:
        return torch.from_numpy(prepare_voice(load_log_mel(path, chosen), chosen))

    return preprocess


def load_voice(
    min_time: int = MIN_FRAMES, *, rng: np.random.Generator | None = None
) -> Callable[[str | os.PathLike[str]], Tensor]:
    """A function from a stored feature file, `.npy` (T, 64), to a random part of it, (1, 64, min_time).

    Args:
        min_time: frames; shorter files are refused.
        rng: source of the start; None takes a fresh one.
    """
    draws: Any = np.random.default_rng() if rng is None else rng

    def load(path: str | os.PathLike[str]) -> Tensor:
        bands = read_stored_log_mel(Path(path), sphinx=True)
        if bands.shape[1] < min_time:
            raise SpeechError(f"{path}: {bands.shape[1]} frames, expected at least {min_time}")
        first = int(draws.integers(bands.shape[1] - min_time + 1))
        return torch.from_numpy(np.ascontiguousarray(bands[None, :, first : first + min_time]))

    return load
