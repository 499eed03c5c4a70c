"""Windows and their padding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sf2f.network_config import WindowsConfig
from sf2f.windows import (
    collect_identity_windows,
    extract_recording_windows,
    extract_windows,
    pad_to_width,
    pad_windows,
)

FILL = -3.5


def indexed_mel(frames: int, file: int = 0) -> np.ndarray:
    """Features whose values encode file and frame."""
    return np.broadcast_to(10000.0 * file + np.arange(frames, dtype=np.float32), (3, frames))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 60), st.integers(1, 20), st.integers(1, 20))
def test_windows_start_at_every_stride(frames: int, width: int, stride: int) -> None:
    mel = indexed_mel(frames)
    found = extract_windows(mel, width, stride)
    starts = [start for start in range(0, frames, stride) if start + width <= frames]
    assert len(found) == max(0, 1 + (frames - width) // stride) == len(starts)
    assert found.shape[1:] == (3, width)
    for window, start in zip(found, starts):
        np.testing.assert_array_equal(window, mel[:, start : start + width])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 20))
def test_a_recording_gives_at_least_one_window_and_only_the_first_is_padded(frames, width, stride) -> None:
    found = extract_recording_windows(indexed_mel(frames), FILL, width, stride)
    assert found.shape == (max(1, 1 + (frames - width) // stride), 3, width)
    own = min(frames, width)
    np.testing.assert_array_equal(found[0, :, :own], indexed_mel(frames)[:, :own])
    assert (found[0, :, own:] == FILL).all() and not (found[1:] == FILL).any()


def test_padding_keeps_long_utterances() -> None:
    mel = indexed_mel(5)
    assert pad_to_width(mel, 5, FILL) is mel
    assert pad_to_width(mel, 7, FILL)[0].tolist() == [0, 1, 2, 3, 4, FILL, FILL]


def test_windows_of_an_identity_never_cross_utterances() -> None:
    config = WindowsConfig(width=10, stride=10, max_windows=5)
    requested = []

    def utterances():
        for file, frames in enumerate((25, 9, 31, 50, 50)):
            requested.append(file)
            yield indexed_mel(frames, file)

    found = collect_identity_windows(utterances(), config, FILL)
    assert found[:, 0, 0].tolist() == [0, 10, 20000, 20010, 20020]
    assert requested == [0, 1, 2]  # nothing is read in vain
    assert found.shape == (5, 3, 10)


def test_random_starts_are_uniform_and_leave_one_window() -> None:
    config = WindowsConfig(width=10, stride=10, max_windows=1)
    rng = np.random.default_rng(0)
    starts = [
        int(collect_identity_windows([indexed_mel(14)], config, FILL, rng)[0, 0, 0]) for _ in range(400)
    ]
    counts = np.bincount(starts, minlength=4)
    assert len(counts) == 4 and counts.min() > 60  # 0 ... T - W - 1
    assert collect_identity_windows([indexed_mel(10)], config, FILL, rng)[0, 0, 0] == 0
    plain = WindowsConfig(width=10, stride=10, max_windows=1, random_start=False)
    assert {
        float(collect_identity_windows([indexed_mel(14)], plain, FILL, rng)[0, 0, 0]) for _ in range(20)
    } == {0.0}


def test_an_identity_without_a_window_gets_its_longest_utterance_padded() -> None:
    config = WindowsConfig(width=10, max_windows=4)
    found = collect_identity_windows([indexed_mel(3, 1), indexed_mel(7, 2), indexed_mel(7, 3)], config, FILL)
    assert found.shape == (1, 3, 10)
    assert found[0, 0].tolist() == [*range(20000, 20007), *[FILL] * 3]


def test_published_setting_requires_every_window() -> None:
    config = WindowsConfig(width=10, stride=10, max_windows=3, missing="error")
    assert len(collect_identity_windows([indexed_mel(30)], config, FILL)) == 3
    with pytest.raises(ValueError, match=r"Ann gives 2 windows of 10 frames, expected 3"):
        collect_identity_windows([indexed_mel(29)], config, FILL, source="Ann")
    with pytest.raises(ValueError, match="Ann has no utterances"):
        collect_identity_windows([], config, FILL, source="Ann")


def test_missing_windows_are_masked() -> None:
    full, present = pad_windows(np.ones((2, 3, 10), np.float32), 4, FILL)
    assert full.shape == (4, 3, 10) and present.tolist() == [True, True, False, False]
    assert (full[:2] == 1).all() and (full[2:] == FILL).all()


def test_invalid_shapes_are_rejected() -> None:
    for mel, width, stride in ((np.zeros(5), 1, 1), (np.zeros((3, 5)), 0, 1), (np.zeros((3, 5)), 1, 0)):
        with pytest.raises(ValueError, match="features"):
            extract_windows(mel, width, stride)
