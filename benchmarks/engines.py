"""Embed tiny files in this process and with Ray: elapsed and processor time, ratios in one run.

    python benchmarks/engines.py                       5,000 pictures of 48 pixels, 500 recordings of 2 s
    python benchmarks/engines.py --files 500 --workers 1

Each way runs in a process of its own, from its start to the table on the disk: "local" is the command
`seeking_shape embed`, "units" the same work by units in one process, "ray" with actors of a cluster of this
machine, whose start is part of it. Processor time is that of all processes that a way starts. All ways write
the same table.
"""

import argparse
import filecmp
import importlib.util
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

WAYS = ("local", "units", "ray")
PROGRAM = """
import sys
from voiceface.association import shard_command
from seeking_shape.__main__ import main
if sys.argv[1] == "units":
    shard_command.needs_units = lambda *_: True
raise SystemExit(main(sys.argv[2:]))
"""


class ProcessorTime:
    """Processor time of a process and of all that it starts, sampled while they live (Linux)."""

    def __init__(self, root: int) -> None:
        self.root, self.ticks, self._stopped = root, {}, threading.Event()
        self.ticks: dict[tuple[int, int], int]
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        family = {self.root}
        while not self._stopped.wait(0.2):
            for entry in sorted(Path("/proc").glob("[0-9]*/stat")):
                try:
                    fields = entry.read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                pid, parent = int(entry.parent.name), int(fields[1])
                if pid in family or parent in family:
                    family.add(pid)
                    self.ticks[pid, int(fields[19])] = int(fields[11]) + int(fields[12])

    def stop(self) -> float:
        """Seconds of all of them."""
        self._stopped.set()
        self._thread.join()
        return sum(self.ticks.values()) / os.sysconf("SC_CLK_TCK")


def write_files(folder: Path, pictures: int, recordings: int) -> None:
    """Write noisy pictures of 48 pixels and recordings of a synthetic voice."""
    import soundfile
    from PIL import Image
    from timing import synthetic_voice

    noise = np.random.default_rng(0)
    for number in range(pictures):
        place = folder / "faces" / f"{number // 100:03}" / f"{number % 100:02}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 255, (48, 48, 3), dtype=np.uint8)).save(place)
    voice = synthetic_voice(4)
    for number in range(recordings):
        place = folder / "wav" / f"{number // 100:03}" / f"{number % 100:02}.wav"
        place.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(place, np.roll(voice, 37 * number)[: 2 * 16000], 16000)


def run(way: str, folder: Path, out: Path, options: argparse.Namespace) -> tuple[float, float]:
    """Elapsed and processor seconds of one way."""
    words = ["embed", *map(str, sorted(folder.iterdir())), "--relative-to", str(folder), "--crop", "never"]
    words += ["--out", str(out), "--workers", str(options.workers)]
    words += ["--engine", "ray"] if way == "ray" else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}  # as the other ways
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, way, *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    meter = ProcessorTime(process.pid)
    message = process.communicate()[1].decode()
    spent = meter.stop()
    if process.returncode:
        raise RuntimeError(f"{way}: {message[-2000:]}")
    return time.perf_counter() - begin, spent


def main(argv: Sequence[str] | None = None) -> int:
    """Print a row for each way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=5_000, help="pictures")
    parser.add_argument("--recordings", type=int, default=500)
    parser.add_argument("--workers", type=int, default=1, help="loading threads, and cores of an actor")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each way, of which the best counts")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    options = parser.parse_args(argv)
    if importlib.util.find_spec("ray") is None:
        print("ray is not installed: its way is left out")
        options.ways = [way for way in options.ways if way != "ray"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "files"
        write_files(folder, options.files, options.recordings)
        print(f"{options.files} pictures, {options.recordings} recordings, load {os.getloadavg()[0]:.1f}")
        first = Path(name) / f"{options.ways[0]}0.npz"
        print(f"{'way':8}{'elapsed s':>12}{'ratio':>8}{'CPU s':>10}{'ratio':>8}  same table")
        base = (0.0, 0.0)
        for way in options.ways:
            outs = [Path(name) / f"{way}{repeat}.npz" for repeat in range(options.repeats)]
            wall, cpu = (min(column) for column in zip(*(run(way, folder, out, options) for out in outs)))
            base = (wall, cpu) if way == options.ways[0] else base
            same = filecmp.cmp(first, outs[0], shallow=False)
            print(
                f"{way:8}{wall:12.1f}{wall / base[0]:8.2f}{cpu:10.1f}{cpu / base[1]:8.2f}  {same}", flush=True
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
