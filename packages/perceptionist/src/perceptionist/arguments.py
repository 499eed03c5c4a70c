"""Flags that the programs share; imports nothing heavy."""

import argparse
from pathlib import Path

from voiceface.commandline import arguments

CHECKPOINT_HELP = (
    f"{arguments.CHECKPOINT_HELP}, or published pretrained_models or pretrained_models/supervised_64 folder"
)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags that say with which weights and face model a program works."""
    arguments.add_weights_argument(parser, CHECKPOINT_HELP)
    parser.add_argument("--face-model", help="face model folder or file (default: the embedded head)")
    parser.add_argument("--references", type=Path, help="folder with male.obj ... slim.obj (face_types)")
    arguments.add_device_argument(parser)
