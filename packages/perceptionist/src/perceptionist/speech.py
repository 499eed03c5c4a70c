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
    Detector,
    Samples,
    SpeechError,
    as_samples,
    frames_of,
    nothing_heard,
    read_samples,
    segments_of,
)
from voiceface.audio.vad import collect_reasked as collect
from voiceface.runtime.config import Config

if TYPE_CHECKING:
    from voiceface.audio.frontends import PerceptionistLogMel

Features = NDArray[np.float32]
RATE = 16000
PUBLISHED_RATES = (8000, 16000, 32000)
DAMAGED = (ValueError, EOFError, OSError, TypeError, MemoryError, OverflowError, SyntaxError, TokenError)
"""What numpy raises over headers that are none."""


class SpeechConfig(Config):
    """From a recording to features; the defaults are the published ones."""

    rates: Literal["resample", "published"] = Field(
        default="resample",
        description="resample: every recording to 16 kHz; published: 8, 16 and 32 kHz only, taken as they "
        "are, though the mel bands are right at 16 kHz only",
    )
    remove_silence: bool = Field(default=True, description="keep what the voice activity detector keeps")
    aggressiveness: int = Field(default=2, ge=0, le=3, description="of the detector; 3 drops most")
    frame_ms: Literal[10, 20, 30] = Field(default=20, description="frame of the detector, ms")
    padding_ms: int = Field(default=50, ge=10, description="length of the collector's ring, ms")
    share: float = Field(
        default=0.9, gt=0, lt=1, description="share of the ring that switches the collector on or off"
    )

    @property
    def ring(self) -> int:
        """Frames of the collector's ring."""
        return max(1, self.padding_ms // self.frame_ms)


DEFAULT = SpeechConfig()


def voiced_segments(
    samples: ArrayLike, rate: int = RATE, config: SpeechConfig = DEFAULT, source: str = "the recording"
) -> list[Samples]:
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
    wave = as_samples(samples, source)
    detector = Detector(config.aggressiveness, rate, source)
    frames = frames_of(wave, rate * config.frame_ms // 1000)
    raw = [frame.tobytes() for frame in frames]
    number = collect(len(raw), lambda i: detector(raw[i]), config.ring, config.share)
    if number.max(initial=-1) < 0:
        raise nothing_heard(wave, rate, source)
    return segments_of(frames, number)


def without_silence(
    samples: ArrayLike, rate: int = RATE, config: SpeechConfig = DEFAULT, source: str = "the recording"
) -> Samples:
    """The voiced segments of a recording, joined; see `voiced_segments`."""
    return np.concatenate(voiced_segments(samples, rate, config, source))


def read_recording(path: str | os.PathLike[str], config: SpeechConfig = DEFAULT) -> tuple[Samples, int]:
    """Load a sound file: wav, flac, mp3, ogg, m4a and others, first channel.

    Returns:
        (samples, rate): int16, shape (T,), and Hz: 16000 unless `config.rates` is "published".

    Raises:
        FileNotFoundError: no such file.
        voiceface.audio.loading.AudioError: not a sound file, truncated, no samples.
        SpeechError: `config.rates` is "published" and the rate is none of the published ones.
    """
    rate = None if config.rates == "published" else RATE
    return read_samples(path, rate, rates=PUBLISHED_RATES)


def features_of(
    samples: ArrayLike, rate: int = RATE, config: SpeechConfig = DEFAULT, source: str = "the recording"
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

    wave = as_samples(samples, source)
    if config.rates != "published" and rate != RATE:
        raise SpeechError(f"{source}: features need {RATE} Hz, found {rate}; resample it")
    if config.remove_silence:
        wave = without_silence(wave, rate, config, source)
    if not len(wave):
        raise SpeechError(f"{source}: no samples, expected some seconds of speech")
    bands = front_end()(torch.from_numpy(wave.astype(np.float64))[None])
    return np.ascontiguousarray(bands[0].T.numpy())


def features_of_file(path: str | os.PathLike[str], config: SpeechConfig = DEFAULT) -> Features:
    """Features of a sound file, (frames, 64); errors as `read_recording` and `features_of`."""
    samples, rate = read_recording(path, config)
    return features_of(samples, rate, config, str(path))


def read_features(path: str | os.PathLike[str], bands: int = 64) -> Features:
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
    except DAMAGED as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SpeechError(
            f"{path} is damaged or no .npy array of numbers ({reason}); make it again"
        ) from None
    return checked_features(values, bands, str(path))


def checked_features(values: ArrayLike, bands: int = 64, source: str = "the features") -> Features:
    """The array as C-contiguous float32 of shape (frames, bands).

    Raises:
        SpeechError: another shape or type, no frames, or values not finite.
    """
    found = np.asarray(values)
    if found.ndim != 2 or found.shape[1] != bands or not len(found) or found.dtype.kind not in "fiu":
        turned = found.ndim == 2 and found.shape[0] == bands
        raise SpeechError(
            f"{source}: expected numbers of shape (frames, {bands}), found {found.dtype} of {found.shape}"
            + ("; transpose it" if turned else "")
        )
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(found, np.float32)
    if not np.isfinite(found).all():
        wrong = np.count_nonzero(~np.isfinite(found))
        raise SpeechError(f"{source}: {wrong} values are not finite; make it again")
    return found


def feature_files(folder: str | os.PathLike[str]) -> Iterator[Path]:
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
def front_end() -> "PerceptionistLogMel":
    """The one front end of the process."""
    from voiceface.audio.frontends import PerceptionistLogMel

    return PerceptionistLogMel()
