"""`voicestyle ppl`: compute the perceptual path length of a generator."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voicestyle.arguments import (
    add_generator_arguments,
    load_generator_from_args,
    require_at_least,
    require_metric_inputs,
    write_metric,
)

if TYPE_CHECKING:
    from voicestyle.stylegan2.ppl import ImageDistance

__all__ = ["load_distance", "main"]

DISTANCE_NAMES = {"lpips": "LPIPS of VGG-16", "perceptual": "bundled network for synthetic faces"}
BUNDLED_DISTANCE_DISCLAIMER = (
    "Distances of the bundled perceptual network, which was trained on synthetic faces: the metric compares "
    "generators of synthetic faces with each other. It is not comparable with path lengths in the literature."
)


def load_distance(name: str, lpips: Path | None = None, device: str = "cpu") -> "ImageDistance":
    """Load an image distance by its name.

    Args:
        name: key of `DISTANCE_NAMES`.
        lpips: directory of VGG-16 (torchvision) and of the LPIPS heads (`v0.1/vgg.pth`).
        device: device of the network.

    Raises:
        FileNotFoundError: the files of "lpips" are missing; the message says where to get them.
        CheckpointError: a file belongs to another network.
    """
    if name == "perceptual":
        from voiceface.synthetic.readers.attribute_reader import load_reader, perceptual_distance

        reader = load_reader("perceptual", device)
        return lambda a, b: perceptual_distance(reader, (a + 1) / 2, (b + 1) / 2)
    from voiceface.checkpoints.third_party import locate_third_party_file
    from voiceface.models.conv_winograd import replace_with_winograd
    from voiceface.models.lpips import load_lpips

    try:
        files = [locate_third_party_file(each, lpips) for each in ("torchvision-vgg16", "lpips-v0.1-vgg")]
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"--lpips: {error}. For synthetic faces --features perceptual needs no file."
        ) from None
    network = load_lpips(files[0], files[1], "vgg").to(device)
    replace_with_winograd(network)
    return lambda a, b: network(a, b)


def main(argv: Sequence[str] | None = None) -> int:
    """Compute the metric."""
    args = build_parser().parse_args(argv)
    require_at_least(args, {"num_samples": 1, "batch": 1})
    if args.epsilon <= 0:
        raise ValueError(f"--epsilon: expected more than 0, found {args.epsilon}")
    files = ["torchvision-vgg16", "lpips-v0.1-vgg"] if args.features == "lpips" else []
    require_metric_inputs(args, "lpips", files, "perceptual")
    from voiceface.runtime.devices import choose_device
    from voiceface.runtime.process import keep_freed_memory

    from voicestyle.stylegan2.ppl import perceptual_path_length

    keep_freed_memory()
    device = str(choose_device(args.device))
    distance = load_distance(args.features, args.lpips, device)
    disclaimer = BUNDLED_DISTANCE_DISCLAIMER if args.features == "perceptual" else ""
    loaded = load_generator_from_args(args, device, [disclaimer])
    value = perceptual_path_length(
        loaded.generator,
        distance,
        num_samples=args.num_samples,
        sampling=args.sampling,
        epsilon=args.epsilon,
        crop=args.crop,
        seed=args.seed,
        batch_size=args.batch,
    )
    facts = {
        "space": "w",
        "features": args.features,
        "weights": loaded.name,
        "size": loaded.generator.config.size,
        **{name: getattr(args, name) for name in ("num_samples", "sampling", "epsilon", "crop", "seed")},
        "disclaimer": disclaimer,
    }
    source = f"{args.num_samples} paths of {loaded.name}, sampling {args.sampling}"
    write_metric(args, "ppl", value, f"{DISTANCE_NAMES[args.features]}; {source}", facts)
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Build the argument parser."""
    parser = argparse.ArgumentParser(
        prog="voicestyle ppl",
        description="Compute the perceptual path length of a generator in w: how much images change along "
        "small steps. Published: LPIPS of VGG-16, 5,000 paths, steps of 1e-4 at their ends.",
    )
    add = parser.add_argument
    add("--features", default="lpips", choices=tuple(DISTANCE_NAMES), help="distance (default: %(default)s)")
    add("--lpips", type=Path, help="directory of VGG-16 (torchvision) and of the LPIPS heads, v0.1/vgg.pth")
    add("--num-samples", type=int, default=5_000, help="number of paths (default: %(default)s)")
    add("--batch", type=int, default=16, help="paths per batch (default: %(default)s)")
    add(
        "--sampling", default="end", choices=("end", "full"), help="at the ends of paths, or anywhere on them"
    )
    add("--epsilon", type=float, default=1e-4, help="step, as a fraction of the path (default: %(default)s)")
    add("--crop", action="store_true", help="keep the middle of the images, where faces are")
    add_generator_arguments(parser, seed="latents, noise and positions on the paths")
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voicestyle.ppl", None))
