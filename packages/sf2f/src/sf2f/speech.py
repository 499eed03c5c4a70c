"""Recordings to log-mel features: silence removed, 40 bands of 10 ms frames; stored feature files.

Letters: M mel bands, T frames.
"""

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any, Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from voiceface.audio.vad import (
    Int16Samples,
    SpeechError,
    VoiceActivityDetector,
    collect_segments,
    no_speech_error,
    read_samples,
    split_frames,
    to_int16_samples,
)
from voiceface.runtime.config import Config

if TYPE_CHECKING:
    from voiceface.audio.frontends import SF2FLogMel

Mel = NDArray[np.float32]
SAMPLE_RATE, N_MELS = 16000, 40
PUBLISHED_SAMPLE_RATES = (8000, 16000, 32000, 48000)
FEATURE_SUFFIXES = (".npz", ".npy", ".pickle", ".pkl")  # the earlier one counts where several have one stem
FEATURES_KEY, ID_KEYS = "LogMel_Features", ("spkid", "clipid", "wavid")
CORRUPT_FILE_ERRORS = (
    *(ValueError, EOFError, OSError, TypeError, MemoryError, OverflowError, SyntaxError, TokenError),
    *(BadZipFile, KeyError, NotImplementedError, RuntimeError),
)
"""What numpy and zipfile raise over files that are none."""


