"""Load a trained model for inference: bundled weights, a run folder, a checkpoint or published files."""

import argparse
import os
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.export.arguments import check_onnx_arguments

if TYPE_CHECKING:
    from perceptionist.face_models.linear import LinearFaceModel
    from perceptionist.voice_to_mesh import VoiceToMesh

__all__ = [
    "BUNDLED_CHECKPOINT",
    "TRAIN_COMMAND",
    "find_bundled_checkpoint",
    "load",
    "load_from_arguments",
]


BUNDLED_CHECKPOINT = "weights/population.safetensors"
TRAIN_COMMAND = "perceptionist train --cfg supervised --data DATA --out RUN"


def load(
    weights: str | os.PathLike[str] | None = None,
    face_model: "LinearFaceModel | str | Path | None" = None,
    *,
    references: str | Path | None = None,
    device: str = "cpu",
) -> "VoiceToMesh":
    """Load a trained model: `load().generate("a.wav").vertices`.

    Args:
        weights: run folder, checkpoint or published folder; None: the bundled checkpoint, which was trained
            on synthetic identities only.
        face_model: model, folder or file; None: the one that the weights were trained with, if it is
            embedded.
        references: folder of reference shapes in place of the face model's own.
        device: "cpu" or "cuda".

    Raises:
        FileNotFoundError: no such weights; the message says how to train some.
        CheckpointError, FaceModelError, ValueError: the weights or the face model cannot be used.
    """
    source = find_bundled_checkpoint() if weights is None else Path(weights)
    if not source.exists():
        raise FileNotFoundError(f"Weights {source} do not exist. To train a model: {TRAIN_COMMAND}")
    from voiceface.runtime.devices import choose_device

    from perceptionist.face_models.io import resolve_face_model
    from perceptionist.face_models.linear import LinearFaceModel
    from perceptionist.models import load_voice_to_mesh

    model = face_model if isinstance(face_model, LinearFaceModel) else None
    if model is None and (face_model is not None or references is not None):
        model = resolve_face_model(face_model, references)  # type: ignore[arg-type]
    return load_voice_to_mesh(source, model, device=choose_device(device))


def load_from_arguments(args: argparse.Namespace) -> "VoiceToMesh":
    """Load the model of a command: a checkpoint, or the graphs of --onnx.

    Args:
        args: of `perceptionist.arguments.add_model_arguments`, with `onnx`.

    Raises:
        ValueError: `--weights` or another device beside `--onnx`; and as of `load` and `load_onnx_model`.
        FileNotFoundError, ModuleNotFoundError: as of these.
    """
    if args.onnx is None:
        return load(args.weights, args.face_model, references=args.references, device=args.device)
    check_onnx_arguments(args)
    from perceptionist.onnx_model import load_onnx_model

    return load_onnx_model(args.onnx, args.face_model, references=args.references)


def find_bundled_checkpoint() -> Path:
    """Path of the checkpoint that is installed with this package.

    Raises:
        FileNotFoundError: this installation has none.
    """
    path = Path(str(files("perceptionist").joinpath(BUNDLED_CHECKPOINT)))
    if not path.is_file():
        raise FileNotFoundError(
            f"This installation of perceptionist has no {BUNDLED_CHECKPOINT}. Train a model "
            f"({TRAIN_COMMAND}) "
            "and pass it with --weights RUN."
        )
    return path
