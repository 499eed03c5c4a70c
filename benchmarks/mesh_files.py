"""Speed of mesh files at the size of the published face model, on one thread.

    python benchmarks/mesh_files.py

53,215 vertices and 105,840 triangles, single precision, as in frontal meshes. "CPU" is the CPU time of this
one-thread process, to which the targets apply. Every file is read back and compared bit by bit
before the report.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from timing import min_times

VERTICES, TRIANGLES = 53215, 105840
PUBLISHED = {"write .obj": 3.1, "read .obj": 0.97}  # seconds
TARGETS = {"write .obj": 0.2, "read .obj": 0.12}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; the exit status is 1 if a target is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--repeats", type=int, default=7, help="measurements of each task, of which the best is reported"
    )
    options = parser.parse_args(argv)
    rng = np.random.default_rng(0)
    vertices = (rng.normal(size=(VERTICES, 3)) * [36, 48, 30]).astype(np.float32)
    triangles = rng.integers(0, VERTICES, (TRIANGLES, 3)).astype(np.int32)
    colors = rng.random((VERTICES, 3)).astype(np.float32)
    missed = False
    print(f"{'':32}{'CPU ms':>8}{'clock ms':>10}{'MB':>7}{'published':>11}{'target':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for name, path, call in build_tasks(Path(folder), vertices, triangles, colors):
            processor, clock = min_times(call, options.repeats, warm_up=False)
            first = next((word for word in TARGETS if name == word), "")
            published = f"{PUBLISHED[first] * 1e3:.0f}" if first else ""
            target = f"{TARGETS[first] * 1e3:.0f}" if first else ""
            size = path.stat().st_size / 1e6
            print(f"{name:32}{processor * 1e3:8.1f}{clock * 1e3:10.1f}{size:7.2f}{published:>11}{target:>9}")
            missed |= bool(first) and processor > TARGETS[first]
    return int(missed)


def build_tasks(
    folder: Path, vertices: Any, triangles: Any, colors: Any
) -> list[tuple[str, Path, Callable[[], Any]]]:
    """The measured tasks: name, file, function; writing before reading."""
    from perceptionist.meshio.obj import read_obj, write_obj
    from perceptionist.meshio.ply import read_ply, write_ply
    from perceptionist.meshio.xyz import read_xyz, write_xyz

    plain, spelled, colored = (folder / name for name in ("a.obj", "published.obj", "colored.obj"))
    cloud, binary, text = folder / "a.xyz", folder / "a.ply", folder / "text.ply"

    def checked(read: Callable[..., Any], path: Path, *more: Any) -> Callable[[], None]:
        def call() -> None:
            found = read(path, *more)
            points = found if isinstance(found, np.ndarray) else found.vertices
            assert points.dtype == np.float32, path
            assert np.array_equal(points, vertices), path
            assert isinstance(found, np.ndarray) or np.array_equal(found.triangles, triangles), path

        return call

    return [
        ("write .obj", plain, lambda: write_obj(plain, vertices, triangles)),
        ("read .obj", plain, checked(read_obj, plain, np.float32)),
        (
            "write .obj, published number format",
            spelled,
            lambda: write_obj(spelled, vertices, triangles, number_format="published"),
        ),
        ("read the same", spelled, checked(read_obj, spelled, np.float32)),
        ("write .obj with colours", colored, lambda: write_obj(colored, vertices, triangles, colors)),
        ("read the same", colored, checked(read_obj, colored, np.float32)),
        ("write .xyz", cloud, lambda: write_xyz(cloud, vertices)),
        ("read .xyz", cloud, checked(read_xyz, cloud, np.float32)),
        ("write .ply, binary", binary, lambda: write_ply(binary, vertices, triangles, colors)),
        ("read the same", binary, checked(read_ply, binary)),
        ("write .ply, text", text, lambda: write_ply(text, vertices, triangles, colors, binary=False)),
        ("read the same", text, checked(read_ply, text)),
    ]


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
