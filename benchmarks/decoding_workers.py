"""Processor time per file of decoding in worker processes, against threads of the process itself.

    python benchmarks/decoding_workers.py

Recordings of 5 to 10 s and pictures of 250 x 250 pixels to 12 megapixels are decoded as people's own files,
by two threads that decode themselves ("threads") or in worker processes ("workers", without the start of the
processes, which is a row of its own). "embed" encodes all files but the photographs of 12 megapixels with
the bundled weights of seeking_shape; measuring the recordings and starting processes count there. Every
measurement is a process of its own, alternating; the least of several, in milliseconds per file.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from timing import add_report_arguments, report_ratios, synthetic_voice

GOAL_RATIO = 1.05
KINDS = {"wav": 200, "mp3": 100, "250 px": 200, "1 MP": 40, "12 MP": 12}
SIDES = {"250 px": (250, 250), "1 MP": (1200, 900), "12 MP": (4000, 3000)}


def write_files(folder: Path) -> None:
    """Write the files of all kinds."""
    import soundfile
    from PIL import Image

    rng = np.random.default_rng(0)
    for kind, count in KINDS.items():
        (folder / kind).mkdir()
        for number in range(count):
            path = folder / kind / f"{number}.{kind if kind in ('wav', 'mp3') else 'jpg'}"
            if kind in SIDES:
                width, height = SIDES[kind]
                y, x = np.mgrid[:height, :width] + number
                noise = rng.integers(0, 30, (height, width, 3))
                picture = np.stack([x % 255, y % 255, (x + y) // 8 % 255], axis=2) * 0.85 + noise
                Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(path, quality=85)
            else:
                soundfile.write(path, synthetic_voice(5 + number % 6), 16000)


def read(path: Path) -> Any:
    """Decode a file as `embed` does."""
    from voiceface.audio.loading import load_audio
    from voiceface.images.photographs import load_photograph

    return load_photograph(path) if path.suffix == ".jpg" else load_audio(path, scale="int16")


def used_seconds() -> float:
    """Processor time of this process and of those that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(files: list[Path], repeats: int, in_workers: bool) -> float:
    """Processor seconds of reading all files by two threads, `repeats` times, with the processes' start."""
    from voiceface.io.decoding_worker import decoding_in_workers, stop_decoding

    read(files[0])
    begin = used_seconds()
    with decoding_in_workers(2) if in_workers else nullcontext(), ThreadPoolExecutor(2) as pool:
        for array in pool.map(read, files * repeats):
            array.reshape(-1)[:5].sum()
    stop_decoding()
    return used_seconds() - begin


def measure_embed(folder: Path, in_workers: bool) -> float:
    """Processor seconds of `embed` without loading the model."""
    import seeking_shape
    import voiceface.embeddings.encoding as encoding
    from voiceface.association.embedding import embed
    from voiceface.io.decoding_worker import stop_decoding

    if not in_workers:
        encoding.decoding_in_workers = lambda workers: nullcontext()  # type: ignore[assignment,misc]
    model = seeking_shape.load()
    sounds = [path for kind in ("wav", "mp3") for path in sorted((folder / kind).iterdir())]
    pictures = [path for kind in ("250 px", "1 MP") for path in sorted((folder / kind).iterdir())]
    begin = used_seconds()
    embed(model, sounds, pictures, workers=2, progress=False)
    stop_decoding()
    return used_seconds() - begin


def run_again(*arguments: str) -> float:
    """Make one measurement in a process of its own."""
    command = [sys.executable, __file__, "--measure", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def main() -> int:
    """Measure all kinds."""
    parser = argparse.ArgumentParser(prog="decoding_workers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each kind (default 3)")
    parser.add_argument("--subjects", nargs="+", choices=[*KINDS, "embed"], default=[*KINDS, "embed"])
    parser.add_argument("--measure", nargs=3, metavar=("FOLDER", "KIND", "MODE"), help=argparse.SUPPRESS)
    add_report_arguments(parser)
    args = parser.parse_args()
    if args.measure:
        folder, kind, mode = args.measure
        if kind == "embed":
            print(measure_embed(Path(folder), mode == "workers"))
            return 0
        repeats = int(mode.split("*")[1])
        files = sorted((Path(folder) / kind).iterdir())
        print(measure(files, repeats, mode.startswith("workers")))
        return 0
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder))
        for kind in [each for each in KINDS if each in args.subjects]:
            # The difference of three passes and one leaves the start of the processes out.
            times = {
                mode: min(
                    run_again(folder, kind, f"{mode}*3") - run_again(folder, kind, f"{mode}*1")
                    for _ in range(args.rounds)
                )
                / (2 * KINDS[kind])
                for mode in ("threads", "workers")
            }
            rows.append({"subject": kind, **_in_ms(times)})
        starts = [run_again(folder, "wav", "workers*1") for _ in range(args.rounds)]
        plain = [run_again(folder, "wav", "threads*1") for _ in range(args.rounds)]
        print(json.dumps({"start_of_processes_ms": round(1000 * (min(starts) - min(plain)))}))
        if "embed" in args.subjects:
            times = {
                mode: min(run_again(folder, "embed", mode) for _ in range(args.rounds))
                / sum(KINDS[kind] for kind in ("wav", "mp3", "250 px", "1 MP"))
                for mode in ("threads", "workers")
            }
            rows.append({"subject": "embed", **_in_ms(times)})
    return report_ratios(rows, args)


def _in_ms(times: dict[str, float]) -> dict[str, float]:
    ratio = times["workers"] / times["threads"]
    return {
        **{f"{mode}_ms": round(1000 * seconds, 2) for mode, seconds in times.items()},
        "ratio_cpu": round(ratio, 3),
        "goal_ratio": GOAL_RATIO,
    }


if __name__ == "__main__":
    sys.exit(main())
