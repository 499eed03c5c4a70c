"""Flags that the programs share; imports nothing heavy."""

import argparse
from pathlib import Path

from voiceface.commandline import arguments

WEIGHTS = f"{arguments.OURS}, or published pretrained_models or pretrained_models/supervised_64 folder"


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Flags that say with which weights and face model a program works."""
    arguments.add_weights_flag(parser, WEIGHTS)
    parser.add_argument("--face-model", help="face model folder or file (default: the embedded head)")
    parser.add_argument("--references", type=Path, help="folder with male.obj ... slim.obj (face_types)")
    arguments.add_device_flag(parser)
