"""Reading of shards against files: at random with checksums, in order, and through the door of all readers.

Small files, as faces have, in a temporary folder, which the system holds in memory (page cache); one process,
processor time, best of several runs, rates of one run.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from timing import add_report_arguments, min_times, min_times_alternating, report_ratios
from voiceface.datasets.packing.plan import plan_packing
from voiceface.datasets.packing.writing import write_packed
from voiceface.io.foreign_files import read_file_bytes
from voiceface.io.shard_folders import PackedFolder, read_record
from voiceface.io.shards import open_shard

__all__ = ["main"]


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000, help="default %(default)s")
    parser.add_argument("--bytes", type=int, default=4096, help="of a file (default %(default)s)")
    parser.add_argument("--reads", type=int, default=50_000, help="at random (default %(default)s)")
    add_report_arguments(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return _measure(Path(folder), args)


def _measure(folder: Path, args: argparse.Namespace) -> int:
    """Write, pack and read files."""
    data, packed = folder / "data", folder / "packed"
    names = _write_files(data, args.files, args.bytes)
    plan = plan_packing(data, shard_bytes=10**9)
    seconds = min_times(lambda: write_packed(plan, packed, progress=False), 1, warm_up=False).cpu
    size = args.files * args.bytes
    print(f"packing        {args.files / seconds:12,.0f} files/s, {size / seconds / 1e6:,.0f} MB/s")
    path = packed / "train-000000.tar"
    print(f"opening        {1e3 * min_times(lambda: open_shard(path).close(), 3).cpu:12,.1f} ms")
    shard = open_shard(path)
    files = PackedFolder(str(packed), read_record(packed))
    random = np.random.default_rng(0)
    chosen = random.integers(0, args.files, args.reads).tolist()
    numbers = [shard.index.rows[names[number]] for number in chosen]
    names = [names[number] for number in chosen]
    plain, virtual = ([str(root / name) for name in names] for root in (data, packed))
    files.read(names[0])
    calls: dict[str, Any] = {
        "files, open and read": lambda: [_read_plain(path) for path in plain],
        "shard, by number": lambda: [shard.read_row(row) for row in numbers],
        "shard, by name": lambda: [files.read(name) for name in names],
        "files, by the readers' door": lambda: [
            read_file_bytes(path, ValueError, "a file") for path in plain[: args.reads // 10]
        ],
        "shard, by the readers' door": lambda: [
            read_file_bytes(path, ValueError, "a file") for path in virtual[: args.reads // 10]
        ],
        "shard, in order": lambda: sum(1 for _ in shard.iterate()),
    }
    times = {name: each.cpu for name, each in min_times_alternating(calls, 5).items()}
    counts = dict.fromkeys(calls, args.reads) | {name: args.reads // 10 for name in calls if "door" in name}
    counts["shard, in order"] = args.files
    rates = {name: counts[name] / times[name] for name in calls}
    plain_rate = rates["files, open and read"]
    rows = [
        {
            "reading": name,
            "per_second": round(rate),
            "ratio_cpu": round(plain_rate / rate, 3),
            "goal_ratio": goal,
        }
        for (name, rate), goal in zip(rates.items(), (1.0, 0.6, 0.7, 3.0, 3.0, 1.0))
    ]
    return report_ratios(rows, args)


def _write_files(data: Path, count: int, size: int) -> list[str]:
    """Write random files of a manifest; their names."""
    random = np.random.default_rng(1)
    names = [f"faces/p{number // 50:05d}/{number % 50:02d}.jpg" for number in range(count)]
    for name in names:
        path = data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.bytes(size))
    lines = [f"p{number // 50:05d},face,{name},,,,train" for number, name in enumerate(names)]
    header = "identity,modality,path,gender,nationality,age,split"
    (data / "manifest.csv").write_text("\n".join([header, *lines]) + "\n")
    return names


def _read_plain(path: str) -> bytes:
    """Read a file without any check."""
    with open(path, "rb") as file:  # noqa: PTH123 - the quickest way
        return file.read()


if __name__ == "__main__":
    raise SystemExit(main())
