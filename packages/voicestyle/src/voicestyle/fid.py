"""Fréchet distance of a generator from real pictures: `voicestyle fid --weights FILE --data PUBLISHED_FOLDER ...`."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline import arguments

if TYPE_CHECKING:
    from torch import Tensor
    from voiceface.metrics.frechet import Gaussian

    from voicestyle.stylegan2.bundled import LoadedGenerator
    from voicestyle.stylegan2.dataset import ImageDataset
    from voicestyle.stylegan2.fid import FeatureExtractor

FEATURE_NAMES = {"inception": "Inception graph of 2015, pooled", "judge": "bundled judge of invented faces"}
MAX_SINGLE_PROCESS_IDENTITIES = 200
JUDGE_DISCLAIMER = (
    "Features of the bundled judge, a small network trained on invented faces: the figure compares "
    "generators of invented faces with each other. It is no FID of the literature and says nothing about "
    "real faces."
)


def load_features(name: str, inception: Path | None = None, device: str = "cpu") -> "FeatureExtractor":
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
        from voiceface.synthetic.readers.attribute_reader import load_reader

        return judge_features(load_reader("judge", device))
    from voiceface.checkpoints.third_party import locate_third_party_file
    from voiceface.models.fuse_batchnorm import fuse_batchnorm
    from voiceface.models.inception import load_inception

    try:
        path = locate_third_party_file("inception-2015-fid", inception)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"--inception: {error}. For invented faces --features judge needs no file."
        ) from None
    return inception_features(fuse_batchnorm(load_inception(path, "2015")).to(device))


def iterate_real_images(
    dataset: "ImageDataset", *, num_images: int | None = None, mirror: bool = False, batch_size: int = 64
) -> "Iterator[Tensor]":
    """Batches of real pictures in -1...1, in their order.

    Args:
        dataset: where they are.
        num_images: take no more than these; None: all.
        mirror: each of them mirrored, too.
        batch_size: pictures at a time, mirrored ones not counted.
    """
    import numpy as np
    import torch

    from voicestyle.stylegan2.images import from_uint8

    total = len(dataset) if num_images is None else min(num_images, len(dataset))
    for start in range(0, total, batch_size):
        block = from_uint8(np.stack([dataset.read(i) for i in range(start, min(start + batch_size, total))]))
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

    from voicestyle.stylegan2.bundled import ensure_latent_avg, open_generator
    from voicestyle.stylegan2.fid import compute_fid, save_statistics

    keep_freed_memory()
    device = str(choose_device(args.device))
    features = load_features(args.features, args.inception, device)
    opened = open_generator(args.weights, device)
    for notice in filter(None, (opened.disclaimer, JUDGE_DISCLAIMER if args.features == "judge" else "")):
        print(notice, file=sys.stderr)
    real, seen = compute_real_statistics(args, opened, features, device)
    size, generator = opened.generator.config.size, opened.generator
    if args.save_statistics is not None and seen:
        save_statistics(args.save_statistics, real, features=args.features, size=size, num_images=seen)
    if args.truncation < 1:
        ensure_latent_avg(generator, args.seed)
    plan = {"count": args.count, "truncation": args.truncation, "seed": args.seed}
    value = compute_fid(generator, features, real, batch_size=args.batch, **plan)
    if args.json is not None:
        facts = {"fid": value, "features": args.features, "weights": opened.name, "size": size, **plan}
        facts |= {"real": describe_real_images(args), "real_count": seen, "mirrored": args.mirror}
        facts |= {"disclaimer": JUDGE_DISCLAIMER if args.features == "judge" else ""}
        write_json(args.json, facts)
    what = f"{FEATURE_NAMES[args.features]}; {args.count} pictures of {opened.name}, psi {args.truncation}"
    print(f"FID {value:.4f} ({what})")
    return 0


def compute_real_statistics(
    args: argparse.Namespace, loaded: "LoadedGenerator", features: "FeatureExtractor", device: str
) -> tuple["Gaussian", int | None]:
    """Statistics of the real pictures that the flags name, and their number where it is known.

    Raises:
        ValueError: a file of statistics is of other features.
    """
    from voiceface.runtime.config import validate_config

    from voicestyle.stylegan2 import fid
    from voicestyle.stylegan2.config import ImagesConfig
    from voicestyle.stylegan2.dataset import build_synthetic_images, open_images

    if args.statistics is not None:
        named = fid.read_feature_name(args.statistics)
        if named and named != args.features:
            raise ValueError(
                f"{args.statistics} is of the features {named!r}, not of --features {args.features}"
            )
        return fid.load_statistics(args.statistics), None
    size = loaded.generator.config.size
    if args.population:
        plan = validate_config({**loaded.data_config, "flip": False}, ImagesConfig, f"{loaded.name} (data)")
        if args.real_count is not None:
            people = min(plan.num_identities, -(-args.real_count // plan.images_per_identity))
            plan = plan.model_copy(update={"people": people})
        # starting helpers takes longer than a few people do
        pictures = build_synthetic_images(
            plan, size, num_workers=1 if plan.num_identities < MAX_SINGLE_PROCESS_IDENTITIES else None
        )
    else:
        pictures = open_images(args.data, size, flip=False)
    count = len(pictures) if args.real_count is None else min(args.real_count, len(pictures))
    batches = iterate_real_images(pictures, num_images=count, mirror=args.mirror, batch_size=args.batch)
    found = fid.compute_image_statistics((batch.to(device) for batch in batches), features)
    return found, count * (1 + args.mirror)


def describe_real_images(args: argparse.Namespace) -> str:
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
    arguments.add_weights_argument(parser, "run folder, .safetensors, or a published .pt")
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
        choices=tuple(FEATURE_NAMES),
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
    arguments.add_device_argument(parser)
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voicestyle.fid", None))
