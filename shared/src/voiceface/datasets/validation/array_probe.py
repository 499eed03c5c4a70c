"""Probes of files of the Voxceleb-3D layout: stored features, coefficients, point clouds, meshes."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voiceface.datasets.validation.file_probe import FileRecord, size_and_digest
from voiceface.io.safe_pickle import read_npy

__all__ = [
    "FRAME_SECONDS",
    "NUM_COEFFICIENTS",
    "NUM_MEL_BANDS",
    "probe_coefficient_file",
    "probe_feature_file",
    "probe_mesh_file",
    "probe_point_cloud",
]

NUM_MEL_BANDS = 64
FRAME_SECONDS = 0.01
NUM_COEFFICIENTS = (199, 29)  # shape and expression of the full basis of BFM-2009


def probe_feature_file(path: Path, decode: bool) -> FileRecord:
    """Read the header of stored features, (frames, 64); with `decode`, all values.

    Raises:
        ValueError, OSError: it cannot be read, or has another shape or type, or values that are not finite.
    """
    size, digest = size_and_digest(path, decode)
    try:
        features: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except ValueError as error:
        raise ValueError(f"no .npy file of plain numbers ({error})") from None
    if features.ndim != 2 or features.shape[1] != NUM_MEL_BANDS or features.dtype.kind not in "fiu":
        transposed = features.ndim == 2 and features.shape[0] == NUM_MEL_BANDS
        raise ValueError(
            f"{features.dtype} of shape {features.shape}, expected numbers of shape (frames, {NUM_MEL_BANDS})"
            + ("; transpose it" if transposed else "")
        )
    if decode and not np.isfinite(features).all():
        raise ValueError(
            f"{int((~np.isfinite(features)).sum())} values are not finite; compute the features again"
        )
    frames = len(features)
    seconds = round(frames * FRAME_SECONDS, 4)
    return FileRecord(
        "",
        size,
        digest,
        f"features {features.dtype} (frames, {NUM_MEL_BANDS})",
        duration=seconds,
        num_rows=frames,
    )


def probe_coefficient_file(path: Path, decode: bool) -> FileRecord:
    """Read fitted coefficients: one vector of 228 (199 shape, 29 expression), or two arrays. No code is run.

    Raises:
        ValueError, OSError: it cannot be read, or has other lengths, or values that are not finite.
    """
    size, digest = size_and_digest(path, decode)
    content = read_npy(path)
    while isinstance(content, list) and len(content) == 1:
        content = content[0]
    if isinstance(content, dict):
        content = list(content.values())
    parts = (
        [np.asarray(part) for part in content] if isinstance(content, list | tuple) else [np.asarray(content)]
    )
    lengths = sorted(part.size for part in parts)
    if lengths not in ([sum(NUM_COEFFICIENTS)], sorted(NUM_COEFFICIENTS)) or any(
        part.dtype.kind not in "fiu" for part in parts
    ):
        shape, expression = NUM_COEFFICIENTS
        raise ValueError(
            f"arrays of {', '.join(map(str, lengths[:4]))} values, expected {shape} shape and {expression} "
            f"expression coefficients, separately or as one vector of {shape + expression}"
        )
    if not all(np.isfinite(part).all() for part in parts):
        raise ValueError("values that are not finite; fit the coefficients again")
    return FileRecord("", size, digest, "coefficients 199 + 29")


def probe_point_cloud(path: Path, decode: bool) -> FileRecord:
    """Count the lines of a point cloud; with `decode`, read every number.

    Raises:
        ValueError, OSError: it cannot be read, or a line is not three finite numbers.
    """
    size, digest = size_and_digest(path, decode)
    data = path.read_bytes().strip()
    rows = data.count(b"\n") + 1
    first = data.partition(b"\n")[0].split()
    try:
        numbers = np.array(data.split() if decode else first, np.bytes_).astype(np.float64)
    except ValueError:
        numbers = np.zeros(0)
    if len(first) != 3 or len(numbers) != (3 * rows if decode else 3):
        raise ValueError(f"begins with {data[:40]!r}, expected lines `x y z` without a header")
    if not np.isfinite(numbers).all():
        raise ValueError("coordinates that are not finite; write the point cloud again")
    return FileRecord("", size, digest, "point cloud", num_rows=rows)


def probe_mesh_file(path: Path, decode: bool) -> FileRecord:
    """Count the vertices of an .obj file.

    Raises:
        ValueError, OSError: it cannot be read, or has no vertices.
    """
    size, digest = size_and_digest(path, decode)
    data = path.read_bytes()
    rows = data.count(b"\nv ") + data.startswith(b"v ")
    if not rows:
        raise ValueError(f"begins with {data[:40]!r}, expected lines `v x y z`")
    return FileRecord("", size, digest, "mesh", num_rows=rows)
