"""Recordings to what the voice network reads: silence removed, log-mel features; stored feature files.

Nothing is written on the way; the published program cut recordings into files of a shared folder.
"""

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from voiceface.audio.vad import (
    Int16Samples,
    SpeechError,
    VoiceActivityDetector,
    join_segments,
    no_speech_error,
    read_samples,
    split_frames,
    to_int16_samples,
)
from voiceface.audio.vad import collect_segments_requerying as collect
from voiceface.runtime.config import Config

if TYPE_CHECKING:
    from voiceface.audio.frontends import PerceptionistLogMel

Features = NDArray[np.float32]
SAMPLE_RATE = 16000
PUBLISHED_SAMPLE_RATES = (8000, 16000, 32000)
CORRUPT_FILE_ERRORS = (
    ValueError,
    EOFError,
    OSError,
    TypeError,
    MemoryError,
    OverflowError,
    SyntaxError,
    TokenError,
)
"""What numpy raises over headers that are none."""


class SpeechConfig(Config):
    """From a recording to features; the defaults are the published ones."""

    sample_rates: Literal["resample", "published"] = Field(
        default="resample",
        description="resample: every recording to 16 kHz; published: 8, 16 and 32 kHz only, taken as they "
        "are, though the mel bands are right at 16 kHz only",
    )
    remove_silence: bool = Field(default=True, description="keep what the voice activity detector keeps")
    aggressiveness: int = Field(default=2, ge=0, le=3, description="of the detector; 3 drops most")
    frame_ms: Literal[10, 20, 30] = Field(default=20, description="frame of the detector, ms")
    padding_ms: int = Field(default=50, ge=10, description="length of the collector's ring, ms")
    voiced_fraction: float = Field(
        default=0.9, gt=0, lt=1, description="share of the ring that switches the collector on or off"
    )

    @property
    def ring_size(self) -> int:
        """Frames of the collector's ring."""
        return max(1, self.padding_ms // self.frame_ms)


DEFAULT_CONFIG = SpeechConfig()


def voiced_segments(
    samples: ArrayLike,
    rate: int = SAMPLE_RATE,
    config: SpeechConfig = DEFAULT_CONFIG,
    source: str = "the recording",
) -> list[Int16Samples]:
    """The voiced stretches of a recording, by a new WebRTC detector.

    Args:
        samples: int16, shape (T,).
        rate: 8, 16, 32 or 48 kHz.
        config: detector and collector.
        source: what is cut, for messages.

    Returns:
        At least one segment, each a whole number of frames long.

    Raises:
        SpeechError: the samples are not int16 of shape (T,), the rate is another one, or nothing is voiced.
    """
    wave = to_int16_samples(samples, source)
    detector = VoiceActivityDetector(config.aggressiveness, rate, source)
    frames = split_frames(wave, rate * config.frame_ms // 1000)
    raw = [frame.tobytes() for frame in frames]
    number = collect(len(raw), lambda i: detector(raw[i]), config.ring_size, config.voiced_fraction)
    if number.max(initial=-1) < 0:
        raise no_speech_error(wave, rate, source)
    return join_segments(frames, number)


def remove_silence(
    samples: ArrayLike,
    rate: int = SAMPLE_RATE,
    config: SpeechConfig = DEFAULT_CONFIG,
    source: str = "the recording",
) -> Int16Samples:
    """The voiced segments of a recording, joined; see `voiced_segments`."""
    return np.concatenate(voiced_segments(samples, rate, config, source))


def read_recording(
    path: str | os.PathLike[str], config: SpeechConfig = DEFAULT_CONFIG
) -> tuple[Int16Samples, int]:
    """Load a sound file: wav, flac, mp3, ogg, m4a and others, first channel.

    Returns:
        (samples, rate): int16, shape (T,), and Hz: 16000 unless `config.rates` is "published".

    Raises:
        FileNotFoundError: no such file.
        voiceface.audio.loading.AudioError: not a sound file, truncated, no samples.
        SpeechError: `config.rates` is "published" and the rate is none of the published ones.
    """
    rate = None if config.sample_rates == "published" else SAMPLE_RATE
    return read_samples(path, rate, accepted_rates=PUBLISHED_SAMPLE_RATES)


def extract_features(
    samples: ArrayLike,
    rate: int = SAMPLE_RATE,
    config: SpeechConfig = DEFAULT_CONFIG,
    source: str = "the recording",
) -> Features:
    """Features of one recording: silence removed, log-mel bands, standardised, repeated (section 3).

    Args:
        samples: int16, shape (T,).
        rate: of the samples; only the detector looks at it, the bands are those of 16 kHz.
        config: what is done.
        source: for messages.

    Returns:
        Shape (frames, 64), at least 1000 frames, float32: as stored feature files hold it.

    Raises:
        SpeechError: bad samples, or no voice in them.
    """
    import torch

    wave = to_int16_samples(samples, source)
    if config.sample_rates != "published" and rate != SAMPLE_RATE:
        raise SpeechError(f"{source}: features need {SAMPLE_RATE} Hz, found {rate}; resample it")
    if config.remove_silence:
        wave = remove_silence(wave, rate, config, source)
    if not len(wave):
        raise SpeechError(f"{source}: no samples, expected some seconds of speech")
    bands = get_frontend()(torch.from_numpy(wave.astype(np.float64))[None])
    return np.ascontiguousarray(bands[0].T.numpy())


def extract_file_features(path: str | os.PathLike[str], config: SpeechConfig = DEFAULT_CONFIG) -> Features:
    """Features of a sound file, (frames, 64); errors as `read_recording` and `extract_features`."""
    samples, rate = read_recording(path, config)
    return extract_features(samples, rate, config, str(path))


def read_features(path: str | os.PathLike[str], n_mels: int = 64) -> Features:
    """Read a stored feature file (`fbank`, `preprocessed_MFCC`): .npy, (frames, bands).

    Raises:
        FileNotFoundError: no such file.
        SpeechError: no .npy file, an array of another shape or of objects, no frames, or values not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"feature file {path} does not exist or is a folder; check the path")
    try:
        with path.open("rb") as file:
            values = np.lib.format.read_array(file, allow_pickle=False)
    except CORRUPT_FILE_ERRORS as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SpeechError(
            f"{path} is damaged or no .npy array of numbers ({reason}); make it again"
        ) from None
    return validate_features(values, n_mels, str(path))


def validate_features(values: ArrayLike, n_mels: int = 64, source: str = "the features") -> Features:
    """The array as C-contiguous float32 of shape (frames, bands).

    Raises:
        SpeechError: another shape or type, no frames, or values not finite.
    """
    found = np.asarray(values)
    if found.ndim != 2 or found.shape[1] != n_mels or not len(found) or found.dtype.kind not in "fiu":
        turned = found.ndim == 2 and found.shape[0] == n_mels
        raise SpeechError(
            f"{source}: expected numbers of shape (frames, {n_mels}), found {found.dtype} of {found.shape}"
            + ("; transpose it" if turned else "")
        )
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(found, np.float32)
    if not np.isfinite(found).all():
        wrong = np.count_nonzero(~np.isfinite(found))
        raise SpeechError(f"{source}: {wrong} values are not finite; make it again")
    return found


def find_feature_files(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """All .npy files below a folder, sorted by speaker, video and utterance.

    Raises:
        FileNotFoundError: no such folder, or there are none.
    """
    root = Path(folder)
    found = sorted(root.rglob("*.npy")) if root.is_dir() else []
    if not found:
        what = "holds no .npy feature files" if root.is_dir() else "does not exist or is no folder"
        raise FileNotFoundError(f"{root} {what}; expected SPEAKER/VIDEO/UTTERANCE.npy")
    return iter(found)


@lru_cache(maxsize=1)
def get_frontend() -> "PerceptionistLogMel":
    """The one front end of the process."""
    from voiceface.audio.frontends import PerceptionistLogMel

    return PerceptionistLogMel()
