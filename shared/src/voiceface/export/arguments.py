"""Arguments of `export` and of the commands that run exported graphs; imports nothing heavy."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from voiceface.commandline import arguments
from voiceface.export.packages import require_packages

__all__ = ["add_onnx_argument", "add_source_arguments", "check_onnx_arguments", "take_source"]


def add_source_arguments(parser: argparse.ArgumentParser, checkpoint_help: str, *, out: str) -> None:
    """Add what is exported, by its place or as --weights, and --out; `take_source` reads the first two.

    Args:
        parser: of `export`.
        checkpoint_help: what may be given.
        out: help of --out.
    """
    parser.add_argument("model", type=Path, nargs="?", help=f"{checkpoint_help}; the same as --weights")
    arguments.add_weights_argument(parser, checkpoint_help)
    parser.add_argument("--out", type=Path, required=True, help=out)


def take_source(parser: argparse.ArgumentParser, args: argparse.Namespace) -> Path | None:
    """The model that is exported, None for the bundled one; the packages for it are there."""
    if args.model is not None and args.weights is not None:
        parser.error("name the model once: as the first argument, or by --weights")
    require_packages()
    source: Path | None = args.model or args.weights
    return source


def add_onnx_argument(
    parser: argparse._ActionsContainer, kinds: Sequence[str] = (), *, replaces: str = "weights"
) -> None:
    """Add --onnx: exported graphs that are run in place of a checkpoint.

    Args:
        parser: of the command.
        kinds: of the files that `export` writes and the command runs; empty: `export` writes one.
        replaces: name of the option in whose place they are run.
    """
    text = f"file that `export` wrote, run by onnxruntime in place of --{replaces}"
    if len(kinds) > 1:
        text = text.replace("file", "files", 1)
    if kinds:
        *most, last = [f"FILE_{kind}.onnx" for kind in kinds]
        text += "; FILE.onnx stands for " + " and ".join([", ".join(most), last] if most else [last])
    parser.add_argument("--onnx", type=Path, nargs="+" if len(kinds) > 1 else None, metavar="FILE", help=text)


def check_onnx_arguments(args: argparse.Namespace, *, replaces: str = "weights") -> None:
    """Check what is given beside --onnx, and that the packages are there.

    Args:
        args: with `device`, and with the option that --onnx replaces.
        replaces: its name.

    Raises:
        ValueError: that option, or another device than the CPU.
        ModuleNotFoundError: onnx or onnxruntime is missing; names the extra.
    """
    if getattr(args, replaces) is not None:
        raise ValueError(f"give either --{replaces} or --onnx, not both")
    if args.device not in ("cpu", "auto"):
        raise ValueError(f"--device {args.device}: ONNX files are run on the CPU; leave --device out")
    require_packages()
