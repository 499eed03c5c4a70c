"""Stored log-mel features: reading .npy arrays without pickles, and checks of their shape and values."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voiceface.audio.vad import SpeechError
from voiceface.io.file_kinds import printable
from voiceface.io.foreign_files import reading
from voiceface.io.safe_pickle import ArrayFileError, read_npy

__all__ = ["Features", "load_npy", "read_feature_file", "validate_features"]

Features = NDArray[np.float32]


def load_npy(path: Path) -> NDArray[Any]:
    """Load the array of a .npy file, without pickles.

    Raises:
        FileNotFoundError: no such file.
        ArrayFileError: corrupt, or an array of objects.
    """
    values = read_npy(path)
    if not isinstance(values, np.ndarray):
        raise ArrayFileError(f"{printable(path)} holds objects, expected an array of numbers")
    return values


def read_feature_file(path: str | os.PathLike[str], load: Callable[[Path], Any] = load_npy) -> Any:
    """Read a feature file by `load`.

    Raises:
        FileNotFoundError: no such file.
        SpeechError: corrupt, or not a feature file.
    """
    what, kinds = "a feature file", ("npy", "zip")
    with reading(path, SpeechError, what, own_kinds=kinds, remedy="create it again"):
        return load(Path(path))


def validate_features(
    values: ArrayLike, n_mels: int, *, mel_axis: int, source: str = "the features"
) -> Features:
    """Check features and return them as C-contiguous float32.

    Args:
        values: integers or floats, (n_mels, frames) or (frames, n_mels).
        n_mels: mel bands.
        mel_axis: 0 or 1, the axis of the bands.
        source: name of the file, for messages.

    Raises:
        SpeechError: another shape or type, no frames, or values that are not finite.
    """
    values = np.asarray(values)
    is_numeric = values.dtype.kind in "fiu"
    if values.ndim != 2 or values.shape[mel_axis] != n_mels or not values.size or not is_numeric:
        expected = f"({n_mels}, frames)" if mel_axis == 0 else f"(frames, {n_mels})"
        hint = "; transpose it" if values.ndim == 2 and values.shape[1 - mel_axis] == n_mels else ""
        raise SpeechError(
            f"{source}: expected numbers of shape {expected}, found {values.dtype} of {values.shape}{hint}"
        )
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(values, np.float32)
    if not np.isfinite(values).all():
        count = np.count_nonzero(~np.isfinite(values))
        raise SpeechError(f"{source}: {count} values are not finite; create it again")
    return values
