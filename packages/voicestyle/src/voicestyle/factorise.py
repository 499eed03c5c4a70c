"""Directions of the code space: `voicestyle factorise --weights FILE --out FACTOR.safetensors`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline import arguments

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from voicestyle.stylegan2.generator import Generator


def render_direction_rows(
    generator: "Generator",
    direction: "Tensor",
    *,
    step_length: float = 5.0,
    columns: int = 7,
    truncation: float = 0.7,
    seed: int = 0,
) -> "NDArray[np.uint8]":
    """Three rows of pictures of the same codes: moved ahead along a direction, as they are, moved back.

    Args:
        generator: where its centre of w is not known, the mean of 4,096 codes stands in.
        direction: (D,).
        step_length: length of the step.
        columns: columns.
        truncation: psi.
        seed: of z and the centre.

    Returns:
        One picture (3 S, count S, 3).
    """
    import torch

    from voicestyle.stylegan2.bundled import ensure_latent_avg
    from voicestyle.stylegan2.factorise import apply_direction
    from voicestyle.stylegan2.images import image_grid, to_uint8

    draw, like = torch.Generator().manual_seed(seed), generator.input.input
    if truncation < 1:
        ensure_latent_avg(generator, seed)
    with torch.no_grad():
        w = generator.mapping(torch.randn(columns, generator.config.style_dim, generator=draw).to(like))
    pictures = apply_direction(generator, w, direction.to(like), step_length, truncation=truncation)
    return image_grid(to_uint8(pictures.flatten(0, 1)), columns=columns)


def main(argv: Sequence[str] | None = None) -> int:
    """`voicestyle factorise`."""
    args = build_parser().parse_args(argv)
    if args.out is None and args.apply is None:
        raise ValueError(
            "nothing to do: give --out FILE for the directions, --apply FILE for a picture, or both"
        )
    if args.number < 1:
        raise ValueError(f"--number: expected at least one column, found {args.number}")
    from voiceface.runtime.devices import choose_device

    from voicestyle.stylegan2.bundled import open_generator
    from voicestyle.stylegan2.factorise import factorise, load_directions, save_directions
    from voicestyle.stylegan2.images import write_png

    opened = open_generator(args.weights, str(choose_device(args.device)))
    dim = opened.generator.config.style_dim
    if opened.disclaimer:
        print(opened.disclaimer, file=sys.stderr)
    if args.factor is None:
        found = factorise(opened.generator)
        directions = found.directions
        if args.out is not None:
            save_directions(args.out, found, opened.name)
            strongest = ", ".join(f"{value:.3g}" for value in found.strengths[:5].tolist())
            print(f"directions: {args.out} ({dim} of them; strengths {strongest}, ...)")
    else:
        directions, _ = load_directions(args.factor)
        if directions.shape[0] != dim:
            found_dim = directions.shape[0]
            raise ValueError(f"{args.factor}: directions of {found_dim} numbers for codes of {dim}")
    if args.apply is not None:
        if not 0 <= args.index < directions.shape[1]:
            raise ValueError(f"--index: expected 0 to {directions.shape[1] - 1}, found {args.index}")
        sheet = render_direction_rows(
            opened.generator,
            directions[:, args.index],
            step_length=args.degree,
            columns=args.number,
            truncation=args.truncation,
            seed=args.seed,
        )
        write_png(args.apply, sheet)
        print(f"picture: {args.apply}")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(
        prog="voicestyle factorise",
        description="Directions of the code space that change pictures most, in closed form, and pictures "
        "of codes moved along one of them: w + d v, w, w - d v.",
    )
    add = parser.add_argument
    arguments.add_weights_argument(parser, "run folder, .safetensors, or a published .pt")
    add("--out", type=Path, help="directions: .safetensors, or .pt in the published form {ckpt, eigvec}")
    add("--apply", type=Path, metavar="PNG", help="three rows of pictures: ahead, as they are, back")
    add("--factor", type=Path, help="apply the directions of this file instead of computing them")
    add("--index", type=int, default=0, help="which direction, strongest first (default: %(default)s)")
    add("--degree", type=float, default=5.0, help="d, length of the step (default: %(default)s)")
    add("--number", type=int, default=7, help="pictures in a row (default: %(default)s)")
    add("--truncation", type=float, default=0.7, help="psi (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the codes (default: %(default)s)")
    arguments.add_device_argument(parser)
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voicestyle.factorise", None))
