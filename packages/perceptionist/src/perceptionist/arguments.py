"""Command-line arguments that the programs share; imports nothing heavy."""

import argparse
from pathlib import Path

from voiceface.commandline import arguments
from voiceface.export.arguments import add_onnx_argument

__all__ = [
    "CHECKPOINT_HELP",
    "EXPERT_GRAPH",
    "EXPERT_HELP",
    "GRAPHS",
    "add_expert_argument",
    "add_face_model_argument",
    "add_model_arguments",
    "add_picture_arguments",
]


CHECKPOINT_HELP = (
    f"{arguments.CHECKPOINT_HELP}, or published folder pretrained_models or pretrained_models/supervised_64"
)
EXPERT_HELP = "image-to-3D expert: run folder, checkpoint, or published 2D-to-3D-pretrained.tar"

EXPERT_GRAPH = "expert"
GRAPHS = ("voice", "mesh", EXPERT_GRAPH)
"""Kinds of graphs that `perceptionist export` writes."""


def add_model_arguments(parser: argparse.ArgumentParser, *, onnx: bool = False) -> None:
    """Add --weights, --face-model, --references and --device; and --onnx for commands that run graphs."""
    arguments.add_weights_argument(parser, CHECKPOINT_HELP)
    if onnx:
        add_onnx_argument(parser, GRAPHS)
    add_face_model_argument(parser)
    parser.add_argument(
        "--references", type=Path, help="folder with the reference shapes male.obj ... slim.obj"
    )
    arguments.add_device_argument(parser)


def add_face_model_argument(parser: argparse.ArgumentParser) -> None:
    """Add --face-model."""
    parser.add_argument("--face-model", help="folder or file of a face model (default: the embedded head)")


def add_expert_argument(parser: argparse.ArgumentParser) -> None:
    """Add --expert."""
    parser.add_argument("--expert", type=Path, help=f"{EXPERT_HELP} (default: the bundled one)")


def add_picture_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --image, --expert and --crop: the picture under the mesh, the expert for its pose, its face."""
    parser.add_argument(
        "--image",
        type=Path,
        help="face image that the mesh is laid over (default: the generated one; else the speaker's in a "
        "population; else a picture of the generated head)",
    )
    parser.add_argument(
        "--expert",
        type=Path,
        help=f"{EXPERT_HELP}, which predicts the pose (default: that of the weights or of "
        "--onnx, else the bundled one)",
    )
    arguments.add_crop_arguments(parser)
