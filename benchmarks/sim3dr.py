"""Speed of the renderer: milliseconds per image, by size and coverage rule, with and without lighting.

    python benchmarks/sim3dr.py --threads 2

The mesh is a bumpy surface of 38,025 vertices and 75,272 triangles that fills the image, the size of the face
model of the published timings. `wall` is the shortest wall-clock time of many repeats, `busy` the median CPU
time over all threads, `ratio` the speed relative to the published configuration of the same build: rule
inclusive, one thread.

For comparison, the published programs on one thread of a server CPU (inclusive / strict): 17 / 1.9 ms at
120 x 120, 23 / 7 at 224 x 224, 47 / 19 at 512 x 512, 128 / 91 at 1920 x 1080; normals, lighting and
image together 78 ms at 224 x 224.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from perceptionist import sim3dr

SIZES = [(120, 120), (224, 224), (512, 512), (1080, 1920)]


def bumpy_surface(side: int = 195, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """A bumpy surface over -1..1 with jittered vertices: vertices and triangles."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / (side - 1) * 2 - 1
    z = np.sqrt(2.2 - x * x - y * y) + 0.1 * np.sin(9 * x) * np.cos(7 * y)
    x, y = (axis + rng.normal(0, 0.3 / side, axis.shape) for axis in (x, y))
    name = np.arange(side * side, dtype=np.int32).reshape(side, side)
    a, b, c, d = (corner.ravel() for corner in (name[:-1, :-1], name[:-1, 1:], name[1:, :-1], name[1:, 1:]))
    triangles = np.stack([a, b, c, b, d, c], 1).reshape(-1, 3)
    return np.stack([x, y, z], -1).reshape(-1, 3).astype(np.float32), triangles


def measure_ms(work: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Shortest wall-clock time and median CPU time of a call, in milliseconds."""
    work()
    wall_times, cpu_times, end = [], [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(wall_times) < 5:
        before = time.perf_counter(), time.process_time()
        work()
        wall_times.append(time.perf_counter() - before[0])
        cpu_times.append(time.process_time() - before[1])
    return 1e3 * min(wall_times), 1e3 * statistics.median(cpu_times)


def main(argv: Sequence[str] | None = None) -> int:
    """Print one row per size and configuration."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--threads", type=int, default=2, help="threads of the fast configurations (default: %(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="time per row")
    args = parser.parse_args(argv)
    num_threads = args.threads

    mesh, triangles = bumpy_surface()
    print(f"{len(mesh)} vertices, {len(triangles)} triangles")
    print(f"{'image':12}{'configuration':28}{'threads':>8}{'wall ms':>9}{'busy ms':>9}{'ratio':>7}")
    for height, width in SIZES:
        vertices = (mesh + np.float32([1, 1, 0])) * np.float32([(width - 1) / 2, (height - 1) / 2, width / 4])
        image = np.zeros((height, width, 3), np.uint8)
        colors = sim3dr.Lighting().light(vertices, triangles)
        configurations: list[tuple[str, int, Callable[[str, int], object]]] = [
            (rule, threads, build_draw_call(vertices, triangles, colors, image))
            for rule, threads in [
                ("inclusive", 1),
                ("inclusive", num_threads),
                ("strict", num_threads),
                ("top_left", num_threads),
            ]
        ]
        lit = build_lit_call(vertices, triangles, image)
        configurations += [("top_left, normals, lighting", num_threads, lit)]
        baseline = 0.0
        for configuration, threads, work in configurations:
            wall, busy = measure_ms(lambda: work(configuration.split(",")[0], threads), args.seconds)  # noqa: B023
            baseline = baseline or wall
            name = f"{width} x {height}"
            print(
                f"{name:12}{configuration:28}{threads:8}{wall:9.2f}{busy:9.2f}{baseline / wall:7.1f}",
                flush=True,
            )
    return 0


def build_draw_call(
    vertices: NDArray[np.float32],
    triangles: NDArray[np.int32],
    colors: NDArray[np.float32],
    image: NDArray[np.uint8],
) -> Callable[[str, int], object]:
    """Function that draws the coloured mesh with a coverage rule and a number of threads."""

    def work(rule: str, threads: int) -> object:
        return sim3dr.rasterize(vertices, triangles, colors, image, coverage=rule, threads=threads)

    return work


def build_lit_call(
    vertices: NDArray[np.float32], triangles: NDArray[np.int32], image: NDArray[np.uint8]
) -> Callable[[str, int], object]:
    """Function that computes normals and lighting and draws the mesh."""
    lighting = sim3dr.Lighting()

    def work(rule: str, threads: int) -> object:
        return lighting(vertices, triangles, image, coverage=rule, threads=threads)

    return work


if __name__ == "__main__":
    raise SystemExit(main())
