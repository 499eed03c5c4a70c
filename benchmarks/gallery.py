"""Speed of galleries: searching, opening and adding, by engine; recall against exact search.

    python benchmarks/gallery.py                                  every engine whose extra is installed
    python benchmarks/gallery.py --engines exact --rows 200000    one engine, smaller

Vectors are those of synthetic people: 20 rows each around a centre in a space of 32 dimensions, turned into
128 with noise in all of them. Half of the queries are like people of the gallery, half like people of whom it
has no row. "CPU" is processor time of this process and is little affected by others; for servers only the
elapsed time says something. The product of queries and gallery alone is timed in the same run.
"""

import argparse
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from timing import min_times

if TYPE_CHECKING:
    from voiceface.gallery import Gallery

Vectors = NDArray[np.float32]
MODULES = {"exact": "torch", "faiss": "faiss", "chroma": "chromadb", "milvus": "milvus_lite"}
ROWS = {"chroma": 50_000, "milvus": 5_000}
LATENT, PER_PERSON, BATCH = 32, 20, 50_000
CLIENTS = 4


def main(argv: Sequence[str] | None = None) -> int:
    """Print the measurements."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="of exact and faiss")
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--engines", nargs="+", choices=MODULES, default=list(MODULES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="for the galleries; default: a temporary one")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    print(f"{options.dimension} dimensions, {options.threads} threads, load {os.getloadavg()[0]:.1f}\n")
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        for engine in options.engines:
            if importlib.util.find_spec(MODULES[engine]) is None:
                print(f"{engine}: {MODULES[engine]} is not installed")
                continue
            rows = ROWS.get(engine, options.rows)
            vectors = generate_vectors(rows, options.dimension, seed=1)
            queries = generate_queries(vectors, 200)
            if engine == "chroma":
                with chroma_server(folder / "server") as place:
                    measure_clients(place, vectors, queries)
            else:
                measure(engine, folder / engine, vectors, queries)
            shutil.rmtree(folder / engine, ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def measure(engine: str, place: Path, vectors: Vectors, queries: Vectors) -> None:
    """Build, open and search a gallery in a folder."""
    from voiceface.gallery import create_gallery, open_gallery

    print(f"{engine}, {len(vectors):,} rows")
    with create_gallery(place, vectors.shape[1], engine=engine) as gallery:
        show("add all rows", once(lambda: fill(gallery, vectors)), "s")
        show("save (builds the index)", once(gallery.save), "s")
        for name, value in gallery.describe().items():
            print(f"  {name}: {value}")
    start = time.perf_counter()
    gallery = open_gallery(place)
    opened = time.perf_counter() - start
    gallery.search(queries[:1], 10)
    print(f"  open {opened:.3f} s, with the first search {time.perf_counter() - start:.3f} s (target 2 s)")
    if engine == "exact":
        unit = torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
        left = torch.from_numpy(queries[:100])
        product = min_times(lambda: multiply(left, unit), 3)
        show("product of 100 queries alone, a query", each(product, 100), "ms")
    for batch in (100, 1):
        some = queries[:20] if engine in ("exact", "milvus") and batch == 1 else queries
        times = min_times(partial(search, gallery, some, batch), 3)
        show(f"search, batches of {batch}, a query", each(times, len(some)), "ms")
    if engine != "exact":
        wanted = exact_rows(vectors, queries)
        found = gallery.search(queries, 10)
        for name, half in (("known people", slice(100, 200)), ("unknown people", slice(0, 100))):
            print(f"  recall@10, {name}: {recall(found[half], wanted[half]):.4f}")
    gallery.close()
    print()


def measure_clients(place: str, vectors: Vectors, queries: Vectors) -> None:
    """Fill a server and search it with several clients at once."""
    from voiceface.gallery import create_gallery, open_gallery

    print(f"chroma on its server, {len(vectors):,} rows")
    with create_gallery(place, vectors.shape[1]) as gallery:
        show("add all rows", once(lambda: fill(gallery, vectors)), "s")
        wanted = exact_rows(vectors, queries)
        print(f"  recall@10: {recall(gallery.search(queries, 10), wanted):.4f}")
        times = min_times(lambda: search(gallery, queries, 1), 3)
        show("search, one query a request, a query", each(times, len(queries)), "ms")
    galleries = [open_gallery(place) for _ in range(CLIENTS)]

    def together() -> None:
        with ThreadPoolExecutor(CLIENTS) as pool:
            results = list(pool.map(lambda each: search(each, queries, 1), galleries))
        for found in results:
            assert recall(found, wanted) > 0.98

    times = min_times(together, 3)
    show(f"{CLIENTS} clients at once, a query", each(times, CLIENTS * len(queries)), "ms")
    print()


@contextmanager
def chroma_server(folder: Path) -> Iterator[str]:
    """Run a server of Chroma; yields the address of a gallery."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).parent / "chroma"
    words = [str(program), "run", "--host", "127.0.0.1", "--port", str(port), "--path", str(folder)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"chroma://127.0.0.1:{port}/people"
    finally:
        process.terminate()
        process.wait()


def generate_vectors(count: int, dimension: int, seed: int) -> Vectors:
    """Rows of synthetic people, one after the other."""
    basis = np.random.default_rng(0).standard_normal((LATENT, dimension)).astype(np.float32)
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)
    parts = []
    for start in range(0, count, BATCH):
        rng = np.random.default_rng([seed, start])
        size = min(BATCH, count - start)
        centres = rng.standard_normal((-(-size // PER_PERSON), LATENT), dtype=np.float32)
        rows = np.repeat(centres, PER_PERSON, axis=0)[:size]
        rows += 0.5 * rng.standard_normal(rows.shape, dtype=np.float32)
        parts.append(rows @ basis + 0.1 * rng.standard_normal((size, dimension), dtype=np.float32))
    return np.concatenate(parts)


def generate_queries(vectors: Vectors, count: int) -> Vectors:
    """Half of them of other people, half near rows of the gallery."""
    half = count // 2
    others = generate_vectors(half * PER_PERSON, vectors.shape[1], seed=2)[::PER_PERSON]
    near = vectors[:: len(vectors) // half][:half]
    noise = np.random.default_rng(3).standard_normal(near.shape, dtype=np.float32)
    return np.concatenate([others, near + 0.1 * noise])


def fill(gallery: "Gallery", vectors: Vectors) -> None:
    """Add all rows in batches."""
    for start in range(0, len(vectors), BATCH):
        part = vectors[start : start + BATCH]
        gallery.add([f"id{row // PER_PERSON:07}/{row}" for row in range(start, start + len(part))], part)


def search(gallery: "Gallery", queries: Vectors, batch: int) -> list[Any]:
    """Search with all queries, some at a time."""
    parts = [gallery.search(queries[start : start + batch], 10) for start in range(0, len(queries), batch)]
    return [found for part in parts for found in part]


def multiply(queries: torch.Tensor, gallery: torch.Tensor) -> None:
    """Scores of all pairs, in blocks, thrown away."""
    for start in range(0, len(gallery), 8192):
        queries @ gallery[start : start + 8192].T


def exact_rows(vectors: Vectors, queries: Vectors) -> list[list[int]]:
    """Rows of the ten highest cosines."""
    from voiceface.metrics.nearest import nearest_rows

    unit, lines = (
        torch.from_numpy(each / np.linalg.norm(each, axis=1, keepdims=True)) for each in (vectors, queries)
    )
    return nearest_rows(lines, [unit], 10)[1].tolist()


def recall(found: list[Any], wanted: list[list[int]]) -> float:
    """Share of the wanted rows that were found."""
    hits = [
        len({int(one.item.split("/")[1]) for one in line} & set(rows)) for line, rows in zip(found, wanted)
    ]
    return sum(hits) / sum(map(len, wanted))


def once(call: Callable[[], Any]) -> tuple[float, float]:
    """Processor and elapsed seconds of one call."""
    times = min_times(call, 1, warm_up=False)
    return times.cpu, times.wall


def each(times: Any, count: int) -> tuple[float, float]:
    """Milliseconds of one of several queries."""
    return 1e3 * times.cpu / count, 1e3 * times.wall / count


def show(name: str, times: tuple[float, float], unit: str) -> None:
    """Print a line."""
    print(f"  {name:42}{times[0]:10.3f} {unit} CPU {times[1]:10.3f} {unit} elapsed", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