class SpeechConfig(Config):
    """From a recording to features; the defaults are the published ones (specification, section 2.5)."""

    sample_rates: Literal["resample", "published"] = Field(
        default="resample",
        description="resample: every recording to 16 kHz; published: 8, 16, 32 and 48 kHz only, taken as "
        "they are (bands then reach to half that rate, and frames are cut to 512 samples)",
    )
    channel: Literal["mean", "first"] = Field(
        default="mean", description="what counts of several channels; as published they were read as one wave"
    )
    remove_silence: bool = Field(default=True, description="keep what the voice activity detector keeps")
    aggressiveness: int = Field(default=1, ge=0, le=3, description="of the detector; 3 drops most")
    frame_ms: Literal[10, 20, 30] = Field(default=30, description="frame of the detector, ms")
    padding_ms: int = Field(default=300, ge=10, description="length of the collector's ring, ms")
    voiced_fraction: float = Field(
        default=0.9, gt=0, lt=1, description="share of the ring that switches the collector on or off"
    )
    n_mels: int = Field(default=N_MELS, ge=1, description="mel bands")

    @property
    def ring_size(self) -> int:
        """Frames of the collector's ring."""
        return max(1, self.padding_ms // self.frame_ms)


class MelNormalisation(Config):
    """`(x - mean) / deviation`, one pair of numbers for all bands; the default is the published `vox_mel`.

    `python -m sf2f.mel_statistics` measures them for other recordings.
    """

    mean: float = Field(default=10.9915, description="of log-mel values")
    std: float = Field(default=3.1661, gt=0, description="their standard deviation")

    @property
    def fill_value(self) -> float:
        """What is appended to short recordings: the normalised value of a log-mel of 0."""
        return (0.0 - self.mean) / self.std


DEFAULT_CONFIG = SpeechConfig()


def normalise_mel(mel: NDArray[Any], normalisation: MelNormalisation) -> Mel:
    """Log-mel values as networks read them, float32, same shape."""
    values = np.asarray(mel, np.float32)
    return (values - np.float32(normalisation.mean)) / np.float32(normalisation.std)


def read_recording(
    path: str | os.PathLike[str], config: SpeechConfig = DEFAULT_CONFIG
) -> tuple[Int16Samples, int]:
    """Load a sound file: wav, flac, mp3, ogg, m4a and others, as one channel.

    Returns:
        (samples, rate): int16, shape (S,), and Hz: 16000 unless `config.sample_rates` is "published".

    Raises:
        FileNotFoundError: no such file.
        voiceface.audio.loading.AudioError: not a sound file, truncated, no samples.
        SpeechError: `config.sample_rates` is "published" and the detector does not take the rate.
    """
    rate = SAMPLE_RATE if config.sample_rates == "resample" else None
    return read_samples(path, rate, channel=config.channel, accepted_rates=PUBLISHED_SAMPLE_RATES)


def remove_silence(
    samples: ArrayLike,
    sample_rate: int = SAMPLE_RATE,
    config: SpeechConfig = DEFAULT_CONFIG,
    source: str = "the recording",
) -> Int16Samples:
    """The voiced segments of a recording, joined, by a new detector that hears every frame once.

    Each segment keeps what is in the ring before it begins, and one ring of silence at its end.

    Args:
        samples: int16, shape (S,).
        sample_rate: 8, 16, 32 or 48 kHz.
        config: detector and collector.
        source: what is cut, for messages.

    Raises:
        SpeechError: the samples are not int16 of shape (S,), the rate is another one, there are too few, or
            nothing is voiced.
    """
    wave = to_int16_samples(samples, source)
    detector = VoiceActivityDetector(config.aggressiveness, sample_rate, source)
    size = sample_rate * config.frame_ms // 1000
    frames = split_frames(wave, size)
    if len(frames) < config.ring_size:
        raise SpeechError(
            f"{source}: {len(wave) / sample_rate:.3f} s at {sample_rate} Hz are too short, voice activity needs more than "
            f"{config.ring_size * config.frame_ms} ms; use a longer recording or turn the removal of silence off"
        )
    decisions = [detector(frame.tobytes()) for frame in frames]
    kept = collect_segments(decisions, config.ring_size, config.voiced_fraction) >= 0
    if not kept.any():
        raise no_speech_error(wave, sample_rate, source)
    return wave[: len(frames) * size].reshape(-1, size)[kept].reshape(-1)


def compute_log_mel(
    samples: ArrayLike,
    sample_rate: int = SAMPLE_RATE,
    config: SpeechConfig = DEFAULT_CONFIG,
    source: str = "the recording",
) -> Mel:
    """Log-mel features of a recording, not normalised (specification, section 2.5).

    Args:
        samples: int16, shape (S,).
        sample_rate: of the samples, Hz; 16000 unless `config.sample_rates` is "published".
        config: what is done.
        source: for messages.

    Returns:
        Shape (M, T), float32, T at least 1.

    Raises:
        SpeechError: bad samples, none, another rate, or no voice in them.
    """
    import torch

    wave = to_int16_samples(samples, source)
    if not len(wave):
        raise SpeechError(f"{source}: no samples, expected some seconds of speech")
    if sample_rate != SAMPLE_RATE and config.sample_rates == "resample":
        raise SpeechError(f"{source}: features need {SAMPLE_RATE} Hz, found {sample_rate}; resample it")
    if config.remove_silence:
        wave = remove_silence(wave, sample_rate, config, source)
    found = get_frontend(config.n_mels, sample_rate)(torch.from_numpy(wave)[None])[0]
    return np.ascontiguousarray(found.numpy(), np.float32)


def compute_log_mel_from_file(path: str | os.PathLike[str], config: SpeechConfig = DEFAULT_CONFIG) -> Mel:
    """Features of a sound file, (M, T); errors as `read_recording` and `log_mel`."""
    samples, rate = read_recording(path, config)
    return compute_log_mel(samples, rate, config, str(path))


def read_mel(path: str | os.PathLike[str], n_mels: int = N_MELS) -> Mel:
    """Read stored features: our .npz (or .npy), or a published pickle, of which no code is ever run.

    Args:
        path: .npz or .pickle with the entry `LogMel_Features`, or an array alone.
        n_mels: M that is expected.

    Returns:
        Shape (M, T), float32.

    Raises:
        FileNotFoundError: no such file.
        SpeechError: damaged, no features in it, another shape, no frames, or values not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"feature file {path} does not exist or is a folder; check the path")
    try:
        found = _load_stored(path)
    except CORRUPT_FILE_ERRORS as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SpeechError(f"{path} is damaged or no feature file ({reason}); make it again") from None
    if isinstance(found, Mapping):
        if FEATURES_KEY not in found:
            raise SpeechError(
                f"{path}: expected the entry {FEATURES_KEY}, found {', '.join(map(str, found))}"
            )
        found = found[FEATURES_KEY]
    return validate_mel(found, n_mels, str(path))


def validate_mel(values: Any, n_mels: int = N_MELS, source: str = "the features") -> Mel:
    """The array as C-contiguous float32 of shape (M, T).

    Leading axes of length 1 and the lost time axis of a single frame, both of which occur in published
    files, are put right.

    Raises:
        SpeechError: another shape or type, no frames, or values not finite.
    """
    found = np.asarray(values)
    if found.shape == (n_mels,):
        found = found[:, None]
    while found.ndim > 2 and found.shape[0] == 1:
        found = found[0]
    if found.ndim != 2 or found.shape[0] != n_mels or not found.shape[1] or found.dtype.kind not in "fiu":
        turned = found.ndim == 2 and found.shape[1] == n_mels
        raise SpeechError(
            f"{source}: expected numbers of shape ({n_mels}, frames), found {found.dtype} of {found.shape}"
            + ("; transpose it" if turned else "")
        )
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(found, np.float32)
    if not np.isfinite(found).all():
        wrong = np.count_nonzero(~np.isfinite(found))
        raise SpeechError(f"{source}: {wrong} values are not finite; make it again")
    return found


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
        path: the file; parent folders are made.
        mel: shape (M, T), not normalised.
        spkid: voice id. clipid: of the video. wavid: of the utterance.
        dtype: of the stored values; float16 halves the size at an error of up to 0.008 (0.016 above 16).
    """
    from voiceface.io.atomic import atomic_path

    entries: dict[str, Any] = dict(zip(ID_KEYS, map(np.array, (spkid, clipid, wavid))))
    entries[FEATURES_KEY] = np.asarray(mel, dtype)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **entries)


@lru_cache(maxsize=8)
def get_frontend(n_mels: int = N_MELS, sample_rate: int = SAMPLE_RATE) -> "SF2FLogMel":
    """The front ends of the process, one for each rate."""
    from voiceface.audio.frontends import SF2FLogMel

    return SF2FLogMel(n_mels, sample_rate=sample_rate)


def _load_stored(path: Path) -> Any:
    """What a feature file holds: an array, or a mapping."""
    suffix = path.suffix.lower()
    if suffix in (".pickle", ".pkl"):
        from voiceface.io.safe_pickle import read_pickle

        return read_pickle(path)
    if suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, Mapping):
                raise ValueError("an .npy array under another name")
            return {name: archive[name] for name in archive if name == FEATURES_KEY} or dict.fromkeys(archive)
    with path.open("rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)
