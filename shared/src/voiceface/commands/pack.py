"""`voiceface pack`: write a data folder as shards, tar archives with an index beside each."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from voiceface.commandline import arguments
from voiceface.io.file_kinds import printable
from voiceface.io.wording import counted

__all__ = ["main"]

DEFAULT_SHARD_MB = 256


def main(argv: Sequence[str] | None = None) -> int:
    """Pack a data folder."""
    args = _parser().parse_args(argv)
    if args.shard_mb < 1:
        raise ValueError(f"--shard-mb {args.shard_mb}: expected at least 1")

    from voiceface.datasets.corpus import abbreviate
    from voiceface.datasets.packing.plan import plan_packing
    from voiceface.datasets.packing.writing import write_packed
    from voiceface.io.locations import as_location

    plan = plan_packing(args.data, shard_bytes=args.shard_mb * 10**6, on_missing=args.missing)
    for names, what in (
        (plan.missing, "missing"),
        (plan.left_out, "left out: of no identity"),
    ):
        if names:
            print(f"{counted(len(names), 'file')} {what}: {printable(abbreviate(names))}", file=sys.stderr)
    out = as_location(args.out)
    record = write_packed(plan, out, workers=args.workers)
    size = sum(shard["bytes"] for shard in record["shards"])
    print(
        f"{out}: {counted(record['samples'], 'sample')} in {counted(len(record['shards']), 'shard')}, "
        f"{size / 1e6:,.1f} MB, and {counted(len(record['plain_files']), 'file')} beside them"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="voiceface pack",
        description="Write a data folder as tar archives of WebDataset's form, with an index beside each. "
        "Commands read the result as they read the folder. Run the same command again to resume a stopped "
        "run. `tar -xf` unpacks the archives.",
    )
    parser.add_argument("data", type=arguments.data_folder, metavar="DATA", help=arguments.CORPUS_HELP)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR_OR_URL",
        help="new folder, or an address such as s3://bucket/data",
    )
    parser.add_argument(
        "--shard-mb",
        type=int,
        default=DEFAULT_SHARD_MB,
        metavar="MB",
        help="largest size of an archive in megabytes (default: %(default)s)",
    )
    arguments.add_missing_argument(parser, "files of a manifest that do not exist")
    parser.add_argument(
        "--workers", type=int, default=2, help="threads that read files (default: %(default)s)"
    )
    return parser
