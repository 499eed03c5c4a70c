"""Metrics log of a run: one JSON line per logged iteration, and the same numbers for TensorBoard."""

import contextlib
import json
import logging
import math
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tensorboardX import SummaryWriter

__all__ = ["WALL_CLOCK_FIELDS", "MetricsLog"]

WALL_CLOCK_FIELDS = ("time", "seconds")
LOCK_TIMEOUT = 15.0  # seconds; loader processes of a killed run hold the file until they exit
logger = logging.getLogger(__name__)


class MetricsLog:
    """``log.jsonl`` and ``tensorboard/`` of a run directory.

    A line reads ``{"step": 0, "loss": 1.5, ..., "time": "2030-01-31T12:00:00+00:00", "seconds": 0.8}``. All
    but the last two (`WALL_CLOCK_FIELDS`: date of writing, seconds since the process started) are the same in
    every repetition. A value that is not finite is written as null, with a warning.

    Args:
        out: run directory; created if missing.
        log_interval: iterations between lines.
        enabled: False writes nothing (all processes but the main one).

    Raises:
        ValueError: `log_interval` is below 1, or another process writes to the directory.
    """

    def __init__(self, out: Path, log_interval: int, *, enabled: bool) -> None:
        self.path, self.log_interval, self._start_time = out / "log.jsonl", log_interval, time.monotonic()
        self._file: IO[bytes] | None = None
        self._summary_writer: SummaryWriter | None = None
        if log_interval < 1:
            raise ValueError(f"log_interval is {log_interval}, expected 1 or more")
        if enabled:
            out.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab")
            self._lock()

    def truncate_to(self, step: int, num_bytes: int) -> None:
        """Remove the lines that a stopped run wrote after its last save.

        Args:
            step: completed steps; TensorBoard hides later points of older event files.
            num_bytes: bytes of log.jsonl that belong to them.
        """
        if self._file is None:
            return
        if self.path.stat().st_size < num_bytes:
            logger.warning("%s is shorter than at the last save: earlier lines are lost", self.path)
        else:
            self._file.truncate(num_bytes)
        from tensorboardX import SummaryWriter

        self._summary_writer = SummaryWriter(str(self.path.parent / "tensorboard"), purge_step=step)

    def is_due(self, step: int) -> bool:
        """Whether an iteration is a multiple of the log interval."""
        return step % self.log_interval == 0

    def write(self, step: int, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Add one line.

        Args:
            step: the iteration.
            metrics: name -> number.

        Returns:
            The metrics, rounded to four digits for a progress bar.
        """
        if self._file is None or self._summary_writer is None:
            return {}
        finite = {}
        for name, number in metrics.items():
            value = number.item() if hasattr(number, "item") else number
            finite[name] = value if math.isfinite(value) else None
            if finite[name] is None:
                logger.warning("iteration %d: %s is %s", step, name, value)
            self._summary_writer.add_scalar(name if "/" in name else f"train/{name}", value, step)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        clock = (now, round(time.monotonic() - self._start_time, 3))
        line = {"step": step, **finite, **dict(zip(WALL_CLOCK_FIELDS, clock))}
        self._file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        return {name: "-" if value is None else f"{value:.4g}" for name, value in finite.items()}

    def add_image(self, name: str, image: "NDArray[np.uint8]", step: int) -> None:
        """Write an RGB image (H, W, 3) to TensorBoard."""
        if self._summary_writer is not None:
            self._summary_writer.add_image(name, image, step, dataformats="HWC")

    def sync(self) -> int:
        """Flush the log to disk and return its size in bytes."""
        if self._file is None:
            return 0
        self._file.flush()
        os.fsync(self._file.fileno())
        return self.path.stat().st_size

    def close(self) -> None:
        """Close both files, once or repeatedly; a full disk, which was reported before, raises nothing."""
        if self._summary_writer is not None:
            with contextlib.suppress(OSError):
                self._summary_writer.close()
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.flush()
            self._lock(free=True)  # loader processes still share the open file
            with contextlib.suppress(OSError):
                self._file.close()
        self._summary_writer = self._file = None

    def _lock(self, free: bool = False) -> None:
        """Lock the log against a second run, or `free` it; the lock ends with the processes that hold it."""
        assert self._file is not None
        try:
            import fcntl
        except ImportError:  # no file locks on this platform
            return
        if free:
            fcntl.flock(self._file, fcntl.LOCK_UN)
            return
        deadline = time.monotonic() + LOCK_TIMEOUT
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            if time.monotonic() > deadline:
                raise ValueError(
                    f"another process writes to {self.path.parent}; stop it or choose another --out folder"
                )
            time.sleep(0.2)
