"""Windows of utterances: input of the fuser in training, and of inference on a recording.

Letters: M mel bands, T frames of an utterance, W frames of a window, S windows.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from sf2f.network_config import WindowsConfig

__all__ = [
    "Mel",
    "collect_identity_windows",
    "default_stride",
    "extract_recording_windows",
    "extract_windows",
    "pad_to_width",
    "pad_windows",
]

Mel = NDArray[np.float32]


def extract_windows(mel: NDArray[np.floating], width: int, stride: int) -> NDArray[np.floating]:
    """Extract the windows of one utterance.

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
    """Pad an utterance (M, T) at its end to at least `width` frames; longer ones are returned unchanged."""
    padding = width - mel.shape[1]
    if padding <= 0:
        return mel
    return np.pad(mel, ((0, 0), (0, padding)), constant_values=mel.dtype.type(fill_value))


def collect_identity_windows(
    mels: Iterable[Mel],
    config: WindowsConfig,
    fill_value: float,
    rng: np.random.Generator | None = None,
    source: str = "an identity",
) -> Mel:
    """Collect up to `config.max_windows` windows of an identity; no window crosses two utterances.

    Args:
        mels: normalised utterances (M, T) in order of use; no more are read than needed.
        config: window sizes.
        fill_value: padding value for identities without one whole window.
        rng: if given and `config.random_start`, drop r frames at the start of each utterance longer than a
            window, r uniform in 0...T - W - 1.
        source: name of the identity, for messages.

    Returns:
        Shape (S, M, W), 1 <= S <= `config.max_windows`.

    Raises:
        ValueError: no utterances, or `config.missing` is "error" and there are fewer than `max_windows`
            windows.
    """
    collected: list[Mel] = []
    count, longest = 0, None
    for mel in mels:
        if longest is None or mel.shape[1] > longest.shape[1]:
            longest = mel
        if rng is not None and config.random_start and mel.shape[1] > config.width:
            mel = mel[:, int(rng.integers(0, mel.shape[1] - config.width)) :]
        windows = extract_windows(mel, config.width, config.stride)[: config.max_windows - count]
        collected.append(windows)
        count += len(windows)
        if count == config.max_windows:
            break
    if longest is None:
        raise ValueError(f"{source} has no utterances, expected at least one")
    if count < config.max_windows and config.missing == "error":
        raise ValueError(
            f"{source} gives {count} windows of {config.width} frames, expected {config.max_windows}; add "
            "recordings, or set data.windows.missing=mask"
        )
    if not count:
        return pad_to_width(longest, config.width, fill_value)[None]
    return np.concatenate(collected)


def pad_windows(windows: Mel, num_windows: int, fill_value: float) -> tuple[Mel, NDArray[np.bool_]]:
    """Pad windows to a fixed number and return the mask.

    Args:
        windows: shape (S, M, W), S <= `num_windows`.
        num_windows: number of windows wanted.
        fill_value: padding value.

    Returns:
        Windows (num_windows, M, W), and mask (num_windows,), True for real windows.
    """
    padded = np.full((num_windows, *windows.shape[1:]), fill_value, windows.dtype)
    padded[: len(windows)] = windows
    return padded, np.arange(num_windows) < len(windows)


def extract_recording_windows(mel: Mel, fill_value: float, width: int = 125, stride: int = 63) -> Mel:
    """Extract overlapping windows of one recording for inference, as the published program does.

    A recording shorter than one window, which the published program cannot process, is padded to one.

    Args:
        mel: normalised, shape (M, T).
        fill_value: padding value.
        width: W.
        stride: frames from one window to the next.

    Returns:
        Shape (S, M, W), S at least 1.
    """
    return np.ascontiguousarray(
        extract_windows(pad_to_width(mel, width, fill_value), width, stride), np.float32
    )


def default_stride(width: int) -> int:
    """Half a window, rounded up: 63 of 125 frames."""
    return -(-width // 2)
