"""Curves from which masks and fields of the head are made."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["smoothstep"]


def smoothstep(values: Any, start: float, end: float) -> NDArray[Any]:
    """Smooth step of values (...) from 0 at `start` to 1 at `end`; `end` may be below `start`."""
    t = np.clip((np.asarray(values) - start) / (end - start), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))
