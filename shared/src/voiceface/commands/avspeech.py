"""`voiceface avspeech`: build a dataset from AVSpeech's table and local copies of its videos."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from voiceface.datasets.avspeech.build import (
    FAILURES_FILE,
    IMAGE_FORMATS,
    MISSING_FILE,
    REPEATS_FILE,
    AvspeechSettings,
    build_corpus,
)
from voiceface.datasets.avspeech.table import (
    DEFAULT_NAME_PATTERNS,
)
from voiceface.io.wording import counted

__all__ = [
    "build_parser",
    "main",
]


def build_parser() -> argparse.ArgumentParser:
    """The command line of `voiceface avspeech`."""
    usual = AvspeechSettings()
    parser = argparse.ArgumentParser(
        prog="voiceface avspeech",
        description="Build a dataset from AVSpeech's table and your own copies of its videos: clips, images "
        "and a manifest in which every video is an identity of its own. Nothing is downloaded. Running the "
        "same command again finishes an interrupted run and adds new videos.",
    )
    parser.add_argument("table", metavar="CSV", type=Path, help="table of AVSpeech: id, start, end, x, y")
    parser.add_argument("--videos", type=Path, required=True, metavar="DIR", help="folder of your videos")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder")
    parser.add_argument(
        "--pattern",
        action="append",
        metavar="NAME",
        help="file name of a video without suffix; repeatable, the first match counts "
        f"(default: {', then '.join(DEFAULT_NAME_PATTERNS)}; also {{start_ms}} and {{end_ms}})",
    )
    parser.add_argument(
        "--images-per-segment",
        type=int,
        default=usual.images_per_segment,
        metavar="K",
        help="images per clip (default: %(default)s)",
    )
    parser.add_argument(
        "--face-fraction",
        type=float,
        default=usual.face_fraction,
        metavar="F",
        help="side of the square crop around the face centre, as a fraction of the video height; AVSpeech "
        "does not provide it (default: %(default)s)",
    )
    parser.add_argument(
        "--image-size",
        type=int,
        default=usual.image_size,
        help="image size in pixels (default: %(default)s)",
    )
    parser.add_argument(
        "--image-format", choices=IMAGE_FORMATS, default=usual.image_format, help="default: %(default)s"
    )
    parser.add_argument(
        "--seed", type=int, default=usual.seed, help="random seed of the splits (default: %(default)s)"
    )
    parser.add_argument(
        "--split-fractions",
        type=float,
        nargs=3,
        default=usual.split_fractions,
        metavar=("TRAIN", "VAL", "TEST"),
        help=f"fractions of the videos per split (default: {' '.join(map(str, usual.split_fractions))})",
    )
    parser.add_argument(
        "--keep-near-duplicates",
        action="store_true",
        help="list clips and images that repeat another one of their video in the manifest too",
    )
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `voiceface avspeech`; exit code 0 done, 1 something is corrupt or wrong, 2 bad usage."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.workers is not None and args.workers < 1:
        parser.error("--workers must be at least 1")
    settings = AvspeechSettings(
        args.images_per_segment,
        args.face_fraction,
        args.image_size,
        args.image_format,
        args.seed,
        tuple(args.split_fractions),
    )
    record = build_corpus(
        args.table,
        args.videos,
        args.out,
        settings,
        name_patterns=args.pattern or DEFAULT_NAME_PATTERNS,
        keep_near_duplicates=args.keep_near_duplicates,
        workers=args.workers,
        progress=not args.quiet,
    )
    counts = record["counts"]
    for split, written in counts["written"].items():
        print(f"{split:<6}{', '.join(counted(count, what[:-1]) for what, count in written.items())}")
    print(
        f"{args.out}: every video counts as one identity; gender known of {counts['videos of known gender']}"
    )
    repeats = counts["near duplicates"]
    if any(repeats.values()):
        clips, images = counted(repeats["clips"], "clip"), counted(repeats["images"], "image")
        print(f"left out as near duplicates: {clips} and {images}: {REPEATS_FILE}")
    if missing := counts["missing segments"]:
        print(f"no video of {counted(missing, 'segment')} of {counts['segments']}: {MISSING_FILE}")
    if failed := counts["failed segments"]:
        print(f"{counted(failed, 'segment')} could not be cut: {FAILURES_FILE}", file=sys.stderr)
    return 0 if record["complete"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
