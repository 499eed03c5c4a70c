"""Flags that the programs share; imports nothing heavy."""

import argparse
from pathlib import Path


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Flags that say with which weights and face model a program works."""
    parser.add_argument(
        "--weights",
        type=Path,
        help="run folder, weights file, or published pretrained_models or pretrained_models/supervised_64 "
        "folder (default: the bundled weights)",
    )
    parser.add_argument("--face-model", help="face model folder or file (default: the embedded head)")
    parser.add_argument("--references", type=Path, help="folder with male.obj ... slim.obj (face_types)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
