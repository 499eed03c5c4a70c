"""Arguments of `export` and `embed` about ONNX files, and what they do."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.association.system import SystemSpec
from voiceface.export.arguments import check_onnx_arguments

if TYPE_CHECKING:
    from voiceface.association.embedder import Embedder

__all__ = [
    "DESCRIPTION",
    "add_export_arguments",
    "load_for_embedding",
    "run_onnx_export",
]

MODALITIES = ("voice", "face")
DESCRIPTION = (
    "With --out FILE.onnx: write FILE_voice.onnx and FILE_face.onnx, the encoders and their front ends, once "
    "they give the same embeddings as PyTorch."
)
"""What `export` does with ONNX files."""


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `export` that concern ONNX files."""
    parser.add_argument(
        "--modality", choices=MODALITIES, help="*.onnx: the only encoder that is exported (default: both)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        action="append",
        default=[],
        help="*.onnx: export the voice encoder once more for voices of exactly this length, repeatable",
    )


def run_onnx_export(spec: SystemSpec, args: argparse.Namespace) -> int:
    """Export the encoders of a checkpoint, or the bundled ones, as ONNX files; print one line for each."""
    from voiceface.export.packages import require_packages

    if getattr(args, "impostor_scores", None) is not None:
        raise ValueError("--impostor-scores are stored with checkpoints, *.safetensors, not in ONNX files")
    require_packages()
    from voiceface.association.loading import load_embedder
    from voiceface.association.onnx_export import export_encoders
    from voiceface.commandline.messages import print_disclaimers

    model = load_embedder(spec, args.run)
    print_disclaimers(model.disclaimer)
    chosen: Any = MODALITIES if args.modality is None else (args.modality,)
    for result in export_encoders(spec, model, args.out, modalities=chosen, seconds=args.seconds):
        print(result)
    return 0


def load_for_embedding(
    spec: SystemSpec, args: argparse.Namespace, sounds: Sequence[Path], pictures: Sequence[Path]
) -> "Embedder":
    """Load the model of `embed`: a checkpoint, or the encoders of `--onnx`, one for each kind of file.

    Args:
        spec: the system.
        args: of `embed`.
        sounds: recordings that will be embedded.
        pictures: pictures that will be embedded.

    Raises:
        ValueError: no usable model; `--weights` or another device beside `--onnx`.
        FileNotFoundError: no such file.
        ModuleNotFoundError: onnx or onnxruntime is missing.
    """
    resample = args.resample != "never"
    if args.onnx is None:
        from voiceface.association.loading import load_embedder

        return load_embedder(
            spec, args.weights, device=args.device, resample=resample, on_corrupt=args.on_corrupt
        )
    check_onnx_arguments(args)
    from voiceface.association.onnx_embedder import load_onnx_embedder
    from voiceface.export.running import find_graph_files

    files = find_graph_files(args.onnx, MODALITIES)
    model = load_onnx_embedder(spec, files, resample=resample, on_corrupt=args.on_corrupt)
    for modality, found in (("voice", sounds), ("face", pictures)):
        if found:
            model.model.require(modality)
    return model
