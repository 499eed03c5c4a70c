"""Command-line arguments that the programs share; imports nothing heavy."""

import argparse
from pathlib import Path

from voiceface.commandline import arguments

__all__ = [
    "CHECKPOINT_HELP",
    "add_model_arguments",
]


CHECKPOINT_HELP = (
    f"{arguments.CHECKPOINT_HELP}, or published folder pretrained_models or pretrained_models/supervised_64"
)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --weights, --face-model, --references and --device."""
    arguments.add_weights_argument(parser, CHECKPOINT_HELP)
    parser.add_argument("--face-model", help="folder or file of a face model (default: the embedded head)")
    parser.add_argument(
        "--references", type=Path, help="folder with the reference shapes male.obj ... slim.obj"
    )
    arguments.add_device_argument(parser)
