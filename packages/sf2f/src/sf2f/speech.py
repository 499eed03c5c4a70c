"""Log-mel features of recordings: silence removed, 40 bands, 10 ms frames; stored feature files.

Letters: M mel bands, T frames.
"""

import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from voiceface.audio.feature_files import load_npy, read_feature_file, validate_features
from voiceface.audio.vad import (
    Int16Samples,
    SpeechError,
    collect_segments,
    detect_in_frames,
    no_speech_error,
    read_samples,
    split_frames,
    to_int16_samples,
)

from sf2f.network_config import DEFAULT_CONFIG, N_MELS, MelNormalisation, SpeechConfig

if TYPE_CHECKING:
    from torch import Tensor
    from voiceface.audio.frontends import SF2FLogMel

__all__ = [
    "FEATURES_KEY",
    "FEATURE_SUFFIXES",
    "FRAMES_PER_SECOND",
    "ID_KEYS",
    "N_MELS",
    "PUBLISHED_SAMPLE_RATES",
    "SAMPLE_RATE",
    "VOICE2FACE_SUFFIXES",
    "Mel",
    "compute_log_mel",
    "compute_log_mel_from_file",
    "get_frontend",
    "normalise_mel",
    "read_mel",
    "read_recording",
    "remove_silence",
    "validate_mel",
    "write_mel",
]

Mel = NDArray[np.float32]
SAMPLE_RATE = 16000
FRAMES_PER_SECOND = 100
PUBLISHED_SAMPLE_RATES = (8000, 16000, 32000, 48000)
FEATURE_SUFFIXES = (".npz", ".npy", ".pickle", ".pkl")  # the earlier one counts where several have one stem
VOICE2FACE_SUFFIXES = (".npy",)
"""Suffixes of stored features that the voice2face networks read."""
FEATURES_KEY, ID_KEYS = "LogMel_Features", ("spkid", "clipid", "wavid")


def remove_silence(
    samples: ArrayLike,
    sample_rate: int = SAMPLE_RATE,
    config: SpeechConfig = DEFAULT_CONFIG,
    source: str = "the recording",
) -> Int16Samples:
    """Concatenate the voiced segments of a recording; a new detector sees every frame once.

    Each segment starts with the content of the ring buffer and ends with one ring of silence.

    Args:
        samples: int16, shape (S,).
        sample_rate: 8, 16, 32 or 48 kHz.
        config: detector and ring buffer.
        source: name of the recording, for messages.

    Raises:
        SpeechError: samples are not int16 of shape (S,), the sample rate is not supported, there are too few
            samples, or nothing is voiced.
    """
    wave = to_int16_samples(samples, source)
    size = sample_rate * config.frame_ms // 1000
    frames = split_frames(wave, size)
    if len(frames) < config.ring_size:
        raise SpeechError(
            f"{source}: {len(wave) / sample_rate:.3f} s at {sample_rate} Hz is too short; voice activity "
            f"detection needs more than {config.ring_size * config.frame_ms} ms; use a longer recording, or "
            "set remove_silence=false"
        )
    is_speech = detect_in_frames(
        frames, sample_rate, config.detector, aggressiveness=config.aggressiveness, source=source
    )
    decisions = [is_speech(number) for number in range(len(frames))]
    kept = collect_segments(decisions, config.ring_size, config.voiced_fraction) >= 0
    if not kept.any():
        raise no_speech_error(wave, sample_rate, source)
    return wave[: len(frames) * size].reshape(-1, size)[kept].reshape(-1)


def normalise_mel(mel: NDArray[Any], normalisation: MelNormalisation) -> Mel:
    """Normalise log-mel values as the networks expect them, float32, same shape."""
    values = np.asarray(mel, np.float32)
    return (values - np.float32(normalisation.mean)) / np.float32(normalisation.std)


def read_recording(
    path: str | os.PathLike[str], config: SpeechConfig = DEFAULT_CONFIG
) -> tuple[Int16Samples, int]:
    """Load an audio file (wav, flac, mp3, ogg, m4a and others) as one channel.

    Returns:
        (samples, sample_rate): int16, shape (S,), and Hz: 16000 unless `config.sample_rates` is "published".

    Raises:
        FileNotFoundError: no such file.
        voiceface.audio.loading.AudioError: not an audio file, truncated, or no samples.
        SpeechError: `config.sample_rates` is "published" and the detector does not support the rate.
    """
    rate = SAMPLE_RATE if config.sample_rates == "resample" else None
    return read_samples(path, rate, channel=config.channel, accepted_rates=PUBLISHED_SAMPLE_RATES)


