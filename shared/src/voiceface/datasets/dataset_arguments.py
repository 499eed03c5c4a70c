"""Command-line arguments that name parts of a data folder; imports nothing heavy."""

import argparse
from pathlib import Path

from voiceface.datasets.identities import SPLITS
from voiceface.datasets.layouts import VOICE_FOLDERS

__all__ = [
    "SPLITS",
    "add_root_arguments",
    "add_split_argument",
    "add_voice_folder_argument",
]


def add_split_argument(parser: argparse.ArgumentParser) -> None:
    """--split: which identities of --data."""
    parser.add_argument("--split", default="test", choices=SPLITS, help="identities (default: %(default)s)")


def add_root_arguments(parser: argparse.ArgumentParser) -> None:
    """--voice-root and --face-root: recordings and images that lie elsewhere."""
    parser.add_argument("--voice-root", type=Path, help="folder of the recordings, if not below --data")
    parser.add_argument("--face-root", type=Path, help="folder of the images, if not below --data")


def add_voice_folder_argument(parser: argparse.ArgumentParser) -> None:
    """--voice-folder: for recordings that lie below face names."""
    parser.add_argument(
        "--voice-folder",
        choices=VOICE_FOLDERS,
        default=VOICE_FOLDERS[0],
        help="identity name of the recording folders: VoxCeleb1 ID or VGGFace1 name",
    )
