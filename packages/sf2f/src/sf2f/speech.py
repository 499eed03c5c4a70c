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
    Detector,
    Samples,
    SpeechError,
    as_samples,
    collect_once,
    frames_of,
    nothing_heard,
    read_samples,
)
from voiceface.runtime.config import Config

if TYPE_CHECKING:
    from voiceface.audio.frontends import SF2FLogMel

Mel = NDArray[np.float32]
RATE, BANDS = 16000, 40
PUBLISHED_RATES = (8000, 16000, 32000, 48000)
FEATURE_SUFFIXES = (".npz", ".npy", ".pickle", ".pkl")  # the earlier one counts where several have one stem
FEATURES, IDS = "LogMel_Features", ("spkid", "clipid", "wavid")
DAMAGED = (
    *(ValueError, EOFError, OSError, TypeError, MemoryError, OverflowError, SyntaxError, TokenError),
    *(BadZipFile, KeyError, NotImplementedError, RuntimeError),
)
"""What numpy and zipfile raise over files that are none."""


class SpeechConfig(Config):
    """From a recording to features; the defaults are the published ones (specification, section 2.5)."""

    rates: Literal["resample", "published"] = Field(
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
    share: float = Field(
        default=0.9, gt=0, lt=1, description="share of the ring that switches the collector on or off"
    )
    bands: int = Field(default=BANDS, ge=1, description="mel bands")

    @property
    def ring(self) -> int:
        """Frames of the collector's ring."""
        return max(1, self.padding_ms // self.frame_ms)


class MelNormalisation(Config):
    """`(x - mean) / deviation`, one pair of numbers for all bands; the default is the published `vox_mel`.

    `python -m sf2f.mel_statistics` measures them for other recordings.
    """

    mean: float = Field(default=10.9915, description="of log-mel values")
    deviation: float = Field(default=3.1661, gt=0, description="their standard deviation")

    @property
    def filling(self) -> float:
        """What is appended to short recordings: the normalised value of a log-mel of 0."""
        return (0.0 - self.mean) / self.deviation


DEFAULT = SpeechConfig()


def normalised(mel: NDArray[Any], normalisation: MelNormalisation) -> Mel:
    """Log-mel values as networks read them, float32, same shape."""
    values = np.asarray(mel, np.float32)
    return (values - np.float32(normalisation.mean)) / np.float32(normalisation.deviation)


def read_recording(path: str | os.PathLike[str], config: SpeechConfig = DEFAULT) -> tuple[Samples, int]:
    """Load a sound file: wav, flac, mp3, ogg, m4a and others, as one channel.

    Returns:
        (samples, rate): int16, shape (S,), and Hz: 16000 unless `config.rates` is "published".

    Raises:
        FileNotFoundError: no such file.
        voiceface.audio.loading.AudioError: not a sound file, truncated, no samples.
        SpeechError: `config.rates` is "published" and the detector does not take the rate.
    """
    rate = RATE if config.rates == "resample" else None
    return read_samples(path, rate, channel=config.channel, rates=PUBLISHED_RATES)


def without_silence(
    samples: ArrayLike, rate: int = RATE, config: SpeechConfig = DEFAULT, source: str = "the recording"
) -> Samples:
    """The voiced segments of a recording, joined, by a new detector that hears every frame once.

    Each segment keeps what is in the ring before it begins, and one ring of silence at its end.

    Args:
        samples: int16, shape (S,).
        rate: 8, 16, 32 or 48 kHz.
        config: detector and collector.
        source: what is cut, for messages.

    Raises:
        SpeechError: the samples are not int16 of shape (S,), the rate is another one, there are too few, or
            nothing is voiced.
    """
    wave = as_samples(samples, source)
    detector = Detector(config.aggressiveness, rate, source)
    size = rate * config.frame_ms // 1000
    frames = frames_of(wave, size)
    if len(frames) < config.ring:
        raise SpeechError(
            f"{source}: {len(wave) / rate:.3f} s at {rate} Hz are too short, voice activity needs more than "
            f"{config.ring * config.frame_ms} ms; use a longer recording or turn the removal of silence off"
        )
    decisions = [detector(frame.tobytes()) for frame in frames]
    kept = collect_once(decisions, config.ring, config.share) >= 0
    if not kept.any():
        raise nothing_heard(wave, rate, source)
    return wave[: len(frames) * size].reshape(-1, size)[kept].reshape(-1)


def log_mel(
    samples: ArrayLike, rate: int = RATE, config: SpeechConfig = DEFAULT, source: str = "the recording"
) -> Mel:
    """Log-mel features of a recording, not normalised (specification, section 2.5).

    Args:
        samples: int16, shape (S,).
        rate: of the samples, Hz; 16000 unless `config.rates` is "published".
        config: what is done.
        source: for messages.

    Returns:
        Shape (M, T), float32, T at least 1.

    Raises:
        SpeechError: bad samples, none, another rate, or no voice in them.
    """
    import torch

    wave = as_samples(samples, source)
    if not len(wave):
        raise SpeechError(f"{source}: no samples, expected some seconds of speech")
    if rate != RATE and config.rates == "resample":
        raise SpeechError(f"{source}: features need {RATE} Hz, found {rate}; resample it")
    if config.remove_silence:
        wave = without_silence(wave, rate, config, source)
    found = front_end(config.bands, rate)(torch.from_numpy(wave)[None])[0]
    return np.ascontiguousarray(found.numpy(), np.float32)


def log_mel_of_file(path: str | os.PathLike[str], config: SpeechConfig = DEFAULT) -> Mel:
    """Features of a sound file, (M, T); errors as `read_recording` and `log_mel`."""
    samples, rate = read_recording(path, config)
    return log_mel(samples, rate, config, str(path))


def read_mel(path: str | os.PathLike[str], bands: int = BANDS) -> Mel:
    """Read stored features: our .npz (or .npy), or a published pickle, of which no code is ever run.

    Args:
        path: .npz or .pickle with the entry `LogMel_Features`, or an array alone.
        bands: M that is expected.

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
        found = _stored(path)
    except DAMAGED as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SpeechError(f"{path} is damaged or no feature file ({reason}); make it again") from None
    if isinstance(found, Mapping):
        if FEATURES not in found:
            raise SpeechError(f"{path}: expected the entry {FEATURES}, found {', '.join(map(str, found))}")
        found = found[FEATURES]
    return checked_mel(found, bands, str(path))


def checked_mel(values: Any, bands: int = BANDS, source: str = "the features") -> Mel:
    """The array as C-contiguous float32 of shape (M, T).

    Leading axes of length 1 and the lost time axis of a single frame, both of which occur in published
    files, are put right.

    Raises:
        SpeechError: another shape or type, no frames, or values not finite.
    """
    found = np.asarray(values)
    if found.shape == (bands,):
        found = found[:, None]
    while found.ndim > 2 and found.shape[0] == 1:
        found = found[0]
    if found.ndim != 2 or found.shape[0] != bands or not found.shape[1] or found.dtype.kind not in "fiu":
        turned = found.ndim == 2 and found.shape[1] == bands
        raise SpeechError(
            f"{source}: expected numbers of shape ({bands}, frames), found {found.dtype} of {found.shape}"
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

    entries: dict[str, Any] = dict(zip(IDS, map(np.array, (spkid, clipid, wavid))))
    entries[FEATURES] = np.asarray(mel, dtype)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **entries)


@lru_cache(maxsize=8)
def front_end(bands: int = BANDS, rate: int = RATE) -> "SF2FLogMel":
    """The front ends of the process, one for each rate."""
    from voiceface.audio.frontends import SF2FLogMel

    return SF2FLogMel(bands, rate=rate)


def _stored(path: Path) -> Any:
    """What a feature file holds: an array, or a mapping."""
    suffix = path.suffix.lower()
    if suffix in (".pickle", ".pkl"):
        from voiceface.io.safe_pickle import read_pickle

        return read_pickle(path)
    if suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, Mapping):
                raise ValueError("an .npy array under another name")
            return {name: archive[name] for name in archive if name == FEATURES} or dict.fromkeys(archive)
    with path.open("rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)
