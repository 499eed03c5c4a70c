"""`voicestyle factorise`: find directions of the latent space (SeFa), and render images along one of them."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline.messages import print_disclaimers
from voiceface.export.arguments import add_onnx_argument, check_onnx_arguments

from voicestyle.arguments import (
    GRAPHS,
    add_generator_arguments,
    load_generator_from_args,
    require_at_least,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from voicestyle.stylegan2.factorise import Renderer

__all__ = ["main", "render_direction_rows"]


def render_direction_rows(
    generator: "Renderer",
    direction: "Tensor",
    *,
    step_length: float = 5.0,
    columns: int = 7,
    truncation: float = 0.7,
    seed: int = 0,
) -> "NDArray[np.uint8]":
    """Render three rows of the same latents: moved along a direction, unchanged, moved the other way.

    Args:
        generator: network or graphs; an unknown mean of w of a network is estimated from 4,096 samples.
        direction: (D,).
        step_length: length of the move.
        columns: number of latents.
        truncation: psi.
        seed: of z and the mean of w.

    Returns:
        One image (3 S, columns S, 3).
    """
    import torch

    from voicestyle.stylegan2.bundled import ensure_latent_avg
    from voicestyle.stylegan2.factorise import apply_direction
    from voicestyle.stylegan2.generator import Generator
    from voicestyle.stylegan2.images import image_grid, to_uint8

    rng, like = torch.Generator().manual_seed(seed), generator.like
    if truncation < 1 and isinstance(generator, Generator):
        ensure_latent_avg(generator, seed)
    with torch.no_grad():
        w = generator.mapping(torch.randn(columns, generator.config.style_dim, generator=rng).to(like))
    images = apply_direction(generator, w, direction.to(like), step_length, truncation=truncation)
    return image_grid(to_uint8(images.flatten(0, 1)), columns=columns)


def main(argv: Sequence[str] | None = None) -> int:
    """Compute or read directions, and write them or images along one of them."""
    args = build_parser().parse_args(argv)
    if args.out is None and args.apply is None:
        raise ValueError(
            "nothing to do: give --out FILE for the directions, --apply FILE for an image, or both"
        )
    if args.out is not None and args.directions is not None:
        raise ValueError(
            f"--out {args.out} is for directions that are computed, but they are read from --directions "
            f"{args.directions}: leave one of them out"
        )
    require_at_least(args, {"columns": 1})
    if args.onnx is not None:
        check_onnx_arguments(args)
        if args.directions is None or args.apply is None:
            raise ValueError(
                "--onnx renders images: give --apply FILE and --directions FILE; directions are computed "
                "from the weights (voicestyle factorise --out FILE)"
            )
    from voiceface.runtime.devices import choose_device

    from voicestyle.stylegan2.factorise import factorise, load_directions, save_directions
    from voicestyle.stylegan2.images import write_png

    generator: Renderer
    if args.onnx is None:
        loaded = load_generator_from_args(args, str(choose_device(args.device)))
        generator = loaded.generator
    else:
        from voicestyle.onnx_generator import load_onnx_generator

        generator = load_onnx_generator(args.onnx)
        print_disclaimers(generator.disclaimer)
    dim = generator.config.style_dim
    if args.directions is None:
        factors = factorise(loaded.generator)
        directions = factors.directions
        if args.out is not None:
            save_directions(args.out, factors, loaded.name)
            strongest = ", ".join(f"{value:.3g}" for value in factors.strengths[:5].tolist())
            print(f"directions: {args.out} ({dim} of them; strengths {strongest}, ...)")
    else:
        directions, _ = load_directions(args.directions)
        if directions.shape[0] != dim:
            raise ValueError(
                f"{args.directions}: directions of {directions.shape[0]} numbers for latents of {dim}"
            )
    if args.apply is not None:
        if not 0 <= args.index < directions.shape[1]:
            raise ValueError(f"--index: expected 0 to {directions.shape[1] - 1}, found {args.index}")
        sheet = render_direction_rows(
            generator,
            directions[:, args.index],
            step_length=args.degree,
            columns=args.columns,
            truncation=args.truncation,
            seed=args.seed,
        )
        write_png(args.apply, sheet)
        print(f"image: {args.apply}")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Build the argument parser."""
    parser = argparse.ArgumentParser(
        prog="voicestyle factorise",
        description="Find the directions of the latent space that change images most, in closed form, and "
        "render images of latents moved along one of them: w + d v, w, w - d v.",
    )
    add = parser.add_argument
    add("--out", type=Path, help="directions: .safetensors, or .pt in the published form {ckpt, eigvec}")
    add("--apply", type=Path, metavar="PNG", help="three rows of images: w + d v, w, w - d v")
    add("--directions", type=Path, help="read the directions from this file instead of computing them")
    add("--index", type=int, default=0, help="index of the direction, strongest first (default: %(default)s)")
    add("--degree", type=float, default=5.0, help="d, length of the move (default: %(default)s)")
    add("--columns", type=int, default=7, help="images per row (default: %(default)s)")
    add("--truncation", type=float, default=0.7, help="psi (default: %(default)s)")
    add_generator_arguments(parser, seed="the latents", metric=False)
    add_onnx_argument(parser, GRAPHS)
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voicestyle.factorise", None))
