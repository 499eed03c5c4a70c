"""Speed of the renderer beside the published loop, in one run, with identical images.

    python benchmarks/sim3dr.py --threads 2

The mesh is a bumpy surface of 38,025 vertices and 75,272 triangles that fills the image, the size of the
face model of the published timings. The published loop (`sim3dr_published.c`, written anew from its
rules) is compiled here with the optimisation of our kernel. Both sides draw alternately with the same
rule, each call with a new depth buffer, and their images must be equal byte by byte. Times are the
shortest processor milliseconds of many calls; those of several threads are of the longest thread and of
what comes before it, as if each had a free core, and wall-clock time stands beside them. Goals for the
rule `inclusive`, at 224 x 224 and 512 x 512: twice as fast on one thread, three times on two.

For comparison, timings of the published programs themselves, on one thread of a server CPU (inclusive /
strict): 17 / 1.9 ms at 120 x 120, 23 / 7 at 224 x 224, 47 / 19 at 512 x 512, 128 / 91 at 1920 x 1080;
normals, lighting and image together 78 ms at 224 x 224.
"""

import argparse
import ctypes
import os
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from timing import Times, min_times_alternating
from voiceface import rendering
from voiceface.rendering import parallel

SIZES = [(120, 120), (224, 224), (512, 512), (1080, 1920)]
GOAL_SIZES = [(224, 224), (512, 512)]
GOAL_ONE, GOAL_SEVERAL = 2.0, 3.0
FLAGS = ["-O3", "-fno-fast-math", "-ffp-contract=off", "-fPIC", "-shared"]
Draw = Callable[..., NDArray[np.uint8]]


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


def compile_published(folder: Path) -> Draw:
    """The published loop as a function of vertices, triangles, colours, an image and a rule.

    Raises:
        SystemExit: there is no C compiler.
    """
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    source, library = Path(__file__).with_name("sim3dr_published.c"), folder / "published.so"
    try:
        subprocess.run([compiler, *FLAGS, "-o", str(library), str(source), "-lm"], check=True)
    except FileNotFoundError:
        raise SystemExit(f"the published loop needs a C compiler, and {compiler} is not there") from None
    loop = ctypes.CDLL(str(library)).draw

    def address(array: NDArray[Any]) -> ctypes.c_void_p:
        return ctypes.c_void_p(array.ctypes.data)

    def draw(
        vertices: NDArray[np.float32],
        triangles: NDArray[np.int32],
        colors: NDArray[np.float32],
        image: NDArray[np.uint8],
        rule: str,
    ) -> NDArray[np.uint8]:
        height, width, channels = image.shape
        depth = np.full((height, width), rendering.FAR, np.float32)
        arrays = [address(array) for array in (image, vertices, triangles, colors, depth)]
        loop(*arrays, len(triangles), height, width, channels, int(rule == "strict"))
        return image

    return draw


def time_longest_part(call: Callable[[], Any], repeats: int) -> float:
    """Shortest processor time of a call with several threads if each had a free core, without starting them.

    The parts run one after the other; those that would run beside the longest of them do not count.
    """
    whole = parallel.run_parallel
    spared = 0.0

    def run_in_turn(work: Callable[..., Any], parts: Sequence[tuple[Any, ...]]) -> list[Any]:
        nonlocal spared
        results, seconds = [], []
        for part in parts:
            before = time.process_time()
            results.append(work(*part))
            seconds.append(time.process_time() - before)
        spared += sum(seconds) - max(seconds, default=0.0)
        return results

    shortest = float("inf")
    parallel.run_parallel = run_in_turn
    try:
        for _ in range(repeats):
            spared, before = 0.0, time.process_time()
            call()
            shortest = min(shortest, time.process_time() - before - spared)
    finally:
        parallel.run_parallel = whole
    return shortest


