"""Perceptual path length of a generator: `voicestyle ppl --weights FILE --lpips PUBLISHED_FOLDER`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline import arguments

if TYPE_CHECKING:
    from voicestyle.stylegan2.ppl import ImageDistance

DISTANCE_NAMES = {"lpips": "LPIPS of VGG-16", "perceptual": "bundled network for invented faces"}
BUNDLED_DISTANCE_DISCLAIMER = (
    "Distances of the bundled perceptual network, which was trained on invented faces: the figure compares "
    "generators of invented faces with each other. It is no path length of the literature."
)


def load_distance(name: str, lpips: Path | None = None, device: str = "cpu") -> "ImageDistance":
    """A distance of pictures by its name.

    Args:
        name: a key of `NAMES`.
        lpips: folder of VGG-16 (torchvision) and of the LPIPS heads (`v0.1/vgg.pth`).
        device: where it is computed.

    Raises:
        FileNotFoundError: "lpips" without its files; the message says where they are from.
        CheckpointError: a file is another one.
    """
    if name == "perceptual":
        from voiceface.synthetic.readers.attribute_reader import load_reader, perceptual_distance

        judge = load_reader("perceptual", device)
        return lambda a, b: perceptual_distance(judge, (a + 1) / 2, (b + 1) / 2)
    from voiceface.checkpoints.third_party import locate_third_party_file
    from voiceface.models.conv_winograd import replace_with_winograd
    from voiceface.models.lpips import load_lpips

    try:
        files = [locate_third_party_file(each, lpips) for each in ("torchvision-vgg16", "lpips-v0.1-vgg")]
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"--lpips: {error}. For invented faces --features perceptual needs no file."
        ) from None
    network = load_lpips(files[0], files[1], "vgg").to(device)
    replace_with_winograd(network)
    return lambda a, b: network(a, b)


def main(argv: Sequence[str] | None = None) -> int:
    """`voicestyle ppl`."""
    args = build_parser().parse_args(argv)
    for flag in ("count", "batch", "step"):
        if getattr(args, flag) <= 0:
            raise ValueError(f"--{flag}: expected more than 0, found {getattr(args, flag)}")
    from voiceface.io.atomic import write_json
    from voiceface.runtime.devices import choose_device
    from voiceface.runtime.process import keep_freed_memory

    from voicestyle.stylegan2.bundled import open_generator
    from voicestyle.stylegan2.ppl import perceptual_path_length

    keep_freed_memory()
    device = str(choose_device(args.device))
    distance = load_distance(args.features, args.lpips, device)
    opened = open_generator(args.weights, device)
    for notice in filter(
        None, (opened.disclaimer, BUNDLED_DISTANCE_DISCLAIMER if args.features == "perceptual" else "")
    ):
        print(notice, file=sys.stderr)
    plan = {"count": args.count, "sampling": args.sampling, "step": args.step, "crop": args.crop}
    plan["seed"] = args.seed
    value = perceptual_path_length(opened.generator, distance, batch_size=args.batch, **plan)
    if args.json is not None:
        facts = {"ppl": value, "space": "w", "features": args.features, "weights": opened.name}
        facts |= {"size": opened.generator.config.size, **plan}
        facts |= {"notice": BUNDLED_DISTANCE_DISCLAIMER if args.features == "perceptual" else ""}
        write_json(args.json, facts)
    what = f"{DISTANCE_NAMES[args.features]}; {args.count} lines of {opened.name}, sampling {args.sampling}"
    print(f"PPL {value:.4f} ({what})")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(
        prog="voicestyle ppl",
        description="Perceptual path length of a generator in w: how much pictures change along small steps. "
        "Published: LPIPS of VGG-16, 5,000 lines, steps of 1e-4 at their beginnings.",
    )
    add = parser.add_argument
    arguments.add_weights_argument(parser, "run folder, .safetensors, or a published .pt")
    add("--features", default="lpips", choices=tuple(DISTANCE_NAMES), help="distance (default: %(default)s)")
    add("--lpips", type=Path, help="folder of VGG-16 (torchvision) and of the LPIPS heads, v0.1/vgg.pth")
    add("--count", type=int, default=5_000, help="lines (default: %(default)s)")
    add("--batch", type=int, default=16, help="lines at a time (default: %(default)s)")
    add("--sampling", default="end", choices=("end", "full"), help="beginnings of lines, or anywhere on them")
    add("--step", type=float, default=1e-4, help="part of the line that is stepped (default: %(default)s)")
    add("--crop", action="store_true", help="keep what is around a face")
    add("--seed", type=int, default=0, help="of codes, noise and places (default: %(default)s)")
    add("--json", type=Path, help="write the result here, too")
    arguments.add_device_argument(parser)
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voicestyle.ppl", None))
