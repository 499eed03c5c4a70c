"""`voiceface prepare VIDEO ... --out DATA`: make a data set from your own videos of people who speak."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline.arguments import (
    add_device_argument,
    add_engine_arguments,
    check_engine_arguments,
)
from voiceface.commandline.exit_status import ERROR, SUCCESS
from voiceface.commandline.messages import report_left_out
from voiceface.io.file_kinds import printable
from voiceface.io.own_files import LeftOut
from voiceface.io.wording import counted
from voiceface.preparation.settings import NAME_MODES, GatherSettings, PreparationError, VideoSettings

if TYPE_CHECKING:
    from voiceface.engines.interface import Engine

__all__ = ["CONVENTIONS", "build_parser", "main"]

CONVENTIONS = ("population", "vggface_frontal", "arcface")


def build_parser() -> argparse.ArgumentParser:
    """The command line of `voiceface prepare`."""
    video, gather = VideoSettings(), GatherSettings()
    parser = argparse.ArgumentParser(
        prog="voiceface prepare",
        description="Make a data set from your own videos: who speaks when, crops of the faces, clips of the "
        "voices, people by name or by face, a split, and pages to check all of it. Running the same command "
        "again continues an interrupted run, adds new videos, and applies changes of DATA/clusters.csv.",
    )
    add = parser.add_argument
    add("videos", nargs="+", type=Path, metavar="VIDEO", help="files, or folders of files")
    add("--out", type=Path, required=True, metavar="DATA", help="data folder: new, or of an earlier run")
    add(
        "--names",
        default="auto",
        metavar="|".join([*NAME_MODES[1:], "FILE"]),
        help="names of people: folders (NAME/clip.mp4), files (NAME_01.mp4), none (faces are clustered), or "
        "a table video,name[,gender,nationality,age] (default: folders if every video lies in a folder "
        "below a given folder, else none)",
    )
    takes = parser.add_argument_group("what is taken out of a video (changes prepare all videos anew)")
    add = takes.add_argument
    add(
        "--convention",
        choices=CONVENTIONS,
        default=video.convention,
        help="crops as in these training pictures (default: %(default)s)",
    )
    add(
        "--image-size",
        type=int,
        default=video.image_size,
        help="side of the crops in pixels (default: %(default)s)",
    )
    add(
        "--images-per-track",
        type=int,
        default=video.images_per_track,
        metavar="K",
        help="best images of a face from its first to its last picture in a shot (default: %(default)s)",
    )
    add(
        "--min-clip-seconds",
        type=float,
        default=video.min_clip_seconds,
        metavar="S",
        help="shorter speech is not used (default: %(default)g)",
    )
    add(
        "--max-clip-seconds",
        type=float,
        default=video.max_clip_seconds,
        metavar="S",
        help="longer speech is cut at quiet places (default: %(default)g)",
    )
    add(
        "--backend",
        choices=("torch", "onnxruntime"),
        default=video.backend,
        help="library that computes the networks (default: %(default)s)",
    )
    gathers = parser.add_argument_group("how people are gathered (changes take seconds)")
    add = gathers.add_argument
    add(
        "--face-distance",
        type=float,
        default=gather.face_distance,
        metavar="D",
        help="mean distance of face embeddings below which tracks are one person (default: %(default)g)",
    )
    add("--no-voice-check", action="store_true", help="keep clips that sound unlike the person's others")
    for what in ("clips", "images"):
        least, most = getattr(gather, f"min_{what}"), getattr(gather, f"max_{what}")
        add(
            f"--min-{what}",
            type=int,
            default=least,
            metavar="N",
            help=f"people with fewer {what} are left out (default: {least})",
        )
        add(
            f"--max-{what}",
            type=int,
            default=most,
            metavar="N",
            help=f"{what} of a person, spread over the videos (default: {most})",
        )
    add("--seed", type=int, default=gather.seed, help="random seed of the splits (default: %(default)s)")
    add(
        "--split-fractions",
        type=float,
        nargs=3,
        default=gather.split_fractions,
        metavar=("TRAIN", "VAL", "TEST"),
        help=f"fractions of the people per split (default: {' '.join(map(str, gather.split_fractions))})",
    )
    add = parser.add_argument
    add("--strict", action="store_true", help="files that cannot be used are an error")
    add("--workers", type=int, help="processes (default: one per core)")
    add_device_argument(parser)
    add_engine_arguments(parser, "prepare videos")
    add("--quiet", action="store_true", help="no progress bar")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; exit code 0 a data set was written, 1 an error or nobody in it, 2 bad usage."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.workers is not None and args.workers < 1:
        parser.error("--workers must be at least 1")
    check_engine_arguments(parser, args)
    try:
        video = VideoSettings(
            images_per_track=args.images_per_track,
            convention=args.convention,
            image_size=args.image_size,
            min_clip_seconds=args.min_clip_seconds,
            max_clip_seconds=args.max_clip_seconds,
            backend=args.backend,
        )
        gather = GatherSettings(
            face_distance=args.face_distance,
            check_voices=not args.no_voice_check,
            max_clips=args.max_clips,
            max_images=args.max_images,
            min_clips=args.min_clips,
            min_images=args.min_images,
            seed=args.seed,
            split_fractions=tuple(args.split_fractions),
        )
    except PreparationError as error:
        parser.error(str(error))
    from voiceface.preparation.dataset import CLUSTERS_PAGE, CLUSTERS_TABLE, PAGE, prepare_dataset

    done = prepare_dataset(
        args.videos,
        args.out,
        video,
        gather,
        names=args.names,
        device=args.device,
        workers=args.workers,
        strict=args.strict,
        progress=not args.quiet,
        engine=_open_engine(args),
    )
    failed = [LeftOut.from_error(Path(name), reason) for name, reason in done.failed.items()]
    report_left_out([*done.left_out, *failed])
    for note in done.gathering.notes:
        print(f"note: {printable(note)}", file=sys.stderr)
    counts = done.gathering.counts_by_split()
    for split, count in counts.items():
        people, clips, images = count["people"], count["clips"], count["images"]
        numbers = counted(people, "person", "people"), counted(clips, "clip"), counted(images, "image")
        print(f"{split:<6}{', '.join(numbers)}")
    for kind, reason, number in done.gathering.counts_by_reason():
        what = f"{kind} segment" if kind == "speech" else kind
        several = "people" if kind == "person" else ""
        print(f"left out: {counted(number, what, several)}: {reason}")
    basis = {"none": "faces were clustered", "table": "names from the table"}
    videos = counted(len(done.gathering.videos), "video")
    print(
        f"{videos}, {basis.get(done.names, f'names from {done.names}')}: look at "
        f"{args.out / PAGE} and {args.out / CLUSTERS_PAGE}; correct {args.out / CLUSTERS_TABLE}",
        file=sys.stderr,
    )
    if not done.gathering.people:
        print(f"error: nobody has enough clips and images; {args.out / PAGE} says why", file=sys.stderr)
        return ERROR
    return SUCCESS


def _open_engine(args: argparse.Namespace) -> "Engine | None":
    """The engine of --engine; None: processes of this machine."""
    if args.engine == "local":
        return None
    from voiceface.engines.interface import open_engine

    return open_engine(
        args.engine,
        device=args.device,
        address=args.ray_address,
        actors=args.actors or args.workers,
        progress=not args.quiet,
    )


if __name__ == "__main__":
    raise SystemExit(main())
