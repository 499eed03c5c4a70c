"""Fréchet distance of a generator from real pictures: `voicestyle fid --weights FILE --data FOLDER ...`."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline import arguments

if TYPE_CHECKING:
    from torch import Tensor
    from voiceface.metrics.frechet import Gaussian

    from voicestyle.stylegan2.bundle import Opened
    from voicestyle.stylegan2.collection import PictureSet
    from voicestyle.stylegan2.fid import Features

NAMES = {"inception": "Inception graph of 2015, pooled", "judge": "bundled judge of invented faces"}
FEW_PEOPLE = 200
JUDGE_NOTICE = (
    "Features of the bundled judge, a small network trained on invented faces: the figure compares "
    "generators of invented faces with each other. It is no FID of the literature and says nothing about "
    "real faces."
)


def open_features(name: str, inception: Path | None = None, device: str = "cpu") -> "Features":
    """Features by their name.

    Args:
        name: a key of `NAMES`.
        inception: weights of pytorch-fid, the file or a folder that holds it.
        device: where they are computed.

    Raises:
        FileNotFoundError: "inception" without its file; the message says where it is from.
        CheckpointError: the file is another one.
    """
    from voicestyle.stylegan2.fid import inception_features, judge_features

    if name == "judge":
        from voiceface.synthetic.readers.attribute_reader import load

        return judge_features(load("judge", device))
    from voiceface.checkpoints.third_party import find_outside
    from voiceface.models.fuse_batchnorm import folded
    from voiceface.models.inception import load_inception

    try:
        path = find_outside("inception-2015-fid", inception)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"--inception: {error}. For invented faces --features judge needs no file."
        ) from None
    return inception_features(folded(load_inception(path, "2015")).to(device))


def real_pictures(
    pictures: "PictureSet", *, count: int | None = None, mirror: bool = False, batch: int = 64
) -> "Iterator[Tensor]":
    """Batches of real pictures in -1...1, in their order.

    Args:
        pictures: where they are.
        count: take no more than these; None: all.
        mirror: each of them mirrored, too.
        batch: pictures at a time, mirrored ones not counted.
    """
    import numpy as np
    import torch

    from voicestyle.stylegan2.pictures import from_bytes

    total = len(pictures) if count is None else min(count, len(pictures))
    for start in range(0, total, batch):
        block = from_bytes(np.stack([pictures.read(i) for i in range(start, min(start + batch, total))]))
        yield torch.cat([block, block.flip(3)]) if mirror else block


def main(argv: Sequence[str] | None = None) -> int:
    """`voicestyle fid`."""
    args = build_parser().parse_args(argv)
    for flag, least in (("count", 2), ("batch", 1), ("real_count", 1)):
        if (found := getattr(args, flag)) is not None and found < least:
            raise ValueError(f"--{flag.replace('_', '-')}: expected at least {least}, found {found}")
    if args.save_statistics and args.save_statistics.suffix != ".npz":
        raise ValueError(
            f"--save-statistics: expected a name that ends in .npz, found {args.save_statistics}"
        )
    from voiceface.io.atomic import write_json
    from voiceface.runtime.devices import choose_device
    from voiceface.runtime.process import keep_freed_memory

    from voicestyle.stylegan2.bundle import know_centre, open_generator
    from voicestyle.stylegan2.fid import generator_distance, save_statistics

    keep_freed_memory()
    device = str(choose_device(args.device))
    features = open_features(args.features, args.inception, device)
    opened = open_generator(args.weights, device)
    for notice in filter(None, (opened.notice, JUDGE_NOTICE if args.features == "judge" else "")):
        print(notice, file=sys.stderr)
    real, seen = real_statistics(args, opened, features, device)
    size, generator = opened.generator.config.size, opened.generator
    if args.save_statistics is not None and seen:
        save_statistics(args.save_statistics, real, features=args.features, size=size, count=seen)
    if args.truncation < 1:
        know_centre(generator, args.seed)
    plan = {"count": args.count, "truncation": args.truncation, "seed": args.seed}
    value = generator_distance(generator, features, real, batch=args.batch, **plan)
    if args.json is not None:
        facts = {"fid": value, "features": args.features, "weights": opened.name, "size": size, **plan}
        facts |= {"real": real_name(args), "real_count": seen, "mirrored": args.mirror}
        facts |= {"notice": JUDGE_NOTICE if args.features == "judge" else ""}
        write_json(args.json, facts)
    what = f"{NAMES[args.features]}; {args.count} pictures of {opened.name}, psi {args.truncation}"
    print(f"FID {value:.4f} ({what})")
    return 0


def real_statistics(
    args: argparse.Namespace, opened: "Opened", features: "Features", device: str
) -> tuple["Gaussian", int | None]:
    """Statistics of the real pictures that the flags name, and their number where it is known.

    Raises:
        ValueError: a file of statistics is of other features.
    """
    from voiceface.runtime.config import check

    from voicestyle.stylegan2 import fid
    from voicestyle.stylegan2.collection import invented_pictures, open_pictures
    from voicestyle.stylegan2.config import PicturesConfig

    if args.statistics is not None:
        named = fid.features_of_statistics(args.statistics)
        if named and named != args.features:
            raise ValueError(
                f"{args.statistics} is of the features {named!r}, not of --features {args.features}"
            )
        return fid.load_statistics(args.statistics), None
    size = opened.generator.config.size
    if args.population:
        plan = check({**opened.data, "flip": False}, PicturesConfig, f"{opened.name} (data)")
        if args.real_count is not None:
            people = min(plan.people, -(-args.real_count // plan.pictures))
            plan = plan.model_copy(update={"people": people})
        # starting helpers takes longer than a few people do
        pictures = invented_pictures(plan, size, workers=1 if plan.people < FEW_PEOPLE else None)
    else:
        pictures = open_pictures(args.data, size, flip=False)
    count = len(pictures) if args.real_count is None else min(args.real_count, len(pictures))
    batches = real_pictures(pictures, count=count, mirror=args.mirror, batch=args.batch)
    found = fid.picture_statistics((batch.to(device) for batch in batches), features)
    return found, count * (1 + args.mirror)


def real_name(args: argparse.Namespace) -> str:
    """What the real pictures are called in the results."""
    if args.population:
        return "invented people"
    return str((args.statistics or args.data).name)


def build_parser() -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(
        prog="voicestyle fid",
        description="Fréchet distance of a generator's pictures from real ones. Published: features of the "
        "Inception graph of 2015 as pytorch-fid has it, 50,000 pictures, psi 1.",
    )
    add = parser.add_argument
    arguments.add_weights_flag(parser, "run folder, .safetensors, or a published .pt")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="real pictures: a folder, or a written population")
    source.add_argument(
        "--population", action="store_true", help="real pictures: invented people as in the weights' training"
    )
    source.add_argument(
        "--statistics", type=Path, help="of real pictures: .npz (mu, sigma) or a published .pkl"
    )
    add(
        "--features",
        default="inception",
        choices=tuple(NAMES),
        help="what is compared (default: %(default)s)",
    )
    add(
        "--inception", type=Path, help="weights of the Inception graph of 2015: file, or folder that holds it"
    )
    add("--save-statistics", type=Path, metavar="NPZ", help="keep the statistics of the real pictures")
    add("--mirror", action="store_true", help="count each real picture mirrored, too")
    add("--real-count", type=int, help="take no more real pictures than these (default: all)")
    add("--count", type=int, default=50_000, help="pictures to make (default: %(default)s)")
    add("--batch", type=int, default=32, help="pictures at a time (default: %(default)s)")
    add("--truncation", type=float, default=1.0, help="psi (default: %(default)s)")
    add("--seed", type=int, default=0, help="of codes and noise (default: %(default)s)")
    add("--json", type=Path, help="write the result here, too")
    arguments.add_device_flag(parser)
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voicestyle.fid", None))