def compare(
    published: Draw, size: tuple[int, int], rule: str, threads: int, repeats: int
) -> tuple[float, float]:
    """Print a row of one size and rule; returns the ratios on one and on several threads.

    Raises:
        RuntimeError: the images differ.
    """
    vertices, triangles, colors = scene(size)
    drawn = [np.zeros((*size, 3), np.uint8) for _ in range(3)]

    def draw(image: NDArray[np.uint8], threads: int) -> None:
        rendering.rasterize(vertices, triangles, colors, image, coverage=rule, threads=threads)

    calls = {
        "published": lambda: published(vertices, triangles, colors, drawn[0], rule),
        "one": lambda: draw(drawn[1], 1),
        "several": lambda: draw(drawn[2], threads),
    }
    times = min_times_alternating(calls, repeats)
    if not all((image == drawn[0]).all() for image in drawn):
        raise RuntimeError(f"the images of {rule} at {size[1]} x {size[0]} differ")
    longest = time_longest_part(calls["several"], repeats)
    loop, one = times["published"].cpu, times["one"].cpu
    cells = f"{1e3 * loop:10.2f}{1e3 * one:10.2f}{loop / one:7.2f}{1e3 * longest:10.2f}{loop / longest:7.2f}"
    print(f"{f'{size[1]} x {size[0]}':13}{rule:11}{cells}{1e3 * times['several'].wall:10.2f}", flush=True)
    return loop / one, loop / longest


def scene(size: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """Vertices in pixels of an image (height, width), triangles, lit colours."""
    mesh, triangles = bumpy_surface()
    height, width = size
    vertices = (mesh + np.float32([1, 1, 0])) * np.float32([(width - 1) / 2, (height - 1) / 2, width / 4])
    return vertices, triangles, rendering.Lighting().light(vertices, triangles)


def time_others(size: tuple[int, int], threads: int, repeats: int) -> dict[str, Times]:
    """Times of what the published program does not have, or does in another way."""
    vertices, triangles, colors = scene(size)
    image, normals = np.zeros((*size, 3), np.uint8), rendering.get_normals(vertices, triangles)
    lighting = rendering.Lighting()
    found = rendering.rasterize_triangles(vertices, triangles, *size)
    attributes = np.concatenate([normals, vertices, colors], 1)
    return min_times_alternating(
        {
            "top_left": lambda: rendering.rasterize(vertices, triangles, colors, image, threads=threads),
            "with normals and lighting": lambda: lighting(vertices, triangles, image, threads=threads),
            "triangles and weights": lambda: rendering.rasterize_triangles(
                vertices, triangles, *size, threads=threads
            ),
            "9 attributes": lambda: rendering.interpolate(found, triangles, attributes, threads=threads),
        },
        repeats,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; with --strict the exit status is 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--threads", type=int, default=2, help="of the third measurement (default: 2)")
    parser.add_argument("--repeats", type=int, default=60, help="calls of each, the shortest counts")
    parser.add_argument("--strict", action="store_true", help="fail when a goal is missed")
    args = parser.parse_args(argv)

    missed = []
    several = f"{args.threads} threads"
    print(
        f"{'image':13}{'rule':11}{'published':>10}{'ours':>10}{'ratio':>7}{several:>10}{'ratio':>7}{'wall':>10}"
    )
    with tempfile.TemporaryDirectory() as folder:
        published = compile_published(Path(folder))
        for size in SIZES:
            for rule in ("inclusive", "strict"):
                one, several = compare(published, size, rule, args.threads, args.repeats)
                if size in GOAL_SIZES and rule == "inclusive":
                    missed += [f"{size[1]} x {size[0]}"] * (one < GOAL_ONE or several < GOAL_SEVERAL)
    print(f"\n{'image':13}{'others':28}{'CPU ms':>10}{'wall ms':>10}")
    for size in SIZES:
        for name, times in time_others(size, args.threads, args.repeats // 2).items():
            print(f"{f'{size[1]} x {size[0]}':13}{name:28}{1e3 * times.cpu:10.2f}{1e3 * times.wall:10.2f}")
    print(f"\nload {os.getloadavg()[0]:.1f}; goals missed: {', '.join(missed) or 'none'}")
    return int(args.strict and bool(missed))


if __name__ == "__main__":
    raise SystemExit(main())
