"""Laws of windows and of what fills them up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sf2f.windows import (
    WindowsConfig,
    collect_identity_windows,
    extract_recording_windows,
    extract_windows,
    pad_to_width,
    pad_windows,
)

FILLING = -3.5


def counted(frames: int, file: int = 0) -> np.ndarray:
    """Features whose value tells file and frame."""
    return np.broadcast_to(10000.0 * file + np.arange(frames, dtype=np.float32), (3, frames))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 60), st.integers(1, 20), st.integers(1, 20))
def test_windows_start_at_every_stride(frames: int, width: int, stride: int) -> None:
    mel = counted(frames)
    found = extract_windows(mel, width, stride)
    starts = [start for start in range(0, frames, stride) if start + width <= frames]
    assert len(found) == max(0, 1 + (frames - width) // stride) == len(starts)
    assert found.shape[1:] == (3, width)
    for window, start in zip(found, starts):
        np.testing.assert_array_equal(window, mel[:, start : start + width])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 20))
def test_a_recording_gives_at_least_one_window_and_only_the_first_is_padded(frames, width, stride) -> None:
    found = extract_recording_windows(counted(frames), FILLING, width, stride)
    assert found.shape == (max(1, 1 + (frames - width) // stride), 3, width)
    own = min(frames, width)
    np.testing.assert_array_equal(found[0, :, :own], counted(frames)[:, :own])
    assert (found[0, :, own:] == FILLING).all() and not (found[1:] == FILLING).any()


def test_padding_keeps_long_utterances() -> None:
    mel = counted(5)
    assert pad_to_width(mel, 5, FILLING) is mel
    assert pad_to_width(mel, 7, FILLING)[0].tolist() == [0, 1, 2, 3, 4, FILLING, FILLING]


def test_windows_of_an_identity_never_cross_utterances() -> None:
    config = WindowsConfig(width=10, stride=10, max_windows=5)
    asked = []

    def utterances():
        for file, frames in enumerate((25, 9, 31, 50, 50)):
            asked.append(file)
            yield counted(frames, file)

    found = collect_identity_windows(utterances(), config, FILLING)
    assert found[:, 0, 0].tolist() == [0, 10, 20000, 20010, 20020]
    assert asked == [0, 1, 2]  # nothing is read in vain
    assert found.shape == (5, 3, 10)


def test_random_starts_are_uniform_and_leave_one_window() -> None:
    config = WindowsConfig(width=10, stride=10, max_windows=1)
    rng = np.random.default_rng(0)
    starts = [int(collect_identity_windows([counted(14)], config, FILLING, rng)[0, 0, 0]) for _ in range(400)]
    counts = np.bincount(starts, minlength=4)
    assert len(counts) == 4 and counts.min() > 60  # 0 ... T - W - 1
    assert collect_identity_windows([counted(10)], config, FILLING, rng)[0, 0, 0] == 0
    plain = WindowsConfig(width=10, stride=10, max_windows=1, random_start=False)
    assert {
        float(collect_identity_windows([counted(14)], plain, FILLING, rng)[0, 0, 0]) for _ in range(20)
    } == {0.0}


def test_an_identity_without_a_window_gets_its_longest_utterance_padded() -> None:
    config = WindowsConfig(width=10, max_windows=4)
    found = collect_identity_windows([counted(3, 1), counted(7, 2), counted(7, 3)], config, FILLING)
    assert found.shape == (1, 3, 10)
    assert found[0, 0].tolist() == [*range(20000, 20007), *[FILLING] * 3]


def test_published_setting_requires_every_window() -> None:
    config = WindowsConfig(width=10, stride=10, max_windows=3, missing="error")
    assert len(collect_identity_windows([counted(30)], config, FILLING)) == 3
    with pytest.raises(ValueError, match=r"Ann gives 2 windows of 10 frames, expected 3"):
        collect_identity_windows([counted(29)], config, FILLING, source="Ann")
    with pytest.raises(ValueError, match="Ann has no utterances"):
        collect_identity_windows([], config, FILLING, source="Ann")


def test_missing_windows_are_masked() -> None:
    whole, present = pad_windows(np.ones((2, 3, 10), np.float32), 4, FILLING)
    assert whole.shape == (4, 3, 10) and present.tolist() == [True, True, False, False]
    assert (whole[:2] == 1).all() and (whole[2:] == FILLING).all()


def test_invalid_shapes_are_rejected() -> None:
    for mel, width, stride in ((np.zeros(5), 1, 1), (np.zeros((3, 5)), 0, 1), (np.zeros((3, 5)), 1, 0)):
        with pytest.raises(ValueError, match="features"):
            extract_windows(mel, width, stride)
