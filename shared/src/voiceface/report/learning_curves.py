"""Learning curves from the log of a run: one JSON object per line with any named scalars."""

import json
import logging
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from voiceface.io.foreign_files import read_file_bytes
from voiceface.report.formatting import is_finite_number
from voiceface.report.records import Curve, Plot

__all__ = ["LogError", "build_learning_curves", "read_log", "running_mean"]

log = logging.getLogger(__name__)

MAX_LOG_BYTES = 1 << 30
STEP_KEYS = ("step", "iteration", "it")
NOT_PLOTTED = {
    "step",
    "iteration",
    "it",
    "epoch",
    "time",
    "wall",
    "wall_time",
    "seconds",
    "elapsed",
    "timestamp",
    "eta",
}
LEADING_SCALARS = ("loss", "total", "val", "accuracy", "auc")


class LogError(ValueError):
    """A training log that cannot be read; the message names it."""


def read_log(path: str | PathLike[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read the scalars of a run.

    Keys of nested objects are joined with "/" ({"val": {"auc": 0.7}} is "val/auc"). An incomplete last line,
    as a killed run leaves it, is skipped, and so are values that are not numbers. Of several lines of a step,
    the last one counts.

    Args:
        path: a log.jsonl, or the run folder that contains it.

    Returns:
        Name -> (steps (N,), values (N,)), steps increasing.

    Raises:
        FileNotFoundError: the log does not exist.
        LogError: it is no regular file, cannot be read, or is larger than any log.
    """
    log_file = Path(path)
    if log_file.is_dir():
        log_file = log_file / "log.jsonl"
    what = "a training log, a file with one JSON object per line"
    data = read_file_bytes(log_file, LogError, what, max_bytes=MAX_LOG_BYTES)
    scalars: dict[str, dict[float, float]] = {}
    for i, line in enumerate(data.decode("utf-8", "replace").splitlines()):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            if line.strip():
                log.warning("%s: line %d is not JSON, skipped", log_file, i + 1)
            continue
        if not isinstance(record, dict):
            continue
        step = next((record[name] for name in STEP_KEYS if is_finite_number(record.get(name))), i)
        for name, value in _flatten_scalars(record, ""):
            scalars.setdefault(name, {})[float(step)] = value
    return {
        name: (np.array(sorted(points)), np.array([points[step] for step in sorted(points)]))
        for name, points in scalars.items()
    }


def build_learning_curves(
    runs: Mapping[str, str | PathLike[str]], names: Sequence[str] | None = None, smoothing: float = 0.04
) -> list[Plot]:
    """Build one plot per scalar with the curves of all runs.

    Args:
        runs: name of the run -> its log.jsonl or folder.
        names: scalars to plot, in order; None plots all that vary, losses first.
        smoothing: width of the running mean as a fraction of the run; 0 disables smoothing.
    """
    logs = {label: read_log(path) for label, path in runs.items()}
    available = list(dict.fromkeys(name for scalars in logs.values() for name in scalars))
    if names is None:
        names = sorted((n for n in available if n.split("/")[-1] not in NOT_PLOTTED), key=_sort_key)
    plots = []
    for name in names:
        curves = [_build_curve(label, *logs[label][name], smoothing) for label in logs if name in logs[label]]
        if not any(np.isfinite(curve.y).sum() > 1 for curve in curves):
            continue
        if len(logs) == 1:
            curves = [Curve(name, c.x, c.y, raw=c.raw, markers=c.markers) for c in curves]
        plots.append(Plot(name, curves, x_label="step", y_range=_shared_y_range(curves)))
    return plots


def running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Centred mean over `width` neighbours, fewer at the ends; NaN counts as missing. Shape (N,)."""
    if width <= 1:
        return values
    finite = np.isfinite(values)
    window = np.ones(min(width | 1, 2 * len(values) - 1))
    sums = np.convolve(np.where(finite, values, 0.0), window, "full")
    counts = np.convolve(finite.astype(float), window, "full")
    half = len(window) // 2
    sums, counts = sums[half : half + len(values)], counts[half : half + len(values)]
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _flatten_scalars(record: Mapping[str, object], prefix: str) -> list[tuple[str, float]]:
    """Every number of a log line with its full name."""
    scalars: list[tuple[str, float]] = []
    for name, value in record.items():
        if isinstance(value, dict):
            scalars += _flatten_scalars(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            scalars.append((f"{prefix}{name}", float(value)))
    return scalars


def _build_curve(label: str, steps: np.ndarray, values: np.ndarray, smoothing: float) -> Curve:
    """Smooth a curve and keep its raw points; a sparse one (validation) stays as it is, with markers."""
    if len(values) < 40:
        return Curve(label, steps, values, markers=True)
    if (np.diff(values) != 0).mean() < 0.2:  # a step schedule: smoothing would round its corners
        return Curve(label, steps, values)
    smoothed = running_mean(values, round(smoothing * len(values)))
    return Curve(label, steps, smoothed, raw=_envelope(steps, values))


def _envelope(steps: np.ndarray, values: np.ndarray, bins: int = 220) -> tuple[np.ndarray, np.ndarray]:
    """Minimum and maximum of each of `bins` parts, so that downsampling loses no spike."""
    if len(values) <= 2 * bins:
        return steps, values
    x, y = [], []
    for part in np.array_split(np.arange(len(values)), bins):
        finite = part[np.isfinite(values[part])]
        if len(finite):
            ends = sorted({int(finite[values[finite].argmin()]), int(finite[values[finite].argmax()])})
            x += [float(steps[i]) for i in ends]
            y += [float(values[i]) for i in ends]
    return np.array(x), np.array(y)


def _shared_y_range(curves: Sequence[Curve]) -> tuple[float, float] | None:
    """Vertical range that contains the smoothed curves and 99 % of the raw points."""
    shown = [np.asarray(c.y, float)[np.isfinite(c.y)] for c in curves]
    for curve in curves:
        if curve.raw is not None:
            raw = np.asarray(curve.raw[1], float)
            if np.isfinite(raw).any():
                shown.append(np.percentile(raw[np.isfinite(raw)], [0.5, 99.5]))
    values = np.concatenate(shown)
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def _sort_key(name: str) -> tuple[int, str]:
    """Losses first, then validation metrics, then the rest by name."""
    return next(
        (i for i, word in enumerate(LEADING_SCALARS) if name.lower().startswith(word)), len(LEADING_SCALARS)
    ), name
