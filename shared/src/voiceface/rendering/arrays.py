"""Validation of the renderer's arguments; arrays of another type or layout are converted once."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = [
    "COVERAGE",
    "FAR",
    "MAX_ATTRIBUTES",
    "MAX_CHANNELS",
    "MAX_SIDE",
    "Bytes",
    "Floats",
    "Ints",
    "check_attributes",
    "check_colors",
    "check_distances",
    "check_fraction",
    "check_side",
    "check_triangles",
    "check_vertices",
    "coverage_code",
    "prepare_depth",
    "prepare_image",
    "write_back",
]


COVERAGE = {"top_left": 0, "inclusive": 1, "strict": 2}  # as in the kernel
FAR = -1.0e8  # depth of an empty pixel
MAX_CHANNELS = 4  # of colours
MAX_ATTRIBUTES = 16  # channels of one interpolation
MAX_SIDE = 1 << 24  # beyond, float32 cannot represent every pixel coordinate

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Bytes = NDArray[np.uint8]
Array = NDArray[Any]


def check_vertices(vertices: ArrayLike) -> Floats:
    """(V, 3) float32.

    Raises:
        ValueError: another shape, or not real numbers.
    """
    return _check_rows("vertices", vertices, 3, "(V, 3): x, y, z of each vertex")


def check_triangles(triangles: ArrayLike, count: int) -> Ints:
    """(T, 3) int32, each number one of `count` vertices.

    Raises:
        ValueError: another shape, not integers, or an index outside 0..count-1.
    """
    given = _empty_as_rows(np.asarray(triangles), 3)
    if given.ndim != 2 or given.shape[1] != 3:
        raise ValueError(f"triangles: the shape (T, 3) is expected, found {given.shape}")
    if not given.size:
        return np.empty((0, 3), np.int32)
    if given.dtype.kind not in "iu":
        raise ValueError(f"triangles: integers are expected, found {given.dtype}")
    low, high = int(given.min()), int(given.max())
    if low < 0 or high >= count:
        wrong = low if low < 0 else high
        row = int(np.argwhere((given == wrong).any(1))[0, 0])
        hint = "; vertex indices start at 0" if high == count and low > 0 else ""
        raise ValueError(
            f"triangles: row {row} has vertex {wrong}, expected 0 to {count - 1} ({count} vertices){hint}"
        )
    return _as_contiguous(given, np.int32)


def check_colors(colors: ArrayLike, count: int, name: str = "colors") -> Floats:
    """(V, C) float32 with C from 1 to 4.

    Raises:
        ValueError: another shape, not real numbers, or integers above 1.
    """
    given = np.asarray(colors)
    if given.ndim != 2 or len(given) != count or not 1 <= given.shape[1] <= MAX_CHANNELS:
        raise ValueError(
            f"{name}: one row of 1 to {MAX_CHANNELS} channels per vertex is expected, ({count}, C); "
            f"found {given.shape}"
        )
    if given.dtype.kind in "iu" and given.size and given.max() > 1:
        raise ValueError(
            f"{name}: numbers from 0 to 1 are expected, found {given.dtype} up to {given.max()}; "
            "divide by 255"
        )
    return _check_numbers(name, given, np.float32)


def check_attributes(attributes: ArrayLike) -> Floats:
    """(V, C) float32 with C from 1 to 16.

    Raises:
        ValueError: another shape, or not real numbers.
    """
    given = np.asarray(attributes)
    if given.ndim != 2 or not 1 <= given.shape[1] <= MAX_ATTRIBUTES:
        raise ValueError(
            f"attributes: one row of 1 to {MAX_ATTRIBUTES} numbers per vertex is expected, (V, C); "
            f"found {given.shape}"
        )
    return _check_numbers("attributes", given, np.float32)


def check_distances(distances: ArrayLike, count: int) -> Floats:
    """(V,) float32 above 0.

    Raises:
        ValueError: another shape, not real numbers, zero, negative or not finite.
    """
    given = np.asarray(distances)
    if given.shape != (count,):
        raise ValueError(f"distances: one per vertex is expected, ({count},); found {given.shape}")
    checked = _check_numbers("distances", given, np.float32)
    wrong = ~((checked > 0) & np.isfinite(checked))
    if wrong.any():
        vertex = int(np.argmax(wrong))
        raise ValueError(
            f"distances: numbers above 0 are expected, found {checked[vertex]} for vertex {vertex}; move the "
            "camera away from the mesh"
        )
    return checked


def check_side(name: str, value: Any) -> int:
    """Validate a side of an image in pixels.

    Raises:
        ValueError: it is not an integer from 1 to 2**24.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 1 <= value <= MAX_SIDE:
        raise ValueError(
            f"{name}: an integer number of pixels from 1 to {MAX_SIDE} is expected, found {value!r}"
        )
    return int(value)


