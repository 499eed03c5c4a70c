"""`voicestyle fid`: compute the Fréchet distance of generated and real images."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline import arguments

from voicestyle.arguments import (
    add_generator_arguments,
    load_generator_from_args,
    require_at_least,
    require_metric_inputs,
    write_metric,
)

if TYPE_CHECKING:
    from torch import Tensor
    from voiceface.metrics.frechet import Gaussian

    from voicestyle.stylegan2.bundled import LoadedGenerator
    from voicestyle.stylegan2.dataset import ImageDataset
    from voicestyle.stylegan2.fid import FeatureExtractor

__all__ = ["compute_real_statistics", "iterate_real_images", "load_features", "main"]

FEATURE_NAMES = {
    "inception": "Inception graph of 2015, pooled",
    "attributes": "bundled attribute reader of synthetic faces",
}
MAX_SINGLE_PROCESS_IDENTITIES = 200
ATTRIBUTES_DISCLAIMER = (
    "Features of the bundled attribute reader, a small network trained on synthetic faces: the metric "
    "compares generators of synthetic faces with each other. It is not comparable with FIDs in the "
    "literature and says nothing about real faces."
)


def load_features(name: str, inception: Path | None = None, device: str = "cpu") -> "FeatureExtractor":
    """Load a feature extractor by its name.

    Args:
        name: key of `FEATURE_NAMES`.
        inception: weights of pytorch-fid, the file or its directory.
        device: device of the network.

    Raises:
        FileNotFoundError: the file of "inception" is missing; the message says where to get it.
        CheckpointError: the file belongs to another network.
    """
    from voicestyle.stylegan2.fid import attribute_features, inception_features

    if name == "attributes":
        from voiceface.synthetic.readers.attribute_reader import load_reader

        return attribute_features(load_reader("evaluation", device))
    from voiceface.checkpoints.third_party import locate_third_party_file
    from voiceface.models.fuse_batchnorm import fuse_batchnorm
    from voiceface.models.inception import load_inception

    try:
        path = locate_third_party_file("inception-2015-fid", inception)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"--inception: {error}. For synthetic faces --features attributes needs no file."
        ) from None
    return inception_features(fuse_batchnorm(load_inception(path)).to(device))


def iterate_real_images(
    dataset: "ImageDataset", *, num_images: int | None = None, mirror: bool = False, batch_size: int = 64
) -> "Iterator[Tensor]":
    """Yield batches of real images in -1...1, in their order.

    Args:
        dataset: real images.
        num_images: largest number of images; None: all.
        mirror: also yield each image mirrored.
        batch_size: images per batch, mirrored ones not counted.
    """
    import numpy as np
    import torch

    from voicestyle.stylegan2.images import from_uint8

    total = len(dataset) if num_images is None else min(num_images, len(dataset))
    for start in range(0, total, batch_size):
        rows = range(start, min(start + batch_size, total))
        batch = from_uint8(np.stack([dataset.read(row) for row in rows]))
        yield torch.cat([batch, batch.flip(3)]) if mirror else batch


def main(argv: Sequence[str] | None = None) -> int:
    """Compute the metric."""
    args = build_parser().parse_args(argv)
    require_at_least(args, {"num_samples": 2, "batch": 1, "num_real": 1})
    if args.save_statistics and args.save_statistics.suffix != ".npz":
        raise ValueError(f"--save-statistics: expected a name ending in .npz, found {args.save_statistics}")
    files = ["inception-2015-fid"] if args.features == "inception" else []
    require_metric_inputs(args, "inception", files, "attributes")
    from voiceface.runtime.devices import choose_device
    from voiceface.runtime.process import keep_freed_memory

    from voicestyle.stylegan2.bundled import ensure_latent_avg
    from voicestyle.stylegan2.fid import compute_fid, save_statistics

    keep_freed_memory()
    device = str(choose_device(args.device))
    features = load_features(args.features, args.inception, device)
    disclaimer = ATTRIBUTES_DISCLAIMER if args.features == "attributes" else ""
    loaded = load_generator_from_args(args, device, [disclaimer])
    size, generator = loaded.generator.config.size, loaded.generator
    real, num_real = compute_real_statistics(args, loaded, features, device)
    if args.save_statistics is not None and num_real:
        save_statistics(args.save_statistics, real, features=args.features, size=size, num_images=num_real)
    if args.truncation < 1:
        ensure_latent_avg(generator, args.seed)
    value = compute_fid(
        generator,
        features,
        real,
        num_images=args.num_samples,
        batch_size=args.batch,
        truncation=args.truncation,
        seed=args.seed,
    )
    facts = {
        "features": args.features,
        "weights": loaded.name,
        "size": size,
        **{name: getattr(args, name) for name in ("num_samples", "truncation", "seed")},
        "real": describe_real_images(args),
        "num_real": num_real,
        "mirrored": args.mirror,
        "disclaimer": disclaimer,
    }
    source = f"{args.num_samples} images of {loaded.name}, psi {args.truncation}"
    write_metric(args, "fid", value, f"{FEATURE_NAMES[args.features]}; {source}", facts)
    return 0


def compute_real_statistics(
    args: argparse.Namespace, loaded: "LoadedGenerator", features: "FeatureExtractor", device: str
) -> tuple["Gaussian", int | None]:
    """Compute the statistics of the real images, and their number if it is known.

    Raises:
        ValueError: the file of statistics was computed with other features.
    """
    from voiceface.runtime.config import validate_config

    from voicestyle.stylegan2 import fid
    from voicestyle.stylegan2.config import ImagesConfig
    from voicestyle.stylegan2.dataset import build_synthetic_images, open_images

    if args.statistics is not None:
        stored_name = fid.read_feature_name(args.statistics)
        if stored_name and stored_name != args.features:
            raise ValueError(
                f"{args.statistics} was computed with the features {stored_name!r}, not with "
                f"--features {args.features}"
            )
        return fid.load_statistics(args.statistics), None
    size = loaded.generator.config.size
    if args.population:
        config = validate_config({**loaded.data_config, "flip": False}, ImagesConfig, f"{loaded.name} (data)")
        if args.num_real is not None:
            identities = min(config.num_identities, -(-args.num_real // config.images_per_identity))
            config = config.model_copy(update={"num_identities": identities})
        # A few identities are rendered faster than worker processes start.
        is_small = config.num_identities < MAX_SINGLE_PROCESS_IDENTITIES
        dataset = build_synthetic_images(config, size, num_workers=1 if is_small else None)
    else:
        dataset = open_images(args.data, size, flip=False)
    count = len(dataset) if args.num_real is None else min(args.num_real, len(dataset))
    batches = iterate_real_images(dataset, num_images=count, mirror=args.mirror, batch_size=args.batch)
    statistics = fid.compute_image_statistics((batch.to(device) for batch in batches), features)
    return statistics, count * (1 + args.mirror)


def describe_real_images(args: argparse.Namespace) -> str:
    """Name of the real images in the results."""
    return "synthetic identities" if args.population else str((args.statistics or args.data).name)


def build_parser() -> argparse.ArgumentParser:
    """Build the argument parser."""
    parser = argparse.ArgumentParser(
        prog="voicestyle fid",
        description="Compute the Fréchet distance of generated and real images. Published: features of the "
        "Inception graph of 2015 as in pytorch-fid, 50,000 images, psi 1.",
    )
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group(required=True)
    text = "real images: a directory, or a written population"
    source.add_argument("--data", type=arguments.data_folder, help=text)
    source.add_argument(
        "--population",
        action="store_true",
        help="real images: synthetic identities as in the training of the weights",
    )
    source.add_argument(
        "--statistics", type=Path, help="of real images: .npz (mu, sigma) or a published .pkl"
    )
    add(
        "--features",
        default="inception",
        choices=tuple(FEATURE_NAMES),
        help="feature extractor (default: %(default)s)",
    )
    add("--inception", type=Path, help="weights of the Inception graph of 2015: file, or its directory")
    add("--save-statistics", type=Path, metavar="NPZ", help="save the statistics of the real images")
    add("--mirror", action="store_true", help="also count each real image mirrored")
    add("--num-real", type=int, help="largest number of real images (default: all)")
    add("--num-samples", type=int, default=50_000, help="images to generate (default: %(default)s)")
    add("--batch", type=int, default=32, help="images per batch (default: %(default)s)")
    add("--truncation", type=float, default=1.0, help="psi (default: %(default)s)")
    add_generator_arguments(parser, seed="latents and noise")
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voicestyle.fid", None))
