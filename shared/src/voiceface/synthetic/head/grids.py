"""Triangles of surfaces that are grids around the head: hair and clothes."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["falling_grid_triangles"]


def falling_grid_triangles(rows: int, columns: int) -> NDArray[np.int32]:
    """Two triangles per cell of a row-major grid, (2·(rows-1)·(columns-1), 3), 0-based.

    Rows descend and columns run to the viewer's right, so the order is counter-clockwise seen from outside.
    """
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    right, below = corner + 1, corner + columns
    first = np.stack([corner, below, right], axis=1)
    second = np.stack([right, below, below + 1], axis=1)
    return np.concatenate([first, second]).astype(np.int32)
