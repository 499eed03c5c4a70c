"""Windows of utterances: what the fuser joins, and what one recording is cut into.

Letters: M mel bands, T frames of an utterance, W frames of a window, S windows.
"""

from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from voiceface.runtime.config import Config

Mel = NDArray[np.float32]


class WindowsConfig(Config):
    """The windows of a person that one embedding is fused from (specification, section 2.4)."""

    width: int = Field(default=125, ge=1, description="frames of a window (10 ms each)")
    stride: int = Field(default=125, ge=1, description="frames from one window to the next")
    max_windows: int = Field(default=20, ge=1, description="windows of a person")
    random_start: bool = Field(
        default=True, description="in training, drop a random number of frames at the start of each utterance"
    )
    shuffle: bool = Field(
        default=True, description="in training, utterances in random order; sorted by name otherwise"
    )
    missing: Literal["mask", "error"] = Field(
        default="mask",
        description="people with fewer than `most` windows: mask marks what is missing (a person without one "
        "whole window gets one that is filled up); error, as published, refuses them",
    )


def extract_windows(mel: NDArray[np.floating], width: int, stride: int) -> NDArray[np.floating]:
    """Windows of one utterance, none across its end.

    Args:
        mel: shape (M, T).
        width: W.
        stride: frames from one window to the next.

    Returns:
        Shape (S, M, W), S = max(0, 1 + floor((T - W) / stride)); a read-only view.
    """
    if mel.ndim != 2 or width < 1 or stride < 1:
        raise ValueError(
            f"expected features (M, T), width and stride of at least 1, found {mel.shape}, {width}, {stride}"
        )
    if mel.shape[1] < width:
        return np.empty((0, len(mel), width), mel.dtype)
    return np.lib.stride_tricks.sliding_window_view(mel, width, axis=1)[:, ::stride].transpose(1, 0, 2)


def pad_to_width(mel: NDArray[np.floating], width: int, fill_value: float) -> NDArray[np.floating]:
    """An utterance (M, T) with frames of `fill_value` at its end; itself if it has `width` frames already."""
    missing = width - mel.shape[1]
    if missing <= 0:
        return mel
    return np.pad(mel, ((0, 0), (0, missing)), constant_values=mel.dtype.type(fill_value))


def collect_identity_windows(
    mels: Iterable[Mel],
    config: WindowsConfig,
    fill_value: float,
    rng: np.random.Generator | None = None,
    source: str = "a person",
) -> Mel:
    """Up to `most` windows of a person; no window crosses two utterances (specification, section 2.4).

    Args:
        mels: normalised utterances (M, T), in the order of their use; no more are taken than needed.
        config: sizes.
        fill_value: normalised value of a zero log-mel, for people without one whole window.
        rng: with one, and if the configuration says so, a random number r of frames is dropped at the start
            of each utterance that is longer than a window, r uniform in 0...T - W - 1.
        source: whose they are, for messages.

    Returns:
        Shape (S, M, W), 1 <= S <= `most`.

    Raises:
        ValueError: no utterances, or `missing` is "error" and there are fewer than `most` windows.
    """
    found: list[Mel] = []
    count, longest = 0, None
    for mel in mels:
        if longest is None or mel.shape[1] > longest.shape[1]:
            longest = mel
        if rng is not None and config.random_start and mel.shape[1] > config.width:
            mel = mel[:, int(rng.integers(0, mel.shape[1] - config.width)) :]
        windows = extract_windows(mel, config.width, config.stride)[: config.max_windows - count]
        found.append(windows)
        count += len(windows)
        if count == config.max_windows:
            break
    if longest is None:
        raise ValueError(f"{source} has no utterances, expected at least one")
    if count < config.max_windows and config.missing == "error":
        raise ValueError(
            f"{source} gives {count} windows of {config.width} frames, expected {config.max_windows}; record more "
            "speech, or use windows.missing=mask"
        )
    if not count:
        return pad_to_width(longest, config.width, fill_value)[None]
    return np.concatenate(found)


def pad_windows(windows: Mel, num_windows: int, fill_value: float) -> tuple[Mel, NDArray[np.bool_]]:
    """Windows of one shape for every person.

    Args:
        windows: shape (S, M, W), S <= `num_windows`.
        num_windows: windows wanted.
        fill_value: value of what is missing.

    Returns:
        Windows (most, M, W), and (most,) True where there is one.
    """
    whole = np.full((num_windows, *windows.shape[1:]), fill_value, windows.dtype)
    whole[: len(windows)] = windows
    return whole, np.arange(num_windows) < len(windows)


def extract_recording_windows(mel: Mel, fill_value: float, width: int = 125, stride: int = 63) -> Mel:
    """Overlapping windows of one recording for inference (specification, section 9.6).

    A recording of less than one window, which the published program cannot use, gives one that is filled up.

    Args:
        mel: normalised, shape (M, T).
        fill_value: normalised value of a zero log-mel.
        width: W.
        stride: frames from one window to the next.

    Returns:
        Shape (S, M, W), S at least 1.
    """
    return np.ascontiguousarray(
        extract_windows(pad_to_width(mel, width, fill_value), width, stride), np.float32
    )
