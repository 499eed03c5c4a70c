"""Stored features: files that are read, checks of shape and values."""

from pathlib import Path

import numpy as np
import pytest
from voiceface.audio.feature_files import read_feature_file, validate_features
from voiceface.audio.vad import SpeechError


@pytest.mark.parametrize("mel_axis", [0, 1])
def test_features_become_contiguous_float32(mel_axis: int) -> None:
    values = np.arange(12.0).reshape(4, 3)
    given = values if mel_axis == 0 else values.T
    found = validate_features(given, 4, mel_axis=mel_axis)
    assert found.dtype == np.float32 and found.flags.c_contiguous
    np.testing.assert_array_equal(found, given)
    assert np.shares_memory(validate_features(found, 4, mel_axis=mel_axis), found)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((3, 4)), r"shape \(4, frames\), found float64 of \(3, 4\); transpose it"),
        (np.zeros((3, 5)), r"shape \(4, frames\), found float64 of \(3, 5\)$"),
        (np.zeros((4, 0)), "found float64"),
        (np.zeros(4), "found float64"),
        (np.zeros((4, 2), complex), "found complex128"),
        (np.array([["a"] * 2] * 4), "found <U1"),
        (np.full((4, 2), np.nan), "a.npy: 8 values are not finite; create it again"),
        (np.full((4, 1), 1e300), "4 values are not finite"),
    ],
)
def test_invalid_features_are_refused(values: np.ndarray, words: str) -> None:
    with pytest.raises(SpeechError, match=words):
        validate_features(values, 4, mel_axis=0, source="a.npy")


def test_files_are_read_without_pickles(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.eye(3))
    np.testing.assert_array_equal(read_feature_file(path), np.eye(3))
    np.save(path, np.array([{}, None], dtype=object), allow_pickle=True)
    with pytest.raises(SpeechError, match=r"a\.npy holds objects, expected an array of numbers"):
        read_feature_file(path)
    path.write_bytes(b"")
    with pytest.raises(SpeechError, match="create it again"):
        read_feature_file(path)
    for missing in (tmp_path, tmp_path / "b.npy"):
        with pytest.raises(FileNotFoundError, match=r"does not exist|is a folder"):
            read_feature_file(missing)