def coverage_code(coverage: str) -> int:
    """The kernel's code of a coverage rule.

    Raises:
        ValueError: unknown rule.
    """
    if coverage not in COVERAGE:
        raise ValueError(f"coverage: one of {', '.join(COVERAGE)} is expected, found {coverage!r}")
    return COVERAGE[coverage]


def check_fraction(name: str, value: float) -> float:
    """Validate a number from 0 to 1.

    Raises:
        ValueError: it is outside.
    """
    if not 0 <= value <= 1:
        raise ValueError(f"{name}: a number from 0 to 1 is expected, found {value!r}")
    return float(value)


def prepare_image(image: Array, name: str = "bg") -> Bytes:
    """(H, W, C) uint8, contiguous and writable: the given array if possible, else a copy.

    Values of another type are rounded and clipped to 0..255.

    Raises:
        ValueError: another shape, not real numbers, NaN or infinity.
    """
    given = np.asarray(image)
    if given.ndim not in (2, 3) or (given.ndim == 3 and not 1 <= given.shape[2] <= MAX_CHANNELS):
        raise ValueError(
            f"{name}: the shape (H, W) or (H, W, C) with 1 to {MAX_CHANNELS} channels is expected, "
            f"found {given.shape}"
        )
    if max(given.shape[:2]) > MAX_SIDE:
        raise ValueError(f"{name}: sides of at most {MAX_SIDE} pixels are expected, found {given.shape}")
    whole = given[:, :, None] if given.ndim == 2 else given
    if whole.dtype == np.uint8:
        return np.require(whole, np.uint8, ["C", "A", "W"])
    if whole.dtype.kind not in "iuf":
        raise ValueError(f"{name}: uint8 is expected, found {whole.dtype}")
    if not np.isfinite(whole).all():
        raise ValueError(f"{name}: numbers from 0 to 255 are expected, found NaN or infinity")
    return np.ascontiguousarray(np.clip(np.rint(whole), 0, 255).astype(np.uint8))


def prepare_depth(depth: Array | None, height: int, width: int) -> Floats:
    """(H, W) float32, contiguous: the given array if possible, else a copy; a new one for None.

    Raises:
        ValueError: it is not a writable array of real numbers with this shape.
    """
    if depth is None:
        return np.full((height, width), FAR, np.float32)
    if not isinstance(depth, np.ndarray) or depth.dtype.kind != "f" or not depth.flags.writeable:
        found = f"{type(depth).__name__} {getattr(depth, 'dtype', '')}".strip()
        raise ValueError(f"depth: a writable float32 array is expected, it is updated; found {found}")
    if depth.shape != (height, width):
        raise ValueError(f"depth: the image's shape {(height, width)} is expected, found {depth.shape}")
    return _as_contiguous(depth, np.float32)


def write_back(work: Array, given: Array | None) -> Array:
    """Copy the result into the caller's array if possible, and return the array with the result."""
    if given is None or np.may_share_memory(work, given):
        return work if given is None else given
    drawn = work.reshape(given.shape)
    if isinstance(given, np.ndarray) and given.dtype.kind == drawn.dtype.kind and given.flags.writeable:
        given[...] = drawn
        return given
    return drawn


def _check_rows(name: str, rows: ArrayLike, width: int, words: str) -> Floats:
    given = _empty_as_rows(np.asarray(rows), width)
    if given.ndim != 2 or given.shape[1] != width:
        raise ValueError(f"{name}: the shape {words} is expected, found {given.shape}")
    return _check_numbers(name, given, np.float32)


def _empty_as_rows(given: Array, width: int) -> Array:
    """Reshape an empty list to an empty table."""
    return given.reshape(0, width) if given.shape == (0,) else given


def _check_numbers(name: str, given: Array, dtype: DTypeLike) -> Array:
    if given.dtype.kind not in "biuf":
        raise ValueError(f"{name}: real numbers are expected, found {given.dtype}")
    with np.errstate(over="ignore"):  # values too large for float32 become infinite, and are skipped
        return _as_contiguous(given, dtype)


def _as_contiguous(given: Array, dtype: DTypeLike) -> Array:
    """The array itself, or an aligned C-contiguous copy of this type."""
    return np.require(given, dtype, ["C", "A"])
