"""Command-line arguments that several commands share."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.commandline import arguments

if TYPE_CHECKING:
    from voicestyle.stylegan2.bundled import LoadedGenerator

__all__ = [
    "GRAPHS",
    "add_bank_arguments",
    "add_config_arguments",
    "add_generator_arguments",
    "add_model_arguments",
    "load_generator_from_args",
    "model_options",
    "require_at_least",
    "require_inputs",
    "require_metric_inputs",
]

GRAPHS = ("mapping", "synthesis")
"""Kinds of graphs that `voicestyle export` writes."""
GENERATOR_WEIGHTS_HELP = "run directory, .safetensors, or a published .pt"


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name networks; see `model_options`."""
    group = parser.add_argument_group("networks (default: bundled weights, trained on synthetic identities)")
    add = group.add_argument
    add("--weights", type=Path, metavar="RUN", help="run directory of `voicestyle train`: CMPC and StyleGAN2")
    add("--cmpc", type=Path, metavar="FILE", help="CMPC: run directory, weights or model_best_256.pth.tar")
    add("--stylegan", type=Path, metavar="FILE", help="StyleGAN2: weights, run directory or 550000.pt")
    add("--lpips", type=Path, nargs=2, metavar=("BACKBONE", "HEADS"), help="LPIPS: vgg16-*.pth, v0.1/vgg.pth")
    add("--lpips-net", default="vgg", choices=("vgg", "alex", "squeeze"), help="LPIPS backbone (default vgg)")
    add("--identity", type=Path, metavar="FILE", help="IR-SE50: model_ir_se50.pth")
    add(
        "--clip", type=Path, metavar="FILE", help="CLIP ViT-B/32, for selection.method=clip (needs open_clip)"
    )
    arguments.add_on_corrupt_argument(group)
    arguments.add_device_argument(parser)


def model_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the keyword arguments of `voicestyle.models.load_models` that the command line gives."""
    names = ("weights", "cmpc", "stylegan", "lpips_net", "identity", "clip", "on_corrupt", "device")
    return {
        "lpips": None if args.lpips is None else tuple(args.lpips),
        **{name: getattr(args, name) for name in names},
    }


def add_bank_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that refine the face bank; `bank_options` reads them."""
    add = parser.add_argument
    add("--frontal", type=Path, metavar="DIR", help="frontal images <name>/<image> in place of the bank's")
    add("--memory", type=Path, help="prototypes, such as frame_memory_best_256.pth.tar, with --table")
    add("--table", type=Path, help="training.csv of the prototypes")
    add("--exclude", nargs="+", default=[], metavar="NAME", help="identities of the bank to skip")


def bank_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the keyword arguments of `voicestyle.bank_builders.load_bank` that the command line gives."""
    return {name: getattr(args, name) for name in ("weights", "cmpc", "frontal", "memory", "table")}


def require_inputs(args: argparse.Namespace) -> None:
    """Check, before anything is loaded, that everything that the command line names exists.

    Raises:
        FileNotFoundError: names every absent file and directory with its flag.
    """
    names = ("data", "bank", *("weights", "cmpc", "stylegan", "identity", "clip", "evaluation_identity"))
    paths = {name: getattr(args, name, None) for name in (*names, "frontal", "memory", "table")}
    backbone, heads = args.lpips or (None, None)
    arguments.require_existing_paths({**paths, "lpips (backbone)": backbone, "lpips (heads)": heads})


def require_metric_inputs(
    args: argparse.Namespace, flag: str, third_party_files: Sequence[str], alternative: str
) -> None:
    """Check, before anything is loaded, that all inputs of a metric of generators exist.

    Args:
        args: parsed arguments, with --weights and, for fid, --data and --statistics.
        flag: name of the argument that names the network of the metric.
        third_party_files: names of its files in the manifest; none if a bundled network is used.
        alternative: choice that needs no file, for the message.

    Raises:
        FileNotFoundError: names everything that is absent with its flag.
    """
    from voiceface.checkpoints.third_party import locate_third_party_file

    paths = {name: getattr(args, name, None) for name in ("data", "statistics", "weights")}
    problems = [f"--{name}: nothing at {path}" for name, path in paths.items() if path and not path.exists()]
    absent = []
    for file in third_party_files:
        try:
            locate_third_party_file(file, getattr(args, flag))
        except FileNotFoundError as error:
            absent.append(f"--{flag}: {error}")
    if absent:
        problems.append(f"{'; '.join(absent)}. For synthetic faces --features {alternative} needs no file.")
    if problems:
        raise FileNotFoundError("; ".join(problems))


def add_config_arguments(parser: argparse.ArgumentParser, default: str, example: str) -> None:
    """Add --cfg of the pipeline; changes of it are positional, see `split_overrides`."""
    parser.add_argument(
        "--cfg",
        default=default,
        help="bundled name (default, quick, published) or a file (default: %(default)s); words such as "
        f"{example} change it",
    )


def add_generator_arguments(parser: argparse.ArgumentParser, *, seed: str, metric: bool = True) -> None:
    """Add what fid, ppl and factorise have in common: --weights, --seed, --device and, for metrics, --json.

    Args:
        parser: of the command.
        seed: what the seed determines, for the help.
        metric: the command computes a metric.
    """
    arguments.add_weights_argument(parser, GENERATOR_WEIGHTS_HELP)
    parser.add_argument("--seed", type=int, default=0, help=f"seed of {seed} (default: %(default)s)")
    arguments.add_device_argument(parser)
    if metric:
        parser.add_argument("--json", type=Path, help="also write the result to this file")


def require_at_least(args: argparse.Namespace, minima: Mapping[str, int]) -> None:
    """Check that arguments are not below their minimum.

    Raises:
        ValueError: names the argument.
    """
    for name, minimum in minima.items():
        value = getattr(args, name)
        if value is not None and value < minimum:
            raise ValueError(f"--{name.replace('_', '-')}: expected at least {minimum}, found {value}")


def load_generator_from_args(
    args: argparse.Namespace, device: str, disclaimers: Sequence[str] = ()
) -> "LoadedGenerator":
    """Load the generator that --weights names and print the disclaimers of the result."""
    from voiceface.commandline.messages import print_disclaimers

    from voicestyle.stylegan2.bundled import open_generator

    loaded = open_generator(args.weights, device)
    print_disclaimers(*(text for text in (loaded.disclaimer, *disclaimers) if text))
    return loaded


def write_metric(
    args: argparse.Namespace, name: str, value: float, description: str, facts: Mapping[str, Any]
) -> None:
    """Print a metric of a generator and, with --json, write it with the facts that determine it."""
    from voiceface.io.atomic import write_json

    if args.json is not None:
        write_json(args.json, {name: value, **facts})
    print(f"{name.upper()} {value:.4f} ({description})")