def compute_log_mel(
    samples: ArrayLike,
    sample_rate: int = SAMPLE_RATE,
    config: SpeechConfig = DEFAULT_CONFIG,
    source: str = "the recording",
    front_end: "Callable[[Tensor], Tensor] | None" = None,
) -> Mel:
    """Compute the log-mel features of a recording, not normalised.

    Args:
        samples: int16, shape (S,).
        sample_rate: Hz; 16000 unless `config.sample_rates` is "published".
        config: silence removal and number of bands.
        source: name of the recording, for messages.
        front_end: samples (1, S) to bands (1, M, T); None: `get_frontend`.

    Returns:
        Shape (M, T), float32, T at least 1.

    Raises:
        SpeechError: invalid samples, no samples, another sample rate, or no speech.
    """
    import torch

    wave = to_int16_samples(samples, source)
    if not len(wave):
        raise SpeechError(f"{source}: no samples, expected at least a second of speech")
    if sample_rate != SAMPLE_RATE and config.sample_rates == "resample":
        raise SpeechError(f"{source}: features need {SAMPLE_RATE} Hz, found {sample_rate}; resample it")
    if config.remove_silence:
        wave = remove_silence(wave, sample_rate, config, source)
    front_end = front_end or get_frontend(config.n_mels, sample_rate)
    mel = front_end(torch.from_numpy(wave)[None])[0]
    return np.ascontiguousarray(mel.numpy(), np.float32)


def compute_log_mel_from_file(path: str | os.PathLike[str], config: SpeechConfig = DEFAULT_CONFIG) -> Mel:
    """Features of an audio file, (M, T); errors as `read_recording` and `compute_log_mel`."""
    samples, rate = read_recording(path, config)
    return compute_log_mel(samples, rate, config, str(path))


def read_mel(path: str | os.PathLike[str], n_mels: int = N_MELS) -> Mel:
    """Read stored features: .npz or .npy, or a published pickle, read without running any code in it.

    Args:
        path: .npz or .pickle with the entry `LogMel_Features`, or a bare array.
        n_mels: expected M.

    Returns:
        Shape (M, T), float32.

    Raises:
        FileNotFoundError: no such file.
        SpeechError: corrupt, no features in it, another shape, no frames, or values that are not finite.
    """
    stored = read_feature_file(path, _load_stored)
    if isinstance(stored, Mapping):
        if FEATURES_KEY not in stored:
            raise SpeechError(
                f"{path}: expected the entry {FEATURES_KEY}, found {', '.join(map(str, stored))}"
            )
        stored = stored[FEATURES_KEY]
    return validate_mel(stored, n_mels, str(path))


def validate_mel(values: Any, n_mels: int = N_MELS, source: str = "the features") -> Mel:
    """Return features as C-contiguous float32 of shape (M, T).

    Published files may have leading axes of length 1, or lack the time axis of a single frame; both are
    corrected.

    Raises:
        SpeechError: another shape or type, no frames, or values that are not finite.
    """
    values = np.asarray(values)
    if values.shape == (n_mels,):
        values = values[:, None]
    while values.ndim > 2 and values.shape[0] == 1:
        values = values[0]
    return validate_features(values, n_mels, mel_axis=0, source=source)


def write_mel(
    path: str | os.PathLike[str],
    mel: Mel,
    spkid: str,
    clipid: str,
    wavid: str,
    dtype: Literal["float16", "float32", "float64"] = "float32",
) -> None:
    """Write a feature file (.npz) atomically, with the entries of the published pickles.

    Args:
        path: the file; parent folders are created.
        mel: shape (M, T), not normalised.
        spkid: voice ID.
        clipid: ID of the video.
        wavid: ID of the utterance.
        dtype: dtype of the stored values; float16 halves the size at an error of up to 0.008 (0.016 above
            16).
    """
    from voiceface.io.atomic import atomic_path

    entries: dict[str, Any] = dict(zip(ID_KEYS, map(np.array, (spkid, clipid, wavid))))
    entries[FEATURES_KEY] = np.asarray(mel, dtype)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **entries)


@lru_cache(maxsize=8)
def get_frontend(n_mels: int = N_MELS, sample_rate: int = SAMPLE_RATE) -> "SF2FLogMel":
    """Front end for a number of mel bands and a sample rate, cached per process."""
    from voiceface.audio.frontends import SF2FLogMel

    return SF2FLogMel(n_mels, sample_rate=sample_rate)


def _load_stored(path: Path) -> Any:
    """Content of a feature file: an array or a mapping."""
    suffix = path.suffix.lower()
    if suffix in (".pickle", ".pkl"):
        from voiceface.io.safe_pickle import read_pickle

        return read_pickle(path)
    if suffix == ".npz":
        from voiceface.io.safe_pickle import read_npz

        return read_npz(path)
    return load_npy(path)
